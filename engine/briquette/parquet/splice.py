"""Row groups -> one Parquet file, and back: footer surgery only, no value is decoded or encoded.

A part is ``PAR1``, the bodies one after the other, all column indexes, all offset indexes, the footer:
the layout that a single writer of the same row groups gives. Bodies may be ranges of stored objects;
they are never read here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from briquette.errors import CorruptObject, VerificationFailed
from briquette.model import Piece, RowGroup
from briquette.parquet import footer as footers
from briquette.parquet.footer import FOOTER_LENGTH_BYTES, MAGIC, TRAILER_BYTES, Entry, Footer, Span
from briquette.parquet.thrift import ThriftError

ReadRange = Callable[[int, int], bytes]  # (offset, length) -> exactly that many bytes

_BODY_START = len(MAGIC)
_ALTERED = "Nothing was published; run it again. It was altered in memory or on its way here."
_MAGIC_SHA256 = hashlib.sha256(MAGIC).hexdigest()
HEAD = Piece(len(MAGIC), MAGIC)  # every part begins with it
_KEPT_FOOTER_BYTES = 128 << 10  # parsed, it takes ten times as much
_FIRST_READ_BYTES = 256 << 10  # of a stored part's tail: most footers with their indexes fit


@dataclass(frozen=True, slots=True)
class SplicedPart:
    """One output file in pieces: header, bodies, tail (page indexes and footer)."""

    pieces: tuple[Piece, ...]
    size_bytes: int
    group_rows: tuple[int, ...]  # of each row group as its split made it
    sha256s: tuple[str, ...] = ()  # of each piece as it was made; "" where nobody has said

    @property
    def rows(self) -> int:
        return sum(self.group_rows)

    @property
    def row_groups(self) -> int:
        return len(self.group_rows)

    def read_range(self, offset: int, length: int) -> bytes:
        """A range of the file, as long as it lies in inline pieces."""
        out = []
        at = 0
        for piece in self.pieces:
            begin, end = max(offset - at, 0), min(offset + length - at, piece.size_bytes)
            if begin < end:
                if piece.data is None:
                    raise ValueError(f"bytes {at + begin}-{at + end} of the part are stored in {piece.key}")
                out.append(piece.data[begin:end])
            at += piece.size_bytes
        return b"".join(out)

    def verify(self, expected_rows: Sequence[int]) -> None:
        """``verify_part`` on the pieces, before any of them is written anywhere."""
        verify_part(self.read_range, self.size_bytes, expected_rows, tail_bytes=self.pieces[-1].size_bytes)

    def to_bytes(self) -> bytes:
        """The whole file, if every piece is inline."""
        return self.read_range(0, self.size_bytes)


def cut(parquet_file: bytes | memoryview) -> tuple[RowGroup, ...]:
    """The row groups of a Parquet file held in memory; raises ``CorruptObject``."""
    view = memoryview(parquet_file)

    def read(offset: int, length: int) -> bytes:
        return bytes(view[offset : offset + length])

    def body(offset: int, length: int) -> tuple[Piece, str]:
        data = read(offset, length)
        return Piece(length, data), hashlib.sha256(data).hexdigest()

    groups = _row_groups(read, len(view), "the Parquet file", body)
    return tuple(replace(group, footer_sha256=_footer_sha256(group)) for group in groups)


def _footer_of(data: bytes) -> Footer:
    """A parsed footer: cutting, packing and splicing ask again, and one of 200 columns takes 6 ms."""
    return _kept_footer(data) if len(data) <= _KEPT_FOOTER_BYTES else footers.parse(data)


@lru_cache(maxsize=16)
def _kept_footer(data: bytes) -> Footer:
    return footers.parse(data)


def _footer_sha256(group: RowGroup) -> str:
    """Of all that a row group is besides its body; lengths stand before what they count."""
    blobs = (group.footer, *group.column_indexes, *group.offset_indexes)
    head = " ".join(map(str, (group.rows, group.size_bytes, *map(len, blobs))))
    return hashlib.sha256(b"".join((head.encode(), b"\n", *blobs))).hexdigest()


def read_part_row_groups(read_range: ReadRange, size_bytes: int, key: str, etag: str) -> tuple[RowGroup, ...]:
    """The row groups of a stored part, of which only the tail is read; raises ``CorruptObject``.

    The bodies are ranges of ``key`` pinned by ``etag``. Their ``sha256`` is "": nobody has read them.
    """

    def body(offset: int, length: int) -> tuple[Piece, str]:
        return Piece(length, None, key, offset, etag), ""

    try:
        read = _tail_first(read_range, size_bytes)
    except ThriftError as error:
        raise _corrupt(key, str(error)) from error
    return _row_groups(read, size_bytes, key, body)


def _tail_first(read_range: ReadRange, size_bytes: int, tail_bytes: int = _FIRST_READ_BYTES) -> ReadRange:
    """Reads through a copy of the file's end, so that a footer and its indexes cost one or two requests."""
    start = max(size_bytes - tail_bytes, 0)
    tail = read_range(start, size_bytes - start)
    if len(tail) != size_bytes - start:
        raise ThriftError(f"only {len(tail)} of its last {size_bytes - start} bytes were there")

    def read(offset: int, length: int) -> bytes:
        nonlocal start, tail
        if offset < start:  # all that lies between the wanted range and the tail will be wanted next
            tail = read_range(offset, start - offset) + tail
            start = offset
        return tail[offset - start : offset - start + length]

    return read


