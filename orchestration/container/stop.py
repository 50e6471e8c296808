"""SIGTERM: two minutes, on Fargate Spot, in which a run ends by itself or leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable

from engine.errors import Interrupted
from engine.publishing.layout import MANIFEST_NAME, is_hidden
from engine.store import open_store
from orchestration.handlers.telemetry import log

EXIT_STOPPED = 128 + signal.SIGTERM
LAST_SECONDS = 100.0  # SIGKILL follows 120 seconds after SIGTERM
_WRITES = ("PUT", "COMPLETE", "SWAP", "DELETE")  # an upload's parts are not among them: they show nothing


class Stop:
    """Once asked to stop, every next request to a store raises ``Interrupted``, in whichever thread.

    So each upload under way is aborted by the thread that began it. A publish is not cut in two: from its
    first visible write on, the run goes to its end, which is a moment away.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.publishing = threading.Event()
        self._watched: list[str] = []

    def listen(self) -> None:
        """Take SIGTERM from now on."""
        signal.signal(signal.SIGTERM, lambda *_: self.ask())

    def ask(self) -> None:
        """Stop as soon as it is safe, and at the latest just before the container is killed."""
        if self.asked.is_set():
            return
        self.asked.set()
        last = threading.Timer(LAST_SECONDS, os._exit, (EXIT_STOPPED,))
        last.daemon = True
        last.start()

    def watch(self, urls: Iterable[str], visible: str = "") -> None:
        """Look at every request to these stores; below ``visible`` lies what readers see."""

        def before(verb: str, key: str) -> None:
            if self.publishing.is_set():
                return
            self._raise_if_asked()
            if visible and verb in _WRITES and key.startswith(visible) and _is_seen(key[len(visible) :]):
                self.publishing.set()

        for url in urls:
            open_store(url).requests.before = before
            self._watched.append(url)

    def release(self) -> None:
        """Look at no request any more: what happened is still to be said."""
        for url in self._watched:
            open_store(url).requests.before = None
        self._watched.clear()

    def _raise_if_asked(self) -> None:
        if self.asked.is_set():
            raise Interrupted("the container was told to stop (SIGTERM).", hint="Nothing was published.")


def _is_seen(path: str) -> bool:
    return path == MANIFEST_NAME or not is_hidden(path)


def said_stopped(stop: Stop, correlation_id: str) -> None:
    """One line in the log, if it was asked at all."""
    if stop.asked.is_set():
        log("WARNING", "told to stop", correlation_id, publishing=stop.publishing.is_set())
