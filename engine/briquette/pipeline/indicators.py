"""The indicators stage: the prices of a day's last sessions in, one row for each symbol out.

It is a plan whose inputs are the published parts of every session in the look-back, pinned by their
manifests, so publishing, UNCHANGED, repair and executors are those of a compaction. The kernel is one task:
a panel of 8,000 symbols is computed in less time than it would take to ship it to several workers.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from briquette.compaction.map_splits import CompactSplits, OnSplit, map_splits
from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import finishing_of, run_plan
from briquette.encoding import row_digest
from briquette.encoding.row_groups import encode
from briquette.errors import (
    DataQualityFailed,
    InputError,
    NoPrices,
    OutputOccupied,
    SourceChanged,
    UsageError,
)
from briquette.model import (
    MIB,
    CompactionSpec,
    Field,
    Location,
    Partition,
    Plan,
    Schema,
    SplitResult,
    SplitTask,
    Stage,
    Status,
)
from briquette.pipeline.lookback import (
    INDICATORS,
    READ,
    SESSIONS,
    PublishedDays,
    Session,
    Stale,
    read_text,
    stale_after,
    stale_reason,
)
from briquette.pipeline.price_sessions import SessionRows, days_of, ds_of, schema_of
from briquette.pipeline.schema_record import record_schema
from briquette.planning.place_overlap import check_apart
from briquette.planning.plan import plan_partition
from briquette.planning.spec import check_spec
from briquette.planning.target import check_ds
from briquette.prices.columns import IndicatorSet, indicator_set, sessions_needed
from briquette.prices.duplicates import FAIL, KEEP_LAST, check_rule
from briquette.prices.indicators import compute
from briquette.prices.panel import panel_from_tables
from briquette.schemas.declared import column_type_of
from briquette.storage.opening import open_store
from briquette.storage.urls import above, below, parse_url

if TYPE_CHECKING:
    from briquette.compaction.options import Progress
    from briquette.executors import Executor

VERSION = 2
LOOKBACK_DAYS = 252
# How often a day is computed when prices of its look-back are published meanwhile; then it is named as stale.
MOST_ROUNDS = 3
_log = logging.getLogger(__name__)
# One split, whatever its size: a panel is computed as a whole.
WHOLE = 1 << 40


@dataclass(frozen=True, slots=True)
class IndicatorsTarget:
    """What is computed and where; ``prices`` holds ``ds=<day>/`` folders, ``output`` is the day's own."""

    partition: Partition
    prices: Location
    output: Location
    quarantine: Location

    @property
    def table(self) -> Location:
        """The folder above the ``ds=<ds>/`` folders of the indicators."""
        return above(self.output)[0]

    def on(self, ds: str) -> IndicatorsTarget:
        """The same places on another day."""
        return places(self.prices, self.table, domain=self.partition.domain, ds=ds)


@dataclass(frozen=True, slots=True)
class IndicatorsResult:
    """How a run ended; ``findings`` is empty where nothing was computed."""

    run: CompactionResult
    set_name: str
    sessions: int
    findings: Mapping[str, Any]
    schema_changed: bool | None = None  # None: no place to record the schema was given
    stale: tuple[Stale, ...] = ()  # later days that have not read these prices, and this one if it has not

    @property
    def status(self) -> Status:
        return self.run.status

    def to_dict(self) -> dict[str, Any]:
        """The document of ``indicators --json``."""
        return self.run.to_dict() | {
            "stage": INDICATORS,
            "indicator_set": self.set_name,
            "sessions": self.sessions,
            "findings": dict(self.findings),
            "schema_changed": self.schema_changed,
            "stale": [day.to_dict() for day in self.stale],
        }


def indicators_target(*, curated: str, domain: str, ds: str, table: str = "prices") -> IndicatorsTarget:
    """The places of the daily pipeline: ``<curated>/<domain>/<table>`` in, ``…/indicators`` out."""
    check_ds(ds)
    root = parse_url(curated)
    return places(below(root, domain, table), below(root, domain, INDICATORS), domain=domain, ds=ds)


