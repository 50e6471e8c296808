"""The story of the second stage: find the compacted day, check its quality, adjust its prices, publish.

The plan's inputs are the published parts, so executors, ``UNCHANGED``, packing, publish and repair are those
of a compaction; only what is made of a split is new. docs/transform.md has the rules.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from briquette import serialization
from briquette.compaction.checks import check_reject_limit, total
from briquette.compaction.manifest import reject_lines
from briquette.compaction.map_splits import CompactSplits, OnSplit, map_splits
from briquette.compaction.options import Progress, RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import finishing_of, run_plan
from briquette.errors import DataQualityFailed, NoRawData, OutputOccupied, UsageError
from briquette.model import (
    CompactionSpec,
    ExtraFields,
    Location,
    Partition,
    Plan,
    Schema,
    SplitResult,
    Stage,
    Status,
)
from briquette.pipeline.schema_record import record_schema
from briquette.pipeline.transform_duplicates import framed, unframed, without_duplicates
from briquette.pipeline.transform_source import (
    QUARANTINE,
    Places,
    Source,
    check_columns,
    find_source,
    places_of,
)
from briquette.planning.place_overlap import check_apart
from briquette.planning.plan import plan_partition
from briquette.planning.target import resolve_target
from briquette.prices import adjust, duplicates, quality
from briquette.prices.duplicates import Resolved
from briquette.prices.quality import Quality, Thresholds
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from briquette.executors import Executor

STAGE, STAGE_VERSION = "transform", 2

_log = logging.getLogger(__name__)


# -- the plan --------------------------------------------------------------------------------------


def plan_transform(
    places: Places, source: Source, thresholds: Thresholds, duplicates_rule: str = duplicates.KEEP_LAST
) -> Plan:
    """The plan of a day; raises ``MissingColumns`` and ``InputError`` for rows that cannot be adjusted."""
    check_columns(source)
    spec = replace(source.spec, schema=adjust.adjusted_schema(source.schema), extra_fields=ExtraFields.IGNORE)
    parameters = (
        ("duplicates", duplicates_rule),
        ("expected_min_records", str(thresholds.expected_min_records)),
        ("max_critical_error_rate", repr(float(thresholds.max_critical_error_rate))),
        ("reads", serialization.spec_fingerprint(source.spec)),
    )
    return plan_partition(
        places.partition,
        source.place,
        places.output,
        spec,
        source.objects,
        source.expected_records,
        Stage(STAGE, STAGE_VERSION, parameters),
        source.fresh,
    )


# -- what is made of a split -----------------------------------------------------------------------


def adjusted_rows(table: pa.Table, keys: Sequence[str]) -> tuple[pa.Table, bytes]:
    """A ``split.Change``: the adjusted rows, and the findings on the rows as they were read."""
    counted = quality.findings_to_bytes(quality.count(table))
    return adjust.adjust(table), framed(counted, duplicates.key_hashes(table, keys))


@dataclass(frozen=True, slots=True)
class TransformSplits:
    """The work of this stage (``map_splits.Work``): adjust every split, then judge all of them together.

    ``on_quality`` gets the numbers before the verdict; below the threshold the rows as they were read are
    published under ``quarantine`` and ``DataQualityFailed`` is raised.
    """

    source: CompactionSpec
    thresholds: Thresholds
    quarantine: Location
    options: RunOptions
    on_quality: Callable[[Quality], None]
    on_duplicates: Callable[[Resolved], None]
    duplicates_rule: str
    stage: str = STAGE
    reuses: bool = False  # a manifest does not hold the findings of a split

    def results(
        self,
        plan: Plan,
        executor: Executor,
        kept: Mapping[int, SplitResult],
        progress: Progress | None,
        on_split: OnSplit | None = None,
    ) -> tuple[SplitResult, ...]:
        """See ``Work.results``; raises ``DataQualityFailed``, ``NoRawData`` and ``RejectLimitExceeded``."""
        from briquette.compaction.split import change_split
        from briquette.publishing.publish import write_rejects

        keys = duplicates.key_columns([f.name for f in self.source.schema.fields], plan.partition.interval)
        kernel = partial(change_split, source=self.source, change=partial(adjusted_rows, keys=keys))
        read = map_splits(plan, executor, kept, progress, kernel, on_split)
        results, resolved = without_duplicates(
            plan, executor, read, self.source, keys, self.duplicates_rule, kernel
        )
        self.on_duplicates(resolved)
        store = open_store(plan.output.url)
        totals = total(results)
        keep_rejects = partial(write_rejects, store, plan.output, plan.plan_id, reject_lines(results))
        check_reject_limit(plan, totals, keep_rejects)
        if totals.rows == 0:
            keep_rejects()
            raise NoRawData(
                f"no rows in the {len(plan.listing)} objects under {plan.raw}; nothing was written.",
                hint="Check the ingestion of that day.",
            )
        found = quality.judge((unframed(r.findings)[0] for r in read), self.thresholds)
        self.on_quality(found)
        if resolved.conflicting and self.duplicates_rule == duplicates.FAIL:
            self._set_aside(plan, executor)
            raise DataQualityFailed(
                f"{resolved.conflicting} records of {', '.join(resolved.examples)} contradict another of "
                f"their {' and '.join(keys)}. The rows as they were read are in {self.quarantine}; "
                f"nothing changed under {plan.output}.",
                hint="Fix the source, or set duplicates to keep_last or reject.",
            )
        if not found.passed:
            aside = f"The rows as they were read are in {self.quarantine};"
            try:
                self._set_aside(plan, executor)
            except OutputOccupied as occupied:  # by an earlier program: no run removes what no run published
                aside = f"The rows could not be set aside: {occupied.message}"
            raise DataQualityFailed(
                f"{found.sentence()}. {aside} nothing changed under {plan.output}.",
                hint="Fix the source and compact again, or raise --max-critical-error-rate.",
            )
        return results

    def _set_aside(self, plan: Plan, executor: Executor) -> None:
        """Publish the rows as they were read, with the engine's own plan and kernel."""
        stage = Stage(QUARANTINE, STAGE_VERSION, plan.stage.parameters)
        aside = plan_partition(
            plan.partition,
            plan.raw,
            self.quarantine,
            self.source,
            plan.listing,
            plan.expected_records,
            stage,
        )
        work = CompactSplits(stage=QUARANTINE, reuses=False)
        run_plan(aside, self.options, executor=executor, work=work)


