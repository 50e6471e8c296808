"""Many HTTP connections of one thread, one GET at a time on each: for answers whose size is known beforehand.

What is not exactly such an answer is given back as a failure, and its connection is closed.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ssl import SSLContext

CONNECTIONS = 512  # of a process; below FEWEST each set of wires may open more all the same
FEWEST = 8
RECEIVE_BYTES = 1 << 16
MOST_HEAD_BYTES = 1 << 16
END = b"\r\n\r\n"
# What matters of a head, in one pass; a lookahead lets the search skip other lines at their first letter.
FIELDS = re.compile(
    rb"\r\n(?=[cetCET])(?i:(content-length|etag|transfer-encoding|connection)):[ \t]*([^\r]*)"
)

_CONNECTING, _GREETING, _WAITING, _IDLE = range(4)


class Host(NamedTuple):
    """Where the connections go; ``tls`` None for plain http."""

    name: str
    port: int
    tls: SSLContext | None


class Wanted(NamedTuple):
    """The one answer that is taken: 200, with exactly this size and etag."""

    number: int  # the caller's name for it
    size_bytes: int
    etag: str


class Answer(NamedTuple):
    """A body, or why there is none; ``sent`` is whether the request may have reached the server."""

    number: int
    body: bytes | None
    failure: str
    sent: bool


class _Wire:
    """One connection."""

    __slots__ = ("address", "body_at", "closes", "deadline", "number", "received", "sock", "state", "wanted")

    def __init__(self, sock: socket.socket, address: Any) -> None:
        self.sock, self.address = sock, address
        self.number = sock.fileno()
        self.state = _CONNECTING
        self.received = b""
        self.closes = False  # whether the server closes it behind the answer
        self.body_at = 0  # where it begins in what was received; 0 until the head is known to be right
        self.wanted: Wanted | None = None
        self.deadline = 0.0


class Wires:
    """The connections of one call. ``request`` gives a request's bytes at the moment when they are sent."""

    def __init__(
        self, host: Host, request: Callable[[int], bytes], connect_seconds: float, read_seconds: float
    ) -> None:
        self._host, self._request = host, request
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        files, _ = getrlimit(RLIMIT_NOFILE)  # of which others need some
        self._most = CONNECTIONS if files == RLIM_INFINITY else min(CONNECTIONS, files // 2)
        self._pid = os.getpid()
        self._epoll = select.epoll()
        self._wires: dict[int, _Wire] = {}
        self._idle: list[_Wire] = []
        self._failed: list[Answer] = []  # before there was anything to poll for
        self._addresses: list[Any] | None = None
        self._looked = time.monotonic()  # when deadlines were looked at
        self.in_flight = 0

    def free(self) -> bool:
        """Whether one more request can be begun now."""
        return bool(self._idle) or len(self._wires) < FEWEST or _open_sockets < self._most

    def begin(self, wanted: Wanted) -> None:
        """Ask for one object, on an idle connection or a new one."""
        self.in_flight += 1
        if self._idle:
            wire = self._idle.pop()
            wire.wanted = wanted
            try:
                self._send(wire)
            except OSError as error:
                self._failed.append(self._lose(wire, error))
            return
        try:
            self._open(wanted)
        except OSError as error:
            self.in_flight -= 1
            self._failed.append(Answer(wanted.number, None, text_of(error), sent=False))

    def poll(self, seconds: float) -> Iterator[Answer]:
        """What has been answered or has failed; waits up to ``seconds`` for the first."""
        failed, self._failed = self._failed, []
        yield from failed
        for number, _ in self._epoll.poll(0 if failed else seconds):
            wire = self._wires.get(number)
            if wire is None:
                continue
            if wire.state == _IDLE:  # the server has closed it, or speaks without being asked
                self._idle.remove(wire)
                self._close(wire)
                continue
            try:
                answer = self._advance(wire)
            except OSError as error:
                answer = self._lose(wire, error)
            if answer is not None:
                yield answer
        now = time.monotonic()
        if now - self._looked >= 1:
            self._looked = now
            late = [w for w in self._wires.values() if w.state != _IDLE and w.deadline < now]
            for wire in late:
                yield self._lose(wire, TimeoutError("the server did not answer in time"))

    def close(self) -> None:
        """Close every connection, whatever it waits for."""
        if os.getpid() != self._pid:  # a fork's copy: the set of descriptors is shared with the parent
            return
        for wire in list(self._wires.values()):
            self._close(wire)
        self._epoll.close()

    # -- one connection ------------------------------------------------------------------------

    def _open(self, wanted: Wanted) -> None:
        if self._addresses is None:  # S3 gives several, and connections go round
            found = socket.getaddrinfo(plain(self._host.name), self._host.port, type=socket.SOCK_STREAM)
            self._addresses = [(family, address) for family, _, _, _, address in found]
        family, address = self._addresses[len(self._wires) % len(self._addresses)]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begun = sock.connect_ex(address)
            if begun not in (0, errno.EINPROGRESS):
                raise OSError(begun, os.strerror(begun))
            self._epoll.register(sock.fileno(), select.EPOLLOUT)
        except BaseException:
            sock.close()
            raise
        wire = self._wires[sock.fileno()] = _Wire(sock, (family, address))
        _count(1)
        wire.wanted = wanted
        wire.deadline = time.monotonic() + self._connect_seconds

    def _advance(self, wire: _Wire) -> Answer | None:
        if wire.state == _WAITING:
            return self._receive(wire)
        if wire.state == _CONNECTING:
            problem = wire.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, os.strerror(problem))
            if self._host.tls is not None:
                # The name is checked by the context; closing and polling stay with the same descriptor.
                wire.sock = self._host.tls.wrap_socket(
                    wire.sock, server_hostname=self._host.name, do_handshake_on_connect=False
                )
            wire.state = _GREETING
        if self._host.tls is None or self._greet(wire):
            self._epoll.modify(wire.number, select.EPOLLIN)
            self._send(wire)
        return None

    def _greet(self, wire: _Wire) -> bool:
        import ssl

        assert isinstance(wire.sock, ssl.SSLSocket)
        try:
            wire.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._epoll.modify(wire.number, select.EPOLLIN)
            return False
        except ssl.SSLWantWriteError:
            self._epoll.modify(wire.number, select.EPOLLOUT)
            return False
        return True

    def _send(self, wire: _Wire) -> None:
        assert wire.wanted is not None
        request = self._request(wire.wanted.number)
        wire.state = _WAITING
        wire.deadline = time.monotonic() + self._read_seconds
        if wire.sock.send(request) < len(request):  # it fits into any buffer that nothing waits in
            raise ConnectionError("the request was taken in part")

    def _receive(self, wire: _Wire) -> Answer | None:
        wanted = wire.wanted
        assert wanted is not None
        while True:
            try:
                block = wire.sock.recv(max(RECEIVE_BYTES, wanted.size_bytes - len(wire.received)))
            except BlockingIOError:
                return None
            except OSError as error:
                if self._host.tls is not None and _wants_more(error):
                    return None
                raise
            if not block:
                raise ConnectionError("the connection was closed before the answer's end")
            wire.received = wire.received + block if wire.received else block
            if not wire.body_at:
                end = wire.received.find(END)
                if end < 0 and len(wire.received) > MOST_HEAD_BYTES:
                    raise ConnectionError("the answer's head does not end")
                if end >= 0:  # a wrong head is noticed before a body is waited for that will never come
                    wire.closes = _require(wire.received[:end], wanted)
                    wire.body_at = end + len(END)
            if wire.body_at and len(wire.received) >= wire.body_at + wanted.size_bytes:
                return self._settle(wire, wanted)
            wire.deadline = time.monotonic() + self._read_seconds
            if self._host.tls is None:
                return None  # poll tells again while there is more; with TLS some may lie decrypted already

    def _settle(self, wire: _Wire, wanted: Wanted) -> Answer:
        body = wire.received[wire.body_at :]
        if len(body) != wanted.size_bytes:
            raise ConnectionError("the answer had bytes behind its end")
        self.in_flight -= 1
        wire.received, wire.body_at, wire.wanted = b"", 0, None
        if wire.closes:
            self._close(wire)
        else:
            wire.state = _IDLE
            self._idle.append(wire)
        return Answer(wanted.number, body, "", sent=True)

    def _lose(self, wire: _Wire, error: OSError) -> Answer:
        assert wire.wanted is not None
        sent = wire.state == _WAITING
        if not sent and self._addresses is not None and len(self._addresses) > 1:
            self._addresses = [a for a in self._addresses if a != wire.address] or self._addresses
        self.in_flight -= 1
        self._close(wire)
        return Answer(wire.wanted.number, None, text_of(error), sent)

    def _close(self, wire: _Wire) -> None:
        del self._wires[wire.number]
        with suppress(OSError):  # a failed TLS greeting has closed it
            self._epoll.unregister(wire.number)
        wire.sock.close()
        _count(-1)


