"""How long the indicators of one day take on one core: 8,000 symbols x 300 sessions unless told otherwise.

    python -m benchmarks.indicators [--symbols 8000] [--sessions 300] [--set B] [--gaps 0.02]

The bars are random walks from a fixed seed. Times are CPU seconds of the thread, the best of several runs:
placing daily tables in a panel, then computing with checks and types. Neither reads nor writes a file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.corpus import ticker
from benchmarks.figures import machine
from briquette.prices.columns import indicator_set, sessions_needed
from briquette.prices.indicators import BLOCK_SYMBOLS, compute
from briquette.prices.panel import panel_from_tables

RUNS = 3
SEED = 20_250_909
FIRST_DAY = date(2023, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=8_000)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--set", choices=("A", "B"), default="B")
    parser.add_argument("--gaps", type=float, default=0.02, help="share of sessions without a record")
    parser.add_argument("--block-symbols", type=int, default=BLOCK_SYMBOLS)
    options = parser.parse_args()
    chosen = indicator_set(options.set)
    days = daily_tables(options.symbols, options.sessions, options.gaps)
    placing, placed = _best(lambda: panel_from_tables(days, only_last_session=True))
    computing, day = _best(lambda: compute(placed.panel, chosen, block_symbols=options.block_symbols))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {
        **machine(),
        "set": chosen.name,
        "symbols": options.symbols,
        "sessions": options.sessions,
        "sessions_needed": sessions_needed(chosen),
        "records": sum(len(table) for _, table in days),
        "rows": day.table.num_rows,
        "columns": day.table.num_columns,
        "place_cpu_seconds": round(placing, 3),
        "compute_cpu_seconds": round(computing, 3),
        "peak_mb_with_input": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
        "impossible": dict(day.impossible),
        "too_large": dict(day.too_large),
        "sha256": _fingerprint(day.table),
    }
    print(json.dumps(figures, indent=2))


def daily_tables(symbols: int, sessions: int, gaps: float) -> list[tuple[date, pa.Table]]:
    """Random walks as the curated table holds them: one table for each weekday."""
    chance = np.random.default_rng(SEED)
    names = np.array(sorted({ticker(i) for i in range(symbols)}))
    shape = (sessions, len(names))
    close = 20.0 * np.exp(np.cumsum(chance.normal(0.0003, 0.02, shape), axis=0))
    opened = close * np.exp(chance.normal(0.0, 0.01, shape))
    top = np.maximum(opened, close) * (1.0 + chance.exponential(0.005, shape))
    bottom = np.minimum(opened, close) * (1.0 - np.minimum(chance.exponential(0.005, shape), 0.5))
    volume = np.rint(chance.lognormal(13.0, 1.0, shape))
    market = chance.normal(0.0003, 0.01, sessions)
    traded = chance.random(shape) >= gaps
    traded[-1] = True
    days = []
    for i, day in enumerate(_weekdays(sessions)):
        here = traded[i]
        prices = {"open": opened, "high": top, "low": bottom, "close": close}
        table = {
            "symbol": names[here],
            **{name: np.round(values[i][here], 4) for name, values in prices.items()},
            "volume": volume[i][here],
            "market_return": np.full(int(here.sum()), market[i]),
        }
        days.append((day, pa.table(table)))
    return days


def _weekdays(count: int) -> list[date]:
    days: list[date] = []
    day = FIRST_DAY
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return days


def _best(work: Callable[[], Any]) -> tuple[float, Any]:
    best = float("inf")
    for _ in range(RUNS):
        started = time.thread_time()
        result = work()
        best = min(best, time.thread_time() - started)
    return best, result


def _fingerprint(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


if __name__ == "__main__":
    main()