# -- the story -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransformResult:
    """How a run ended. ``quality`` is None when nothing had to be read (``UNCHANGED``)."""

    compaction: CompactionResult
    quality: Quality | None
    source: str  # compacted, parquet or raw
    read_from: Location
    schema_changed: bool | None = None  # None: no place to record the schema was given
    duplicates: Resolved | None = None  # likewise None when nothing had to be read

    @property
    def status(self) -> Status:
        return self.compaction.status

    def to_dict(self) -> dict[str, Any]:
        """The document of ``transform --json``."""
        return self.compaction.to_dict() | {
            "stage": STAGE,
            "source": self.source,
            "read_from": str(self.read_from),
            "quality": self.quality.to_dict() if self.quality else None,
            "schema_changed": self.schema_changed,
            "exact_duplicates": self.duplicates.exact if self.duplicates else None,
            "conflicting_duplicates": self.duplicates.conflicting if self.duplicates else None,
        }


def transform(
    *,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - the command line's own word
    output: str | os.PathLike[str] | None = None,
    raw: str | os.PathLike[str] = "",
    curated: str | os.PathLike[str] = "",
    domain: str = "",
    table: str = "",
    interval: str = "",
    data_source: str = "",
    ds: str = "",
    compacted_subdir: str = "compacted",
    schema: Schema | str | os.PathLike[str] | None = None,
    expected_min_records: int = quality.EXPECTED_MIN_RECORDS,
    max_critical_error_rate: float = quality.MAX_CRITICAL_ERROR_RATE,
    duplicates_rule: str = duplicates.KEEP_LAST,
    schema_fingerprint: str = "",
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **spec_overrides: Any,
) -> TransformResult:
    """Check and adjust one compacted day and publish it under ``<curated>/<domain>/<table>/ds=<ds>/``.

    ``input`` and ``output`` name any compacted dataset and a place that ends in ``ds=<ds>`` instead.
    ``schema`` counts only where the day was not compacted; ``spec_overrides`` are ``codec``,
    ``target_file_mb`` and other fields of ``CompactionSpec``. ``schema_fingerprint`` is the URL of a
    ``latest.json``. Raises ``DataQualityFailed``, ``NoRawData`` and the errors of a compaction.
    """
    target = resolve_target(
        Partition(domain, table, interval, data_source, ds),
        input_url=os.fspath(input or ""),
        output_url=os.fspath(output or ""),
        raw=os.fspath(raw),
        curated=os.fspath(curated),
        compacted_subdir=compacted_subdir,
    )
    return transform_day(
        places_of(target, compacted_subdir),
        TransformOptions(
            thresholds=Thresholds(expected_min_records, max_critical_error_rate),
            schema=schema,
            duplicates_rule=duplicates_rule,
            schema_fingerprint=schema_fingerprint,
            run=options or RunOptions(),
            spec_overrides=spec_overrides,
        ),
        progress=progress,
    )


