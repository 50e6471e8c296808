"""Ways to die: at the k-th step that changes something a run is killed, or is told that the step failed.

A killed run is gone: from then on no step of it takes effect, whatever its threads and ``finally`` blocks
still try. Which steps there are is found out by running once without dying.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import md5
from typing import Any

import pytest

from briquette.errors import StoreError
from briquette.storage.interface import ANY, NO_METADATA, Condition, Stored
from briquette.storage.memory import MemoryStore
from tests.faults import Fault, FaultyWire

BEFORE, AFTER, LOST, HALF = "before", "after", "lost reply", "half of it"
WRITES = frozenset(
    [
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "CompleteMultipartUpload",
        "DeleteObject",
        "AbortMultipartUpload",
    ]
)


class KilledError(BaseException):
    """The process is gone. No ``except Exception`` catches this."""


class Death:
    """Counts the steps that change something, and says which is the last."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.dead = False
        self.fired = False
        self._at, self._how = 0, ""
        self._armed = False
        self._lock = threading.Lock()

    @contextmanager
    def at(self, number: int, how: str) -> Iterator[None]:
        """Die at step ``number``, from 1; 0 only counts. Afterwards there is another process, alive."""
        self.steps, self.dead, self.fired = [], False, False
        self._at, self._how, self._armed = number, how, True
        try:
            yield
        finally:
            self._armed = self.dead = False

    def meet(self, step: str) -> str:
        """What becomes of a step: "" for nothing odd, or how it goes wrong; ``KilledError`` when dead."""
        if not self._armed:
            return ""
        with self._lock:
            if self.dead:
                raise KilledError(step)
            self.steps.append(step)
            if len(self.steps) != self._at:
                return ""
            self.fired = True
            self.dead = self._how != LOST
            return self._how

    def act(self, step: str, do: Callable[[str], Any], lost: Exception) -> Any:
        """``do`` it, told how, unless death comes first; ``lost`` is what is heard when the reply is lost."""
        how = self.meet(step)
        if how == BEFORE:
            raise KilledError(f"before {step}")
        done = do(how)
        if how in (AFTER, HALF):
            raise KilledError(f"after {step}")
        if how == LOST:
            raise lost
        return done


# -- on disk: system calls -------------------------------------------------------------------------

_CALLS = (
    "chmod",
    "chown",
    "copy_file_range",
    "fsync",
    "link",
    "mkdir",
    "open",
    "rename",
    "replace",
    "rmdir",
    "setxattr",
    "unlink",
    "write",
)


def dies_on_disk(patch: pytest.MonkeyPatch, root: str) -> Death:
    """Every system call that changes something below ``root`` is a step."""
    death = Death()

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if not any(_is_below(root, a) for a in args[:2]) or (name == "open" and not args[1] & os.O_CREAT):
                return real(*args, **options)

            def do(how: str) -> Any:
                if how == HALF:
                    return real(args[0], args[1][: len(args[1]) // 2])
                # Power cuts are not the subject here: what a dead process has written stays.
                done = None if name == "fsync" else real(*args, **options)
                if how and name == "open":
                    os.close(done)  # the kernel closes what a dead process had open
                return done

            return death.act(f"{name} {_named(args[0])}", do, OSError(errno.EIO, "no answer"))

        return call

    for name in _CALLS:
        patch.setattr(f"os.{name}", wrapped(name, getattr(os, name)))
    from briquette.storage.local import directory_swap

    patch.setattr(directory_swap, "_exchange", wrapped("exchange", directory_swap._exchange))
    return death


def _named(target: Any) -> str:
    return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)


def _is_below(root: str, target: Any) -> bool:
    if isinstance(target, int) and not isinstance(target, bool):
        try:
            target = os.readlink(f"/proc/self/fd/{target}")
        except OSError:
            return False
    return isinstance(target, str) and target.startswith(root)


# -- on S3: requests -------------------------------------------------------------------------------


def dies_on_the_wire(wire: FaultyWire, stores: list[Any]) -> Death:
    """Every request that changes something is a step; a dead run's requests do not reach the server."""
    death = Death()

    def draw(operation: str, _path: str) -> Fault | None:
        if death.dead:
            return Fault(operation, reset=True)
        if operation not in WRITES:
            return None
        how = death.meet(operation)
        if not how:
            return None
        return Fault(operation, reset=True) if how == BEFORE else Fault(operation, lose_reply=True)

    def before(verb: str, key: str) -> None:
        if death.dead:
            raise KilledError(f"{verb} {key}")

    wire.draw = draw
    for store in stores:
        store.requests.before = before
    return death


# -- in memory: verbs of the store -----------------------------------------------------------------


class DyingStore(MemoryStore):
    """Memory with etags of the content, as S3 has them, whose writes are steps."""

    death = Death()

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Any = NO_METADATA,
        *,
        durable: bool = True,
    ) -> Stored:
        def do(_how: str) -> Stored:
            super(DyingStore, self).put(key, data, condition, metadata, durable=durable)
            held = self._objects[key]
            etag = md5(data, usedforsecurity=False).hexdigest()
            stored = Stored(key, len(data), etag, held.stored.metadata, held.stored.modified_seconds)
            self._objects[key] = type(held)(stored, held.data)
            return stored

        done: Stored = self.death.act(f"put {key}", do, _no_answer(key))
        return done

    def delete(self, key: str, condition: Condition = ANY) -> None:
        def do(_how: str) -> None:
            super(DyingStore, self).delete(key, condition)

        self.death.act(f"delete {key}", do, _no_answer(key))


def _no_answer(key: str) -> StoreError:
    return StoreError(f"no answer about {key}", hint="Run it again.")
