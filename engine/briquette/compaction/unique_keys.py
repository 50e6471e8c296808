"""Duplicates by business key (C9): of the records with equal keys the last in (key, position) order stays.

A record with a null in any key column is never a duplicate, as in SQL. A split removes its own
duplicates; the driver then compares the keys that remain and names the rows that lose to a later split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from briquette.model import CompactionSpec


def _losers(keys: pa.Table) -> np.ndarray[Any, Any]:
    """Row numbers, ascending, of the rows that a later row with the same non-null key replaces."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    names = keys.column_names
    plain = pa.table({str(i): _comparable(keys.column(i)) for i in range(len(names))})
    valid = pa.array(np.ones(plain.num_rows, dtype=bool))
    for column in plain.columns:
        valid = pc.and_(valid, pc.is_valid(column))
    numbered = plain.append_column("row", pa.array(np.arange(plain.num_rows, dtype=np.int64)))
    with_keys = numbered.filter(valid)
    last = with_keys.group_by(plain.column_names, use_threads=False).aggregate([("row", "max")])
    stays = pc.invert(valid).to_numpy(zero_copy_only=False).copy()
    stays[last.column("row_max").to_numpy()] = True
    return np.flatnonzero(~stays)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def keep_last(blocks: Sequence[pa.Table], spec: CompactionSpec) -> tuple[pa.Table, int]:
    """The blocks as one table without its own duplicates, and how many rows that removed."""
    import pyarrow as pa

    # Decoders may hand out dictionary-encoded strings; concatenation wants one type.
    plain = [b.cast(pa.schema([_plain_field(f) for f in b.schema])) for b in blocks]
    table = pa.concat_tables(plain)
    losers = _losers(table.select(list(spec.unique_key)))
    return without_rows(table, losers), len(losers)


def _plain_field(field: Any) -> Any:
    import pyarrow as pa

    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def without_rows(table: pa.Table, rows: Sequence[int] | np.ndarray[Any, Any]) -> pa.Table:
    """``table`` without the rows of those numbers."""
    import numpy as np
    import pyarrow as pa

    if len(rows) == 0:
        return table
    stays = np.ones(table.num_rows, dtype=bool)
    stays[np.asarray(rows, dtype=np.int64)] = False
    return table.filter(pa.array(stays)).combine_chunks()


def keys_to_bytes(table: pa.Table, spec: CompactionSpec) -> bytes:
    """The key columns as an Arrow IPC stream, for the driver."""
    import pyarrow as pa

    keys = table.select(list(spec.unique_key))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, keys.schema) as writer:
        writer.write_table(keys)
    return bytes(sink.getvalue())


def losers_between_splits(streams: Sequence[bytes]) -> dict[int, tuple[int, ...]]:
    """For each split (by position in ``streams``) the rows that a later split replaces."""
    import numpy as np
    import pyarrow as pa

    tables = [pa.ipc.open_stream(s).read_all() for s in streams]
    if not tables:
        return {}
    losers = _losers(pa.concat_tables(tables))
    edges = np.cumsum([0] + [t.num_rows for t in tables])
    owner = np.searchsorted(edges, losers, side="right") - 1
    return {
        int(split): tuple(int(r) for r in losers[owner == split] - edges[split]) for split in np.unique(owner)
    }
