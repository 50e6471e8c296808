"""A seekable file of which a function gives the bytes: what is read of it is all that is in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class RangeFile(io.RawIOBase):
    """The file of ``size_bytes`` bytes whose bytes from ``start`` to ``stop`` are ``read(start, stop)``.

    Each read is one call of ``read``, for bytes that are there; what it raises, the read raises.
    """

    def __init__(self, size_bytes: int, read: Callable[[int, int], bytes]) -> None:
        self._size_bytes, self._read = size_bytes, read
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The offset of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, not before the file's beginning; behind its end there is nothing to read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, or all that is left."""
        left = max(0, self._size_bytes - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        found = self._read(self._at, self._at + wanted) if wanted else b""
        self._at += len(found)
        return found

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as there are bytes; returns how many."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
