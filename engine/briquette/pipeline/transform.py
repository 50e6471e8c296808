"""The story of the second stage: find the compacted day, check its quality, adjust its prices, publish.

The plan's inputs are the published parts, so executors, ``UNCHANGED``, packing, publish and repair are those
of a compaction; only what is made of a split is new. docs/transform.md has the rules.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from briquette import serialization
from briquette.compaction.options import Progress, RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import finishing_of, run_plan
from briquette.errors import UsageError
from briquette.model import (
    ExtraFields,
    Location,
    Partition,
    Plan,
    Schema,
    Stage,
    Status,
)
from briquette.pipeline.schema_record import record_schema
from briquette.pipeline.transform_source import (
    Places,
    Source,
    check_columns,
    find_source,
    places_of,
)
from briquette.pipeline.transform_splits import STAGE, STAGE_VERSION, TransformSplits
from briquette.planning.place_overlap import check_apart
from briquette.planning.plan import plan_partition
from briquette.planning.target import resolve_target
from briquette.prices import adjust, duplicates, quality
from briquette.prices.duplicates import Resolved
from briquette.prices.quality import Quality, Thresholds

if TYPE_CHECKING:
    from briquette.executors import Executor

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
