"""The rows of the published days of a prices table: only the columns that indicators need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from briquette.compaction.options import default_threads
from briquette.errors import CorruptObject, MissingColumns, SeveralBars
from briquette.model import Field, RawObject, Schema
from briquette.prices import duplicates
from briquette.prices.duplicates import Resolved
from briquette.prices.panel import MARKET_CLOSE_COLUMNS, MARKET_RETURN_COLUMNS, PRICE_COLUMNS, VWAP_COLUMNS
from briquette.schemas.declared import column_type_of
from briquette.storage.interface import Store

if TYPE_CHECKING:
    import pyarrow as pa

# Parts whose bodies are held at once while their columns are taken out of them.
PARTS_AT_ONCE = 64
_WANTED = ("symbol", *PRICE_COLUMNS, *VWAP_COLUMNS, *MARKET_RETURN_COLUMNS, *MARKET_CLOSE_COLUMNS)


@dataclass(frozen=True, slots=True)
class SessionRows:
    """The rows of a session, each symbol once, and what the rule for duplicates took out of them."""

    day: date
    table: pa.Table
    duplicates: Resolved | None = None  # None: every symbol was there once


def days_of(
    store: Store,
    parts: Sequence[RawObject],
    prefix: str,
    rule: str,
    intervals: Mapping[str, str],
) -> tuple[SessionRows, ...]:
    """Each session's rows, oldest first, only the columns that indicators need.

    ``intervals`` says which bars the sessions hold, as far as that is known. Raises ``SeveralBars`` for a
    session that has more than one bar of a symbol.
    """
    found: dict[str, list[pa.Table]] = {}
    with ThreadPoolExecutor(default_threads()) as threads:
        for start in range(0, len(parts), PARTS_AT_ONCE):
            some = parts[start : start + PARTS_AT_ONCE]
            read = threads.map(_prices, (part.key for part in some), store.get_many(some))
            for part, table in zip(some, read, strict=True):
                found.setdefault(ds_of(part.key, prefix), []).append(table)
    sessions = []
    for ds, tables in sorted(found.items()):
        table = _joined(tables)
        if not _repeats(table):
            sessions.append(SessionRows(date.fromisoformat(ds), table))
            continue
        own = [part for part in parts if ds_of(part.key, prefix) == ds]
        whole = _joined([_whole(part.key, body) for part, body in zip(own, store.get_many(own), strict=True)])
        once, resolved = _once(ds, whole, rule, intervals.get(ds, ""))
        wanted = [name for name in _WANTED if name in once.column_names]
        sessions.append(SessionRows(date.fromisoformat(ds), once.select(wanted), resolved))
    return tuple(sessions)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")


def _repeats(table: pa.Table) -> bool:
    import pyarrow.compute as pc

    column = table.column("symbol")
    return bool(len(column) - column.null_count > pc.count_distinct(column, mode="only_valid").as_py())


def _once(ds: str, table: pa.Table, rule: str, interval: str) -> tuple[pa.Table, Resolved]:
    """Each symbol once; records of different times are several bars, unless bars are known to be daily."""
    keys = duplicates.key_columns(table.column_names, interval)
    once, resolved = duplicates.resolved_table(table, keys, rule)
    if _repeats(once) and not (resolved.conflicting and rule == duplicates.FAIL):
        raise SeveralBars(
            f"the prices of {ds} have more than one bar of a symbol.",
            hint="Indicators are of daily bars: transform that day from an interval of a day or more.",
        )
    return once, resolved


def _whole(key: str, body: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(key):
        return pq.ParquetFile(pa.BufferReader(body)).read(use_threads=False)


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
        raise CorruptObject(
            f"{key} cannot be read as Parquet: {cause}.", hint="Transform that day again, with --force."
        ) from cause


def schema_of(store: Store, part: RawObject) -> Schema:
    """The columns of a Parquet file that no manifest describes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    body = next(store.get_many((part,)))
    with _readable(part.key):
        found = pq.read_schema(pa.BufferReader(body))
    return Schema(tuple(Field(f.name, str(column_type_of(f.type) or "string"), f.nullable) for f in found))
