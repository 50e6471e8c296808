"""What the values of Arrow columns count for, row by row: the measure by which blocks of Parquet are cut.

It says nothing about memory to the byte: it is the same for every version of pyarrow, and for a column that
came as a dictionary it is what the texts take once they are unfolded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from briquette.decoding.parquet.values import elements_of

Sizes = np.ndarray[Any, np.dtype[np.int64]]
types = pa.types

WIDTH = 8  # bytes that a value without a length of its own counts for
LENGTH = 4  # ... and the length of one that has it


def row_bytes(array: pa.Array) -> Sizes:
    """How many bytes each value counts for: its own bytes and 4 for a text, 8 for any other scalar.

    A list or map counts 4 and what it holds, a struct what its fields hold.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return row_bytes(array.storage)
    if types.is_dictionary(kind):
        sizes = np.append(row_bytes(array.dictionary), LENGTH)
        return np.asarray(sizes[_without_nulls(array.indices, len(sizes) - 1)], np.int64)
    if types.is_struct(kind):
        return total(len(array), [array.field(i) for i in range(kind.num_fields)])
    if types.is_map(kind):
        return _grouped(array, [array.keys, array.items])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _grouped(array, [array.values])
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        ends = np.append(0, np.cumsum(row_bytes(array.values)))
        begins, counts = (a.to_numpy(zero_copy_only=False) for a in (array.offsets, array.sizes))
        return np.asarray(ends[begins + counts] - ends[begins] + LENGTH, np.int64)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return row_bytes(array.cast(pa.large_binary()))
    if types.is_fixed_size_binary(kind) and not types.is_decimal(kind):
        return np.full(len(array), kind.byte_width + LENGTH, np.int64)
    if types.is_string(kind) or types.is_large_string(kind):
        return _lengths(array)
    if types.is_binary(kind) or types.is_large_binary(kind):
        return _lengths(array)
    return np.full(len(array), WIDTH, np.int64)


def total(rows: int, columns: list[pa.Array]) -> Sizes:
    """What the rows of some columns count for together."""
    plain = [types.is_primitive(column.type) for column in columns]  # they count alike for every row
    sizes = np.full(rows, WIDTH * sum(plain), np.int64)
    for column, counted in zip(columns, plain, strict=True):
        if not counted:
            sizes += row_bytes(column)
    return sizes


def _lengths(array: pa.Array) -> Sizes:
    return np.asarray(_without_nulls(pc.binary_length(array), 0), np.int64) + LENGTH


def _without_nulls(array: pa.Array, instead: int) -> Any:
    if array.null_count:
        array = pc.coalesce(array, pa.scalar(instead, array.type))
    return array.to_numpy(zero_copy_only=False)


def _grouped(array: pa.Array, values: list[pa.Array]) -> Sizes:
    """Lists of elements, or maps of keys and items."""
    offsets, _ = elements_of(array, values[0])
    flat = [elements_of(array, v)[1] for v in values]
    ends = np.append(0, np.cumsum(total(len(flat[0]), flat)))
    return np.asarray(np.diff(ends[np.asarray(offsets)]) + LENGTH, np.int64)