def places(prices: Location, output: Location, *, domain: str, ds: str) -> IndicatorsTarget:
    """The places below two folders, each the one above its ``ds=<ds>/`` folders."""
    return IndicatorsTarget(
        Partition(domain=domain, table=INDICATORS, ds=ds),
        prices,
        below(output, f"ds={ds}"),
        below(output, "quarantine", f"ds={ds}"),
    )


@dataclass(frozen=True, slots=True)
class IndicatorsOptions:
    """What a run may decide. ``lookback_days`` are sessions, the day's own included, and a least number."""

    set_name: str = "A"
    lookback_days: int = LOOKBACK_DAYS
    duplicates_rule: str = KEEP_LAST
    schema_fingerprint: str = ""
    codec: str = "zstd"
    target_file_mb: float = 256
    run: RunOptions = field(default_factory=RunOptions)


def indicators(
    *,
    curated: str | os.PathLike[str],
    domain: str,
    ds: str,
    table: str = "prices",
    options: IndicatorsOptions | None = None,
    progress: Progress | None = None,
) -> IndicatorsResult:
    """Compute one day's indicators from ``<curated>/<domain>/<table>/ds=…/`` and publish them.

    They lie under ``<curated>/<domain>/indicators/ds=<ds>/``. Raises as ``indicators_day``.
    """
    place = indicators_target(curated=os.fspath(curated), domain=domain, table=table, ds=ds)
    return indicators_day(place, options or IndicatorsOptions(), progress=progress)


def indicators_day(
    target: IndicatorsTarget,
    options: IndicatorsOptions,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    prices: PublishedDays | None = None,
) -> IndicatorsResult:
    """What ``indicators``, the command and the Glue job call; ``prices`` are those that are known already.

    More sessions than ``lookback_days`` are read where the set's windows and recursions need them. Where
    prices of the look-back are published meanwhile the day is computed again; ``stale`` of the result names
    the days that have not read what is there now. Raises ``NoPrices`` where the day has no published prices,
    ``DataQualityFailed`` after putting the day's prices into quarantine, and the errors of a compaction.
    """
    ds = target.partition.ds
    prices = prices or PublishedDays(open_store(target.prices.url), target.prices)
    for tries_left in reversed(range(MOST_ROUNDS)):
        try:
            result = _computed(target, options, prices, executor=executor, progress=progress)
        except SourceChanged:
            if not tries_left:
                raise
            prices = prices.again()
            continue
        prices = prices.again()
        made = result.run.manifest if result.status is not Status.EMPTY else None
        late = stale_reason(ds, made, prices) if made else ""
        if not late:
            break
        _log.warning("%s: %s while its indicators were computed", ds, late)
    days = PublishedDays(open_store(target.output.url), target.table)
    stale = (*((Stale(ds, late),) if late else ()), *stale_after(prices, days, ds))
    if stale:
        _log.warning("%s", stale_text(stale))
    return replace(result, stale=stale)


def stale_text(stale: Sequence[Stale]) -> str:
    """The stale days in one sentence."""
    shown = "; ".join(f"{day.ds} ({day.reason})" for day in stale[:5])
    more = f"; and {len(stale) - 5} more" if len(stale) > 5 else ""
    return f"indicators that have not read the prices that are there now: {shown}{more}"


