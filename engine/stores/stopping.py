"""SIGTERM and Ctrl-C: a run that is told to stop stops at its next request, or ends a publish under way.

Fargate Spot takes a machine back two minutes after SIGTERM. Threads that were uploading abort their uploads
on the way out; what is only removed from hidden places is still removed.
"""

from __future__ import annotations

import os
import signal
import threading

from engine.errors import Interrupted

EXIT_STOPPED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT
LAST_SECONDS = 100.0  # then the process ends at once: a crash, which the next run repairs
_VISIBLE_WRITES = frozenset({"PUT", "COMPLETE", "SWAP", "DELETE"})  # an upload's parts show nothing

_SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}

_asked = threading.Event()
_publishing = threading.Event()
_obeyed = threading.Event()
_by: signal.Signals = signal.SIGTERM


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


def obeyed() -> bool:
    """Whether something was cut short because this process was told to stop."""
    return _obeyed.is_set()


def begin_run() -> None:
    """Nothing of this run is visible yet."""
    _publishing.clear()
    check()


def check() -> None:
    """Raise ``Interrupted`` if this process was told to stop and readers have seen nothing of the run."""
    if _asked.is_set() and not _publishing.is_set():
        _obeyed.set()
        raise Interrupted(
            f"the run was told to stop ({_SIGNALS[_by]}); nothing was published.",
            hint="Run it again: it begins anew.",
        )


def look(verb: str, key: str) -> None:
    """Ahead of every request to a store: raise ``Interrupted``, or note the first write that readers see."""
    if verb == "GET":  # thousands of times, and nothing to decide
        check()
        return
    hidden = _is_hidden(key)
    if verb in ("LIST", "DELETE") and hidden:
        return  # how a run that stops cleans up
    check()
    if verb in _VISIBLE_WRITES and not hidden:
        _publishing.set()


def _is_hidden(key: str) -> bool:
    segments = key.split("/")
    if segments[-1] == "_manifest.json":
        segments.pop()
    return any(segment[:1] in ("_", ".") for segment in segments if segment)
