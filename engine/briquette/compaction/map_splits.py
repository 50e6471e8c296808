"""What a run makes of its inputs: one function over the splits of a plan, on any executor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from briquette.compaction.checks import check_conservation, check_expected_records
from briquette.compaction.options import Progress
from briquette.errors import VerificationFailed
from briquette.model import Location, Plan, Split, SplitResult, SplitTask
from briquette.planning.plan import inline_limit_bytes

if TYPE_CHECKING:
    from briquette.executors import Executor

OnSplit = Callable[[SplitResult], None]


class Work(Protocol):
    """What a run makes of the inputs of its plan; ``stage`` is the name that such plans carry."""

    @property
    def stage(self) -> str:
        """``Plan.stage.name`` of the plans that this does."""

    @property
    def reuses(self) -> bool:
        """Whether an unchanged split's published row groups may be taken over."""

    def results(
        self,
        plan: Plan,
        executor: Executor,
        kept: Mapping[int, SplitResult],
        progress: Progress | None,
        on_split: OnSplit | None = None,
    ) -> tuple[SplitResult, ...]:
        """Every split's result in plan order, ``kept`` as it is; the conservation of C7 is checked.

        ``on_split`` gets each other one as it is made, in any order.
        """


@dataclass(frozen=True, slots=True)
class CompactSplits:
    """Compaction: ``compact_split`` over the splits."""

    stage: str = "compaction"
    reuses: bool = True

    def results(
        self,
        plan: Plan,
        executor: Executor,
        kept: Mapping[int, SplitResult],
        progress: Progress | None,
        on_split: OnSplit | None = None,
    ) -> tuple[SplitResult, ...]:
        """See ``Work.results``."""
        from briquette.compaction.split import compact_split

        return map_splits(plan, executor, kept, progress, compact_split, on_split)


def staging(plan: Plan) -> Location:
    """Where this plan's workers put large row groups: hidden, beside the output, named by the plan."""
    from briquette.publishing.publish import staging_prefix

    return Location(plan.output.url, staging_prefix(plan.output, plan.plan_id))


def task_for(plan: Plan, split: Split, drop_rows: tuple[int, ...] = (), *, plan_bytes: int = 0) -> SplitTask:
    """All that a worker needs for ``split``; ``plan_bytes`` is ``plan.raw_bytes``, summed once."""
    return SplitTask(
        split_index=split.index,
        raw_url=plan.raw.url,
        objects=plan.objects(split),
        byte_range=split.byte_range,
        spec=plan.spec,
        staging=staging(plan),
        inline_limit_bytes=inline_limit_bytes(plan),
        raw_bytes=split.raw_bytes,
        plan_bytes=plan_bytes,
        drop_rows=drop_rows,
    )


def map_splits(
    plan: Plan,
    executor: Executor,
    kept: Mapping[int, SplitResult],
    progress: Progress | None,
    kernel: Callable[[SplitTask], SplitResult],
    on_split: OnSplit | None = None,
) -> tuple[SplitResult, ...]:
    """Every split's result in plan order: ``kept`` as it is, the others by ``kernel`` on the executor.

    ``on_split`` gets those as they are made, in any order, before unique keys decide anything.
    """
    found: dict[int, SplitResult] = dict(kept)
    read_bytes = 0

    def on_result(result: SplitResult) -> None:
        nonlocal read_bytes
        found[result.split_index] = result
        read_bytes += result.raw_bytes
        if on_split:
            on_split(result)
        if progress:
            progress(min(len(found), len(plan.splits)), len(plan.splits), read_bytes)

    if progress:
        progress(len(found), len(plan.splits), 0)
    plan_bytes = plan.raw_bytes
    tasks = [task_for(plan, s, plan_bytes=plan_bytes) for s in plan.splits if s.index not in kept]
    executor.map(kernel, tasks, on_result)
    if plan.spec.unique_key:
        _drop_losers(plan, executor, found, kernel)
    missing = [s.index for s in plan.splits if s.index not in found]
    if missing:
        raise VerificationFailed(
            f"the executor returned no result for split {missing[0]} of {plan.partition}.",
            hint="Nothing was published. Run it again; if it stays, this is a defect of the executor.",
        )
    results = tuple(_with_object_positions(plan, [found[s.index] for s in plan.splits]))
    for result in results:
        check_conservation(result)
    check_expected_records(plan, results)
    return results


def _drop_losers(
    plan: Plan,
    executor: Executor,
    found: dict[int, SplitResult],
    kernel: Callable[[SplitTask], SplitResult],
) -> None:
    """C9 between splits: decode again the splits whose rows lose to a later one, without those rows."""
    from briquette.compaction import unique_keys

    order = [s.index for s in plan.splits]
    losers = unique_keys.losers_between_splits([found[i].unique_keys for i in order])
    tasks = [task_for(plan, plan.splits[i], rows) for i, rows in losers.items()]
    again: list[SplitResult] = []
    executor.map(kernel, tasks, again.append)
    found.update({r.split_index: r for r in again})


def _with_object_positions(plan: Plan, results: Sequence[SplitResult]) -> Iterator[SplitResult]:
    """Byte ranges count records from their own beginning; reject positions are those of the whole object."""
    before: Counter[str] = Counter()
    for split, result in zip(plan.splits, results, strict=True):
        if split.byte_range is None:
            yield result
            continue
        key = plan.listing[split.start].key
        shift = before[key]
        before[key] += result.records
        moved = tuple(replace(r, position=r.position + shift) for r in result.rejects)
        yield replace(result, rejects=moved) if shift else result
