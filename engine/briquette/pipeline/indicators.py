"""The indicators stage: the prices of a day's last sessions in, one row for each symbol out.

It is a plan whose inputs are the published parts of every session in the look-back, pinned by their
manifests, so publishing, UNCHANGED, repair and executors are those of a compaction. The kernel is one task:
a panel of 8,000 symbols is computed in less time than it would take to ship it to several workers.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import finishing_of, run_plan
from briquette.errors import (
    NoPrices,
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
    Stage,
    Status,
)
from briquette.pipeline.indicators_split import VERSION, ComputeIndicators, Quarantine
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
from briquette.pipeline.schema_record import record_schema
from briquette.planning.place_overlap import check_apart
from briquette.planning.plan import plan_partition
from briquette.planning.spec import check_spec
from briquette.planning.target import check_ds
from briquette.prices.columns import IndicatorSet, indicator_set, sessions_needed
from briquette.prices.duplicates import KEEP_LAST, check_rule
from briquette.schemas.declared import column_type_of
from briquette.storage.opening import open_store
from briquette.storage.urls import above, below, parse_url

if TYPE_CHECKING:
    from briquette.compaction.options import Progress
    from briquette.executors import Executor

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