def _row_groups(
    read: ReadRange, size_bytes: int, name: str, body: Callable[[int, int], tuple[Piece, str]]
) -> tuple[RowGroup, ...]:
    try:
        footer, footer_start = _read_footer(read, size_bytes)
        # A file of no rows may hold a row group whose offsets point nowhere.
        entries = tuple(entry for entry in footer.entries if entry.rows)
        _check_ranges(entries, footer_start)
        # One read for all indexes: they lie side by side in front of the footer.
        spans = [s for e in entries for c in e.chunks for s in (c.column_index, c.offset_index) if s]
        first = min((s[0] for s in spans), default=footer_start)
        indexes = read(first, footer_start - first)

        def index(span: Span | None) -> bytes:
            return indexes[span[0] - first : span[0] - first + span[1]] if span else b""

        return tuple(_row_group(footer, entry, index, body) for entry in entries)
    except ThriftError as error:
        raise _corrupt(name, str(error)) from error


def _row_group(
    footer: Footer,
    entry: Entry,
    index: Callable[[Span | None], bytes],
    body: Callable[[int, int], tuple[Piece, str]],
) -> RowGroup:
    delta = _BODY_START - entry.start
    column_indexes = tuple(index(c.column_index) for c in entry.chunks)
    offset_indexes = _moved(tuple(index(c.offset_index) for c in entry.chunks), delta)
    size = entry.stop - entry.start
    spans = _index_spans(_BODY_START + size, column_indexes, offset_indexes)
    piece, sha256 = body(entry.start, size)
    metadata = footer.data  # of a file that is this row group already, as those of the encoder
    if delta or not footers.is_alone(footer, *spans):
        alone = footers.moved_entry(footer.data, entry, delta, 0, *spans)
        metadata = footers.with_entries(footer, [alone], entry.rows)
    return RowGroup(piece, metadata, column_indexes, offset_indexes, entry.rows, sha256)


def _moved(offset_indexes: Sequence[bytes], delta: int) -> tuple[bytes, ...]:
    return tuple(footers.moved_offset_index(blob, delta) if blob else b"" for blob in offset_indexes)


def _index_spans(
    start: int, column_indexes: Sequence[bytes], offset_indexes: Sequence[bytes]
) -> tuple[list[Span | None], list[Span | None]]:
    """Where page indexes lie that are written from ``start`` on: column indexes first."""
    spans: list[list[Span | None]] = []
    for blobs in (column_indexes, offset_indexes):
        placed: list[Span | None] = []
        for blob in blobs:
            placed.append((start, len(blob)) if blob else None)
            start += len(blob)
        spans.append(placed)
    return spans[0], spans[1]


def splice(row_groups: Sequence[RowGroup]) -> SplicedPart:
    """One Parquet file of row groups that share a schema; raises ``VerificationFailed`` if they do not.

    Nor may a footer have changed since its row group was cut; bodies are compared when they are written.
    """
    if not row_groups:
        raise ValueError("a part needs at least one row group")
    parsed = [_parsed(group, i) for i, group in enumerate(row_groups)]
    base = parsed[0]
    shared = base.shared()
    pieces, sha256s = [HEAD], [_MAGIC_SHA256]
    offset_indexes: list[tuple[bytes, ...]] = []
    at = _BODY_START
    for i, (group, footer) in enumerate(zip(row_groups, parsed, strict=True)):
        if footer.shared() != shared:
            raise VerificationFailed(
                f"row group {i} has another schema than row group 0 of the same part.",
                hint="Run the plan again with --force: row groups of different schemas cannot share a file.",
            )
        delta = at - _BODY_START
        offset_indexes.append(_moved(group.offset_indexes, delta))
        pieces.append(group.body)
        sha256s.append(group.sha256)
        at += group.size_bytes
    group_rows = tuple(group.rows for group in row_groups)
    tail = _tail(at, row_groups, parsed, offset_indexes, sum(group_rows))
    pieces.append(Piece(len(tail), tail))
    sha256s.append(hashlib.sha256(tail).hexdigest())
    return SplicedPart(tuple(pieces), at + len(tail), group_rows, tuple(sha256s))


