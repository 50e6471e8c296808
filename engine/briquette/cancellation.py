"""SIGTERM and Ctrl-C: a run that is told to stop stops at its next request, or ends a publish under way.

Fargate Spot takes a machine back two minutes after SIGTERM. Threads that were uploading abort their uploads
on the way out; what is only removed from hidden places is still removed.

The signal is the process's, how far one has come is each run's: several runs share a process and its stores
(``--days-at-once``), and the requests of one run come from many threads. So a run is a token (``Run``) that
knows its keys, and a request is its own by the key. A run that readers have seen the beginning of is let to
its end, while its neighbours stop.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from briquette.errors import Interrupted

EXIT_STOPPED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT
LAST_SECONDS = 100.0  # then the process ends at once: a crash, which the next run repairs
_VISIBLE_WRITES = frozenset({"PUT", "COMPLETE", "SWAP", "DELETE"})  # an upload's parts show nothing

_SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}

_asked = threading.Event()
_obeyed = threading.Event()
_by: signal.Signals = signal.SIGTERM
_lock = threading.Lock()  # over the registry of runs
_runs: tuple[Run, ...] = ()  # replaced, never changed: a request looks at it without the lock
_thread = threading.local()  # .finishing: how many blocks of ``finishing`` the thread is in


class Run:
    """One run's token: its keys in a store, and whether readers have seen something of it."""

    __slots__ = ("_prefixes", "_url", "publishing")

    def __init__(self, url: str, live: str, hidden: tuple[str, ...]) -> None:
        self._url, self._prefixes = url, (live, *hidden)
        self.publishing = False

    def owns(self, url: str, key: str) -> bool:
        """Whether a request to this key is one of the run's publish."""
        return url == self._url and key.startswith(self._prefixes)


def listen() -> None:
    """Take SIGTERM and Ctrl-C from now on; a second Ctrl-C does not wait until it is safe."""
    signal.signal(signal.SIGTERM, lambda *_: ask())
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(*_: object) -> None:
    if _asked.is_set():
        raise KeyboardInterrupt
    ask(signal.SIGINT)
    if os.isatty(2):
        os.write(2, b"\nstopping as soon as it is safe; Ctrl-C again stops at once\n")


def exit_code() -> int:
    """That of a process which was told to stop, by the signal that told it."""
    return 128 + _by


def ask(by: signal.Signals = signal.SIGTERM) -> None:
    """Let every run of this process stop as soon as that is safe."""
    global _by  # noqa: PLW0603 - the process is told once
    if not _asked.is_set():
        _by = by
        _asked.set()
        last = threading.Timer(LAST_SECONDS, os._exit, (exit_code(),))
        last.daemon = True
        last.start()


def asked() -> bool:
    """Whether this process was told to stop."""
    return _asked.is_set()


def obeyed() -> bool:
    """Whether something was cut short because this process was told to stop."""
    return _obeyed.is_set()


@contextmanager
def running(url: str, live: str, hidden: tuple[str, ...]) -> Iterator[Run]:
    """A run that publishes below ``live`` of a store, by way of the prefixes ``hidden``.

    Raises ``Interrupted`` instead of beginning where this process was told to stop.
    """
    global _runs  # noqa: PLW0603 - the registry of this process
    check()
    run = Run(url, live, hidden)
    with _lock:
        _runs = (*_runs, run)
    try:
        yield run
    finally:
        with _lock:
            _runs = tuple(other for other in _runs if other is not run)


@contextmanager
def finishing() -> Iterator[None]:
    """What this thread asks of a store belongs to something that has been published, or says how it ended."""
    _thread.finishing = getattr(_thread, "finishing", 0) + 1
    try:
        yield
    finally:
        _thread.finishing -= 1


def check() -> None:
    """Raise ``Interrupted`` if this process was told to stop, unless this thread is ``finishing``."""
    if _asked.is_set() and not getattr(_thread, "finishing", 0):
        _obeyed.set()
        raise Interrupted(
            f"the run was told to stop ({_SIGNALS[_by]}); nothing more was published.",
            hint="Run it again: it begins anew.",
        )


def look(url: str, verb: str, key: str) -> None:
    """Ahead of every request to a store: raise ``Interrupted``, or note the first write that readers see."""
    if verb == "GET" and not _asked.is_set():  # thousands of times, and nothing to decide
        return
    hidden = _is_hidden(key)
    if verb in ("LIST", "DELETE") and hidden:
        return  # how a run that stops cleans up
    own = [run for run in _runs if run.owns(url, key)]
    if any(run.publishing for run in own):
        return
    check()
    if verb in _VISIBLE_WRITES and not hidden:
        for run in own:
            run.publishing = True


def _is_hidden(key: str) -> bool:
    segments = key.split("/")
    if segments[-1] == "_manifest.json":
        segments.pop()
    return any(segment[:1] in ("_", ".") for segment in segments if segment)
