"""``briquette run`` and ``briquette backfill``: one day through all stages, or many days."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from briquette.cli.options import (
    DAILY,
    OUTPUT,
    RUN,
    Common,
    RunFlags,
    SpecFlags,
    TargetFlags,
    choice,
    expand,
    option,
)
from briquette.cli.output import begin, elapsed, logs_error, say
from briquette.errors import UsageError

if TYPE_CHECKING:
    from briquette.model import CompactionSpec
    from briquette.pipeline.backfill import BackfillResult
    from briquette.pipeline.run_day import DayResult, FlowOptions, Step
    from briquette.planning.target import Target

FORCE = Annotated[
    bool, option(RUN, "Write again even if nothing changed, or over a damaged manifest.", "--force")
]
SET = Annotated[str, option(OUTPUT, "Which indicators: A (27 columns) or B (60).", "--set")]
REPAIR_STALE = Annotated[
    bool,
    option(RUN, "Also compute later days whose indicators have not read these prices.", "--repair-stale"),
]
DUPLICATES = Annotated[
    str,
    option(
        RUN,
        "Of conflicting records of one key: keep_last, reject or fail. "
        "[default: the environment's, else keep_last]",
    ),
]
BATCH_MANIFEST = Annotated[str, option(RUN, "check or ignore the ingestion's _batch.manifest.json.")]
MARKS = {"DONE": "done", "SKIPPED": "skip", "FAILED": "FAIL"}


@expand
def run(
    target: TargetFlags,
    spec: SpecFlags,
    choices: RunFlags,
    common: Common,
    *,
    set_name: SET = "A",
    force: FORCE = False,
    duplicates: DUPLICATES = "",
    repair_stale: REPAIR_STALE = False,
    batch_manifest: BATCH_MANIFEST = "check",
) -> None:
    """Take a day through all stages on this machine.

    Preflight, compaction, guard, transform, indicators: the flow that runs on AWS, without an account.
    """
    begin(common)
    from briquette.pipeline.run_day import run_day

    place = target.resolve()
    _require_daily(place)
    stages = _Stages(set_name, force, duplicates, batch_manifest, repair_stale)
    options = stages.resolve(target, choices)
    quiet = common.quiet or common.json_output
    result = run_day(place, _spec(spec, target), options, on_step=None if quiet else _print_step)
    say(result.to_dict(), "\n".join([f"{result.status}  {place.partition}", *_stale_lines(result)]))
    _end(result.exit_code, result.error)


@expand
def backfill(
    target: TargetFlags,
    spec: SpecFlags,
    choices: RunFlags,
    common: Common,
    *,
    start: Annotated[str, option(DAILY, "First day, YYYY-MM-DD.")] = "",
    end: Annotated[str, option(DAILY, "Last day, included.")] = "",
    stages: Annotated[str, option(RUN, "compaction, or all: transform and indicators too.")] = "compaction",
    days_at_once: Annotated[int, option(RUN, "Days that run side by side.", min=1, max=64)] = 1,
    set_name: SET = "A",
    force: FORCE = False,
    duplicates: DUPLICATES = "",
    repair_stale: REPAIR_STALE = False,
    batch_manifest: BATCH_MANIFEST = "check",
) -> None:
    """Compact many days, each on its own.

    A day that fails stops no other. Run it again: days that are done say UNCHANGED and cost a listing.
    Indicators read the days before, so they follow in order once every day is transformed.
    """
    begin(common)
    from briquette.planning.target import days

    if not (start and end) or target.ds:
        raise UsageError("a backfill is from --start to --end.", hint="Pass both, and no --ds.")
    wanted = list(days(start, end))
    only = choice("stages", stages, ("compaction", "all")) == "compaction"
    options = _Stages(set_name, force, duplicates, batch_manifest, repair_stale).resolve(target, choices)
    places = [replace(target, ds=day).resolve() for day in wanted]
    _require_daily(places[0])
    view = _DayLines(len(places), shown=not (common.quiet or common.json_output))
    result = _backfilled(places, _spec(spec, target), options, view, days_at_once, only_compaction=only)
    for day in result.failed:
        if day.error:
            logs_error(day.error.name, f"{day.ds}: {day.error.message}", day.error.hint, day.exit_code)
    say(result.to_dict(), backfill_text(result))
    raise typer.Exit(result.exit_code)


def _backfilled(
    places: Sequence[Target],
    make_spec: Callable[[Target], CompactionSpec],
    options: FlowOptions,
    view: _DayLines,
    days_at_once: int,
    *,
    only_compaction: bool,
) -> BackfillResult:
    """Every day up to its compaction, or up to its transform and then the indicators of all, in order."""
    from briquette.pipeline.backfill import BackfillResult, backfill
    from briquette.pipeline.run_day import GUARD, TRANSFORM, indicators_in_order, run_day

    chosen = replace(options, last=GUARD if only_compaction else TRANSFORM)

    def then(ended: Sequence[DayResult]) -> BackfillResult:
        made, found = indicators_in_order(places, ended, chosen, on_day=view)
        return BackfillResult(made, found.stale, tuple(day for day in found.days if day.repaired))

    return backfill(
        places,
        lambda place: run_day(place, make_spec, chosen),
        days_at_once=days_at_once,
        on_day=view if only_compaction else view.unless_more_follows,
        then=None if only_compaction else then,
    )


def _require_daily(place: Target) -> None:
    if not place.partition.table:
        raise UsageError(
            "the table is not named, and the stages need its name.",
            hint="Pass --domain, --table, --interval and --data-source with --raw and --curated, or --env.",
        )


def _spec(spec: SpecFlags, target: TargetFlags) -> Callable[[Target], CompactionSpec]:
    settings = target.settings()
    return lambda place: spec.resolve(place, settings)


@dataclass(frozen=True, slots=True)
class _Stages:
    """What the stages of a day were told on the command line."""

    set_name: str
    force: bool
    duplicates: str
    batch_manifest: str
    repair_stale: bool

    def resolve(self, target: TargetFlags, choices: RunFlags) -> FlowOptions:
        """The options of a day: flags, then the environment, then the defaults."""
        from briquette.pipeline.indicators import LOOKBACK_DAYS, IndicatorsOptions
        from briquette.pipeline.run_day import FlowOptions
        from briquette.pipeline.transform import TransformOptions
        from briquette.prices.columns import indicator_set
        from briquette.prices.duplicates import KEEP_LAST, check_rule
        from briquette.prices.quality import EXPECTED_MIN_RECORDS, MAX_CRITICAL_ERROR_RATE, Thresholds

        settings = target.settings()
        indicator_set(self.set_name)  # a wrong name is said before anything is done
        rule = check_rule(self.duplicates or (settings.duplicates if settings else KEEP_LAST))
        check = choice("batch-manifest", self.batch_manifest, ("check", "ignore")) == "check"
        given: dict[str, Any] = {}
        if settings:
            given = {"codec": settings.compaction_codec, "target_file_mb": settings.compaction_target_file_mb}
        return FlowOptions(
            run=choices.resolve(
                force=self.force, check_batch_manifest=check, batch_manifest=target.batch_manifest()
            ),
            transform=TransformOptions(
                thresholds=Thresholds(
                    settings.expected_min_records if settings else EXPECTED_MIN_RECORDS,
                    settings.max_critical_error_rate if settings else MAX_CRITICAL_ERROR_RATE,
                ),
                duplicates_rule=rule,
                spec_overrides=given,
            ),
            indicators=IndicatorsOptions(
                set_name=self.set_name,
                lookback_days=settings.indicators_lookback_days if settings else LOOKBACK_DAYS,
                duplicates_rule=rule,
                **given,
            ),
            compacted_subdir=target.compacted_subdir
            or (settings.compaction_output_subdir if settings else "compacted"),
            repair_stale=self.repair_stale,
        )


def _print_step(step: Step) -> None:
    took = f"{step.seconds:6.2f} s" if step.outcome != "SKIPPED" else " " * 8
    sys.stdout.write(f"  {MARKS[step.outcome]}  {step.name:<11} {took}  {step.message}\n")
    sys.stdout.flush()


def _end(exit_code: int, error: Exception | None) -> None:
    from briquette.errors import BriquetteError

    if isinstance(error, BriquetteError) and not logs_error(error.name, error.message, error.hint, exit_code):
        sys.stderr.write(f"  next: {error.hint}\n" if error.hint else "")
    if exit_code:
        raise typer.Exit(exit_code)


@dataclass(slots=True)
class _DayLines:
    """A line for each day as it ends: how far the backfill is, and what became of the day."""

    total: int
    shown: bool
    done: int = 0

    def unless_more_follows(self, day: DayResult) -> None:
        """A day that ended before its indicators; of the others the indicators will tell."""
        if day.error is not None or day.steps[-1].outcome == "SKIPPED":
            self(day)

    def __call__(self, day: DayResult) -> None:
        self.done += 1
        if not self.shown:
            return
        seconds = sum(step.seconds for step in day.steps)
        what = f"{day.error.name}: {day.error.message}" if day.error else f"{day.rows:,} rows"
        width = len(str(self.total))
        sys.stdout.write(
            f"  {self.done:>{width}}/{self.total}  {day.ds}  {day.status:<9} {seconds:6.2f} s  {what}\n"
        )
        sys.stdout.flush()


def backfill_text(result: BackfillResult) -> str:
    """The summary of a backfill: counts, and every day that failed with what to do."""
    from briquette.cli.text import plural, size_text

    stats = result.to_dict()["stats"]
    published = len(result.days) - stats["failed"] - stats["empty"] - stats["unchanged"]
    head = (
        f"{plural(stats['days'], 'day')}: {published} published, {stats['unchanged']} unchanged, "
        f"{stats['empty']} empty, {stats['failed']} failed; "
        f"{plural(stats['rowCount'], 'row')} in {plural(stats['fileCount'], 'part')}, "
        f"{size_text(stats['bytesWritten'])} written, in {elapsed():.2f} s"
    )
    lines = [f"  {day.ds}  {day.error.name}: {day.error}" for day in result.failed if day.error]
    for day in result.repaired:
        what = f"{day.error.name}: {day.error}" if day.error else "computed again"
        lines.append(f"  {day.ds}  indicators were stale: {what}")
    return "\n".join([head, *lines, *_stale_lines(result)])


def _stale_lines(result: BackfillResult | DayResult) -> list[str]:
    """The days that are stale now, a line each, and what to do."""
    if not result.stale:
        return []
    lines = [f"  {day.ds}  indicators are stale: {day.reason}" for day in result.stale]
    return [*lines, "  next: run it again with --repair-stale, which computes these days too."]
