"""A forked process lists a day on local disk and reads its small files while this one imports its libraries.

Importing holds the interpreter for a quarter of a second, and so do ten thousand short system calls: two
threads would take turns, two processes do not (docs/decisions/0005-start-up.md). Nothing depends on it. What
it found is what ``LocalStore`` finds by the same code, pinned by the same etags. What it did not find,
because it failed, the store reads itself; that is also where errors are raised.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import struct
import sys
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from briquette.model import RawObject
from briquette.storage.interface import NO_METADATA, Stored

if TYPE_CHECKING:
    from briquette.storage.local.store import LocalStore

SMALL_BYTES = 16 << 10  # reading so many takes the kernel no longer than opening the file
MOST_BYTES = 64 << 20  # of bodies that wait to be taken
_BATCH = 512  # bodies handed over at once
_NUMBER = struct.Struct("q")


def small(found: Iterable[Stored]) -> Iterator[Stored]:
    """What is read ahead of a listing: its small files in order, until they are ``MOST_BYTES`` together."""
    left = MOST_BYTES
    for stored in found:
        if stored.size_bytes < SMALL_BYTES:
            left -= stored.size_bytes
            if left < 0:
                return
            yield stored


class ReadAhead:
    """This process's end: one listing, and the bodies of its small files, each handed over once."""

    def __init__(self, process: int, answers: int, memory: int, prefix: str, *, bodies: bool) -> None:
        self._process, self._answers, self._memory = process, answers, memory
        self._lock = threading.Lock()
        self._prefix: str | None = prefix  # None: handed over
        self._bodies = bodies
        self._end = 0  # of what was taken out of the shared memory
        self._etags: dict[str, str] = {}  # by key, of the bodies that are to be taken
        self._order: Iterator[str] = iter(())  # keys of the bodies that will come
        self._come: dict[str, bytes] = {}

    def listing(self, prefix: str) -> list[Stored] | None:
        """The files below ``prefix``, once; None where this was not asked for, or failed."""
        with self._lock:
            if self._prefix != prefix:
                return None
            self._prefix = None
            answer = self._next()
            if answer is None:
                return None
            found = [
                Stored(key, size, etag, NO_METADATA, modified, fresh=bool(fresh))
                for key, size, etag, modified, fresh in zip(*_columns(answer), strict=True)
            ]
            if self._bodies:
                self._etags = {stored.key: stored.etag for stored in small(found)}
                self._order = iter(list(self._etags))
            return found

    def bodies(self, items: Sequence[RawObject]) -> list[bytes | None]:
        """The bytes of files in exactly the states of ``items``, once; waits while they are being read.

        None for a file that was not read ahead, or in another state.
        """
        with self._lock:
            return [self._body(item) for item in items]

    def _body(self, item: RawObject) -> bytes | None:
        key = item.key
        if self._etags.pop(key, "") != item.etag:
            return None
        while key not in self._come:
            answer = self._next()
            if answer is None:
                self._etags.clear()
                return None
            # The bodies come first in the zip: it takes no key that it has no body for.
            self._come.update({k: b for b, k in zip(_cut(answer), self._order, strict=False)})
        body = self._come.pop(key)
        return body if len(body) == item.size_bytes else None

    def end(self) -> None:
        """Nothing more is wanted; the other process is gone when this returns."""
        with contextlib.suppress(OSError):
            os.kill(self._process, signal.SIGKILL)  # it writes nowhere but into our memory
        with contextlib.suppress(OSError):
            os.waitpid(self._process, 0)
        with self._lock:
            self._prefix = None
            self._etags.clear()
            if self._answers >= 0:
                os.close(self._answers)
                os.close(self._memory)
            self._answers = self._memory = -1

    def _next(self) -> bytes | None:
        """What was handed over next; None at the end."""
        said = os.read(self._answers, _NUMBER.size)
        if len(said) < _NUMBER.size:
            return None
        begin, self._end = self._end, _NUMBER.unpack(said)[0]
        return os.pread(self._memory, self._end - begin, begin)


@contextlib.contextmanager
def reading_ahead(store: LocalStore, prefix: str, *, bodies: bool) -> Iterator[None]:
    """Let a forked process list ``prefix``, and with ``bodies`` read its small files, while the block runs.

    Does nothing where that would not pay or cannot be done: the other process needs a core of its own, and a
    fork copies no other thread. What it needs is imported by now.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    ahead = None
    if sys.platform == "linux" and cores > 1 and threading.active_count() == 1:
        ahead = _fork(store, prefix, bodies=bodies)
    if ahead is None:
        yield
        return
    store.read_ahead = ahead
    try:
        yield
    finally:
        store.read_ahead = None
        ahead.end()


def _fork(store: LocalStore, prefix: str, *, bodies: bool) -> ReadAhead | None:
    with contextlib.ExitStack() as undo:
        try:
            memory = os.memfd_create("briquette")
            undo.callback(os.close, memory)
            answers, told = os.pipe()
            undo.callback(os.close, answers)
            process = os.fork()
        except OSError:  # no descriptors or processes left, or no such system call
            return None
        if process == 0:
            try:
                os.close(answers)
                _serve(store, prefix, told, memory, bodies=bodies)
            finally:
                os._exit(0)
        os.close(told)
        undo.pop_all()
    return ReadAhead(process, answers, memory, prefix, bodies=bodies)


def _serve(store: LocalStore, prefix: str, told: int, memory: int, *, bodies: bool) -> None:
    """The other process: silent, and gone as soon as nobody listens."""
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    end = 0

    def hand_over(*blobs: bytes) -> None:
        nonlocal end
        data = memoryview(_joined(blobs))
        while data:
            written = os.pwrite(memory, data, end)
            data, end = data[written:], end + written
        os.write(told, _NUMBER.pack(end))

    found = list(store.list(prefix))
    if any(stored.refused for stored in found):
        return  # the columns below do not tell of that
    hand_over(
        "\0".join([s.key for s in found]).encode(),
        "\0".join([s.etag for s in found]).encode(),
        array("q", [s.size_bytes for s in found]).tobytes(),
        array("d", [s.modified_seconds for s in found]).tobytes(),
        bytes([s.fresh for s in found]),
    )
    if not bodies:
        return
    batch: list[bytes] = []
    for stored in small(found):
        try:
            batch.append(store.get_pinned(RawObject(stored.key, stored.size_bytes, stored.etag)))
        except Exception:  # noqa: BLE001 - whoever wants it will meet the same and say so
            return
        if len(batch) == _BATCH:
            hand_over(*batch)
            batch = []
    hand_over(*batch)


def _joined(blobs: Sequence[bytes]) -> bytes:
    """How many, their lengths, and they themselves."""
    lengths = array("q", [len(blobs), *map(len, blobs)])
    return b"".join((lengths.tobytes(), *blobs))


def _cut(data: bytes) -> list[bytes]:
    """What ``_joined`` has joined."""
    (count,) = _NUMBER.unpack_from(data)
    at = _NUMBER.size * (count + 1)
    lengths = array("q", data[_NUMBER.size : at])
    begins = accumulate(lengths, initial=at)
    return [data[begin : begin + length] for length, begin in zip(lengths, begins, strict=False)]


def _columns(data: bytes) -> tuple[list[str], array[int], list[str], array[float], bytes]:
    """Keys, sizes, etags, times and freshness of a listing."""
    keys, etags, sizes, times, fresh = _cut(data)
    if not sizes:
        return [], array("q"), [], array("d"), b""
    decoded = (blob.decode().split("\0") for blob in (keys, etags))
    return next(decoded), array("q", sizes), next(decoded), array("d", times), fresh
