"""A Parquet footer as byte spans: where its row groups, chunks and page indexes lie, and how to move them.

Offsets in a footer are absolute, so bytes that move need a footer that moves with them. Only the numbers
that must change are rewritten; everything else is copied as the writer left it (see ``thrift``).
Standard library only: a Lambda that checks a published part must not load pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from briquette.parquet import thrift
from briquette.parquet.thrift import Edit, Struct, ThriftError

MAGIC = b"PAR1"
FOOTER_LENGTH_BYTES = 4
TRAILER_BYTES = FOOTER_LENGTH_BYTES + len(MAGIC)
MAX_ORDINAL = (1 << 15) - 1  # the ordinal is an i16 and optional: later row groups do without

Span = tuple[int, int]  # offset and length in a file

# Field ids of parquet.thrift.
_SCHEMA, _NUM_ROWS, _ROW_GROUPS, _KEY_VALUES, _COLUMN_ORDERS, _ENCRYPTION = 2, 3, 4, 5, 7, 8
_RG_COLUMNS, _RG_ROWS, _RG_FILE_OFFSET, _RG_ORDINAL = 1, 3, 5, 7
_CC_FILE_PATH, _CC_FILE_OFFSET, _CC_META, _CC_CRYPTO = 1, 2, 3, 8
_CC_OFFSET_INDEX, _CC_COLUMN_INDEX = (4, 5), (6, 7)  # ids of offset and length
_CM_COMPRESSED_SIZE, _CM_DATA_PAGE, _CM_INDEX_PAGE, _CM_DICTIONARY_PAGE = 7, 9, 10, 11
_CM_BLOOM_FILTER = (14, 15)
_WANTED: thrift.Wanted = {_ROW_GROUPS: {_RG_COLUMNS: {_CC_META: {}}}}
_OI_PAGES, _PL_OFFSET, _PL_SIZE, _PL_FIRST_ROW = 1, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column chunk: pages in ``[start, stop)`` of the file, page indexes elsewhere, if made."""

    struct: Struct
    meta: Struct
    start: int
    stop: int
    first_data_page: int
    column_index: Span | None
    offset_index: Span | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row group of a footer: its chunks lie in ``[start, stop)`` of the file."""

    struct: Struct
    rows: int
    ordinal: int | None
    file_offset: int  # 0 where the writer does not say
    chunks: tuple[Chunk, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Footer:
    """A parsed FileMetaData: ``data`` holds its bytes, the rest says where things are."""

    data: bytes
    root: Struct
    rows: int
    entries: tuple[Entry, ...]

    def shared(self) -> tuple[bytes, ...]:
        """What all row groups of one file must agree on: schema, key-value metadata, column orders."""
        spans = (self.root.fields.get(i) for i in (_SCHEMA, _KEY_VALUES, _COLUMN_ORDERS))
        return tuple(self.data[f.start : f.stop] if f else b"" for f in spans)


@dataclass(frozen=True, slots=True)
class Page:
    """One data page as an offset index tells it."""

    offset: int
    size_bytes: int
    first_row: int


def parse(data: bytes) -> Footer:
    """A footer's row groups; raises ``ThriftError`` when a needed number is missing, negative or absurd."""
    root = thrift.scan(data, _WANTED)
    if root.stop != len(data):
        raise ThriftError(f"{len(data) - root.stop} bytes follow the metadata")
    if _ENCRYPTION in root.fields:
        raise ThriftError("the file is encrypted")
    groups = root.fields.get(_ROW_GROUPS)
    if _SCHEMA not in root.fields or groups is None or groups.type != thrift.LIST:
        raise ThriftError("schema or row groups are missing")
    entries = tuple(_entry(data, s) for s in groups.structs)
    return Footer(data, root, _number(data, root, _NUM_ROWS), entries)


def _entry(data: bytes, struct: Struct) -> Entry:
    columns = struct.fields.get(_RG_COLUMNS)
    if columns is None or not columns.structs:
        raise ThriftError("a row group has no columns")
    chunks = tuple(_chunk(data, s) for s in columns.structs)
    ordinal = thrift.int_of(data, struct.fields[_RG_ORDINAL]) if _RG_ORDINAL in struct.fields else None
    return Entry(
        struct,
        _number(data, struct, _RG_ROWS),
        ordinal,
        _number(data, struct, _RG_FILE_OFFSET, absent=0),
        chunks,
        min(c.start for c in chunks),
        max(c.stop for c in chunks),
    )


