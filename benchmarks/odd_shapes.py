"""Files of records that are no prices: 200 columns, or a list and a struct; the same bytes everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.shapes import NUMBER, WIDE

DAY_US = 1_757_376_000_000_000  # 2025-09-09T00:00:00Z
DS = "2025-09-09"
VENUES = ("XNAS", "XNYS", "BATS", "IEXG", "ARCX")
MOST_SIZES = 8


def wide_file(symbol: str, seed: int, count: int) -> tuple[bytes, pa.Table]:
    """JSON Lines of 198 factors beside symbol and time, and their rows."""
    names = [name for name, kind in WIDE.columns if kind == NUMBER]
    words = np.random.PCG64(19_700_101 + seed).random_raw((len(names), count))
    values = {name: _ten_thousandths(words[i], 2_000_000) for i, name in enumerate(names)}
    table = _table(symbol, count, {name: pa.array(column) for name, column in values.items()})
    columns = [column.tolist() for column in values.values()]
    records = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return _lines(symbol, records), table


def nested_file(symbol: str, seed: int, count: int) -> tuple[bytes, pa.Table]:
    """JSON Lines with a list of none to eight numbers and a quote of three fields, and their rows."""
    words = np.random.PCG64(19_800_101 + seed).random_raw((4 + MOST_SIZES, count))
    lengths = (words[0] % np.uint64(MOST_SIZES + 1)).astype(int).tolist()
    pool = _ten_thousandths(words[4:].T, 10_000_000).tolist()
    sizes = [row[:length] for row, length in zip(pool, lengths, strict=True)]
    venues = [VENUES[i] for i in (words[1] % np.uint64(len(VENUES))).astype(int).tolist()]
    bids, asks = (_ten_thousandths(words[i], 5_000_000).tolist() for i in (2, 3))
    quotes = [
        {"venue": venue, "bid": bid, "ask": ask} for venue, bid, ask in zip(venues, bids, asks, strict=True)
    ]
    quote = pa.struct([("venue", pa.string()), ("bid", pa.float64()), ("ask", pa.float64())])
    table = _table(
        symbol,
        count,
        {"sizes": pa.array(sizes, pa.list_(pa.float64())), "quote": pa.array(quotes, quote)},
    )
    records = ({"sizes": size, "quote": quoted} for size, quoted in zip(sizes, quotes, strict=True))
    return _lines(symbol, records), table


MAKERS: dict[str, Callable[[str, int, int], tuple[bytes, pa.Table]]] = {
    "wide": wide_file,
    "nested": nested_file,
}


def _ten_thousandths(words: Any, most: int) -> Any:
    """Numbers with four decimals from raw words."""
    return (words % np.uint64(most)).astype(np.float64) / 10_000


def _table(symbol: str, count: int, columns: dict[str, pa.Array]) -> pa.Table:
    stamps = DAY_US + np.arange(count) * 1_000_000
    keys = {"symbol": pa.array([symbol] * count), "timestamp": pa.array(stamps, pa.timestamp("us", "UTC"))}
    return pa.table(keys | columns)


def _lines(symbol: str, records: Any) -> bytes:
    lines = []
    for s, record in enumerate(records):
        stamp = f"{DS}T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z"
        lines.append(json.dumps({"symbol": symbol, "timestamp": stamp, **record}))
    return ("\n".join(lines) + "\n").encode()
