"""One GET after the other by libcurl (pycurl), for answers whose status, size and etag are known beforehand.

No redirect, no proxy, no protocol but the given one, no ~/.netrc, no body above the expected size, no TLS
without a trusted certificate of the right name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from briquette.accelerators import Accelerator, allowed
from briquette.storage.s3.clients import CONNECT_SECONDS, READ_SECONDS, Credentials

OLDEST_LIBCURL = 0x080C01  # 8.12.1, that of the oldest pycurl which is asked for
RECEIVE_BYTES = 1 << 16


def available() -> bool:
    """Whether libcurl can be used here, and nobody has switched it off."""
    if not allowed(Accelerator.S3_CURL):
        return False
    try:
        import pycurl
    except ImportError:
        return False
    return hasattr(pycurl, "AWS_SIGV4") and pycurl.version_info()[2] >= OLDEST_LIBCURL


def options(url: str, region: str) -> dict[int, Any]:
    """What is the same for every GET below ``url``; silence ends one after ``READ_SECONDS``."""
    import pycurl

    secure = url.startswith("https:")
    return {
        pycurl.AWS_SIGV4: f"aws:amz:{region}:s3",
        pycurl.PROTOCOLS: pycurl.PROTO_HTTPS if secure else pycurl.PROTO_HTTP,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.NETRC: pycurl.NETRC_IGNORED,
        pycurl.PROXY: "",  # not from the environment either: its proxies are left to obstore
        pycurl.NOSIGNAL: 1,
        pycurl.USERAGENT: "briquette",
        pycurl.BUFFERSIZE: RECEIVE_BYTES,
        pycurl.CONNECTTIMEOUT_MS: int(CONNECT_SECONDS * 1_000),
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: READ_SECONDS,
        pycurl.SSL_VERIFYPEER: 1,
        pycurl.SSL_VERIFYHOST: 2,
        **(_authorities() if secure else {}),
    }


class CurlGet:
    """One easy handle. libcurl calls ``_take`` and ``_read_head``, which must not raise."""

    __slots__ = ("_blocks", "_etag", "_signs", "_size_bytes", "_taken", "_wanted_etag", "curl", "number")

    def __init__(self, chosen: dict[int, Any]) -> None:
        import pycurl

        self.curl = pycurl.Curl()
        self._signs: Credentials | None = None
        for option, value in chosen.items():
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._take)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._read_head)

    def prepare(self, number: int, url: str, size_bytes: int, etag: str, credentials: Credentials) -> None:
        """Ask for an object, which the caller calls ``number``, while it has this size and etag."""
        import pycurl

        self.number, self._size_bytes, self._wanted_etag = number, size_bytes, etag.encode()
        self._taken, self._etag = 0, b""
        self._blocks: list[bytes] = []
        headers = [f"If-Match: {etag}"]
        if credentials.token:
            headers.append(f"x-amz-security-token: {credentials.token}")
        if credentials != self._signs:
            if not all(part.isascii() and part.isprintable() for part in credentials):
                raise ValueError("a credential that no header can hold")
            self.curl.setopt(pycurl.USERNAME, credentials.key_id)
            self.curl.setopt(pycurl.PASSWORD, credentials.secret)
            self._signs = credentials
        self.curl.setopt(pycurl.HTTPHEADER, headers)
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.MAXFILESIZE_LARGE, size_bytes)  # a longer one ends at its head; 0 is no limit

    def outcome(self, trouble: str) -> tuple[bytes | None, str]:
        """The body; or None and what came instead, "" where no request was sent.

        ``trouble`` is what libcurl reports, "" where an answer came to its end.
        """
        import pycurl

        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        fine = status == 200 and self._taken == self._size_bytes and self._etag == self._wanted_etag
        if fine and not trouble:
            return b"".join(self._blocks), ""
        sent = self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        came = trouble or f"the answer ({status}, {self._taken:,} bytes) was not what the plan expects"
        return None, came if sent else ""

    def _take(self, block: bytes) -> int:
        self._taken += len(block)
        if self._taken > self._size_bytes:
            return 0  # which ends the transfer
        self._blocks.append(block)
        return len(block)

    def _read_head(self, line: bytes) -> None:
        if line[:5].lower() == b"etag:":
            self._etag = line[5:].strip()
        elif line[:5] == b"HTTP/":  # behind an interim answer
            self._etag = b""


def _authorities() -> dict[int, str]:
    """What certificates are checked with: AWS_CA_BUNDLE, the system's authorities, or botocore's own copy."""
    import ssl

    import pycurl

    known = ssl.get_default_verify_paths()
    file = os.environ.get("AWS_CA_BUNDLE") or known.cafile
    if not file and known.capath:
        return {pycurl.CAPATH: known.capath}
    if not file:
        import botocore

        file = str(Path(botocore.__file__).with_name("cacert.pem"))
    return {pycurl.CAINFO: file}