def _chunk(data: bytes, struct: Struct) -> Chunk:
    meta_field = struct.fields.get(_CC_META)
    if meta_field is None or not meta_field.structs or _CC_CRYPTO in struct.fields:
        raise ThriftError("a column chunk has no readable metadata")
    if _CC_FILE_PATH in struct.fields:
        raise ThriftError("a column chunk lies in another file")
    meta = meta_field.structs[0]
    first_data_page = _number(data, meta, _CM_DATA_PAGE)
    # Some writers say 0 where there is no such page.
    others = (_number(data, meta, i, absent=0) for i in (_CM_DICTIONARY_PAGE, _CM_INDEX_PAGE))
    start = min((first_data_page, *(o for o in others if o)))
    return Chunk(
        struct,
        meta,
        start,
        start + _number(data, meta, _CM_COMPRESSED_SIZE),
        first_data_page,
        _span(data, struct, *_CC_COLUMN_INDEX),
        _span(data, struct, *_CC_OFFSET_INDEX),
    )


def _span(data: bytes, struct: Struct, offset_id: int, length_id: int) -> Span | None:
    length = _number(data, struct, length_id, absent=0)
    return (_number(data, struct, offset_id), length) if length else None


def _number(data: bytes, struct: Struct, field_id: int, absent: int | None = None) -> int:
    field = struct.fields.get(field_id)
    if field is None:
        if absent is None:
            raise ThriftError(f"field {field_id} is missing")
        return absent
    value = thrift.int_of(data, field)
    if not 0 <= value < 1 << 63:
        raise ThriftError(f"field {field_id} is {value}")
    return value


def is_alone(
    footer: Footer, column_indexes: Sequence[Span | None], offset_indexes: Sequence[Span | None]
) -> bool:
    """Whether a file is one row group with its indexes there, so that moving it would change nothing."""
    entry = footer.entries[0]
    return (
        len(footer.entries) == 1
        and footer.rows == entry.rows
        and entry.ordinal in (None, 0)
        and [chunk.column_index for chunk in entry.chunks] == list(column_indexes)
        and [chunk.offset_index for chunk in entry.chunks] == list(offset_indexes)
        and all(chunk.meta.fields.keys().isdisjoint(_CM_BLOOM_FILTER) for chunk in entry.chunks)
    )


def moved_entry(
    data: bytes,
    entry: Entry,
    delta: int,
    ordinal: int,
    column_indexes: Sequence[Span | None],
    offset_indexes: Sequence[Span | None],
) -> bytes:
    """A row group's metadata after its body moved by ``delta`` bytes and its indexes to the given spans.

    Bloom filters lie outside the body and are not carried along, so their offsets are dropped.
    """
    edits = _moves(data, entry.struct, (_RG_FILE_OFFSET,), delta)
    if entry.ordinal is not None:
        if ordinal <= MAX_ORDINAL:
            edits += _sets(entry.struct, {_RG_ORDINAL: ordinal})
        else:
            edits += thrift.without(entry.struct, (_RG_ORDINAL,))
    edits += moved_chunks(data, entry, delta, column_indexes, offset_indexes)
    return thrift.patched(data, entry.struct.start, entry.struct.stop, edits)


def moved_chunks(
    data: bytes,
    entry: Entry,
    delta: int,
    column_indexes: Sequence[Span | None],
    offset_indexes: Sequence[Span | None],
) -> list[Edit]:
    """The edits of ``moved_entry`` inside of a row group's column chunks."""
    edits: list[Edit] = []
    for chunk, column_index, offset_index in zip(entry.chunks, column_indexes, offset_indexes, strict=True):
        edits += _moves(data, chunk.struct, (_CC_FILE_OFFSET,), delta)
        edits += _moves(data, chunk.meta, (_CM_DATA_PAGE, _CM_INDEX_PAGE, _CM_DICTIONARY_PAGE), delta)
        if not chunk.meta.fields.keys().isdisjoint(_CM_BLOOM_FILTER):
            edits += thrift.without(chunk.meta, _CM_BLOOM_FILTER)
        gone: list[int] = []
        for ids, span in ((_CC_COLUMN_INDEX, column_index), (_CC_OFFSET_INDEX, offset_index)):
            if span is None:
                gone += (i for i in ids if i in chunk.struct.fields)
            else:
                edits += _sets(chunk.struct, dict(zip(ids, span, strict=True)))
        if gone:
            edits += thrift.without(chunk.struct, gone)
    return edits


