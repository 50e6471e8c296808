"""From split results to parts and a manifest: reuse, conservation, rejects, duplicates, packing."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from briquette.errors import BatchManifestMismatch, BriquetteError, RejectLimitExceeded, VerificationFailed
from briquette.model import (
    COMPACTION,
    Location,
    Manifest,
    Plan,
    PublishedFile,
    PublishedSplit,
    Reject,
    RowGroup,
    Split,
    SplitResult,
    SplitTask,
)
from briquette.planning.plan import expected_bytes, inline_limit_bytes, warnings_of
from briquette.version import __version__

if TYPE_CHECKING:
    from briquette.compaction.run import Progress
    from briquette.executors import Executor
    from briquette.parquet.splice import SplicedPart
    from briquette.storage.interface import Store, Stored


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all splits; C7 holds for them as for each split."""

    records: int
    rows: int
    rejects: int
    duplicates: int
    extra_fields: tuple[tuple[str, int], ...]
    duplicate_json_keys: int
    content_digest: str
    decoded_bytes: int
    reject_bytes: int
    first_reject: Reject | None


OnSplit = Callable[[SplitResult], None]

# -- map ---------------------------------------------------------------------------------------


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
            f"the executor returned no result for split {missing[0]} of {plan.partition}."
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


# -- checks ------------------------------------------------------------------------------------


def check_conservation(result: SplitResult) -> None:
    """C7 for one split; a violation is a defect of the engine and stops the run unpublished."""
    parts = result.rows + len(result.rejects) + result.duplicates
    grouped = sum(g.rows for g in result.row_groups)
    if result.records != parts or grouped != result.rows or sum(result.object_records) != result.records:
        raise VerificationFailed(
            f"split {result.split_index} read {result.records} records "
            f"({sum(result.object_records)} by object) but has {result.rows} rows ({grouped} in row groups), "
            f"{len(result.rejects)} rejects and {result.duplicates} duplicates.",
            hint="Nothing was published. This is a defect of briquette: report it with the raw objects.",
        )


def check_expected_records(plan: Plan, results: Sequence[SplitResult]) -> None:
    """The batch manifest's record counts must be those read; raises ``BatchManifestMismatch``."""
    if not plan.expected_records:
        return
    read: Counter[str] = Counter()
    for split, result in zip(plan.splits, results, strict=True):
        for item, records in zip(plan.objects(split), result.object_records, strict=True):
            read[item.key] += records
    for key, expected in plan.expected_records:
        if expected >= 0 and read[key] != expected:
            raise BatchManifestMismatch(
                f"the batch manifest says {key} has {expected} records, the object has {read[key]}.",
                hint="Ingest that symbol again, or pass --batch-manifest ignore to take what is there.",
            )


def within_reject_limit(plan: Plan, totals: Totals) -> bool:
    """C6.7: rejects may be no larger a share of the records, nor of the bytes of text, than the spec says."""
    most = plan.spec.max_reject_ratio
    return totals.rejects <= totals.records * most and totals.reject_bytes <= totals.decoded_bytes * most


def check_reject_limit(plan: Plan, totals: Totals, keep_rejects: Callable[[], PublishedFile | None]) -> None:
    """C6: too many rejects stop the run; the reject file stays for whoever reads the error."""
    if within_reject_limit(plan, totals):
        return
    file, first = keep_rejects(), totals.first_reject
    assert first is not None
    raise RejectLimitExceeded(
        f"{totals.rejects} of {totals.records} records of {plan.raw} were rejected "
        f"({totals.rejects / totals.records:.1%}) "
        f"with {totals.reject_bytes} of {totals.decoded_bytes} bytes "
        f"({totals.reject_bytes / max(totals.decoded_bytes, 1):.1%}); of both, "
        f"at most {plan.spec.max_reject_ratio:.1%} may be. The first: {first.key!r}, record "
        f"{first.position}: {first.reason}. Nothing was published.",
        hint=f"Read {plan.output.url.rstrip('/')}/{file.key if file else ''}, fix the source or the schema, "
        "or raise --max-reject-ratio.",
    )


def total(results: Sequence[SplitResult]) -> Totals:
    """Sums over the splits."""
    from briquette.encoding import row_digest

    extra: Counter[str] = Counter()
    for result in results:
        extra.update(dict(result.extra_fields))
    return Totals(
        records=sum(r.records for r in results),
        rows=sum(r.rows for r in results),
        rejects=sum(len(r.rejects) for r in results),
        duplicates=sum(r.duplicates for r in results),
        extra_fields=tuple(sorted(extra.items())),
        duplicate_json_keys=sum(r.duplicate_json_keys for r in results),
        content_digest=row_digest.combine_digests([r.digest for r in results]),
        decoded_bytes=sum(r.decoded_bytes for r in results),
        reject_bytes=sum(r.reject_bytes for r in results),
        first_reject=next((r.rejects[0] for r in results if r.rejects), None),
    )


# -- rejects -----------------------------------------------------------------------------------


def reject_lines(results: Sequence[SplitResult]) -> bytes:
    """The reject file: a JSON object a line, in (key, position) order; raw that is no UTF-8 in base64."""
    return b"".join(reject_line(reject) for result in results for reject in result.rejects)


def reject_line(reject: Reject) -> bytes:
    """One line of the reject file."""
    line: dict[str, object] = {
        "key": reject.key,
        "position": reject.position,
        "byte_offset": reject.byte_offset,
        "reason": reject.reason,
    }
    try:
        line["raw"] = reject.raw.decode("utf-8", "strict")
    except UnicodeDecodeError:
        line["raw_base64"] = base64.b64encode(reject.raw).decode("ascii")
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


