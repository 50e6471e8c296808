"""The published days of a prices table: which there are, what they hold, and the columns of their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from engine.compaction import default_threads
from engine.errors import CorruptObject, MissingColumns, SourceChanged
from engine.model import Field, Location, Manifest, RawObject, Schema
from engine.prices.panel import MARKET_CLOSE_COLUMNS, MARKET_RETURN_COLUMNS, PRICE_COLUMNS, VWAP_COLUMNS
from engine.publishing.identity import standing
from engine.publishing.layout import VERSIONS, Layout, is_hidden
from engine.schema import type_word
from engine.store import Store, Stored
from engine.table_formats import refuse_table
from engine.target import below
from engine.value import Value

if TYPE_CHECKING:
    import pyarrow as pa

# Parts whose bodies are held at once while their columns are taken out of them.
PARTS_AT_ONCE = 64
_WANTED = ("symbol", *PRICE_COLUMNS, *VWAP_COLUMNS, *MARKET_RETURN_COLUMNS, *MARKET_CLOSE_COLUMNS)
_DAY = re.compile(r"ds=(\d{4}-\d{2}-\d{2})/(.+)")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Session(Value):
    """The published prices of one day; ``schema`` is None where no manifest describes them."""

    ds: str
    parts: tuple[RawObject, ...]
    schema: Schema | None = None


def sessions_until(store: Store, prices: Location, ds: str, count: int) -> tuple[Session, ...]:
    """The last ``count`` published days up to ``ds``, oldest first; reads one manifest for each.

    A day that an older pipeline wrote has no manifest: its visible Parquet files are taken.
    """
    found: dict[str, list[Stored]] = {}
    for stored in store.list(f"{prices.prefix}ds="):
        match = _DAY.fullmatch(stored.key[len(prices.prefix) :])
        if match and match[1] <= ds:
            found.setdefault(match[1], []).append(stored)
    sessions: list[Session] = []
    days = sorted(found, reverse=True)
    # A folder may hold nothing but hidden objects, so a few more days than sessions may be looked at.
    while days and len(sessions) < count:
        some, days = days[: count - len(sessions)], days[count - len(sessions) :]
        sessions += [s for s in _sessions(store, prices, {day: found[day] for day in some}) if s.parts]
    return tuple(sorted(sessions, key=lambda s: s.ds))


def _sessions(store: Store, prices: Location, days: Mapping[str, Sequence[Stored]]) -> Iterator[Session]:
    layouts = {ds: Layout.of(below(prices, f"ds={ds}")) for ds in days}
    manifests = {
        ds: RawObject(stored.key, stored.size_bytes, stored.etag)
        for ds, objects in days.items()
        for stored in objects
        if stored.key == layouts[ds].manifest_key
    }
    bodies = dict(zip(manifests, store.get_many(tuple(manifests.values())), strict=True))
    published = {
        ds: layouts[ds].manifest_of(body, f"{store.url}/{layouts[ds].manifest_key}")
        for ds, body in bodies.items()
    }
    listed = {o.key: o for objects in days.values() for o in objects}
    if any(f.key not in listed for manifest in published.values() for f in manifest.files):
        versions = f"{prices.prefix}{VERSIONS}/ds="
        listed |= {o.key: o for o in store.list(versions)}
    for ds, objects in days.items():
        layout = layouts[ds]
        if ds in published:
            manifest = published[ds]
            yield Session(ds, _parts(store, manifest, listed), manifest.spec.schema)
        else:
            visible = (o for o in objects if not is_hidden(o.key[len(layout.live) :]))
            plain = [o for o in visible if o.key.endswith(".parquet")]
            refuse_table(store, below(prices, f"ds={ds}"), [o.key for o in plain])
            yield Session(ds, tuple(RawObject(o.key, o.size_bytes, o.etag) for o in plain))


def _parts(store: Store, manifest: Manifest, listed: Mapping[str, Stored]) -> tuple[RawObject, ...]:
    """The parts of a day, identified by their bytes and pinned as they stand; ``SourceChanged``."""
    found = standing(store, manifest.files, listed)
    if found is None:
        raise SourceChanged(
            f"the parts of {manifest.partition} are not those of their manifest.",
            hint="Transform that day again, then run this again.",
        )
    return tuple(RawObject(f.key, f.size_bytes, f.etag, sha256=f.sha256) for f in found.files)


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
    assert found, key  # sessions_until took it from such a folder
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
