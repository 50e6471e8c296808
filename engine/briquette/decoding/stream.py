"""One huge object in bounded memory: cut where a record surely ends, decode block by block."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from briquette.decoding.csv_lines import last_whole
from briquette.decoding.csv_objects import decode_csv, header_of, splitter_of
from briquette.decoding.json_objects import add_records, decode_json
from briquette.decoding.parquet.file import InMemory
from briquette.decoding.parquet.rows import parquet_blocks
from briquette.decoding.rows.refusals import SHOWN_BYTES, beginning
from briquette.decoding.rows.result import Decoded, Gather, Text, record_too_long
from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.csv_records import CsvReader, Header, Splitter, Undecided
from briquette.decoding.strict.json_records import JsonReader, Record
from briquette.decoding.text.object_text import BOM, decompress_stream, file_format, first_char
from briquette.model import CompactionSpec, FileFormat, TextFormat

# Behind "}", at most this much whitespace and a line end, a line that begins with "{" begins a record for
# sure.
_SEAM = re.compile(rb"\}[ \t\r\n]{0,14}\n(?=\{)")
SEAM_BYTES = 16
_SEAM_BEFORE = re.compile(rb"\}[ \t\r\n]{0,14}\n\Z")
_MOST_TAIL_BYTES = 16 << 20  # fetched at once behind a byte range whose last record goes on


class _Feed:
    """Text pieces as a growing buffer that is cut off at the front."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.buffer = b""
        self.offset = 0  # of the buffer in the object's text
        self.final = False

    def grow(self, size: int) -> None:
        """Fill the buffer to at least ``size`` bytes, or to the end of the text."""
        parts, total = [self.buffer], len(self.buffer)
        while total < size and not self.final:
            piece = next(self._pieces, None)
            if piece is None:
                self.final = True
            else:
                parts.append(piece)
                total += len(piece)
        self.buffer = b"".join(parts)

    def take(self, size: int) -> bytes:
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        self.offset += len(taken)
        return taken


def decode_stream(
    key: str, chunks: Iterable[bytes], spec: CompactionSpec, *, block_bytes: int
) -> Iterator[Decoded]:
    """Decode one object from its raw bytes in blocks of about ``block_bytes`` of text.

    Rows, rejects and counts together equal those of ``decode_objects``. Parquet's blocks are of values, not
    of text, and need the whole file.
    """
    feed = _Feed(decompress_stream(key, chunks, spec.limits))
    feed.grow(1)
    while not (feed.final or first_char(feed.buffer)):
        feed.grow(2 * len(feed.buffer))
    feed.grow(4)
    kind = file_format(key, feed.buffer)
    if kind is FileFormat.PARQUET:
        feed.grow(spec.limits.object_bytes)
        yield from parquet_blocks(key, InMemory(feed.take(len(feed.buffer))), spec, block_bytes)
        return
    yield from _numbered(_blocks(key, kind, feed, spec, block_bytes))


def _blocks(
    key: str, kind: TextFormat | None, feed: _Feed, spec: CompactionSpec, size: int
) -> Iterator[Decoded]:
    match kind:
        case FileFormat.JSON if first_char(feed.buffer) == b"[":
            yield from _array_blocks(key, feed, spec, size)
        case FileFormat.JSON:
            yield from _json_blocks(key, feed, spec, size)
        case FileFormat.CSV | FileFormat.TSV:
            yield from _csv_blocks(key, kind, feed, spec, size)
        case None:
            yield _one(key, feed.take(len(feed.buffer)), spec, lambda _t, _g: None)
        case _:
            assert_never(kind)


def _one(key: str, body: bytes, spec: CompactionSpec, decode: Callable[[Text, Gather], None]) -> Decoded:
    gather = Gather(spec, 1)
    gather.decoded_bytes = len(body)
    decode(Text(0, key, body), gather)
    return gather.finish()


# -- JSON --------------------------------------------------------------------------------------


