"""Small raw days with known rows, and what became of them, for tests that break things on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.datasets.read import open_dataset, read_tables
from briquette.model import Field, Schema
from briquette.storage.interface import Store
from briquette.storage.opening import open_store

SCHEMA = Schema((Field("symbol", "string", nullable=False), Field("n", "int64")))
OBJECTS, RECORDS = 4, 25
_WIDE = 0x1D872B41A3C5E7F9  # numbers that do not compress, so that a small day has some bytes
Rows = list[tuple[str, int]]


def write_day(store: Store, prefix: str, *, shift: int = 0) -> Rows:
    """Raw objects of different sizes under ``prefix``; returns the rows that they hold, in order."""
    rows: Rows = []
    for i in range(OBJECTS):
        mine = [(f"S{i}", (shift + 1_000 * i + k) * _WIDE % (1 << 62)) for k in range(RECORDS * (i + 1))]
        body = "".join(json.dumps({"symbol": s, "n": n}) + "\n" for s, n in mine)
        store.put(f"{prefix}S{i}.json", body.encode())
        rows += mine
    return rows


def compact_day(url: str, options: RunOptions | None = None, day: str = "") -> CompactionResult:
    """Compact the day that ``write_day`` wrote below ``raw/``."""
    return compact(
        input=f"{url}/raw{day}",
        output=f"{url}/out{day}",
        schema=SCHEMA,
        options=options or RunOptions(executor="serial"),
    )


def published_rows(url: str) -> Rows | None:
    """The rows of the dataset at ``url`` as its manifest pins them; None where there is none."""
    from briquette.errors import NotFound

    try:
        dataset = open_dataset(url)
    except NotFound:
        return None
    return list(_rows(dataset))


def _rows(dataset: object) -> Iterator[tuple[str, int]]:
    for table in read_tables(dataset):  # type: ignore[arg-type]
        yield from zip(table["symbol"].to_pylist(), table["n"].to_pylist(), strict=True)


def visible_keys(url: str) -> list[str]:
    """Keys that a lister sees, in order."""
    return [s.key for s in open_store(url).list("") if not any(p[0] in "_." for p in s.key.split("/"))]
