"""An object's bytes to its text: which compression, which format, how long it may be."""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator

import pyarrow as pa

from briquette.errors import CorruptObject, LimitExceeded, UnsupportedFormat
from briquette.model import COMPRESSED_SUFFIXES, FileFormat, Limits
from briquette.schemas.limits import limit_hint

BOM = b"\xef\xbb\xbf"
MAGIC_BYTES = 10  # enough of an object's beginning to know its compression
_STEP_BYTES = 1 << 20  # how much may be decompressed between two looks at the limit

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # the second kind is skippable
    "bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
}
_MAGIC_FIRST = frozenset(bytes([b]) for b in b"\x1f\x28\xfdBPQRSTUVWXYZ[\\]^_")  # what one may begin with
_EXTENSIONS = {
    "json": FileFormat.JSON,
    "jsonl": FileFormat.JSON,
    "ndjson": FileFormat.JSON,
    "csv": FileFormat.CSV,
    "tsv": FileFormat.TSV,
    "parquet": FileFormat.PARQUET,
}
_WHITESPACE = b" \t\r\n"


def compression(head: bytes) -> str:
    r"""``gzip``, ``zstd``, ``bz2``, ``xz`` or "" by magic bytes; the name of an object proves nothing.

    >>> compression(b"\x1f\x8b\x08"), compression(b'{"a": 1}')
    ('gzip', '')
    """
    if head[:1] not in _MAGIC_FIRST:
        return ""
    return next((kind for kind, magic in _MAGIC.items() if magic.match(head)), "")


def extension(key: str) -> str:
    """The last extension of a key in lower case, under one that names a compression.

    >>> extension("day=09/AAPL.JSON.gz")
    'json'
    """
    name = key.rsplit("/", 1)[-1].lower()
    if name.endswith(COMPRESSED_SUFFIXES):
        name = name.rpartition(".")[0]
    return name.rpartition(".")[2] if "." in name else ""


def file_format(key: str, head: bytes) -> FileFormat | None:
    """The format of a text by extension, then by its beginning; None for nothing but whitespace."""
    if head[:4] == b"PAR1":
        return FileFormat.PARQUET
    named = _EXTENSIONS.get(extension(key))
    if named is not None and named is not FileFormat.PARQUET:
        return named
    first = head.removeprefix(BOM).lstrip(_WHITESPACE)[:1]
    if first in (b"{", b"["):
        return FileFormat.JSON
    if not first:
        return None
    if named is FileFormat.PARQUET:
        raise CorruptObject(
            f"{key} is named .parquet but is neither Parquet nor JSON.",
            hint="Look at its first bytes; move it away or name it by its real format.",
        )
    raise UnsupportedFormat(
        f"{key} is in no format that is read: its name has no known extension and it starts with {first!r}.",
        hint=f"Formats read: .{' .'.join(_EXTENSIONS)}, each also under {' '.join(COMPRESSED_SUFFIXES)}.",
    )


def first_char(body: bytes) -> bytes:
    """The first byte of a text that is not whitespace, behind a BOM."""
    if body[:1] == b"{":
        return b"{"
    return (body[:256].removeprefix(BOM).lstrip(_WHITESPACE) or body.removeprefix(BOM).lstrip(_WHITESPACE))[
        :1
    ]


def decompress(key: str, raw: bytes, limits: Limits) -> bytes:
    """The whole text of an object; CorruptObject where its stream is damaged, LimitExceeded at the cap."""
    kind = compression(raw[:MAGIC_BYTES])
    if not kind:
        if len(raw) > limits.object_bytes:
            raise too_large(key, limits)
        return raw
    if kind == "gzip" and limits.object_bytes >= _STEP_BYTES:
        from briquette.decoding.text.compression import one_member

        if (text := one_member(raw, _STEP_BYTES)) is not None:
            return text
    blocks = list(decompress_stream(key, (raw,), limits))
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def decompress_stream(key: str, chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """The text of an object piece by piece in bounded memory; same errors as ``decompress``."""
    source = _Source(chunks)
    kind = compression(source.peek(MAGIC_BYTES))
    pieces = _READERS[kind](source)
    total = 0
    while True:
        try:
            piece = next(pieces, None)
        except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise CorruptObject(
                f"{key}: its {kind} stream is cut or damaged after {total} bytes of text: {error}.",
                hint="Fetch it again from its source, or move it away and plan again.",
            ) from error
        if piece is None:
            return
        total += len(piece)
        if total > limits.object_bytes:
            raise too_large(key, limits)
        if piece:
            yield piece


def too_large(key: str, limits: Limits) -> LimitExceeded:
    """The error for an object whose text passes the cap."""
    return LimitExceeded(
        f"{key} holds more than {limits.object_bytes} bytes of text.",
        hint=limit_hint("object_bytes") + " A small object that grows that much is a decompression bomb.",
    )


class _Source(io.RawIOBase):
    """The compressed chunks as one file that can be looked into ahead."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._head = b""

    def readable(self) -> bool:
        return True

    def chunk(self) -> bytes:
        """The next non-empty chunk, or b"" at the end."""
        if self._head:
            head, self._head = self._head, b""
            return head
        return next((c for c in self._chunks if c), b"")

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := next((c for c in self._chunks if c), b"")):
            self._head += more
        return self._head[:size]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self.chunk()
        taken = chunk[: len(buffer)]
        self._head = chunk[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(self.chunk, b""))
        chunk = self.chunk()
        self._head = chunk[size:]
        return chunk[:size]


def _plain(source: _Source) -> Iterator[bytes]:
    yield from iter(source.chunk, b"")


def _gzip(source: _Source) -> Iterator[bytes]:
    from briquette.decoding.text.compression import members

    return members(source.chunk, _STEP_BYTES)


def _bz2(source: _Source) -> Iterator[bytes]:
    data = source.chunk()
    while data:
        member = bz2.BZ2Decompressor()
        yield from _members(member, data, source)
        data = member.unused_data or source.chunk()


def _xz(source: _Source) -> Iterator[bytes]:
    data = source.chunk()
    while data:
        member = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
        yield from _members(member, data, source)
        data = member.unused_data or source.chunk()
        while data and not data.strip(b"\0"):
            data = source.chunk()
        data = data.lstrip(b"\0")  # stream padding belongs to the format


def _members(
    member: bz2.BZ2Decompressor | lzma.LZMADecompressor, data: bytes, source: _Source
) -> Iterator[bytes]:
    while not member.eof:
        if member.needs_input and not data:
            data = source.chunk()
            if not data:
                raise EOFError("the stream ends early")
        yield member.decompress(data, _STEP_BYTES)
        data = b""


def _zstd(source: _Source) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd") as stream:
        # Not `read`: it loses the memory of its answer, a step, whenever the stream turns out damaged.
        yield from iter(lambda: stream.read_buffer(_STEP_BYTES).to_pybytes(), b"")


_READERS = {"": _plain, "gzip": _gzip, "zstd": _zstd, "bz2": _bz2, "xz": _xz}
