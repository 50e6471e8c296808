"""Indicators of many days, one after the other, and of the days that a late or corrected day made stale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from briquette.errors import BriquetteError
from briquette.pipeline.indicators import (
    IndicatorsOptions,
    IndicatorsResult,
    IndicatorsTarget,
    indicators_day,
)
from briquette.pipeline.lookback import PublishedDays, Stale, stale_after, stale_reason
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    from briquette.executors import Executor


@dataclass(frozen=True, slots=True)
class IndicatorsOfDay:
    """What became of one of several days: a result, or the error that it ended with."""

    ds: str
    result: IndicatorsResult | None
    error: BriquetteError | None = None
    repaired: bool = False  # it was asked for by no one, but stale

    def to_dict(self) -> dict[str, Any]:
        """The day as JSON values."""
        document: dict[str, Any] = {"ds": self.ds, "status": "FAILED", "repaired": self.repaired}
        if self.result is not None:
            document |= {"status": self.result.status.value, "sessions": self.result.sessions}
        if self.error is not None:
            document |= {"error": self.error.name, "cause": self.error.message, "hint": self.error.hint}
        return document


@dataclass(frozen=True, slots=True)
class IndicatorsOfDays:
    """Several days in their order, those that were repaired after them, and those that are stale now."""

    days: tuple[IndicatorsOfDay, ...]
    stale: tuple[Stale, ...]

    @property
    def errors(self) -> tuple[BriquetteError, ...]:
        return tuple(day.error for day in self.days if day.error is not None)

    def to_dict(self) -> dict[str, Any]:
        """The document that a run of many days leaves for the flow."""
        return {
            "days": [day.to_dict() for day in self.days],
            "stale": [day.to_dict() for day in self.stale],
        }


def indicators_days(
    target: IndicatorsTarget,
    days: Sequence[str],
    options: IndicatorsOptions,
    *,
    repair_stale: bool = False,
    executor: Executor | None = None,
    on_day: Callable[[IndicatorsOfDay], None] | None = None,
) -> IndicatorsOfDays:
    """Compute the days in ascending order, each on its own; ``target`` gives the places, whatever its day.

    Afterwards, later days that have not read these prices are named; ``repair_stale`` computes them too.
    Errors of a day are in its result; what is no ``BriquetteError`` is raised.
    """
    made: list[IndicatorsOfDay] = []
    prices = PublishedDays(open_store(target.prices.url), target.prices)

    def compute_one(ds: str, *, repaired: bool) -> None:
        nonlocal prices
        prices = prices.again()  # every day reads nearly the same manifests
        try:
            result = indicators_day(target.on(ds), options, executor=executor, prices=prices)
            made.append(IndicatorsOfDay(ds, result, repaired=repaired))
        except BriquetteError as error:
            made.append(IndicatorsOfDay(ds, None, error, repaired=repaired))
        if on_day:
            on_day(made[-1])

    ordered = sorted(set(days))
    for ds in ordered:
        compute_one(ds, repaired=False)
    stale = stale_days(target, ordered)
    if repair_stale and stale:
        for day in stale:
            compute_one(day.ds, repaired=True)
        stale = stale_days(target, ordered)
    return IndicatorsOfDays(tuple(made), stale)


def stale_days(target: IndicatorsTarget, days: Sequence[str]) -> tuple[Stale, ...]:
    """The stale ones of these days and of the later days that read them, ascending."""
    if not days:
        return ()
    prices = PublishedDays(open_store(target.prices.url), target.prices)
    published = PublishedDays(open_store(target.output.url), target.table)
    found: dict[str, Stale] = {}
    for ds, manifest in published.manifests(sorted(set(days))).items():
        reason = stale_reason(ds, manifest, prices)
        if reason:
            found[ds] = Stale(ds, reason)
    for ds in {min(days), max(days)}:  # a day between reaches what one of these reaches, or is one of these
        found |= {day.ds: day for day in stale_after(prices, published, ds)}
    return tuple(found[ds] for ds in sorted(found))
