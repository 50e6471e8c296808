"""A forked process lists a day on local disk and reads its small files while this one imports its libraries.

Importing holds the interpreter for a quarter of a second, and so do ten thousand short system calls: two
threads would take turns, two processes do not (docs/decisions/0005-start-up.md). Nothing depends on it. What
it found is what ``LocalStore`` finds by the same code, pinned by the same etags. What it did not find,
because it failed or was never asked, the store reads itself; that is also where errors are raised.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from engine.store import Stored

SMALL_BYTES = 16 << 10  # reading so many takes the kernel no longer than opening the file
MOST_BYTES = 64 << 20  # of bodies that wait to be taken
_BATCH = 512  # bodies handed over at once
_OFFSET = struct.Struct("<Q")


class _Item(Protocol):
    """A raw object, or a line of a listing."""

    @property
    def key(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def etag(self) -> str: ...


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

    def __init__(self, process: int, questions: int, answers: int, memory: int) -> None:
        self._process, self._questions, self._answers, self._memory = process, questions, answers, memory
        self._lock = threading.Lock()
        self._asked: tuple[str, str] | None = None
        self._bodies = False
        self._end = 0  # of what was taken out of the shared memory
        self._waiting: dict[str, str] = {}  # key -> etag of the bodies that will come
        self._come: dict[str, bytes] = {}

    def ask(self, root: str, prefix: str, *, bodies: bool) -> None:
        """Let the other process begin; ``bodies``: read the small files too."""
        with contextlib.suppress(OSError):
            os.write(self._questions, marshal.dumps((root, prefix, bodies)))
            self._asked, self._bodies = (root, prefix), bodies
        os.close(self._questions)
        self._questions = -1

    def listing(self, root: str, prefix: str) -> list[Stored] | None:
        """The files below ``prefix``, once; None where this was not asked for, or failed."""
        from engine.store import NO_METADATA, Stored

        with self._lock:
            if self._asked != (root, prefix):
                return None
            self._asked = None
            answer = self._next()
            if answer is None:
                return None
            found = [
                Stored(key, size, etag, NO_METADATA, modified)
                for key, size, etag, modified in zip(*answer, strict=True)
            ]
            if self._bodies:
                self._waiting = {stored.key: stored.etag for stored in small(found)}
            return found

    def body(self, item: _Item) -> bytes | None:
        """The bytes of a file in exactly the state of ``item``, once; waits while they are being read."""
        with self._lock:
            if self._waiting.pop(item.key, "") != item.etag:
                return None
            while item.key not in self._come:
                answer = self._next()
                if answer is None:
                    self._waiting.clear()
                    return None
                self._come.update(answer)
            body = self._come.pop(item.key)
        return body if len(body) == item.size_bytes else None

    def end(self) -> None:
        """Nothing more is wanted; the other process is gone when this returns."""
        with contextlib.suppress(OSError):
            os.kill(self._process, signal.SIGKILL)  # it writes nowhere but into our memory
        with contextlib.suppress(OSError):
            os.waitpid(self._process, 0)
        with self._lock:
            self._waiting.clear()
            for descriptor in (self._questions, self._answers, self._memory):
                if descriptor >= 0:
                    os.close(descriptor)
            self._questions = self._answers = self._memory = -1

    def _next(self) -> Any:
        """What was handed over next; None at the end."""
        if self._answers < 0:
            return None
        said = os.read(self._answers, _OFFSET.size)
        if len(said) < _OFFSET.size:
            return None
        begin, self._end = self._end, _OFFSET.unpack(said)[0]
        return marshal.loads(os.pread(self._memory, self._end - begin, begin))  # noqa: S302 - our own process


_current: ReadAhead | None = None  # one command a process


def current() -> ReadAhead | None:
    """What ``begin`` has begun."""
    return _current


def begin() -> None:
    """Fork the other process, where that pays and can be done.

    Called before the first thread is started, and before anything but the interpreter is loaded.
    """
    global _current  # noqa: PLW0603
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if sys.platform != "linux" or cores < 2 or threading.active_count() > 1:
        return
    try:
        memory = os.memfd_create("briquette")
        read_question, write_question = os.pipe()
        read_answer, write_answer = os.pipe()
        process = os.fork()
    except OSError:  # no descriptors or processes left, or no such system call
        return
    if process == 0:
        try:
            os.close(write_question)
            os.close(read_answer)
            _serve(read_question, write_answer, memory)
        finally:
            os._exit(0)
    os.close(read_question)
    os.close(write_answer)
    _current = ReadAhead(process, write_question, read_answer, memory)


def end() -> None:
    """End what ``begin`` has begun."""
    if _current is not None:
        _current.end()


def _serve(questions: int, answers: int, memory: int) -> None:
    """The other process: silent, and gone as soon as nobody listens."""
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    from engine.model import RawObject
    from engine.stores.local import LocalStore

    asked = b"".join(iter(lambda: os.read(questions, 1 << 16), b""))
    if not asked:
        return
    root, prefix, bodies = marshal.loads(asked)  # noqa: S302 - from the process that made this one
    end = 0

    def hand_over(value: Any) -> None:
        nonlocal end
        data = memoryview(marshal.dumps(value))
        while data:
            written = os.pwrite(memory, data, end)
            data, end = data[written:], end + written
        os.write(answers, _OFFSET.pack(end))

    store = LocalStore(root)
    found = list(store.list(prefix))
    hand_over(
        (
            [s.key for s in found],
            [s.size_bytes for s in found],
            [s.etag for s in found],
            [s.modified_seconds for s in found],
        )
    )
    if not bodies:
        return
    batch: dict[str, bytes] = {}
    for stored in small(found):
        try:
            batch[stored.key] = store.get_pinned(RawObject(stored.key, stored.size_bytes, stored.etag))
        except Exception:  # noqa: BLE001 - whoever wants it will meet the same and say so
            return
        if len(batch) == _BATCH:
            hand_over(batch)
            batch = {}
    hand_over(batch)
