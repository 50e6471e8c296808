"""Signature Version 4 for requests without a body, with what does not change from one to the next kept.

Written out because the clients sign as part of sending, and thousands of small GETs are sent without them
(`small_gets.py`). Tests compare it with botocore's.
"""

from __future__ import annotations

import hmac
import re
import time
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

_NO_BODY = sha256(b"").hexdigest()
_UNESCAPED = "/-_.~"  # and letters and digits: S3 signs the path as it is sent, encoded once
_PLAIN = re.compile(r"[/\w.~-]*", re.ASCII)  # most keys; to find that out by `quote` takes as long as to sign


class Credentials(NamedTuple):
    """What signs; ``token`` is "" for keys that do not expire."""

    key_id: str
    secret: str
    token: str = ""


class Signer:
    """Signed requests to one host, in HTTP/1.1."""

    def __init__(self, host: str, region: str, credentials: Credentials) -> None:
        self._host, self._region, self._credentials = host, region, credentials
        self._second = -1
        self._day = ""

    def head(self, path: str, etag: str, now: float | None = None, method: str = "GET") -> bytes:
        """The request for ``path`` (see ``encoded``), while its object has ``etag`` if one is given."""
        second = int(time.time() if now is None else now)
        if second != self._second:
            self._begin_second(second)
        match, line, names = "", "", f"host;{self._names}"
        if etag:
            match, line, names = f"if-match:{etag}\n", f"if-match: {etag}\r\n", f"host;if-match;{self._names}"
        canonical = f"{method}\n{path}\n\nhost:{self._host}\n{match}{self._amz}\n{names}\n{_NO_BODY}"
        text = f"{self._before_hash}{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._signing_key, text.encode(), "sha256").hex()
        return (
            f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\n{line}{self._amz_lines}"
            f"authorization: {self._authorization}SignedHeaders={names}, Signature={signature}\r\n\r\n"
        ).encode()

    def _begin_second(self, second: int) -> None:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        if date[:8] != self._day:
            self._day = date[:8]
            key = f"AWS4{self._credentials.secret}".encode()
            for word in (self._day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, word.encode(), "sha256")
            self._signing_key = key
            self._scope = f"{self._day}/{self._region}/s3/aws4_request"
        headers = {"x-amz-content-sha256": _NO_BODY, "x-amz-date": date}
        if self._credentials.token:
            headers["x-amz-security-token"] = self._credentials.token
        self._names = ";".join(headers)
        self._amz = "".join(f"{name}:{value}\n" for name, value in headers.items())
        self._amz_lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._authorization = f"AWS4-HMAC-SHA256 Credential={self._credentials.key_id}/{self._scope}, "
        self._before_hash = f"AWS4-HMAC-SHA256\n{date}\n{self._scope}\n"
        self._second = second


def encoded(path: str) -> str:
    """A path as it is signed and sent.

    >>> encoded("/bucket/a b+c=ü%.json")
    '/bucket/a%20b%2Bc%3D%C3%BC%25.json'
    """
    return path if _PLAIN.fullmatch(path) else quote(path, safe=_UNESCAPED)