def _json_blocks(key: str, feed: _Feed, spec: CompactionSpec, size: int) -> Iterator[Decoded]:
    want = size
    reader: JsonReader | None = None
    while True:
        feed.grow(want)
        base, final = feed.offset, feed.final
        cut = len(feed.buffer) if final else _last_seam(feed.buffer)
        if reader is None and (cut or final):
            body = feed.take(cut)
            yield _one(key, body, spec, lambda t, g: decode_json([t], g, base_offset=base, inside=base > 0))  # noqa: B023 - called at once
        else:
            # One endless line, or one huge record: the record reader knows how far it is decided. It goes on
            # until the next place where another can begin without knowing what came before.
            reader = reader or JsonReader(spec.limits, base_offset=base, sequence=base > 0)
            seam = _seam_from(feed.buffer, 1)
            block = _read_piece(key, reader, feed, spec, seam)
            cut = block.decoded_bytes
            reader = None if seam else reader
            yield block
        if final and not feed.buffer:
            return
        want = size if cut else 2 * max(len(feed.buffer), size)


def _array_blocks(key: str, feed: _Feed, spec: CompactionSpec, size: int) -> Iterator[Decoded]:
    reader = JsonReader(spec.limits)
    want = size
    while True:
        feed.grow(want)
        final = feed.final
        block = _read_piece(key, reader, feed, spec)
        yield block
        if final:
            return
        want = size if block.decoded_bytes else 2 * max(len(feed.buffer), size)


def _read_piece(
    key: str, reader: JsonReader, feed: _Feed, spec: CompactionSpec, stop: int | None = None
) -> Decoded:
    """What the reader makes of the buffer, or of all of it before ``stop``, where the text ends for it."""
    gather = Gather(spec, 1)
    final = stop is not None or feed.final
    base, body = feed.offset, feed.buffer[:stop]
    records: list[Record] = []
    piece = reader.read_piece(body, final=final)
    while True:
        try:
            records.append(next(piece))
        except StopIteration as end:
            consumed: int = end.value
            break
    taken = len(feed.take(len(body) if final else consumed))
    gather.decoded_bytes = taken
    add_records(Text(0, key, body), iter(records), gather, RowBuilder(spec), base)
    return gather.finish()


def _last_seam(text: bytes) -> int:
    """Where the last line that surely begins a record begins, or 0."""
    at = text.rfind(b"\n{")
    while at > 0:
        if _SEAM_BEFORE.search(text, max(0, at + 1 - SEAM_BYTES), at + 1):
            return at + 1
        at = text.rfind(b"\n{", 0, at)
    return 0


def decode_range(
    key: str,
    fetch: Callable[[int, int], bytes],
    byte_range: tuple[int, int],
    size_bytes: int,
    spec: CompactionSpec,
    *,
    tail_bytes: int,
) -> Iterator[Decoded]:
    """Decode the records of a huge plain JSON Lines object that begin in ``[start, stop)``.

    ``fetch(begin, end)`` gives the object's bytes. A record begins for a range where a line that begins with
    "{" follows a "}"; all text up to the next such line belongs to it, so that ranges that touch together
    equal the whole. Positions count from the range's first record; byte offsets are the object's. It is one
    block, but for records that are longer than the range.
    """
    start, stop = byte_range
    low = max(start - SEAM_BYTES, 0)
    text = fetch(low, min(stop + tail_bytes, size_bytes))
    begin = 0 if start == 0 else _seam_from(text, start - low)
    if begin is None or low + begin >= stop:
        yield Gather(spec, 1).finish()
        return
    feed = _Feed(_to_seam(text[begin:], low + begin, stop, fetch, size_bytes, tail_bytes))
    feed.offset = low + begin
    size = len(text) - begin
    yield from _numbered(_json_blocks(key, feed, spec, size))


def _to_seam(
    text: bytes,
    base: int,
    stop: int,
    fetch: Callable[[int, int], bytes],
    size_bytes: int,
    tail_bytes: int,
) -> Iterator[bytes]:
    """``text``, which begins at ``base``, and what follows it up to the first seam at or behind ``stop``."""
    looked_from = max(stop - base, 0)
    while (found := _seam_from(text, looked_from)) is None and base + len(text) < size_bytes:
        kept = max(len(text) - SEAM_BYTES, 0)
        yield text[:kept]
        base, text = base + kept, text[kept:]
        looked_from = max(stop - base, 0)
        tail_bytes = min(2 * tail_bytes, _MOST_TAIL_BYTES)
        end = base + len(text)
        text += fetch(end, min(end + tail_bytes, size_bytes))
    yield text if found is None else text[:found]


