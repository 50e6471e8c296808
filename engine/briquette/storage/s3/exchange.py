"""One HTTP request on a connection of its own, where a client library would take longer to import."""

from __future__ import annotations

import re
import socket
from typing import Any

from briquette.storage.s3.wires import END, FIELDS, MOST_HEAD_BYTES, RECEIVE_BYTES, Host, plain, text_of

_FINAL = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")


def exchange(
    host: Host, request: bytes, method: str, connect_seconds: float, read_seconds: float
) -> tuple[int, bytes] | None:
    """One request without a body on a connection of its own: status and body; None if it was not sent.

    Raises ``ConnectionError`` where nobody knows what the server has done.
    """
    try:
        sock = socket.create_connection((plain(host.name), host.port), connect_seconds)  # type: ignore[arg-type]
    except OSError:
        return None
    with sock:
        if host.tls is not None:
            try:
                sock = host.tls.wrap_socket(sock, server_hostname=host.name)
            except OSError:
                return None
        with sock:
            try:
                sock.settimeout(read_seconds)
                sock.sendall(request)
                received = b""
                while END not in received:
                    received += _more(sock)
                    if len(received) > MOST_HEAD_BYTES:
                        raise ConnectionError("the answer's head does not end")
                return _plain_answer(sock, received) or _odd_answer(sock, received, method)
            except OSError as error:
                raise ConnectionError(text_of(error)) from error


def _more(sock: socket.socket) -> bytes:
    block = sock.recv(RECEIVE_BYTES)
    if not block:
        raise ConnectionError("the connection was closed before the answer's end")
    return block


def _plain_answer(sock: socket.socket, received: bytes) -> tuple[int, bytes] | None:
    """Status and body of an answer that says how long it is; None for any other."""
    head, _, body = received.partition(END)
    status = _FINAL.match(head)
    found = [(name.lower(), value.strip()) for name, value in FIELDS.findall(head)]
    lengths = [value for name, value in found if name == b"content-length"]
    if status is None or any(name == b"transfer-encoding" for name, _ in found):
        return None
    if status[1] == b"204":
        return 204, b""
    if len(lengths) != 1 or not lengths[0].isdigit():
        return None
    while len(body) < int(lengths[0]):
        body += _more(sock)
    return int(status[1]), body[: int(lengths[0])]


def _odd_answer(sock: socket.socket, received: bytes, method: str) -> tuple[int, bytes]:
    """Likewise, of any answer, by the standard library, whose import takes as long as a hundred requests."""
    from http.client import HTTPException, HTTPResponse
    from io import BufferedReader, RawIOBase

    class Again(RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, room: Any) -> int:
            nonlocal received
            if not received:
                return sock.recv_into(room)
            count = min(len(room), len(received))
            room[:count], received = received[:count], received[count:]
            return count

    class Socket:
        def makefile(self, *_: Any) -> Any:
            return BufferedReader(Again())

    try:
        with HTTPResponse(Socket(), method=method) as response:  # type: ignore[arg-type]
            response.begin()
            return response.status, response.read()
    except HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