def added_bytes(group: RowGroup, at: int = 0) -> int:
    """What a row group adds to a part in which it begins at byte ``at``: body, indexes, footer entry."""
    footer = _parsed(group, 0)
    offset_indexes = _moved(group.offset_indexes, at)
    spans = _index_spans(at + group.size_bytes, group.column_indexes, offset_indexes)
    entry = footers.moved_entry(footer.data, footer.entries[0], at, 0, *spans)
    return group.size_bytes + sum(map(len, (*group.column_indexes, *offset_indexes, entry)))


def most_added_bytes(group: RowGroup) -> int:
    """No less than ``added_bytes`` anywhere, found without parsing: an offset that moves grows from three
    bytes or more to ten at most, and stands among others that do not grow.
    """
    moved = len(group.footer) + sum(map(len, group.offset_indexes))
    return group.size_bytes + sum(map(len, group.column_indexes)) + 3 * moved


def fixed_bytes(group: RowGroup) -> int:
    """What a part has besides its row groups: magic, schema, key-value metadata, length."""
    return len(MAGIC) + len(footers.with_entries(_parsed(group, 0), [], 0)) + TRAILER_BYTES


def _tail(
    start: int,
    row_groups: Sequence[RowGroup],
    parsed: Sequence[Footer],
    offset_indexes: Sequence[tuple[bytes, ...]],
    rows: int,
) -> bytes:
    flat_columns = [blob for group in row_groups for blob in group.column_indexes]
    flat_offsets = [blob for blobs in offset_indexes for blob in blobs]
    column_spans, offset_spans = _index_spans(start, flat_columns, flat_offsets)
    entries = []
    at = _BODY_START
    column = 0
    for ordinal, (group, footer) in enumerate(zip(row_groups, parsed, strict=True)):
        end = column + len(group.column_indexes)
        spans = column_spans[column:end], offset_spans[column:end]
        entries.append(footers.moved_entry(footer.data, footer.entries[0], at - _BODY_START, ordinal, *spans))
        at += group.size_bytes
        column = end
    metadata = footers.with_entries(parsed[0], entries, rows)
    length = len(metadata).to_bytes(FOOTER_LENGTH_BYTES, "little")
    return b"".join((*flat_columns, *flat_offsets, metadata, length, MAGIC))


def _parsed(group: RowGroup, index: int) -> Footer:
    """A row group's own footer, checked against what the row group says of itself."""
    if group.footer_sha256 and group.footer_sha256 != _footer_sha256(group):
        raise VerificationFailed(
            f"the rows, footer or page indexes of row group {index} are not what its split made.",
            hint=_ALTERED,
        )
    try:
        footer = _footer_of(group.footer)
    except ThriftError as error:
        raise VerificationFailed(
            f"row group {index} has a damaged footer: {error}.", hint=_ALTERED
        ) from error
    entry = footer.entries[0] if len(footer.entries) == 1 else None
    columns = len(entry.chunks) if entry else 0
    if (
        entry is None
        or (entry.start, entry.stop) != (_BODY_START, _BODY_START + group.size_bytes)
        or not group.rows == entry.rows == footer.rows
        or not columns == len(group.column_indexes) == len(group.offset_indexes)
        or (group.body.data is not None and len(group.body.data) != group.size_bytes)
    ):
        raise VerificationFailed(
            f"row group {index} and its footer do not agree on rows, columns or size.", hint=_ALTERED
        )
    return footer


