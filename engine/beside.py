"""Two Parquet files of the same rows -> one with the columns of both, as one writer would have made it.

Column chunks know nothing of each other, so two threads can write a row group's columns; then offsets and
the footer's lists are joined. Every byte is that of a writer that got all columns at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine import footer as footers
from engine import thrift
from engine.footer import FOOTER_LENGTH_BYTES, MAGIC, TRAILER_BYTES, Entry, Footer, Span
from engine.thrift import Edit, Field, Struct, ThriftError

_SCHEMA, _ROW_GROUPS, _COLUMN_ORDERS = 2, 4, 7
_CHILDREN = 5  # of a schema element
_RG_COLUMNS, _RG_BYTES, _RG_COMPRESSED_BYTES = 1, 2, 6
_LISTS: thrift.Wanted = {_SCHEMA: {}, _COLUMN_ORDERS: {}}


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two files: its only row group and its page indexes."""

    body: memoryview
    footer: Footer
    entry: Entry
    column_indexes: tuple[bytes, ...]
    offset_indexes: tuple[bytes, ...]


def beside(left: memoryview, right: memoryview) -> bytes:
    """One file of the columns of ``left`` and then those of ``right``; raises ``ThriftError``."""
    one, other = _side(left), _side(right)
    if one.entry.rows != other.entry.rows or one.entry.start != len(MAGIC):
        raise ThriftError("the two files do not hold one row group of the same rows")
    delta = len(one.body)
    moved = tuple(footers.moved_offset_index(i, delta) if i else b"" for i in other.offset_indexes)
    column_indexes = (*one.column_indexes, *other.column_indexes)
    offset_indexes = (*one.offset_indexes, *moved)
    spans = _spans(len(MAGIC) + delta + len(other.body), (*column_indexes, *offset_indexes))
    columns, offsets = spans[: len(column_indexes)], spans[len(column_indexes) :]
    middle = len(one.column_indexes)
    entry = _joined_entry(
        footers.moved_entry(one.footer.data, one.entry, 0, 0, columns[:middle], offsets[:middle]),
        footers.moved_entry(other.footer.data, other.entry, delta, 0, columns[middle:], offsets[middle:]),
    )
    metadata = _joined_metadata(one.footer.data, other.footer.data, entry)
    length = len(metadata).to_bytes(FOOTER_LENGTH_BYTES, "little")
    return b"".join((MAGIC, one.body, other.body, *column_indexes, *offset_indexes, metadata, length, MAGIC))


def _side(file: memoryview) -> _Side:
    size = int.from_bytes(file[-TRAILER_BYTES : -len(MAGIC)], "little")
    footer = footers.parse(bytes(file[-TRAILER_BYTES - size : -TRAILER_BYTES]))
    if len(footer.entries) != 1:
        raise ThriftError(f"the file holds {len(footer.entries)} row groups, not one")
    entry = footer.entries[0]

    def index(span: Span | None) -> bytes:
        return bytes(file[span[0] : span[0] + span[1]]) if span else b""

    return _Side(
        file[entry.start : entry.stop],
        footer,
        entry,
        tuple(index(chunk.column_index) for chunk in entry.chunks),
        tuple(index(chunk.offset_index) for chunk in entry.chunks),
    )


def _spans(at: int, blobs: tuple[bytes, ...]) -> list[Span | None]:
    """Where page indexes lie that follow each other; there is none where a page is only NaN."""
    found: list[Span | None] = []
    for blob in blobs:
        found.append((at, len(blob)) if blob else None)
        at += len(blob)
    return found


def _joined_entry(left: bytes, right: bytes) -> bytes:
    """A row group's metadata with the chunks of both, and the sums of their sizes."""
    one, other = (thrift.scan(data, {_RG_COLUMNS: {}}) for data in (left, right))
    edits = [_joined_list(left, one.fields[_RG_COLUMNS], right, other.fields[_RG_COLUMNS])]
    edits += [_sum(left, one, right, other, i) for i in (_RG_BYTES, _RG_COMPRESSED_BYTES)]
    return thrift.patched(left, 0, len(left), edits)


def _joined_metadata(left: bytes, right: bytes, entry: bytes) -> bytes:
    one, other = thrift.scan(left, _LISTS), thrift.scan(right, _LISTS)
    schema, more = one.fields[_SCHEMA], other.fields[_SCHEMA]
    root, groups = schema.structs[0], one.fields[_ROW_GROUPS]
    children = _sum(left, root, right, more.structs[0], _CHILDREN)
    # The other root goes: all columns hang on this one.
    head = thrift.list_of_structs(len(schema.structs) + len(more.structs) - 1)
    below = right[more.structs[0].stop : more.stop]
    edits: list[Edit] = [
        (schema.start, root.start, head),
        children,
        (schema.stop, schema.stop, below),
        (groups.start, groups.stop, thrift.list_of_structs(1) + entry),
        _joined_list(left, one.fields[_COLUMN_ORDERS], right, other.fields[_COLUMN_ORDERS]),
    ]
    return thrift.patched(left, 0, len(left), edits)


def _joined_list(left: bytes, one: Field, right: bytes, other: Field) -> Edit:
    head = thrift.list_of_structs(len(one.structs) + len(other.structs))
    elements = [data[f.structs[0].start : f.stop] for data, f in ((left, one), (right, other))]
    return one.start, one.stop, b"".join((head, *elements))


def _sum(left: bytes, one: Struct, right: bytes, other: Struct, field_id: int) -> Edit:
    field = one.fields[field_id]
    total = thrift.int_of(left, field) + thrift.int_of(right, other.fields[field_id])
    return field.start, field.stop, thrift.encode_int(total)