# -- parts -------------------------------------------------------------------------------------


def row_groups_in_order(results: Sequence[SplitResult]) -> list[RowGroup]:
    """All row groups, in split order: C10."""
    return [group for result in results for group in result.row_groups]


def assemble(plan: Plan, results: Sequence[SplitResult]) -> tuple[SplicedPart, ...]:
    """Pack the finished row groups into parts of the target size and splice each part."""
    from briquette.parquet.packing import pack_row_groups
    from briquette.parquet.splice import splice

    groups = row_groups_in_order(results)
    runs = pack_row_groups(groups, plan.spec.target_part_bytes)
    return tuple(splice(groups[start:stop]) for start, stop in runs)


def writer_name() -> str:
    """The library versions that decide the bytes of a row group."""
    import pyarrow as pa

    return f"briquette {__version__}, pyarrow {pa.__version__}"


def manifest(
    plan: Plan,
    results: Sequence[SplitResult],
    totals: Totals,
    files: tuple[PublishedFile, ...],
    rejects_file: PublishedFile | None,
) -> Manifest:
    """What was published, from what, by what."""
    published_rows = sum(f.rows for f in files)
    if published_rows != totals.rows:
        raise VerificationFailed(f"the footers hold {published_rows} rows, the splits made {totals.rows}.")
    return Manifest(
        partition=plan.partition,
        plan_id=plan.plan_id,
        input_fingerprint=plan.input_fingerprint,
        spec=plan.spec,
        content_digest=totals.content_digest,
        records=totals.records,
        rows=totals.rows,
        rejects=totals.rejects,
        duplicates=totals.duplicates,
        input_objects=len(plan.listing),
        input_bytes=plan.raw_bytes,
        raw=plan.raw,
        files=files,
        rejects_file=rejects_file,
        splits=tuple(_published_splits(plan, results)),
        extra_fields=totals.extra_fields,
        duplicate_json_keys=totals.duplicate_json_keys,
        writer=writer_name(),
        stage=plan.stage,
        fresh=plan.fresh,
        warnings=warnings_of(plan.listing, plan.raw.prefix) if plan.stage == COMPACTION else (),
    )


def _published_splits(plan: Plan, results: Sequence[SplitResult]) -> Iterator[PublishedSplit]:
    first = 0
    for split, result in zip(plan.splits, results, strict=True):
        yield PublishedSplit(
            index=split.index,
            fingerprint=split.fingerprint,
            first_row_group=first,
            row_groups=len(result.row_groups),
            rows=result.rows,
            records=result.records,
            rejects=len(result.rejects),
            duplicates=result.duplicates,
            digest=result.digest,
            object_records=result.object_records,
            extra_fields=result.extra_fields,
            duplicate_json_keys=result.duplicate_json_keys,
            decoded_bytes=result.decoded_bytes,
        )
        first += len(result.row_groups)


# -- reuse -------------------------------------------------------------------------------------


def reusable_splits(
    plan: Plan, published: Manifest | None, store: Store, edited: frozenset[str] = frozenset()
) -> dict[int, SplitResult]:
    """Results of splits whose inputs and spec did not change; their row groups lie in published parts.

    Only what gives the same bytes is taken over: the same library versions, no rejects (their text is not
    in the manifest), no unique key (a later split may now win over a row), none of the inputs ``edited``
    under an equal etag. Anything odd about the published parts means decoding again, not failing.
    """
    if published is None or published.writer != writer_name() or plan.spec.unique_key:
        return {}
    old = {s.fingerprint: s for s in published.splits if s.rejects == 0}
    wanted = {
        s.index: old[s.fingerprint]
        for s in plan.splits
        if s.fingerprint in old and edited.isdisjoint(o.key for o in plan.objects(s))
    }
    if not wanted:
        return {}
    try:
        groups = _published_row_groups(published, store, wanted.values())
    except BriquetteError:
        return {}
    return {
        index: SplitResult(
            split_index=index,
            records=s.records,
            rows=s.rows,
            duplicates=0,
            rejects=(),
            row_groups=tuple(groups[n] for n in range(s.first_row_group, s.first_row_group + s.row_groups)),
            digest=s.digest,
            object_records=s.object_records,
            extra_fields=s.extra_fields,
            duplicate_json_keys=s.duplicate_json_keys,
            raw_bytes=0,
            decoded_bytes=s.decoded_bytes or sum(map(expected_bytes, plan.objects(plan.splits[index]))),
        )
        for index, s in wanted.items()
    }


def _published_row_groups(
    published: Manifest, store: Store, wanted: Iterable[PublishedSplit]
) -> dict[int, RowGroup]:
    """Row groups of the parts that ``wanted`` splits lie in, by their number through all parts."""
    from briquette.parquet.splice import read_part_row_groups
    from briquette.publishing.verify import require_as_published

    numbers = {n for s in wanted for n in range(s.first_row_group, s.first_row_group + s.row_groups)}
    found: dict[int, RowGroup] = {}
    first = 0
    for file in published.files:
        if any(first <= n < first + file.row_groups for n in numbers):
            now = require_as_published(store, file)

            def read_range(offset: int, length: int, now: Stored = now) -> bytes:
                return store.get(now.key, etag=now.etag, start=offset, length=length)

            groups = read_part_row_groups(read_range, now.size_bytes, key=now.key, etag=now.etag)
            if len(groups) != file.row_groups:
                raise VerificationFailed(f"{file.key} has {len(groups)} row groups, not {file.row_groups}.")
            found.update(zip(range(first, first + len(groups)), groups, strict=True))
        first += file.row_groups
    return found
