"""A day through all stages on this machine: what Step Functions does on AWS, without an account.

The steps and the words of a day's result are those of docs/flow.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from briquette.compaction.new_plan import make_plan
from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import run_plan
from briquette.compaction.unchanged import compare_with_published
from briquette.errors import EXIT_EMPTY, EXIT_OK, BriquetteError, VerificationFailed
from briquette.model import CompactionSpec, Plan, State, Status
from briquette.pipeline.indicators import IndicatorsOptions, IndicatorsResult, places
from briquette.pipeline.indicators_days import IndicatorsOfDay, IndicatorsOfDays, indicators_days
from briquette.pipeline.lookback import Stale
from briquette.pipeline.transform import TransformOptions, transform_day
from briquette.pipeline.transform_source import places_of
from briquette.planning.plan import is_made_of
from briquette.planning.target import Target
from briquette.storage.opening import open_store
from briquette.storage.urls import above, below

if TYPE_CHECKING:
    from briquette.compaction.options import Progress

PREFLIGHT, COMPACTION, GUARD, TRANSFORM, INDICATORS = (
    "preflight",
    "compaction",
    "guard",
    "transform",
    "indicators",
)
STEPS = (PREFLIGHT, COMPACTION, GUARD, TRANSFORM, INDICATORS)
FAILED, DONE, SKIPPED = "FAILED", "DONE", "SKIPPED"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a day: DONE, SKIPPED or FAILED, and a sentence about it."""

    name: str
    outcome: str
    message: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DayResult:
    """What became of a day. ``status`` is that of its compaction, or FAILED."""

    ds: str
    status: str
    steps: tuple[Step, ...]
    rows: int = 0
    bytes: int = 0
    files: int = 0
    error: BriquetteError | None = None
    stale: tuple[Stale, ...] = ()  # days whose indicators have not read the prices that are there now
    repaired: tuple[str, ...] = ()  # later days that were computed again

    @property
    def exit_code(self) -> int:
        """The exit code that a command for this day alone ends with."""
        if self.error is not None:
            return self.error.exit_code
        return EXIT_EMPTY if self.status == Status.EMPTY else EXIT_OK

    def to_dict(self) -> dict[str, Any]:
        """The day as docs/flow.md has it, and its steps."""
        document: dict[str, Any] = {
            "ds": self.ds,
            "status": self.status,
            "engine": "dask",
            "fallback": False,
            "rows": self.rows,
            "bytes": self.bytes,
            "files": self.files,
            "steps": [
                {"name": s.name, "outcome": s.outcome, "message": s.message, "seconds": round(s.seconds, 3)}
                for s in self.steps
            ],
        }
        if self.stale:
            document["stale"] = [day.to_dict() for day in self.stale]
        if self.repaired:
            document["repaired"] = list(self.repaired)
        if self.error is not None:
            failed = next((s.name for s in self.steps if s.outcome == FAILED), "")
            document |= {"error": self.error.name, "cause": self.error.message, "step": failed}
        return document


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """What the stages of a day may decide; ``last`` is the step that a day ends with."""

    run: RunOptions = field(default_factory=RunOptions)
    transform: TransformOptions = field(default_factory=TransformOptions)
    indicators: IndicatorsOptions = field(default_factory=IndicatorsOptions)
    compacted_subdir: str = "compacted"
    last: str = INDICATORS
    repair_stale: bool = False  # compute later days too that have not read this day's prices


def _on_dask(options: FlowOptions) -> FlowOptions:
    """A day's document says that Dask was its engine: where the executor is left open, it is."""

    def chosen(run: RunOptions) -> RunOptions:
        return replace(run, executor="dask") if run.executor == "auto" and not run.ray_address else run

    return replace(
        options,
        run=chosen(options.run),
        transform=replace(options.transform, run=chosen(options.transform.run)),
        indicators=replace(options.indicators, run=chosen(options.indicators.run)),
    )


def run_day(
    target: Target,
    make_spec: Callable[[Target], CompactionSpec],
    options: FlowOptions,
    *,
    on_step: Callable[[Step], None] | None = None,
    progress: Progress | None = None,
) -> DayResult:
    """Take one day through the stages; an error of a stage ends the day and is in its result, not raised."""
    return _Day(target, make_spec, options, on_step or (lambda _: None), progress).run()


