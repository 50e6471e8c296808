"""Gzip, by the quicker of two libraries: isal takes a third of zlib's time and knows less of its header.

isal passes over reserved flags and header checksums, and takes a few sets of codes that zlib refuses although
the text they give has the right length and CRC-32. So members with any but the usual header go to zlib; for
those with it, what isal gives is what zlib gives, or the text that the member's own checksum confirms.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from isal import isal_zlib

_QuickError = cast("type[Exception]", isal_zlib.error)  # its stub says it is an instance
_WBITS = 31  # a gzip header and trailer, both checked
_USUAL = (b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08")  # deflate; no flag, or only that a name follows


class _Inflater(Protocol):
    """What ``decompressobj`` of both libraries makes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def one_member(raw: bytes, limit_bytes: int) -> bytes | None:
    """The text of an object that is one whole member of at most that much text, else None."""
    member = _inflater(raw)
    try:
        text = member.decompress(raw, limit_bytes)
    except (zlib.error, _QuickError):
        return None
    return text if member.eof and not member.unused_data else None


def members(chunk: Callable[[], bytes], step_bytes: int) -> Iterator[bytes]:
    """The text of all members, in pieces of at most ``step_bytes``; ``chunk`` gives b"" at the end.

    Raises ``zlib.error``, ``EOFError`` and ``ValueError`` for damage.
    """
    try:
        yield from _members(chunk, step_bytes)
    except _QuickError as error:
        raise zlib.error(str(error)) from error


def _members(chunk: Callable[[], bytes], step_bytes: int) -> Iterator[bytes]:
    data = chunk()
    while data:
        member = _inflater(data)
        while not member.eof:
            yield member.decompress(data, step_bytes)
            data = member.unconsumed_tail
            if not data and not member.eof:
                # An output step may end exactly where the input does, with text still inside the window.
                data = chunk()
                if not data:
                    yield _last_step(member, step_bytes)
                    break
        data = member.unused_data or chunk()
        padded = False
        while data and not data.strip(b"\0"):
            padded = True  # behind the last member, as tape and block tools leave it
            data = chunk()
        if data and padded:
            raise ValueError("bytes after the end of the stream")


def _last_step(member: _Inflater, step_bytes: int) -> bytes:
    rest = member.decompress(b"", step_bytes)
    if not member.eof:
        raise EOFError("the stream ends early")
    return rest


def _inflater(head: bytes) -> _Inflater:
    if head.startswith(_USUAL):
        return cast("_Inflater", isal_zlib.decompressobj(wbits=_WBITS))
    return zlib.decompressobj(wbits=_WBITS)