def _computed(
    target: IndicatorsTarget,
    options: IndicatorsOptions,
    prices: PublishedDays,
    *,
    executor: Executor | None,
    progress: Progress | None,
) -> IndicatorsResult:
    started = time.monotonic()
    chosen, rule = indicator_set(options.set_name), check_rule(options.duplicates_rule)
    wanted = max(options.lookback_days, sessions_needed(chosen))
    ds = target.partition.ds
    for written in (target.output, target.quarantine):
        check_apart(target.prices, written, folders="ds=")
    store = open_store(target.prices.url)
    sessions = tuple(prices.pinned(session) for session in prices.until(ds, wanted))
    if not sessions or sessions[-1].ds != ds:
        why, hint = store.why_nothing(target.prices.prefix)
        if why:
            raise UsageError(f"there is nothing to read: {why}", hint=hint)
        raise NoPrices(
            f"there are no published prices under {below(target.prices, f'ds={ds}')}.",
            hint="Run `briquette transform` for that day first.",
        )
    plan = plan_indicators(target, sessions, chosen, wanted, options)
    aside = Quarantine(target.quarantine, sessions[-1], target.prices, options.run)
    intervals = {session.ds: session.interval for session in sessions}
    work = ComputeIndicators(chosen.name, aside, rule, intervals)
    result = run_plan(plan, options.run, executor=executor, progress=progress, started=started, work=work)
    changed = None
    if options.schema_fingerprint:
        with finishing_of(result):
            changed = record_schema(options.schema_fingerprint, plan.spec.schema, plan.spec.codec)
    return IndicatorsResult(result, chosen.name, len(sessions), work.findings, changed)


# -- the plan ----------------------------------------------------------------------------------------


def plan_indicators(
    target: IndicatorsTarget,
    sessions: Sequence[Session],
    chosen: IndicatorSet,
    wanted: int,
    options: IndicatorsOptions,
) -> Plan:
    """The plan of a day: every part of every session, as one split."""
    spec = CompactionSpec(
        schema=output_schema(chosen),
        codec=options.codec,
        target_part_bytes=int(options.target_file_mb * MIB),
        split_bytes=WHOLE,
        split_objects=WHOLE,
    )
    check_spec(spec)
    parameters = (
        ("duplicates", options.duplicates_rule),
        (READ, read_text(sessions)),
        (SESSIONS, str(wanted)),
        ("set", chosen.name),
    )
    return plan_partition(
        target.partition,
        target.prices,
        target.output,
        spec,
        [part for session in sessions for part in session.parts],
        stage=Stage(INDICATORS, VERSION, parameters),
    )


def output_schema(chosen: IndicatorSet) -> Schema:
    """The set's columns in the engine's own words."""
    fields = [Field(f.name, str(column_type_of(f.type)), f.nullable) for f in chosen.schema]
    return Schema(tuple(fields), name=f"indicators.{chosen.name}")


# -- the kernel ------------------------------------------------------------------------------------


class ComputeIndicators:
    """The work of a run: one task; what the kernel found stays in ``findings``."""

    stage = INDICATORS
    reuses = False

    def __init__(
        self, set_name: str, quarantine: Quarantine, duplicates_rule: str, intervals: Mapping[str, str]
    ) -> None:
        self.findings: Mapping[str, Any] = {}
        self._rule, self._intervals = duplicates_rule, intervals
        self._set_name = set_name
        self._quarantine = quarantine

    def results(
        self,
        plan: Plan,
        executor: Executor,
        kept: Mapping[int, SplitResult],
        progress: Progress | None,
        on_split: OnSplit | None = None,
    ) -> tuple[SplitResult, ...]:
        """See ``map_splits.Work``; a day that fails its checks goes into quarantine first."""
        # The same inputs give the same batch: the upper 60 bits of their fingerprint.
        kernel = partial(
            indicator_split,
            set_name=self._set_name,
            ds=plan.partition.ds,
            prefix=plan.raw.prefix,
            batch_id=int(plan.input_fingerprint[:15], 16),
            rule=self._rule,
            intervals=self._intervals,
        )
        try:
            results = map_splits(plan, executor, kept, progress, kernel, on_split)
        except DataQualityFailed as failed:
            aside = f"They are in {self._quarantine.place};"
            try:
                self._quarantine.fill(plan, executor)
            except OutputOccupied as occupied:
                aside = f"They could not be set aside: {occupied.message}"
            raise DataQualityFailed(
                f"{failed.message.removeprefix('DQ_FAILED: ')} {aside} nothing changed under {plan.output}.",
                hint="Fix the prices of that day and transform it again.",
            ) from failed
        self.findings = json.loads(results[0].findings)
        return results