def plain(name: str) -> str | bytes:
    """A host's name as it is looked up: from text, Python would load the codec of international names."""
    return name.encode() if name.isascii() else name


def _wants_more(error: OSError) -> bool:
    import ssl

    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)


def _require(head: bytes, wanted: Wanted) -> bool:
    """Whether the server closes the connection; ``ConnectionError`` where this is another answer."""
    lengths, etags, odd, closes = [], [], False, False
    for name, value in FIELDS.findall(head):
        match name.lower():
            case b"content-length":
                lengths.append(value.rstrip(b" \t"))
            case b"etag":
                etags.append(value.rstrip(b" \t"))
            case b"connection":
                closes = closes or value[:5].lower() == b"close"
            case _:
                odd = True
    if (
        odd
        or not head.startswith(b"HTTP/1.1 200 ")
        or lengths != [b"%d" % wanted.size_bytes]
        or etags[:1] != [wanted.etag.encode()]
    ):
        status = head.split(b"\r\n", 1)[0][:100].decode("latin-1")
        raise ConnectionError(f"the answer {status!r} was not what the plan expects")
    return closes


def text_of(error: OSError) -> str:
    """What it says, or what it is called."""
    return str(error) or type(error).__name__


_open_sockets = 0
_COUNT_LOCK = threading.Lock()


def _count(change: int) -> None:
    global _open_sockets  # noqa: PLW0603 - several calls of a process share the limit of open files
    with _COUNT_LOCK:
        _open_sockets += change


def _after_fork() -> None:
    global _open_sockets, _COUNT_LOCK
    _open_sockets, _COUNT_LOCK = 0, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
