"""The peers: each does the same work as one process, `python -m benchmarks.peers.duckdb INPUT OUTPUT FORMAT`.

INPUT is a folder of raw files, OUTPUT a folder that exists and is empty, FORMAT json (JSON Lines), csv or
json.gz. The work: all rows with the declared columns, timestamps as timestamps in UTC, as zstd Parquet. Each
is written as its own documentation recommends for that, with its own defaults for threads and sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

FORMATS = ("json", "csv", "json.gz")


@dataclass(frozen=True, slots=True)
class Peer:
    """One side of the comparison. ``note`` says where its work is not quite the same."""

    name: str
    distribution: str  # whose version the results name
    title: str
    baseline: bool = False  # what people run today, not a rival for speed
    most_rounds: int = 1_000  # slow ones run less often
    note: str = ""

    @property
    def module(self) -> str:
        """What runs it: `python -m` of this."""
        return f"benchmarks.peers.{self.name}"

    def command(self, source: Path, target: Path, form: str) -> list[str]:
        """The command line of one run."""
        if self.name == "briquette":
            from benchmarks.peers import briquette

            return briquette.command(str(source), str(target))
        return [sys.executable, "-m", self.module, str(source), str(target), form]

    def version(self) -> str | None:
        """Version of the installed library, or None where it is missing."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None if self.distribution != "briquette" or find_spec("engine") is None else "checkout"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("briquette", "briquette", "briquette", note="also verifies, and writes manifest and digests"),
        Peer("duckdb", "duckdb", "DuckDB"),
        Peer("polars", "polars", "Polars (streaming)"),
        Peer("datafusion", "datafusion", "DataFusion"),
        Peer("arrow", "pyarrow", "pyarrow.dataset", most_rounds=3),
        Peer("dask_frame", "dask", "dask.dataframe", baseline=True, most_rounds=2),
        Peer(
            "spark",
            "pyspark",
            "PySpark, as a plain Glue job",
            baseline=True,
            most_rounds=1,
            note="infers the schema; timestamps of JSON stay text",
        ),
    )
}


def run_as_peer(work: Callable[[str, str, str], None]) -> None:
    """The main of a peer's module: read INPUT OUTPUT FORMAT and do the work."""
    if len(sys.argv) != 4 or sys.argv[3] not in FORMATS:
        sys.exit(f"usage: python -m benchmarks.peers.NAME INPUT OUTPUT {'|'.join(FORMATS)}")
    work(*sys.argv[1:])


def columns(form: str) -> Iterator[str]:
    """The columns in the order in which files of this format write them (CSV readers want that order)."""
    from benchmarks import CSV_COLUMNS, JSON_COLUMNS

    yield from CSV_COLUMNS if form == "csv" else JSON_COLUMNS
