"""How a plan is executed: observe, compare, map, pack, verify, publish.

Every executor, the later stages of the pipeline, and engines that were handed a stored plan go through
``run_plan``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from briquette import cancellation
from briquette.compaction.checks import Totals, check_reject_limit, total, within_reject_limit
from briquette.compaction.manifest import build_manifest, reject_lines
from briquette.compaction.map_splits import CompactSplits, Work
from briquette.compaction.options import Progress, RunOptions, default_threads
from briquette.compaction.prefetch import Prefetched
from briquette.compaction.result import CompactionResult
from briquette.compaction.reuse import reusable_splits
from briquette.compaction.unchanged import Found, compare_with_published
from briquette.compaction.undeclared_schema import infer_target as infer_target  # noqa: PLC0414 - likewise
from briquette.errors import EmptyInput, PlanError
from briquette.executors import Executor, open_executor
from briquette.model import (
    COMPACTION,
    Manifest,
    OnEmpty,
    Plan,
    RowGroup,
    SplitResult,
    State,
    Status,
)
from briquette.planning.place_overlap import check_apart, check_not_published
from briquette.planning.plan import (
    check_same_partition,
    concurrency_within,
    predicted_output_bytes,
    projected_memory_bytes,
)
from briquette.publishing import publish
from briquette.publishing.snapshot import Snapshot, observe
from briquette.storage.interface import Store
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    from briquette.parquet.splice import SplicedPart
    from briquette.publishing.early_parts import Drafts

log = logging.getLogger(__name__)
_COPY = "The dataset is a copy: its parts have other etags than its manifest said, but its bytes."


def run_plan(
    plan: Plan,
    options: RunOptions | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    started: float | None = None,
    work: Work = CompactSplits(),  # noqa: B008 - a frozen value
    prefetched: Prefetched | None = None,
) -> CompactionResult:
    """Execute a plan: the same for every executor, and for a plan that another engine began.

    ``work`` says what is made of the plan's inputs: compaction, or one of the later stages. ``prefetched``
    holds what the stores were asked already; ``seconds`` of the result count from ``started`` (of
    ``time.monotonic``). Raises the errors of ``briquette.errors``.
    """
    options = options or RunOptions()
    started = time.monotonic() if started is None else started
    _check_plan(plan, work)
    store = open_store(plan.output.url)
    with publish.running(store, plan.output):
        # What is there before the work begins is what the publish may replace; anything newer is a conflict.
        seen = prefetched.seen() if prefetched else observe(store, plan.output, force=options.force)
        found = _compared(plan, seen, store)
        executor = executor or executor_for(plan, options)
        run = _Run(plan, options, store, seen, found, started)
        run.log_planned()
        if found.state is State.UNCHANGED and not options.force:
            return run.unchanged()
        if found.state is State.EMPTY:
            return run.nothing()
        kept = run.taken_over(work)
        with run.drafting(kept) as drafts:
            results = run.mapped(work, executor, kept, progress, drafts)
            ran = executor.name if len(kept) < len(plan.splits) else "none"
            totals = run.verified(results)
            if totals.rows == 0:
                return run.nothing(totals.rejects, ran)
            manifest = run.published(results, totals, drafts)
        return run.ended(
            Status.PUBLISHED, manifest, rejects=manifest.rejects, executor=ran, splits_reused=len(kept)
        )


def executor_for(plan: Plan, options: RunOptions) -> Executor:
    """The executor of a run; memory bounds its threads, never the plan."""
    threads = options.threads or default_threads()
    return open_executor(
        options.executor,
        splits=len(plan.splits),
        workers=options.workers,
        concurrency=concurrency_within(plan, threads, options.memory_limit_bytes),
        scheduler=options.scheduler,
        ray_address=options.ray_address,
        memory_limit_bytes=options.memory_limit_bytes,
    )


def finishing_of(result: CompactionResult) -> AbstractContextManager[None]:
    """While the block does what belongs to a publish, SIGTERM does not cut it off from what readers see."""
    return cancellation.finishing() if result.status is Status.PUBLISHED else nullcontext()


# -- the steps -------------------------------------------------------------------------------------


def _check_plan(plan: Plan, work: Work) -> None:
    if plan.stage == COMPACTION:
        check_apart(plan.raw, plan.output)  # a stored plan, or one made by hand
    if work.stage != plan.stage.name:
        raise PlanError(
            f"this is a plan of the stage {plan.stage.name!r}, not of {work.stage!r}.",
            hint="Give it to the command of that stage, or make a plan of this one.",
        )


def _compared(plan: Plan, seen: Snapshot, store: Store) -> Found:
    """The plan beside what is published; raises where the two cannot be of one partition."""
    check_not_published(plan.raw, plan.listing, plan.output, seen.visible)
    if seen.manifest is not None:
        check_same_partition(plan.partition, plan.output, seen.manifest)
    return compare_with_published(plan, seen, open_store(plan.raw.url), store)


@dataclass(frozen=True, slots=True)
class _Run:
    """A plan, what was seen at its output, and what came of comparing the two."""

    plan: Plan
    options: RunOptions
    store: Store  # of the output
    seen: Snapshot
    found: Found
    started: float

    def log_planned(self) -> None:
        plan, limit = self.plan, self.options.memory_limit_bytes
        if limit is not None and plan.splits:
            limit //= max(self.options.workers, 1)
            least = projected_memory_bytes(plan, 1)
            if least > limit:
                log.warning(
                    "One split at a time may take %s MB, "
                    "more than the memory limit of %s MB for each process.",
                    f"{least / 1e6:,.0f}",
                    f"{limit / 1e6:,.0f}",
                )
        self._log("planned", objects=len(plan.listing), bytes=plan.raw_bytes, splits=len(plan.splits))

    def taken_over(self, work: Work) -> Mapping[int, SplitResult]:
        """Results of splits that did not change since what is published was made."""
        if not (self.options.reuse and work.reuses) or self.options.force:
            return {}
        return reusable_splits(self.plan, self.seen.manifest, self.store, self.found.edited)

    def drafting(self, kept: Mapping[int, SplitResult]) -> AbstractContextManager[Drafts | None]:
        """Parts are begun early where several are likely, and every split is made in this run, and once.

        For a single part that gains nothing: it is hashed after its last byte, and until then all cores are
        busy.
        """
        plan = self.plan
        target_bytes = plan.spec.target_part_bytes
        if predicted_output_bytes(plan) <= target_bytes or kept or plan.spec.unique_key:
            return nullcontext()
        order = [split.index for split in plan.splits]
        return publish.drafting(self.store, plan.output, plan.plan_id, target_bytes, order, plan.spec.publish)

    def mapped(
        self,
        work: Work,
        executor: Executor,
        kept: Mapping[int, SplitResult],
        progress: Progress | None,
        drafts: Drafts | None,
    ) -> tuple[SplitResult, ...]:
        """Every split's result, in plan order; meanwhile the store is asked what a publish needs to know."""
        on_split = drafts.take if drafts else None
        unsafe = self.options.unsafe_store
        with publish.probe_meanwhile(self.store, self.plan.output, unsafe_store=unsafe):
            return work.results(self.plan, executor, kept, _unless_stopped(progress), on_split)

    def verified(self, results: Sequence[SplitResult]) -> Totals:
        """The sums; rejects are kept where nothing will be published. Raises ``RejectLimitExceeded``."""
        plan, totals = self.plan, total(results)

        def keep_rejects() -> Any:
            return publish.write_rejects(self.store, plan.output, plan.plan_id, reject_lines(results))

        if totals.rows == 0 and within_reject_limit(plan, totals):
            keep_rejects()
        check_reject_limit(plan, totals, keep_rejects)
        return totals

    def published(self, results: Sequence[SplitResult], totals: Totals, drafts: Drafts | None) -> Manifest:
        plan, options = self.plan, self.options
        drafted = drafts.complete(_row_groups(results)) if drafts else None
        new = publish.NewDataset(
            plan_id=plan.plan_id,
            parts=drafted or packed(plan, results),
            rejects=reject_lines(results),
            build_manifest=lambda files, rejects_file: build_manifest(
                plan, results, totals, files, rejects_file
            ),
            mode=plan.spec.publish,
        )
        manifest = publish.publish(
            self.store,
            self.seen,
            new,
            unsafe_store=options.unsafe_store,
            drafts=drafts if drafted else None,
        )
        self._log("published", rows=manifest.rows, rejects=manifest.rejects)
        return manifest

    # -- the endings ---------------------------------------------------------------------------

    def unchanged(self) -> CompactionResult:
        """What is published is of these inputs; a copy gets a manifest with the etags of its own place."""
        manifest, standing, message = self.seen.manifest, self.found.standing, ""
        assert manifest is not None
        rejects = manifest.rejects
        if standing is not None and standing.copied:
            manifest = publish.renew_manifest(self.store, self.seen, standing.files)
            message = _COPY
        reused = len(self.plan.splits)
        return self.ended(Status.UNCHANGED, manifest, rejects=rejects, splits_reused=reused, message=message)

    def nothing(self, rejects: int = 0, executor: str = "none") -> CompactionResult:
        """C15: nothing is written; what becomes of a published dataset is the caller's choice, and said."""
        plan, options, published = self.plan, self.options, self.seen.manifest
        what = f"no rows in the {len(plan.listing)} raw objects" if plan.listing else "no raw objects"
        message = f"{what} under {plan.raw}; nothing was written."
        if options.on_empty is OnEmpty.FAIL:
            raise EmptyInput(message, hint="Check the ingestion, or pass --on-empty keep.")
        if published is not None and options.on_empty is OnEmpty.REMOVE:
            publish.remove_dataset(self.store, self.seen, unsafe_store=options.unsafe_store)
            message += f" The dataset published earlier under {plan.output} was removed (--on-empty remove)."
            published = None
        elif published is not None:
            message += (
                f" The dataset published earlier under {plan.output} stays "
                f"({published.rows} rows, --on-empty keep)."
            )
        return self.ended(Status.EMPTY, published, rejects=rejects, executor=executor, message=message)

    def ended(self, status: Status, manifest: Manifest | None, **more: Any) -> CompactionResult:
        plan = self.plan
        defaults: dict[str, Any] = {"executor": "none", "why": self.found.why, "splits": len(plan.splits)}
        return CompactionResult(
            status=status,
            partition=plan.partition,
            output=plan.output,
            plan_id=plan.plan_id,
            input_fingerprint=plan.input_fingerprint,
            raw_objects=len(plan.listing),
            raw_bytes=plan.raw_bytes,
            seconds=time.monotonic() - self.started,
            manifest=manifest,
            **(defaults | more),
        )

    def _log(self, what: str, **fields: int) -> None:
        told = {
            "plan_id": self.plan.plan_id,
            "output": str(self.plan.output),
            "state": self.found.state.value,
        }
        log.info(what, extra={"fields": told | fields})


def packed(plan: Plan, results: Sequence[SplitResult]) -> tuple[SplicedPart, ...]:
    """The finished row groups in parts of the target size, each part spliced."""
    from briquette.parquet.packing import pack_row_groups
    from briquette.parquet.splice import splice

    groups = _row_groups(results)
    runs = pack_row_groups(groups, plan.spec.target_part_bytes)
    return tuple(splice(groups[start:stop]) for start, stop in runs)


def _row_groups(results: Sequence[SplitResult]) -> list[RowGroup]:
    """All row groups, in split order: C10."""
    return [group for result in results for group in result.row_groups]


def _unless_stopped(progress: Progress | None) -> Progress:
    """The splits may be the work of other processes, which nobody told to stop."""

    def call(done: int, total: int, raw_bytes: int) -> None:
        cancellation.check()
        if progress is not None:
            progress(done, total, raw_bytes)

    return call
