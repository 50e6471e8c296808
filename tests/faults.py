"""A wire that breaks on demand: a proxy in front of an S3 server that keeps everything else as it is.

Bodies keep their announced length, so a cut body is what it would be in life: a connection that ends early.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import socket
import struct
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class Fault:
    """What happens to the next ``times`` requests of an operation."""

    operation: str  # as S3 names it: GetObject, PutObject, UploadPart, CompleteMultipartUpload, …
    status: int = 0  # answer with this status and ``code``, without asking the server
    code: str = "InternalError"
    reset: bool = False  # drop the connection before the server hears of the request
    lose_reply: bool = False  # let the server do it, then drop the connection
    keep_body: float = 1.0  # send this fraction of the body, then drop the connection
    announce_less: bool = False  # with keep_body: announce what is sent, and close in peace
    add_bytes: int = 0  # so many bytes too many behind the body, and announced
    flip_reply: bool = False  # one bit of the answer's body is another
    flip_request: bool = False  # one bit of the request's body is another when the server gets it
    hang: threading.Event | None = None  # answer nothing until this is set (or the client has gone)
    hold: threading.Event | None = None  # wait for this, then let the request go on as if nothing had been
    only: str = ""  # a text that the request's path must hold
    times: int = 1


@dataclass
class FaultyWire:
    """The proxy's endpoint, its faults to come, and the operations it has passed on or broken."""

    endpoint: str
    faults: list[Fault] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    fired: int = 0
    strip_headers: tuple[str, ...] = ()  # requests lose these on the way
    rewrite: Callable[[str, bytes], bytes] | None = (
        None  # (operation, answer) -> the answer as another server
    )
    draw: Callable[[str, str], Fault | None] | None = None  # asked where no listed fault fits
    seen: list[tuple[str, str]] = field(default_factory=list)  # (operation, path) of every request
    lock: threading.Lock = field(default_factory=threading.Lock)

    def break_(self, *faults: Fault) -> None:
        self.faults[:] = faults
        self.operations.clear()
        self.seen.clear()
        self.draw = None
        self.fired = 0

    def next_fault(self, operation: str, path: str) -> Fault | None:
        with self.lock:
            self.operations.append(operation)
            self.seen.append((operation, path))
            for fault in self.faults:
                if fault.operation == operation and fault.times > 0 and fault.only in path:
                    fault.times -= 1
                    self.fired += 1
                    return fault
            drawn = self.draw(operation, path) if self.draw else None
            self.fired += drawn is not None
            return drawn


@contextlib.contextmanager
def faulty_wire(upstream: str) -> Iterator[FaultyWire]:
    """A wire to ``upstream``, open while in the block."""
    wire = FaultyWire("")

    class Handler(_Handler):
        pass

    Handler.wire, Handler.upstream = wire, urlsplit(upstream).netloc
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = _say_nothing_of_lost_clients  # type: ignore[method-assign]
    wire.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _say_nothing_of_lost_clients(request: Any, client_address: Any) -> None:
    """A client that gave up waiting is what a fault wanted; anything else is a defect of the wire."""
    if not isinstance(sys.exception(), OSError):
        traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each body waits 40 ms until its headers are acknowledged
    wire: FaultyWire
    upstream: str

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = _operation(self.command, self.path, self.headers)
        fault = self.wire.next_fault(operation, self.path)
        if fault and fault.reset:
            self._drop()
            return
        if fault and fault.hold:
            fault.hold.wait(60)
        if fault and fault.hang and not fault.lose_reply:
            fault.hang.wait(30)
            self._drop()
            return
        if fault and fault.flip_request and body:
            body = _flipped(body)
        if mismatch := _digest_mismatch(self.headers, body):
            # The local server trusts its callers; S3 itself compares what the signature covers.
            self._answer(400, _XML, f"<Error><Code>{mismatch}</Code><Message>m</Message></Error>".encode())
            return
        if fault and fault.status:
            text = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
            self._answer(fault.status, _XML, text)
            return
        server = http.client.HTTPConnection(self.upstream, timeout=60)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            # "if-match" loses that header everywhere, "if-match on delete" with that method only.
            told = (name.lower(), f"{name.lower()} on {self.command.lower()}")
            if name.lower() not in ("connection", "expect") and not {*told} & {*self.wire.strip_headers}:
                server.putheader(name, value)
        server.endheaders(body)
        reply = server.getresponse()
        answer = reply.read()
        length = reply.headers.get("Content-Length")
        server.close()
        if fault and fault.lose_reply:
            if fault.hang:
                fault.hang.wait(30)
            self._drop()
            return
        kept = [(n, v) for n, v in reply.getheaders() if n.lower() not in _NOT_COPIED]
        if fault and fault.flip_reply and answer:
            answer = _flipped(answer)
        if fault:
            answer += b" " * fault.add_bytes
        if self.wire.rewrite:
            answer = self.wire.rewrite(operation, answer)
        keep = len(answer) if fault is None else int(len(answer) * fault.keep_body)
        if fault and fault.announce_less:
            answer = answer[:keep]
        self._answer(
            reply.status, kept, answer[:keep], length if self.command == "HEAD" else str(len(answer))
        )
        if keep < len(answer):
            self._drop()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - http.server's names

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)) if length is None else length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()

    def _drop(self) -> None:
        """Close with a TCP reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.rfile.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the connection was dropped on purpose
            super().finish()

    def log_message(self, *args: Any) -> None:
        pass


_XML = [("Content-Type", "application/xml")]
_NOT_COPIED = ("connection", "content-length", "transfer-encoding", "keep-alive")


def _operation(method: str, path: str, headers: Any) -> str:
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if method == "PUT" and "partNumber" in query:
        return "UploadPartCopy" if "x-amz-copy-source" in headers else "UploadPart"
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    if method == "GET" and "list-type" in query:
        return "ListObjectsV2"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}[method]


def _flipped(body: bytes) -> bytes:
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def _digest_mismatch(headers: Any, body: bytes) -> str:
    """What S3 answers when a body is not what the request's headers say of it; "" when it is."""
    claimed = headers.get("x-amz-content-sha256", "")
    if len(claimed) == 64 and claimed != hashlib.sha256(body).hexdigest():
        return "XAmzContentSHA256Mismatch"
    crc = headers.get("x-amz-checksum-crc32")
    if crc and crc != base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode():
        return "BadDigest"
    return ""
