"""Histories of bars for the tests: real ones, and random walks with gaps and holes."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pytest

from briquette.prices.panel import PRICE_COLUMNS, Panel, panel_from_columns

SOURCE = Path(__file__).parents[3].parent / "shared" / "data" / "sp500_5yr.csv.gz"
FIRST_DAY = date(2020, 1, 1)


@dataclass(frozen=True)
class History:
    """One symbol's own bars, oldest first."""

    symbol: str
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray

    def until(self, bars: int) -> History:
        return replace(self, **{c: getattr(self, c)[:bars] for c in PRICE_COLUMNS})


@cache
def real_panel() -> Panel:
    """505 symbols x 1,259 sessions of the S&P 500, with the source's own gaps and empty cells."""
    if not SOURCE.exists():
        pytest.skip(f"{SOURCE.name} is not beside this checkout (shared/data)")
    with gzip.open(SOURCE) as stream:
        table = pacsv.read_csv(stream)
    days = pc.unique(table["date"]).sort()
    symbols = pc.unique(table["Name"]).sort()
    placed = panel_from_columns(
        days.to_pylist(),
        symbols,
        pc.index_in(table["date"], value_set=days).to_numpy().astype(np.int64),
        pc.index_in(table["Name"], value_set=symbols).to_numpy().astype(np.int64),
        {name: table[name].cast(pa.float64()).to_numpy() for name in PRICE_COLUMNS},
    )
    assert placed.duplicates == ()
    return placed.panel


def real_histories(count: int) -> list[History]:
    """Symbols that traded on every session of the source without an empty cell."""
    panel = real_panel()
    whole = panel.present.all(axis=0)
    for name in PRICE_COLUMNS:
        whole &= ~np.isnan(getattr(panel, name)).any(axis=0)
    chosen = np.flatnonzero(whole)[:: max(int(whole.sum()) // count, 1)][:count]
    assert len(chosen) == count
    return [
        History(
            panel.symbols[i].as_py(),
            **{c: np.ascontiguousarray(getattr(panel, c)[:, i]) for c in PRICE_COLUMNS},
        )
        for i in chosen.tolist()
    ]


def weekdays(count: int, first: date = FIRST_DAY) -> tuple[date, ...]:
    days = (first + timedelta(days=i) for i in range(count * 2 + 7))
    return tuple([day for day in days if day.weekday() < 5][:count])


def names(count: int) -> pa.Array:
    return pa.array([f"S{i:04d}" for i in range(count)])


def random_panel(
    seed: int, sessions: int = 120, symbols: int = 5, *, gaps: float = 0.0, holes: float = 0.0
) -> Panel:
    """Random walks; ``gaps`` is the share of sessions without a record, ``holes`` of empty cells."""
    chance = np.random.default_rng(seed)
    shape = (sessions, symbols)
    close = 50.0 * np.exp(np.cumsum(chance.normal(0.0, 0.02, shape), axis=0))
    opened = close * np.exp(chance.normal(0.0, 0.01, shape))
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * (1.0 + chance.exponential(0.01, shape)),
        "low": np.minimum(opened, close) * (1.0 - chance.exponential(0.01, shape).clip(0.0, 0.5)),
        "close": close,
        "volume": np.rint(chance.lognormal(12.0, 1.0, shape)),
    }
    present = chance.random(shape) >= gaps
    for values in columns.values():
        values[(chance.random(shape) < holes) | ~present] = np.nan
    market = np.where(present, chance.normal(0.0, 0.01, (sessions, 1)), np.nan)
    return Panel(weekdays(sessions), names(symbols), present, market_return=market, **columns)


def one_symbol(close, *, high=None, low=None, open_=None, volume=None, **more) -> Panel:
    """A panel of one symbol, a bar for each number of ``close``; other prices are the close."""
    column = np.array(close, dtype=float)[:, None]

    def other(values) -> np.ndarray:
        return column.copy() if values is None else np.array(values, dtype=float)[:, None]

    return Panel(
        weekdays(len(column)),
        names(1),
        np.ones(column.shape, dtype=bool),
        open=other(open_),
        high=other(high),
        low=other(low),
        close=column,
        volume=np.full(column.shape, 1000.0) if volume is None else other(volume),
        **{name: other(values) for name, values in more.items()},
    )


def cut(panel: Panel, start: int, stop: int) -> Panel:
    """The sessions from ``start`` up to ``stop``."""
    arrays = {name: values[start:stop] for name, values in panel.arrays()}
    return Panel(panel.sessions[start:stop], panel.symbols, **arrays)
