"""Real sessions as raw files, from the history that may lie beside the checkout."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "sp500_5yr.csv.gz"
SESSIONS = 20  # the last ones of the history: about 10,000 files
PRICES = ("open", "high", "low", "close", "volume")


def available() -> bool:
    """Whether the history lies beside this checkout."""
    return SOURCE.exists()


def session_files(sessions: int) -> Iterator[tuple[str, str, bytes, pa.Table]]:
    """Name, symbol, text and rows of each file of the last sessions, in the order of the history."""
    with gzip.open(SOURCE, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    days = set(sorted({row["date"] for row in rows})[-sessions:])
    for row in rows:
        if row["date"] in days:
            yield _file(row)


def _file(row: dict[str, str]) -> tuple[str, str, bytes, pa.Table]:
    symbol, day = row["Name"], row["date"]
    numbers = ", ".join(f'"{name}": {row[name] or "null"}' for name in PRICES)
    text = f'{{"symbol": "{symbol}", "timestamp": "{day}T00:00:00Z", "adjusted_close": null, {numbers}}}\n'
    columns: dict[str, Any] = {
        "symbol": [symbol],
        "timestamp": pa.array([datetime.fromisoformat(day).replace(tzinfo=UTC)], pa.timestamp("us", "UTC")),
        "adjusted_close": pa.array([None], pa.float64()),
        **{name: pa.array([float(row[name]) if row[name] else None], pa.float64()) for name in PRICES},
    }
    return f"{symbol}-{day}.json", symbol, text.encode(), pa.table(columns)
