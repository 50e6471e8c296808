"""How long the later stages of a day take, as whole commands: transform and indicators of 8,000 symbols.

    python -m benchmarks.stages [--symbols 8000] [--sessions 300] [--rounds 3] [--out FILE]

A history of adjusted prices is published once; then each round transforms one compacted day anew and computes
both sets of indicators anew (--force), each in its own process. Peak memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import machine
from benchmarks.indicators import daily_tables
from benchmarks.measure import measure
from briquette import compact
from briquette.model import Field, Schema

COLUMNS = ("open", "high", "low", "close", "volume")
SCHEMA = Schema(
    (
        Field("symbol", "string", nullable=False),
        Field("timestamp", "timestamp[us, UTC]", nullable=False),
        Field("adjusted_close", "float64"),
        *(Field(name, "float64") for name in COLUMNS),
    )
)
TIMEOUT_SECONDS = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=8_000)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="briquette-stages-") as folder:
        figures = run(Path(folder), options.symbols, options.sessions, options.rounds)
    text = json.dumps(figures, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def run(folder: Path, symbols: int, sessions: int, rounds: int) -> dict[str, Any]:
    """Publish a history below ``folder`` and measure the stages of its last day."""
    days = daily_tables(symbols, sessions, gaps=0.02)
    for day, table in days:
        _publish(folder, day, table)
    last = days[-1][0].isoformat()
    curated = str(folder / "curated")
    names = ["--domain", "market", "--table", "prices", "--ds", last]
    source = ["--interval", "1d", "--data-source", "made", "--raw", str(folder / "raw")]
    commands = {
        "transform": ["transform", "--curated", curated, *names, *source],
        "indicators A": ["indicators", "--curated", curated, *names, "--set", "A"],
        "indicators B": ["indicators", "--curated", curated, *names, "--set", "B"],
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(rounds + 1):  # the first fills caches and is dropped
        for name, arguments in commands.items():
            command = [sys.executable, "-m", "briquette", *arguments, "--force", "--json"]
            told = measure(command, cwd=folder, timeout_seconds=TIMEOUT_SECONDS)
            if told["exit_code"]:
                sys.exit(f"{name} failed: {told['stderr']}")
            runs[name].append(told | {"rows": json.loads(told["stdout"])["rows"]})
    return {
        **machine(),
        "symbols": symbols,
        "sessions": sessions,
        "rounds": rounds,
        "stages": {name: _medians(found[1:]) for name, found in runs.items()},
    }


def _publish(folder: Path, day: date, table: pa.Table) -> None:
    """One session: as compaction leaves it, and, for the indicators, as the transform does."""
    stamp = pa.array([day] * len(table)).cast(pa.timestamp("us", "UTC"))
    columns = [table.column("symbol"), stamp, table.column("close"), *(table.column(n) for n in COLUMNS)]
    raw = folder / "sessions" / day.isoformat()
    raw.mkdir(parents=True)
    pq.write_table(pa.table(columns, names=[f.name for f in SCHEMA.fields]), raw / "prices.parquet")
    for place in ("compacted/", ""):
        compact(input=raw, output=folder / f"curated/market/prices/{place}ds={day}", schema=SCHEMA)


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "rows": runs[0]["rows"],
        "wall_seconds": round(statistics.median(r["wall_seconds"] for r in runs), 3),
        "cpu_seconds": round(statistics.median(r["cpu_seconds"] for r in runs), 3),
        "peak_mb": round(max(r["peak_bytes"] for r in runs) / 1e6),
    }


if __name__ == "__main__":
    main()
