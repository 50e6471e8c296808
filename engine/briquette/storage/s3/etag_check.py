"""Bodies against their etags where nothing else would notice a flipped bit: on a wire without TLS.

TLS has its own checksum on every record. On plain http, an etag that looks like an MD5 usually is the body's;
stores that encrypt with a customer's key give etags of another kind, which repeat, unlike a damaged body.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from typing import Any

from briquette.storage.s3.retry import TransientError

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class EtagCheck:
    """What a store's etags have shown of themselves so far."""

    def __init__(self, endpoint: str) -> None:
        self._wanted = endpoint.startswith("http://")
        self._trusted = False  # some body had the MD5 that its etag says
        self._odd: dict[str, str] = {}  # etag -> the other MD5 that its body had
        self._lock = threading.Lock()

    def digest(self, etag: str) -> Any | None:
        """A hash to feed with the body of ``etag``, or None where its etag says nothing of its bytes."""
        return hashlib.md5(usedforsecurity=False) if self._wanted and _MD5.fullmatch(etag) else None

    def check(self, etag: str, body: bytes) -> None:
        """Raise ``TransientError`` when ``body`` looks damaged; the same body twice is what is stored."""
        if self._wanted and _MD5.fullmatch(etag):
            found = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if not self._trusted or found not in etag or self._odd:  # else it is as thousands before
                self.settle(etag, found)

    def settle(self, etag: str, found: str) -> None:
        """As ``check``, for a body that was hashed while it was read."""
        said = _MD5.fullmatch(etag)
        if said is None or said[1] == found:
            self._trusted = self._trusted or said is not None
            self._odd.pop(etag, None)
            return
        with self._lock:
            before, self._odd[etag] = self._odd.get(etag), found
            if before == found:
                self._wanted = self._wanted and self._trusted
                return
        raise TransientError(f"the body's MD5 is {found}, its etag {etag}")


def of_parts(etags: Sequence[str]) -> str:
    """The etag that S3 gives an object of these uploaded parts; "" where theirs are of another kind."""
    found = [_MD5.fullmatch(etag) for etag in etags]
    digests = [match[1] for match in found if match]
    if len(digests) < len(etags):
        return ""
    joined = hashlib.md5(bytes.fromhex("".join(digests)), usedforsecurity=False).hexdigest()
    return f'"{joined}-{len(digests)}"'