def verify_part(
    read_range: ReadRange,
    size_bytes: int,
    expected_rows: Sequence[int],
    tail_bytes: int = _FIRST_READ_BYTES,
) -> None:
    """Check a part before readers see it: rows of each row group, and that its ranges tile the file.

    ``expected_rows`` has one number for each row group. Only the magic at the beginning and the tail are
    read, ``tail_bytes`` of it at first. Raises ``VerificationFailed``.
    """
    try:
        read = _tail_first(read_range, size_bytes, tail_bytes)
        if read_range(0, len(MAGIC)) != MAGIC:
            raise ThriftError("it does not begin with PAR1")
        footer, footer_start = _read_footer(read, size_bytes)
        if [e.rows for e in footer.entries] != list(expected_rows) or footer.rows != sum(expected_rows):
            raise ThriftError(
                f"its footer says {footer.rows} rows in {len(footer.entries)} row groups, "
                f"expected {sum(expected_rows)} in {len(expected_rows)}, each with its own count"
            )
        _check_tiling(footer, footer_start, read)
    except ThriftError as error:
        raise VerificationFailed(
            f"The part of {size_bytes} bytes is wrong: {error}.",
            hint="Nothing was published; run it again, and report it if it stays.",
        ) from error


def _read_footer(read: ReadRange, size_bytes: int) -> tuple[Footer, int]:
    smallest = len(MAGIC) + TRAILER_BYTES
    trailer = read(size_bytes - TRAILER_BYTES, TRAILER_BYTES) if size_bytes >= smallest else b""
    if trailer[FOOTER_LENGTH_BYTES:] != MAGIC:
        raise ThriftError("it does not end with PAR1")
    length = int.from_bytes(trailer[:FOOTER_LENGTH_BYTES], "little")
    start = size_bytes - TRAILER_BYTES - length
    if start < len(MAGIC):
        raise ThriftError(f"its footer of {length} bytes does not fit into {size_bytes} bytes")
    return _footer_of(read(start, length)), start


def _check_ranges(entries: Sequence[Entry], footer_start: int) -> None:
    """Bodies follow each other and indexes follow the bodies: what is copied is never more than the file."""
    at = _BODY_START
    for i, entry in enumerate(entries):
        if entry.start < at or any(not entry.start <= c.start <= c.stop for c in entry.chunks):
            raise ThriftError(f"row group {i} overlaps its neighbour")
        at = entry.stop
    spans = [s for e in entries for c in e.chunks for s in (c.column_index, c.offset_index) if s]
    if at > footer_start or any(s[0] < at or s[0] + s[1] > footer_start for s in spans):
        raise ThriftError("a chunk or page index lies outside of the file's data")
    if sum(s[1] for s in spans) > footer_start - at:
        raise ThriftError("page indexes overlap")


def _check_tiling(footer: Footer, footer_start: int, read: ReadRange) -> None:
    at = _BODY_START
    chunks = [(i, e.rows, c) for i, e in enumerate(footer.entries) for c in e.chunks]
    for i, entry in enumerate(footer.entries):
        if entry.ordinal not in (None, i):
            raise ThriftError(f"row group {i} says that it is number {entry.ordinal}")
        if entry.file_offset not in (0, entry.start):
            raise ThriftError(f"row group {i} says that it begins at {entry.file_offset}, not {entry.start}")
    for i, _, chunk in chunks:
        if chunk.start != at or chunk.stop <= at:
            raise ThriftError(f"a chunk of row group {i} begins at {chunk.start}, its neighbour ends at {at}")
        at = chunk.stop
    for span in (*(c.column_index for *_, c in chunks), *(c.offset_index for *_, c in chunks)):
        if span is not None:
            if span[0] != at:
                raise ThriftError(f"a page index begins at {span[0]}, its neighbour ends at {at}")
            at += span[1]
    if at != footer_start:
        raise ThriftError(f"the data ends at {at}, the footer begins at {footer_start}")
    for i, rows, chunk in chunks:
        if chunk.offset_index is not None:
            _check_pages(footers.pages_of(read(*chunk.offset_index)), chunk, rows, i)


def _check_pages(pages: Sequence[footers.Page], chunk: footers.Chunk, rows: int, i: int) -> None:
    at, row = chunk.first_data_page, -1
    for page in pages:
        if page.offset != at or not row < page.first_row < rows or (row < 0 and page.first_row):
            raise ThriftError(f"the offset index of row group {i} has a page at {page.offset}, expected {at}")
        at, row = page.offset + page.size_bytes, page.first_row
    if at != chunk.stop:
        raise ThriftError(f"the pages of a chunk of row group {i} end at {at}, the chunk at {chunk.stop}")


def _corrupt(name: str, why: str) -> CorruptObject:
    return CorruptObject(
        f"{name} cannot be read as Parquet: {why}.",
        hint="Check that it was written whole; a file that another tool changed must be written again.",
    )
