"""The digest of C11.3, written again from SPEC.md alone: plain Python over values, no Arrow buffers."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from briquette.schemas.declared import column_type_of

_FORMATS = {"int8": "b", "int16": "h", "int32": "i", "int64": "q", "float": "f", "double": "d"}


def content_digest(splits: Iterable[pa.Table]) -> str:
    """The digest of a dataset whose splits have one block each."""
    return _combine(_combine([rows_digest(table)]) for table in splits).hex()


def _combine(digests: Iterable[bytes]) -> bytes:
    return hashlib.sha256(b"briquette digests 1\n" + b"".join(digests)).digest()


def rows_digest(table: pa.Table) -> bytes:
    parts = [b"briquette rows 1\n", f"{table.num_rows} rows, {table.num_columns} columns\n".encode()]
    for field, column in zip(table.schema, table.columns, strict=True):
        for text in (field.name, str(column_type_of(field.type))):
            parts += [b"%d:" % len(text.encode()), text.encode(), b"\n"]
        parts.append(_values(field.type, list(column)))
    return hashlib.sha256(b"".join(parts)).digest()


def _values(kind: pa.DataType, cells: Sequence[pa.Scalar | None]) -> bytes:
    if not cells:
        return b""
    there = [cell is not None and cell.is_valid for cell in cells]
    found = [cell if ok else None for cell, ok in zip(cells, there, strict=True)]
    flags = b"\0" if all(there) else b"\1" + _bitmap(there)
    if pa.types.is_struct(kind):
        return flags + b"".join(_values(f.type, [c and c[f.name] for c in found]) for f in kind)
    if pa.types.is_list(kind):
        lists = [list(c.values) if c is not None else [] for c in found]
        elements = [item for items in lists for item in items]
        count = b"%d elements\n" % len(elements)
        return flags + _lengths(lists) + count + _values(kind.value_type, elements)
    if pa.types.is_boolean(kind):
        return flags + _bitmap([c is not None and c.as_py() for c in found])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        texts = [b"" if c is None else c.as_py() for c in found]
        texts = [t.encode() if isinstance(t, str) else t for t in texts]
        return flags + _lengths(texts) + b"".join(texts)
    return flags + b"".join(_number(kind, c) for c in found)


def _bitmap(bits: Sequence[bool]) -> bytes:
    number = sum(1 << i for i, bit in enumerate(bits) if bit)
    return number.to_bytes(-(-len(bits) // 8), "little")


def _lengths(items: Sequence[Sequence[Any]]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) for item in items)


def _number(kind: pa.DataType, cell: pa.Scalar | None) -> bytes:
    if cell is None:
        return bytes(kind.bit_width // 8)
    if pa.types.is_decimal(kind):
        return int(cell.as_py().scaleb(kind.scale)).to_bytes(16, "little", signed=True)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return int(cell.value).to_bytes(kind.bit_width // 8, "little", signed=True)
    number = cell.as_py()
    if isinstance(number, float) and math.isnan(number):
        number = math.nan
    code = _FORMATS[str(kind).removeprefix("u")]
    return struct.pack("<" + (code.upper() if str(kind).startswith("u") else code), number)
