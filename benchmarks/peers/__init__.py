"""The peers: each does the same work as one process, `python -m benchmarks.peers.duckdb INPUT OUTPUT json`.

INPUT is a folder of raw files, OUTPUT a folder that exists and is empty (or both are s3:// prefixes), the
format json (JSON Lines), csv, json.gz or mixed, and a fourth argument names the shape of the records. The
work: all rows with the declared columns, timestamps in UTC, as zstd Parquet. Each is written as its own
documentation recommends for that, with its own defaults for threads and sizes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from benchmarks.shapes import SHAPES, Shape

FORMATS = ("json", "csv", "json.gz", "mixed")


@dataclass(frozen=True, slots=True)
class Task:
    """What one run of a peer reads and writes."""

    source: str
    target: str
    form: str
    shape: Shape

    @property
    def forms(self) -> tuple[str, ...]:
        """The formats whose files lie in the source."""
        return ("json", "csv", "json.gz") if self.form == "mixed" else (self.form,)

    @property
    def on_s3(self) -> bool:
        """Whether source and target are s3:// prefixes."""
        return self.source.startswith("s3://")

    @property
    def part(self) -> str:
        """Where a peer that writes one file writes it."""
        return f"{self.target}/part.parquet"

    def glob(self, form: str) -> str:
        """The source's files of one format."""
        return f"{self.source}/*.{form}"


@dataclass(frozen=True, slots=True)
class Peer:
    """One side of the comparison. ``note`` says where its work is not quite the same."""

    name: str
    distribution: str  # whose version the results name
    title: str
    baseline: bool = False  # what people run today, not a rival for speed
    most_rounds: int = 1_000  # slow ones run less often
    most_files: int = 1_000_000  # shown as not run above this: it would take longer than a suite may
    note: str = ""
    elsewhere: bool = False  # its requirements contradict ours: it has an environment of its own

    @property
    def module(self) -> str:
        """What runs it: `python -m` of this."""
        return f"benchmarks.peers.{self.name}"

    def command(self, source: str, target: str, form: str, shape: Shape, schema: Path) -> list[str]:
        """The command line of one run; ``schema`` is briquette's TOML of the shape."""
        if self.name == "briquette":
            from benchmarks.peers import briquette

            return briquette.command(source, target, shape.name, str(schema))
        return [self.interpreter, "-m", self.module, source, target, form, shape.name]

    @property
    def interpreter(self) -> str:
        """The Python that runs it."""
        if not self.elsewhere:
            return sys.executable
        from benchmarks import side

        return str(side.python(self.name))

    def version(self) -> str | None:
        """Version of the installed library, or None where it is missing."""
        if self.elsewhere:
            from benchmarks import side

            return side.version(self.name)
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None if self.distribution != "briquette" or find_spec("briquette") is None else "checkout"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("briquette", "briquette", "briquette", note="also verifies, and writes manifest and digests"),
        Peer("duckdb", "duckdb", "DuckDB"),
        Peer("polars", "polars", "Polars (streaming)"),
        Peer("datafusion", "datafusion", "DataFusion"),
        Peer("chdb", "chdb", "chdb", most_rounds=2),
        Peer("daft", "daft", "Daft", most_rounds=2, elsewhere=True),
        Peer("arrow", "pyarrow", "pyarrow.dataset", most_rounds=2),
        Peer("ray_datasets", "ray", "Ray Data", most_rounds=1, most_files=3_000),
        Peer("dask_frame", "dask", "dask.dataframe", baseline=True, most_rounds=1, most_files=20_000),
        Peer(
            "spark",
            "pyspark",
            "PySpark, as a plain Glue job",
            baseline=True,
            most_rounds=1,
            most_files=20_000,
            note="infers the schema; timestamps of JSON stay text",
        ),
    )
}


def run_as_peer(work: Callable[[Task], None]) -> None:
    """The main of a peer's module: read INPUT OUTPUT FORMAT [SHAPE] and do the work."""
    given = sys.argv[1:]
    if len(given) not in (3, 4) or given[2] not in FORMATS or given[-1] not in {*SHAPES, given[2]}:
        usage = f"INPUT OUTPUT {'|'.join(FORMATS)} [{'|'.join(SHAPES)}]"
        sys.exit(f"usage: python -m benchmarks.peers.NAME {usage}")
    shape = SHAPES[given[3]] if len(given) == 4 else SHAPES["prices"]
    work(Task(given[0].rstrip("/"), given[1].rstrip("/"), given[2], shape))


def s3_settings() -> tuple[str, str, str]:
    """Endpoint, key and secret, from the usual variables: libraries that do not read these get them so."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    endpoint, key, secret = (os.environ[name] for name in names)
    return endpoint, key, secret
