"""Published days of made-up prices, for the stages that read a history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from briquette import compact
from briquette.model import Field, Schema
from briquette.prices.panel import Panel

PRICES = ("open", "high", "low", "close", "volume")
SCHEMA = Schema(
    (
        Field("symbol", "string", nullable=False),
        Field("timestamp", "timestamp[us, UTC]", nullable=False),
        *(Field(name, "float64") for name in PRICES),
    )
)
SYMBOLS = ("AAPL", "BRK.B", "MSFT", "ZM")


def sessions(count: int, first: date = date(2024, 1, 1)) -> tuple[str, ...]:
    """So many weekdays."""
    days = (first + timedelta(n) for n in range(2 * count + 7))
    return tuple(d.isoformat() for d in days if d.weekday() < 5)[:count]


def bars(days: Sequence[str], symbols: Sequence[str] = SYMBOLS) -> Iterator[tuple[str, pa.Table]]:
    """A table for each day: a random walk, always the same one."""
    chance = np.random.default_rng(7)
    closes = 50.0 * np.exp(np.cumsum(chance.normal(0.0, 0.02, (len(days), len(symbols))), axis=0))
    for day, close in zip(days, np.round(closes, 4), strict=True):
        low, high = np.round(close * 0.98, 4), np.round(close * 1.03, 4)
        columns = [np.round((low + close) / 2, 4), high, low, close]
        volume = np.floor(chance.lognormal(12.0, 1.0, len(symbols)))
        stamp = pa.array([date.fromisoformat(day)] * len(symbols)).cast(pa.timestamp("us", "UTC"))
        yield day, pa.table([list(symbols), stamp, *columns, volume], names=[f.name for f in SCHEMA.fields])


def publish_day(curated: str, day: str, table: pa.Table, scratch: Path, **spec: object) -> None:
    """Publish a day's prices as the transform does."""
    raw = scratch / f"raw-{day}"
    raw.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, raw / "prices.parquet")
    compact(input=raw, output=f"{curated}/market/prices/ds={day}", schema=SCHEMA, **spec)


def publish_history(curated: str, scratch: Path, count: int, **spec: object) -> tuple[str, ...]:
    """Publish ``count`` sessions and say which."""
    days = sessions(count)
    for day, table in bars(days):
        publish_day(curated, day, table, scratch, **spec)
    return days


def panel(days: Sequence[str], symbols: Sequence[str] = SYMBOLS) -> Panel:
    """The same prices as a panel, made without the stage."""
    tables = [table for _, table in bars(days, symbols)]
    arrays = {name: np.array([t.column(name).to_numpy() for t in tables]) for name in PRICES}
    present = np.ones((len(days), len(symbols)), dtype=bool)
    dates = tuple(date.fromisoformat(day) for day in days)
    return Panel(dates, pa.array(symbols), present, **arrays)