def indicator_split(
    task: SplitTask,
    *,
    set_name: str,
    ds: str,
    prefix: str,
    batch_id: int,
    rule: str,
    intervals: Mapping[str, str],
) -> SplitResult:
    """Read the panel, compute the day's rows and encode them; raises ``DataQualityFailed``."""
    chosen = indicator_set(set_name)
    days = days_of(open_store(task.raw_url), task.objects, prefix, rule, intervals)
    today = days[-1]
    nameless = today.table.column("symbol").null_count
    for session in days:
        _refuse_conflict(session, rule, is_today=session is today)
    if nameless:
        raise DataQualityFailed(
            f"the prices of {ds} have {nameless} records without a symbol.",
            hint="Fix the prices of that day and transform it again.",
        )
    placed = panel_from_tables([(each.day, each.table) for each in days], only_last_session=True)
    day = compute(placed.panel, chosen, batch_id=batch_id)
    rows = day.table.num_rows
    # The day's records become its rows; those of the look-back are only looked at.
    first = next(i for i, part in enumerate(task.objects) if ds_of(part.key, prefix) == ds)
    mine = today.duplicates
    repeated = len(mine.dropped) + len(mine.rejected) if mine else 0
    records = [rows + repeated if i == first else 0 for i in range(len(task.objects))]
    before = [each.duplicates for each in days[:-1] if each.duplicates]
    findings = {
        "symbols": rows,
        "sessions": len(days),
        "impossible_values": dict(day.impossible),
        "too_large_values": dict(day.too_large),
        "exact_duplicates": mine.exact if mine else 0,
        "conflicting_duplicates": mine.conflicting if mine else 0,
        "duplicates_in_lookback": sum(found.exact + found.conflicting for found in before),
    }
    return SplitResult(
        split_index=task.split_index,
        records=rows + repeated,
        rows=rows,
        duplicates=repeated,
        rejects=(),
        row_groups=tuple(encode(day.table, task.spec)),
        digest=row_digest.combine_digests([row_digest.rows_digest(day.table)]),
        object_records=tuple(records),
        extra_fields=(),
        duplicate_json_keys=0,
        raw_bytes=task.raw_bytes,
        decoded_bytes=task.raw_bytes,
        findings=json.dumps(findings).encode(),
    )


def _refuse_conflict(day: SessionRows, rule: str, *, is_today: bool) -> None:
    """By the rule ``fail`` a contradiction ends the day, whichever session it is in."""
    found = day.duplicates
    if rule != FAIL or not found or not found.conflicting:
        return
    what = (
        f"{found.conflicting} records of {', '.join(found.examples)} contradict another of their symbol "
        f"in the prices of {day.day}."
    )
    hint = "Fix the source and transform that day again, or set duplicates to keep_last or reject."
    raise DataQualityFailed(what, hint=hint) if is_today else InputError(what, hint=hint)


# -- quarantine ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Publishes a day's prices as they were read, where nobody takes them for indicators."""

    place: Location
    session: Session
    prices: Location
    options: RunOptions

    def fill(self, plan: Plan, executor: Executor) -> None:
        """Publish them with the engine's own plan and kernel."""
        schema = self.session.schema or schema_of(open_store(self.prices.url), self.session.parts[0])
        aside = plan_partition(
            plan.partition,
            self.prices,
            self.place,
            CompactionSpec(schema, plan.spec.codec, plan.spec.target_part_bytes),
            self.session.parts,
            stage=Stage("quarantine", VERSION, plan.stage.parameters),
        )
        work = CompactSplits(stage="quarantine", reuses=False)
        run_plan(aside, self.options, executor=executor, work=work)