class _Day:
    """The steps of one day as they happen."""

    def __init__(
        self,
        target: Target,
        make_spec: Callable[[Target], CompactionSpec],
        options: FlowOptions,
        on_step: Callable[[Step], None],
        progress: Progress | None,
    ) -> None:
        self.target, self.make_spec, self.options = target, make_spec, _on_dask(options)
        self.on_step, self.progress = on_step, progress
        self.steps: list[Step] = []
        self.compaction: CompactionResult | None = None
        self.plan: Plan | None = None
        self.stale: tuple[Stale, ...] = ()
        self.repaired: tuple[str, ...] = ()

    def run(self) -> DayResult:
        wanted = STEPS[: STEPS.index(self.options.last) + 1]
        goes_on = True
        for name in wanted:
            if not goes_on:
                self._note(Step(name, SKIPPED, "nothing to do"))
                continue
            started = time.monotonic()
            try:
                goes_on, message = getattr(self, f"_{name}")()
            except BriquetteError as error:
                self._note(Step(name, FAILED, f"{error.name}: {error}", time.monotonic() - started))
                return replace(self._result(), status=FAILED, error=error)
            self._note(Step(name, DONE, message, time.monotonic() - started))
        return self._result()

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        self.on_step(step)

    def _result(self) -> DayResult:
        made = self.compaction
        files = made.manifest.files if made and made.manifest and made.status is not Status.EMPTY else ()
        return DayResult(
            ds=self.target.partition.ds,
            status=made.status.value if made else FAILED,
            steps=tuple(self.steps),
            rows=sum(f.rows for f in files),
            bytes=sum(f.size_bytes for f in files),
            files=len(files),
            stale=self.stale,
            repaired=self.repaired,
        )

    # -- the steps: whether the day goes on, and a sentence ------------------------------------------

    def _preflight(self) -> tuple[bool, str]:
        from briquette.publishing.snapshot import observe

        self.plan = make_plan(self.target, self.make_spec(self.target), self.options.run)
        seen = observe(open_store(self.plan.output.url), self.plan.output, force=self.options.run.force)
        stores = (open_store(place.url) for place in (self.plan.raw, self.plan.output))
        state = compare_with_published(self.plan, seen, *stores).state
        counts = f"{_count(len(self.plan.listing), 'raw object')}, {_count(len(self.plan.splits), 'split')}"
        message = f"{state.value}, {counts}, {_count(self.plan.raw_bytes, 'byte')}"
        return True, message if state is not State.EMPTY else f"no raw objects under {self.plan.raw}"

    def _compaction(self) -> tuple[bool, str]:
        assert self.plan is not None
        self.compaction = run_plan(self.plan, self.options.run, progress=self.progress)
        made = self.compaction.manifest
        if self.compaction.status is Status.EMPTY or made is None:
            return True, f"EMPTY, {self.compaction.message}"
        rejects = f", {_count(made.rejects, 'reject')}" if made.rejects else ""
        what = f"{_count(made.rows, 'row')} in {_count(len(made.files), 'part')}{rejects}"
        return True, f"{self.compaction.status.value}, {what}"

    def _guard(self) -> tuple[bool, str]:
        """Nothing fresh means nothing to process; parts that are not the manifest's stop the day."""
        from briquette.publishing.snapshot import read_manifest
        from briquette.publishing.verify import verify_dataset

        assert self.plan is not None
        store, output = open_store(self.plan.output.url), self.plan.output
        found = read_manifest(store, output)
        if found is None:
            return False, f"nothing under {output}"
        manifest, _ = found
        if not is_made_of(manifest, self.plan):
            return False, f"what lies under {output} is not of this run"
        problems = verify_dataset(store, output, read_parts=False)
        if problems:
            raise VerificationFailed(problems[0], hint="Run it again; compaction repairs the dataset.")
        what = f"{_count(manifest.rows, 'row')} in {_count(len(manifest.files), 'part')}"
        return manifest.rows > 0, f"{what}, all there and of this run"

    def _transform(self) -> tuple[bool, str]:
        day = places_of(self.target, self.options.compacted_subdir)
        result = transform_day(day, replace(self.options.transform, run=self._later_run()))
        found = f", {result.quality.sentence()}" if result.quality else ""
        return True, f"{result.status.value}, {day.output}{found}"

    def _indicators(self) -> tuple[bool, str]:
        made = _days_indicators(self.target, (self.target.partition.ds,), self.options)
        first, *repaired = made.days
        if first.error is not None:
            raise first.error
        assert first.result is not None
        self.stale, self.repaired = made.stale, tuple(day.ds for day in repaired)
        return True, _sentence(first.result)

    def _later_run(self) -> RunOptions:
        return _later_run(self.options)


# -- indicators of many days -----------------------------------------------------------------------


def indicators_in_order(
    targets: Sequence[Target],
    days: Sequence[DayResult],
    options: FlowOptions,
    *,
    on_day: Callable[[DayResult], None] | None = None,
) -> tuple[tuple[DayResult, ...], IndicatorsOfDays]:
    """The last step of days that ended with their transform, oldest first, and what it made stale.

    A day that failed or had nothing to transform is handed on as it is.
    """
    results = {day.ds: day for day in days}
    ready = [day.ds for day in days if day.steps and day.steps[-1].name == TRANSFORM and _went_on(day)]
    started = time.monotonic()

    def ended(found: IndicatorsOfDay) -> None:
        nonlocal started
        seconds, started = time.monotonic() - started, time.monotonic()
        if found.ds not in results or found.repaired:
            return
        before = results[found.ds]
        if found.error is not None:
            step = Step(INDICATORS, FAILED, f"{found.error.name}: {found.error}", seconds)
            made = replace(before, status=FAILED, error=found.error, steps=(*before.steps, step))
        else:
            assert found.result is not None
            step = Step(INDICATORS, DONE, _sentence(found.result), seconds)
            made = replace(before, steps=(*before.steps, step))
        results[found.ds] = made
        if on_day:
            on_day(made)

    if not ready:
        return tuple(days), IndicatorsOfDays((), ())
    found = _days_indicators(targets[0], ready, options, ended)
    return tuple(results[day.ds] for day in days), found


def _went_on(day: DayResult) -> bool:
    return day.error is None and day.steps[-1].outcome == DONE


def _days_indicators(
    target: Target,
    days: Sequence[str],
    options: FlowOptions,
    on_day: Callable[[IndicatorsOfDay], None] | None = None,
) -> IndicatorsOfDays:
    part = target.partition
    table = places_of(target, options.compacted_subdir).table
    place = places(table, below(above(table)[0], "indicators"), domain=part.domain, ds=part.ds)
    chosen = replace(options.indicators, run=_later_run(options))
    return indicators_days(place, days, chosen, repair_stale=options.repair_stale, on_day=on_day)


def _later_run(options: FlowOptions) -> RunOptions:
    return replace(options.run, on_empty=RunOptions().on_empty)


def _sentence(made: IndicatorsResult) -> str:
    return f"{made.status.value}, set {made.set_name} over {_count(made.sessions, 'session')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
