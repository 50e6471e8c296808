"""Many days, each on its own: one that fails stops no other, and running again does only what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from briquette.errors import EXIT_EMPTY, EXIT_OK, EXIT_RETRYABLE
from briquette.model import Status
from briquette.pipeline.indicators_days import IndicatorsOfDay
from briquette.pipeline.lookback import Stale
from briquette.pipeline.run_day import DayResult
from briquette.planning.target import Target


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """What became of each day, in the order of the days."""

    days: tuple[DayResult, ...]
    stale: tuple[Stale, ...] = ()  # days whose indicators have not read the prices that are there now
    repaired: tuple[IndicatorsOfDay, ...] = ()  # later days that were computed again

    @property
    def failed(self) -> tuple[DayResult, ...]:
        return tuple(day for day in self.days if day.error is not None)

    @property
    def exit_code(self) -> int:
        """0 when all is well, 3 when no day had anything, else a failed day's: one worth a retry first."""
        codes = {day.exit_code for day in self.failed}
        codes |= {day.error.exit_code for day in self.repaired if day.error is not None}
        if codes:
            return EXIT_RETRYABLE if EXIT_RETRYABLE in codes else min(codes)
        return EXIT_EMPTY if all(day.status == Status.EMPTY for day in self.days) else EXIT_OK

    def to_dict(self) -> dict[str, Any]:
        """The document of ``backfill --json``: the execution's payload of docs/flow.md."""
        counts = Counter(day.status for day in self.days)
        return {
            "ok": self.exit_code in (EXIT_OK, EXIT_EMPTY),
            "partitions": [day.to_dict() for day in self.days],
            "stale": [day.to_dict() for day in self.stale],
            "repaired": [day.to_dict() for day in self.repaired],
            "stats": {
                "days": len(self.days),
                "failed": len(self.failed),
                "empty": counts[Status.EMPTY],
                "unchanged": counts[Status.UNCHANGED],
                "rowCount": sum(day.rows for day in self.days),
                "bytesWritten": sum(day.bytes for day in self.days if day.status == Status.PUBLISHED),
                "fileCount": sum(day.files for day in self.days),
            },
        }


def backfill(
    targets: Sequence[Target],
    run: Callable[[Target], DayResult],
    *,
    days_at_once: int = 1,
    on_day: Callable[[DayResult], None] | None = None,
    then: Callable[[Sequence[DayResult]], BackfillResult] | None = None,
) -> BackfillResult:
    """Run every target; ``on_day`` hears of each as it ends, in the calling thread.

    ``then`` does what needs every day's run to have ended: the indicators, which read the days before.

    ``run`` gives its errors in its result (``run_day`` does); what it raises all the same,
    a defect or Ctrl-C, ends the backfill.
    """
    results: dict[int, DayResult] = {}
    with ThreadPoolExecutor(days_at_once) as threads:
        waiting = {threads.submit(run, target): i for i, target in enumerate(targets)}
        try:
            for future in as_completed(waiting):
                result = results[waiting[future]] = future.result()
                if on_day:
                    on_day(result)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    ended = tuple(results[i] for i in range(len(targets)))
    return then(ended) if then else BackfillResult(ended)
