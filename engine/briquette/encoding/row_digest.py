"""A checksum of rows, not of bytes: equal for equal rows however Arrow or Parquet happens to hold them.

The canonical form, column after column: name, type, then the values. Values are one flag (any
nulls?), a bitmap of what is valid if so, and the data: little-endian numbers with 0 for null and one NaN
for all NaNs, lengths and bytes of texts, lengths and elements of lists, the fields of structs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from briquette.encoding.column_encodings import is_text, joined, plain_type
from briquette.errors import SchemaError
from briquette.schemas.declared import column_type_of

if TYPE_CHECKING:
    from hashlib import _Hash

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.unsignedinteger[Any]]

_ROWS = b"briquette rows 1\n"  # raise the number when the canonical form changes
_COMBINED = b"briquette digests 1\n"


def rows_digest(table: pa.Table) -> str:
    """SHA-256 in hex of the rows in order; chunks, dictionaries and what lies under nulls do not count.

    Raises ``SchemaError`` for a type that no column type stands for.
    """
    digest = hashlib.sha256(_ROWS)
    digest.update(b"%d rows, %d columns\n" % (table.num_rows, table.num_columns))
    for field, column in zip(table.schema, table.columns, strict=True):
        column_type = column_type_of(plain_type(field.type))
        if column_type is None:
            raise SchemaError(
                f"column {field.name} has type {field.type}, which no type of a schema stands for.",
                hint="Convert it to a type that docs/guide.md lists.",
            )
        for text in (field.name.encode(), str(column_type).encode()):
            digest.update(b"%d:%b\n" % (len(text), text))
        _update(digest, joined(column))
    return digest.hexdigest()


def combine_digests(digests: Iterable[str]) -> str:
    """The digest of several digests in order."""
    return hashlib.sha256(_COMBINED + b"".join(bytes.fromhex(d) for d in digests)).hexdigest()


def _update(digest: _Hash, array: pa.Array) -> None:
    if len(array) == 0:
        return
    valid: Bools | None = None
    if array.null_count:
        valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
        digest.update(b"\1")
        digest.update(np.packbits(valid, bitorder="little").data)
    else:
        digest.update(b"\0")
    kind = array.type
    if types.is_struct(kind):
        for child in array.flatten():  # children of a null are null
            _update(digest, child)
    elif types.is_list(kind):
        digest.update(_lengths(array, np.int32, valid).data)
        elements = pc.list_flatten(array)  # without what lies under nulls
        digest.update(b"%d elements\n" % len(elements))
        _update(digest, elements)
    elif is_text(kind):
        _update_text(digest, array, valid)
    elif types.is_boolean(kind):
        values = pc.coalesce(array, pa.scalar(False)).to_numpy(zero_copy_only=False)
        digest.update(np.packbits(values, bitorder="little").data)
    elif not types.is_null(kind):
        digest.update(_numbers(array, valid).data)


def _update_text(digest: _Hash, array: pa.Array, valid: Bools | None) -> None:
    if valid is not None:
        array = array.fill_null(pa.scalar(b"").cast(array.type))  # nothing may lie under a null
    wide = types.is_large_string(array.type) or types.is_large_binary(array.type)
    offset_type = np.int64 if wide else np.int32
    digest.update(_lengths(array, offset_type, None).data)
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, offset_type)
    start, stop = int(offsets[array.offset]), int(offsets[array.offset + len(array)])
    if stop > start:
        digest.update(memoryview(data)[start:stop])


def _lengths(array: pa.Array, offset_type: type[np.signedinteger[Any]], valid: Bools | None) -> Words:
    """How long each value is, as 32-bit numbers; 0 under null."""
    offsets = np.frombuffer(array.buffers()[1], offset_type)[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(offsets).astype(np.uint32, copy=False)
    return lengths if valid is None else np.where(valid, lengths, np.uint32(0))


def _numbers(array: pa.Array, valid: Bools | None) -> Words:
    """The values' bytes as unsigned words: 0 under null, one NaN for all."""
    width = array.type.bit_width // 8
    word = np.dtype(f"<u{min(width, 8)}")
    per_value = width // word.itemsize
    begin, end = array.offset * per_value, (array.offset + len(array)) * per_value
    words = np.frombuffer(array.buffers()[1], word)[begin:end]
    if valid is not None:
        words = np.where(valid if per_value == 1 else np.repeat(valid, per_value), words, word.type(0))
    if types.is_floating(array.type):
        numbers = words.view(f"<f{width}")
        with np.errstate(all="ignore"):
            suspicious = bool(np.isnan(numbers.sum()))  # one quick pass: a NaN, or infinities of both signs
        if suspicious:
            nan = np.array([np.nan], numbers.dtype).view(word)[0]
            words = np.where(np.isnan(numbers), nan, words)
    return words
