"""The types of a Parquet object's columns as column types: from its schema, else from the values.

Bytes without a logical type are text if all of them are; INT96 times are as fine as their range allows.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from briquette.decoding.parquet.file import InMemory, Meter, ParquetObject, enough_memory
from briquette.decoding.parquet.scalars import BYTES, exact_nanoseconds, first_of
from briquette.decoding.parquet.values import Form, elements_of
from briquette.model import Limits
from briquette.schemas.declared import column_type_of
from briquette.schemas.types import JSON, ColumnType

types = pa.types

_SPAN = (types.is_time, types.is_duration)
_NOT_TEXT, _FAR, _FINE = "not text", "far", "fine"  # what was seen in a leaf


def parquet_types(key: str, body: bytes, limits: Limits) -> tuple[int, dict[str, ColumnType]]:
    """How many rows a Parquet file has, and each column's type in the file's order.

    Raises CorruptObject, LimitExceeded and OutOfMemory.
    """
    file = ParquetObject(key, InMemory(body), limits)
    looked_at = [n for n in file.names if _is_mute(file.schema.field(n).type, file.forms[n])]
    seen: dict[tuple[str, int], set[str]] = {}
    if looked_at:
        for piece in file.slices(Meter()):
            for name in looked_at:
                array = piece.rows.column(piece.rows.schema.get_field_index(name))
                with enough_memory(key):
                    leaves = _leaves(array, file.forms[name], piece.twins.get(name))
                    for number, (leaf, mark, twin) in enumerate(leaves):
                        _look(leaf, mark, twin, seen.setdefault((name, number), set()))
    column_types = {}
    for name in file.names:
        found = (seen.get((name, number), set()) for number in range(1 << 30))
        column_types[name] = (
            column_type_of(_plain(file.schema.field(name).type, file.forms[name], found)) or JSON
        )
    return file.rows, column_types


def _is_mute(kind: pa.DataType, form: Form) -> bool:
    return "int96" in form.marks() or any(first_of(k, BYTES) and m == "" for k, m in _kinds(kind, form))


def _children(kind: pa.DataType) -> list[pa.DataType]:
    return [kind.key_type, kind.item_type] if types.is_map(kind) else [f.type for f in _fields(kind)]


def _fields(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(i) for i in range(kind.num_fields)]


def _kinds(kind: pa.DataType, form: Form) -> Iterator[tuple[pa.DataType, str]]:
    """The types and marks of all leaves."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType) or not kind.num_fields:
        yield kind, form.mark
        return
    for child, inner in zip(_children(kind), form.children, strict=True):
        yield from _kinds(child, inner)


def _leaves(
    array: pa.Array, form: Form, twin: pa.Array | None
) -> Iterator[tuple[pa.Array, str, pa.Array | None]]:
    """The leaves of a column with their marks and twins, in the order of ``_kinds``."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType) or types.is_dictionary(kind) or not kind.num_fields:
        yield array, form.mark, twin
    else:
        twins = _inner(twin) if twin is not None else [None] * len(form.children)
        for child, inner, other in zip(_inner(array), form.children, twins, strict=True):
            yield from _leaves(child, inner, other)


def _inner(array: pa.Array) -> list[pa.Array]:
    kind = array.type
    if types.is_struct(kind):
        return [array.field(i) for i in range(kind.num_fields)]
    if types.is_map(kind):
        return [elements_of(array, v)[1] for v in (array.keys, array.items)]
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return [array.values]
    return [elements_of(array, array.values)[1]]


def _look(leaf: pa.Array, mark: str, twin: pa.Array | None, seen: set[str]) -> None:
    if mark == "int96" and twin is not None:
        counts = [c for c in exact_nanoseconds(leaf, twin) if c is not None]
        if any(not -(2**63) < c < 2**63 for c in counts):
            seen.add(_FAR)
        if any(c % 1_000 for c in counts):
            seen.add(_FINE)
        return
    values = leaf.dictionary if types.is_dictionary(leaf.type) else leaf
    if first_of(values.type, BYTES) and not _is_text(values):
        seen.add(_NOT_TEXT)


def _is_text(values: pa.Array) -> bool:
    try:
        values.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _plain(kind: pa.DataType, form: Form, found: Iterator[set[str]]) -> pa.DataType:
    """A type as its values are taken over; ``found`` tells of each leaf what was seen."""
    if types.is_dictionary(kind):
        return _plain(kind.value_type, form, found)
    if isinstance(kind, pa.BaseExtensionType) or not kind.num_fields:
        return _plain_leaf(kind, form.mark, next(found))
    inner = [_plain(k, f, found) for k, f in zip(_children(kind), form.children, strict=True)]
    if types.is_map(kind):
        return kind
    if types.is_struct(kind):
        return pa.struct([field.with_type(k) for field, k in zip(_fields(kind), inner, strict=True)])
    return pa.list_(inner[0])


def _plain_leaf(kind: pa.DataType, mark: str, seen: set[str]) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return {"arrow.uuid": pa.string(), "arrow.bool8": pa.bool_()}.get(kind.extension_name, kind)
    if mark == "int96" and _FAR in seen:
        return pa.string() if _FINE in seen else pa.timestamp("us")
    if first_of(kind, _SPAN) or mark == "interval":
        return pa.string()
    if first_of(kind, BYTES):
        return pa.binary() if mark or _NOT_TEXT in seen else pa.string()
    return kind