def _numbered(blocks: Iterator[Decoded]) -> Iterator[Decoded]:
    """The blocks with positions that count from the first one's first record."""
    position = 0
    for block in blocks:
        moved = tuple(replace(r, position=r.position + position) for r in block.rejects)
        position += block.object_records[0]
        yield replace(block, rejects=moved)


def _seam_from(text: bytes, at: int) -> int | None:
    """The first sure beginning of a record at or behind ``at``."""
    for found in _SEAM.finditer(text, max(at - SEAM_BYTES, 0)):
        if found.end() >= at:
            return found.end()
    return None


# -- CSV ---------------------------------------------------------------------------------------

_MOST_AHEAD = 4  # records' worth of text that may be needed to tell where a broken record ends


def _csv_blocks(
    key: str, kind: FileFormat, feed: _Feed, spec: CompactionSpec, size: int
) -> Iterator[Decoded]:
    delimiter, splitter = splitter_of(kind)
    feed.grow(SHOWN_BYTES)
    first_line = beginning(feed.buffer)
    header = _stream_header(key, feed, spec, splitter, size)
    if header is None:
        yield _one(key, feed.take(len(feed.buffer)), spec, lambda _t, _g: None)
        return
    if header.refused:
        yield _refused_csv(key, header.refused, first_line, feed, spec, size)
        return
    reader = CsvReader(key, header, splitter, spec.schema.null_values, spec.limits)
    skipped = feed.offset
    want = size
    while True:
        feed.grow(want)
        base = feed.offset
        cut = len(feed.buffer)
        if not feed.final:
            cut = last_whole(feed.buffer, reader, splitter, delimiter, spec.limits)
        if not cut and _too_long(feed.buffer, spec.limits.record_bytes):
            raise record_too_long(key, spec.limits.record_bytes)
        if cut or feed.final:
            body = feed.take(cut)
            block = _one(
                key,
                body,
                spec,
                lambda t, g: decode_csv([t], kind, g, header=header, base_offset=base, following=feed.buffer),  # noqa: B023 - called at once
            )
            yield replace(block, decoded_bytes=block.decoded_bytes + skipped)
            skipped = 0
        if feed.final:
            return
        want = size if cut else 2 * max(len(feed.buffer), size)


def _refused_csv(
    key: str, reason: str, first_line: bytes, feed: _Feed, spec: CompactionSpec, size: int
) -> Decoded:
    """One reject that weighs all of the text; read to its end, as a stream that is cut must not pass."""
    gather = Gather(spec, 1)
    while True:
        feed.take(len(feed.buffer))
        if feed.final:
            break
        feed.grow(size)
    gather.decoded_bytes = feed.offset
    gather.refuse_object(0, key, reason, first_line, feed.offset)
    return gather.finish()


def _too_long(text: bytes, limit: int) -> bool:
    """Whether the record at the beginning, which is not decided, is longer than the limit in any case."""
    longer = len(text) > limit
    return longer and (text.find(b"\n", 0, limit + 1) < 0 or len(text) > _MOST_AHEAD * limit)


def _stream_header(
    key: str, feed: _Feed, spec: CompactionSpec, splitter: Splitter, size: int
) -> Header | None:
    feed.grow(size)
    while True:
        try:
            found = header_of(key, feed.buffer, splitter, spec, final=feed.final)
        except Undecided:
            found = None
            if len(feed.buffer.removeprefix(BOM).lstrip(b"\r\n")) > spec.limits.record_bytes:
                header_of(key, feed.buffer, splitter, spec)  # says what is wrong with it
        if found or feed.final:
            break
        feed.grow(2 * max(len(feed.buffer), size))
    if found is None:
        return None
    feed.take(found[1])
    return found[0]
