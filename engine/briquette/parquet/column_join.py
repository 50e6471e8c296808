"""Two Parquet files of the same rows -> one with the columns of both, as one writer would have made it.

Column chunks know nothing of each other, so two threads can write a row group's columns; then offsets and
the footer's lists are joined. Every byte is that of a writer that got all columns at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from briquette.parquet import footer as footers
from briquette.parquet import thrift
from briquette.parquet.footer import FOOTER_LENGTH_BYTES, MAGIC, TRAILER_BYTES, Entry, Footer, Span
from briquette.parquet.thrift import Edit, Field, Struct, ThriftError

_SCHEMA, _COLUMN_ORDERS = 2, 7
_CHILDREN = 5  # of a schema element
_RG_COLUMNS, _RG_BYTES, _RG_COMPRESSED_BYTES = 1, 2, 6


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
    metadata = _joined_metadata(
        one.footer,
        footers.moved_chunks(one.footer.data, one.entry, 0, columns[:middle], offsets[:middle]),
        other.footer,
        footers.moved_chunks(other.footer.data, other.entry, delta, columns[middle:], offsets[middle:]),
    )
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


def _joined_metadata(one: Footer, moved: list[Edit], other: Footer, moved_there: list[Edit]) -> bytes:
    """The footer of ``one`` with the columns of ``other`` too; the chunks of both are edited."""
    left, right = one.data, other.data
    group, more = one.entries[0].struct, other.entries[0].struct
    edits = moved + [_sum(left, group, right, more, i) for i in (_RG_BYTES, _RG_COMPRESSED_BYTES)]
    edits += _joined(
        left, group.fields[_RG_COLUMNS], right, more.fields[_RG_COLUMNS], edits_there=moved_there
    )
    orders = (footer.root.fields[_COLUMN_ORDERS] for footer in (one, other))
    edits += _joined(left, next(orders), right, next(orders))
    schema, schema_there = one.root.fields[_SCHEMA], other.root.fields[_SCHEMA]
    root, root_there = thrift.structs_of(left, schema)[0], thrift.structs_of(right, schema_there)[0]
    edits += _joined(left, schema, right, schema_there, skipped=root_there)
    edits.append(_sum(left, root, right, root_there, _CHILDREN))
    return thrift.patched(left, 0, len(left), edits)


def _joined(
    left: bytes,
    one: Field,
    right: bytes,
    other: Field,
    *,
    edits_there: Sequence[Edit] = (),
    skipped: Struct | None = None,
) -> list[Edit]:
    """The edits that put the elements of another list of structs, edited themselves, behind those of ``one``.

    ``skipped`` is the first of the other list if it stays away.
    """
    here, there = (f.structs or thrift.structs_of(d, f) for d, f in ((left, one), (right, other)))
    count = len(here) + len(there) - (skipped is not None)
    begin = skipped.stop if skipped else there[0].start
    return [
        (one.start, here[0].start, thrift.list_of_structs(count)),
        (one.stop, one.stop, thrift.patched(right, begin, other.stop, edits_there)),
    ]


def _sum(left: bytes, one: Struct, right: bytes, other: Struct, field_id: int) -> Edit:
    field = one.fields[field_id]
    total = thrift.int_of(left, field) + thrift.int_of(right, other.fields[field_id])
    return field.start, field.stop, thrift.encode_int(total)