@dataclass(frozen=True, slots=True)
class TransformOptions:
    """What a run may decide beyond its places."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    duplicates_rule: str = duplicates.KEEP_LAST
    schema: Schema | str | os.PathLike[str] | None = None
    schema_fingerprint: str = ""
    run: RunOptions = field(default_factory=RunOptions)
    spec_overrides: Mapping[str, Any] = field(default_factory=dict)


def transform_day(
    places: Places,
    options: TransformOptions,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> TransformResult:
    """What ``transform``, the command and the Glue job call."""
    started = time.monotonic()
    check_thresholds(options.thresholds)
    for read in (places.compacted, places.raw):
        for written in (places.output, places.quarantine):
            check_apart(read, written)
    duplicates.check_rule(options.duplicates_rule)
    source = find_source(places, options.run, options.schema, options.spec_overrides)
    if source.note:
        _log.warning("%s", source.note)
    plan = plan_transform(places, source, options.thresholds, options.duplicates_rule)
    found: list[Quality] = []
    resolved: list[Resolved] = []
    work = TransformSplits(
        source.spec,
        options.thresholds,
        places.quarantine,
        options.run,
        found.append,
        resolved.append,
        options.duplicates_rule,
    )
    result = run_plan(plan, options.run, executor=executor, progress=progress, started=started, work=work)
    changed = None
    if options.schema_fingerprint:
        with finishing_of(result):
            changed = record_schema(options.schema_fingerprint, plan.spec.schema, plan.spec.codec)
    return TransformResult(
        replace(result, message=source.note or result.message),
        found[-1] if found else None,
        source.kind,
        source.place,
        changed,
        resolved[-1] if resolved else None,
    )


def check_thresholds(thresholds: Thresholds) -> None:
    """Refuse thresholds that mean nothing; raises ``UsageError``."""
    if thresholds.expected_min_records < 0:
        raise UsageError(
            f"expected_min_records is {thresholds.expected_min_records}, below 0.", hint="Pass 0 or more."
        )
    if not thresholds.max_critical_error_rate >= 0:  # NaN is refused too
        raise UsageError(
            f"max_critical_error_rate is {thresholds.max_critical_error_rate}, not 0 or more.",
            hint="Pass per cent, such as 5.",
        )
