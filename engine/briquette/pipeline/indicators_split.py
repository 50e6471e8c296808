"""What a run of the indicators makes of its one split: the panel, the day's rows, or a quarantine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from briquette.compaction.map_splits import CompactSplits, OnSplit, map_splits
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.encoding import row_digest
from briquette.encoding.row_groups import encode
from briquette.errors import DataQualityFailed, InputError, OutputOccupied
from briquette.model import CompactionSpec, Location, Plan, SplitResult, SplitTask, Stage
from briquette.pipeline.lookback import INDICATORS, Session
from briquette.pipeline.price_sessions import SessionRows, days_of, ds_of, schema_of
from briquette.planning.plan import plan_partition
from briquette.prices.columns import indicator_set
from briquette.prices.duplicates import FAIL
from briquette.prices.indicators import compute
from briquette.prices.panel import panel_from_tables
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    from briquette.compaction.options import Progress
    from briquette.executors import Executor

VERSION = 2  # of the stage: what it makes of equal inputs


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
