"""Real trading days as raw days, and what an independent reading of the source says they hold.

Source: ../shared/data/sp500_5yr.csv.gz (619,040 daily rows, 505 symbols). The expectation is made from the
source text with the csv module alone, never through the engine.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2].parent / "shared" / "data" / "sp500_5yr.csv.gz"
# The first and the last day of the history, and two with empty cells.
DAYS = ("2013-02-08", "2015-07-17", "2016-01-12", "2018-02-07")
COLUMNS = ("symbol", "timestamp", "adjusted_close", "open", "high", "low", "close", "volume")
# What ingestion writes: naive, Zulu, an offset, and a space instead of the T.
STAMPS = ("{d}T00:00:00", "{d}T00:00:00Z", "{d}T00:00:00-05:00", "{d} 00:00:00+00:00")


@dataclass(frozen=True)
class RealDay:
    ds: str
    prefix: str
    files: dict[str, bytes]  # name -> bytes
    rows: tuple[tuple[object, ...], ...]  # in the order of COLUMNS, sorted by file name


@cache
def _history() -> dict[str, list[dict[str, str]]]:
    if not SOURCE.exists():
        pytest.skip(f"{SOURCE.name} is not beside this checkout (shared/data)")
    by_day: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(SOURCE, "rt", encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            if row["date"] in DAYS:
                by_day[row["date"]].append(row)
    return by_day


def real_day(ds: str) -> RealDay:
    year, month, day = ds.split("-")
    prefix = f"market/prices/interval=1d/data_source=kaggle/year={year}/month={month}/day={day}/"
    files: dict[str, bytes] = {}
    expected: dict[str, tuple[object, ...]] = {}
    for i, source in enumerate(_history()[ds]):
        stamp = STAMPS[i % len(STAMPS)].format(d=ds)
        name, data = _as_file(i, source, stamp)
        files[name] = data
        instant = datetime(int(year), int(month), int(day), tzinfo=UTC)
        expected[name] = (
            source["Name"],
            instant + timedelta(hours=5) if "-05:00" in stamp else instant,
            None,
            *(_number(source[c]) for c in ("open", "high", "low", "close", "volume")),
        )
    objects = [{"symbol": n.split(".")[0], "key": prefix + n, "records": 1} for n in files]
    files["_batch.manifest.json"] = json.dumps({"ds": ds, "objects": objects}).encode()
    rows = tuple(expected[name] for name in sorted(expected, key=str.encode))
    return RealDay(ds, prefix, files, rows)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _as_file(i: int, source: dict[str, str], stamp: str) -> tuple[str, bytes]:
    symbol = source["Name"]
    if i % 5 in (0, 1, 2):
        record: dict[str, object] = {"symbol": symbol, "timestamp": stamp, "adjusted_close": None}
        # Numbers keep the source's own text; the volume is written as a float, as ingestion does.
        body = json.dumps(record)[:-1]
        for column in ("open", "high", "low", "close"):
            body += f', "{column}": {source[column] or "null"}'
        body += f', "volume": {source["volume"]}.0}}\n'
        data = body.encode()
        return (f"{symbol}.json.gz", gzip.compress(data, mtime=0)) if i % 5 == 2 else (f"{symbol}.json", data)
    sink = io.StringIO(newline="")
    order = ("volume", "symbol", "close", "timestamp", "low", "open", "high")
    writer = csv.writer(sink, lineterminator="\r\n" if i % 2 else "\n")
    writer.writerow(order)
    values = {**source, "symbol": symbol, "timestamp": stamp}
    writer.writerow([values[c] for c in order])
    data = sink.getvalue().encode()
    return (f"{symbol}.csv.gz", gzip.compress(data, mtime=0)) if i % 5 == 4 else (f"{symbol}.csv", data)