def _moves(data: bytes, struct: Struct, ids: Sequence[int], delta: int) -> list[Edit]:
    """Edits that add ``delta`` to offsets; 0 means that there is no such thing and stays."""
    edits = []
    for field_id in ids:
        field = struct.fields.get(field_id)
        if field is not None and delta and (value := thrift.int_of(data, field)):
            edits.append((field.start, field.stop, thrift.encode_int(value + delta)))
    return edits


def _sets(struct: Struct, values: dict[int, int]) -> list[Edit]:
    edits = []
    for field_id, value in values.items():
        field = struct.fields.get(field_id)
        if field is None:
            raise ThriftError(f"there is a page index but field {field_id} does not tell where")
        edits.append((field.start, field.stop, thrift.encode_int(value)))
    return edits


def with_entries(base: Footer, entries: Sequence[bytes], rows: int) -> bytes:
    """The metadata of ``base`` with these row groups instead of its own."""
    total, groups = base.root.fields[_NUM_ROWS], base.root.fields[_ROW_GROUPS]
    listed = b"".join((thrift.list_of_structs(len(entries)), *entries))
    edits = [(total.start, total.stop, thrift.encode_int(rows)), (groups.start, groups.stop, listed)]
    return thrift.patched(base.data, 0, base.root.stop, edits)


def moved_offset_index(index: bytes, delta: int) -> bytes:
    """An offset index after its chunk moved by ``delta`` bytes: page offsets are absolute too."""
    pages = _page_spans(index)
    if not delta:
        return index
    out = []
    at = 0
    for start, stop, offset, _, _ in pages:
        out.append(index[at:start])
        out.append(thrift.encode_int(offset + delta))
        at = stop
    out.append(index[at:])
    return b"".join(out)


def pages_of(index: bytes) -> tuple[Page, ...]:
    """The pages an offset index lists."""
    return tuple(Page(*numbers) for _, _, *numbers in _page_spans(index))


_PageSpan = tuple[int, int, int, int, int]  # the span of a page's offset, and what a ``Page`` is made of


def _page_spans(index: bytes) -> list[_PageSpan]:
    """The pages of an offset index; raises ``ThriftError``."""
    found = _plain_page_spans(index)
    if found is not None:
        return found
    root = thrift.scan(index, {_OI_PAGES: {}})
    pages = root.fields.get(_OI_PAGES)
    if root.stop != len(index) or pages is None:
        raise ThriftError("an offset index is damaged")
    found = []
    for page in pages.structs:
        offset, size_bytes, first_row = (
            _number(index, page, i) for i in (_PL_OFFSET, _PL_SIZE, _PL_FIRST_ROW)
        )
        field = page.fields[_PL_OFFSET]
        found.append((field.start, field.stop, offset, size_bytes, first_row))
    return found


# What nearly all writers write: one list, of structs of an i64, an i32 and an i64, each with a short header.
_PAGE_LIST, _LONG_LIST = thrift.field_header(_OI_PAGES, thrift.LIST), 0xF0 | thrift.STRUCT
_PAGE_HEADERS = (
    thrift.field_header(_PL_OFFSET, thrift.I64),
    thrift.field_header(_PL_SIZE - _PL_OFFSET, thrift.I32),
    thrift.field_header(_PL_FIRST_ROW - _PL_SIZE, thrift.I64),
)


def _plain_page_spans(index: bytes) -> list[_PageSpan] | None:
    """``_page_spans`` of an index in its usual form, else None: a part has thousands of pages."""
    found = []
    try:
        if index[0] != _PAGE_LIST or index[1] & 0x0F != thrift.STRUCT:
            return None
        count, pos = index[1] >> 4, 2
        if index[1] == _LONG_LIST:
            count, pos = thrift.read_unsigned(index, 2)
        first, second, third = _PAGE_HEADERS
        for _ in range(count):
            start = pos + 1
            offset, stop = thrift.read_unsigned(index, start)
            size_bytes, after = thrift.read_unsigned(index, stop + 1)
            first_row, end = thrift.read_unsigned(index, after + 1)
            if (index[pos], index[stop], index[after], index[end]) != (first, second, third, 0):
                return None
            if (offset | size_bytes | first_row) & 1 or max(offset, size_bytes, first_row) >= 1 << 64:
                return None  # negative, or longer than a number may be
            pos = end + 1
            found.append((start, stop, offset >> 1, size_bytes >> 1, first_row >> 1))
    except (IndexError, ThriftError):
        return None
    return found if index[pos:] == b"\0" else None
