"""Threads of a run that have nothing left to do, lent to splits that are still at work.

A day of one split would keep one core waiting, one of three every other time. What is done is the same with
and without a second thread, so nothing that comes out depends on whether one was idle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

First = TypeVar("First")
Second = TypeVar("Second")

_idle = threading.Semaphore(0)


class Lender:
    """Counts the tasks of one run that no thread has begun, and lends the threads for which none is left."""

    def __init__(self, threads: int, tasks: int) -> None:
        self._waiting = tasks
        self._lock = threading.Lock()
        self._lent = 0
        for _ in range(threads - tasks):
            self._lend()

    def _lend(self) -> None:
        self._lent += 1
        _idle.release()

    @contextmanager
    def task(self) -> Iterator[None]:
        """Around each task."""
        with self._lock:
            self._waiting -= 1
        try:
            yield
        finally:
            with self._lock:
                if not self._waiting:
                    self._lend()

    def close(self) -> None:
        """Take the threads back, once all tasks have ended."""
        for _ in range(self._lent):
            _idle.acquire()


def idle() -> bool:
    """Whether a thread is likely to be there for ``both``."""
    if not _idle.acquire(blocking=False):
        return False
    _idle.release()
    return True


def both(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """What the two give, at the same time if a thread is idle; an error of either is raised."""
    if not _idle.acquire(blocking=False):
        return first(), second()
    try:
        found: list[Second] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                found.append(second())
            except BaseException as error:  # noqa: BLE001  # raised below, in the thread that asked
                failed.append(error)

        thread = threading.Thread(target=run, name="spare")
        thread.start()
        try:
            one = first()
        finally:
            thread.join()
        if failed:
            raise failed[0]
        return one, found[0]
    finally:
        _idle.release()
