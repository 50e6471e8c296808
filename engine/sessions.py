"""The rows of the published days of a prices table: only the columns that indicators need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

from engine.compaction import default_threads
from engine.errors import CorruptObject, MissingColumns
from engine.model import Field, RawObject, Schema
from engine.prices.panel import MARKET_CLOSE_COLUMNS, MARKET_RETURN_COLUMNS, PRICE_COLUMNS, VWAP_COLUMNS
from engine.schema import type_word
from engine.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

# Parts whose bodies are held at once while their columns are taken out of them.
PARTS_AT_ONCE = 64
_WANTED = ("symbol", *PRICE_COLUMNS, *VWAP_COLUMNS, *MARKET_RETURN_COLUMNS, *MARKET_CLOSE_COLUMNS)


def days_of(store: Store, parts: Sequence[RawObject], prefix: str) -> tuple[tuple[date, pa.Table], ...]:
    """Each session's rows, oldest first, only the columns that indicators need."""
    import pyarrow as pa

    found: dict[str, list[pa.Table]] = {}
    with ThreadPoolExecutor(default_threads()) as threads:
        for start in range(0, len(parts), PARTS_AT_ONCE):
            some = parts[start : start + PARTS_AT_ONCE]
            tables = threads.map(_prices, (part.key for part in some), store.get_many(some))
            for part, table in zip(some, tables, strict=True):
                found.setdefault(ds_of(part.key, prefix), []).append(table)
    return tuple(
        (
            date.fromisoformat(ds),
            tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive"),
        )
        for ds, tables in sorted(found.items())
    )


def ds_of(key: str, prefix: str) -> str:
    """The day of a part of the prices, versioned or not."""
    found = re.search(r"(?:^|/)ds=(\d{4}-\d{2}-\d{2})/", f"/{key[len(prefix) :]}")
    assert found, key  # the look-back took it from such a folder
    return found[1]


def _prices(key: str, body: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(key):
        part = pq.ParquetFile(pa.BufferReader(body))
        names = part.schema_arrow.names
        missing = [name for name in ("symbol", *PRICE_COLUMNS) if name not in names]
        if missing:
            raise MissingColumns(
                f"{key} has no column {', '.join(missing)}.",
                hint="Indicators need symbol, open, high, low, close and volume: transform that day again.",
            )
        return part.read(columns=[n for n in _WANTED if n in names], use_threads=False)


@contextmanager
def _readable(key: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as cause:
        raise CorruptObject(f"{key} cannot be read as Parquet: {cause}.") from cause


def schema_of(store: Store, part: RawObject) -> Schema:
    """The columns of a Parquet file that no manifest describes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    body = next(store.get_many((part,)))
    with _readable(part.key):
        found = pq.read_schema(pa.BufferReader(body))
    return Schema(tuple(Field(f.name, str(type_word(f.type) or "string"), f.nullable) for f in found))
