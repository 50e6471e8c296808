"""A listing that is made on a thread, and its small objects, fetched on another while it is being made.

A run of ten thousand crumbs waits for one page after the other, and the imports of a command for nobody.
What was fetched is handed to ``get_many`` by the pin of the plan, so it cannot be another state of an object
than the planned one; what was not, or not in time, is fetched as always.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from briquette.errors import Interrupted
from briquette.model import RawObject
from briquette.storage.s3.small_gets import Call, Pinned, SmallGets, Strictly

if TYPE_CHECKING:
    from briquette.storage.interface import Stored

PREFETCH_BYTES = 16 << 20  # of all bodies together; whoever reads larger objects has other work meanwhile

Watch = Callable[[Sequence["Stored"]], None]


class S3Prefetch:
    """One listing and the bodies of it. Its threads end with ``close``, or when all is there."""

    def __init__(
        self,
        make_listing: Callable[[Watch], Iterator[Stored]],
        gets: Callable[[], SmallGets | None],
        strictly: Strictly,
        wanted: Callable[[Stored], bool],
    ) -> None:
        self._gets, self._strictly, self._wanted = gets, strictly, wanted
        self._changed = threading.Condition()
        self._closed = self._all_listed = self._ended = False
        self._items: list[Pinned] = []  # to be fetched, in the order of the listing
        self._numbers: dict[str, int] = {}
        self._bytes = 0
        self._at = 0  # so many of them have been found
        self._found: dict[int, bytes | Future[bytes]] = {}
        self._awaited: dict[int, threading.Event] = {}
        self._call: Call | None = None
        self._listed: Future[list[Stored]] = Future()
        self._fetcher: threading.Thread | None = None
        self._lister = threading.Thread(target=self._list, args=(make_listing,), name="briquette-list")
        self._lister.start()

    def listed(self) -> Iterator[Stored]:
        """The whole listing, or the error that it ended with."""
        return iter(self._listed.result())

    def fetch(self) -> None:
        """Begin to fetch what has been listed and will be; until then nothing is."""
        with self._changed:
            if self._fetcher is None and not self._closed:
                self._fetcher = threading.Thread(target=self._fetch, name="briquette-prefetch")
                self._fetcher.start()

    def get_many(
        self, objects: Sequence[RawObject], otherwise: Callable[[Sequence[RawObject]], Iterator[bytes]]
    ) -> Iterator[bytes]:
        """The bodies in order; ``otherwise`` gives those that are not prefetched."""
        numbers = [self._number(item) for item in objects]
        self._wait(max((n for n in numbers if n is not None), default=-1))
        with self._changed:
            found = [None if n is None else self._found.pop(n, None) for n in numbers]
        rest = otherwise([o for o, body in zip(objects, found, strict=True) if body is None])
        found.reverse()
        while found:
            body = found.pop()  # which the caller may let go
            yield next(rest) if body is None else body if isinstance(body, bytes) else body.result()

    def close(self) -> None:
        """End both threads and forget what nobody asked for."""
        with self._changed:
            self._closed = True
            if self._call is not None:
                self._call.stopped = True
            self._changed.notify_all()
        for thread in (self._lister, self._fetcher):
            if thread is not None:
                thread.join()
        for body in self._found.values():
            if isinstance(body, Future):
                body.cancel()
        self._found.clear()

    # -- the listing ---------------------------------------------------------------------------

    def _list(self, make_listing: Callable[[Watch], Iterator[Stored]]) -> None:
        try:
            self._listed.set_result(list(make_listing(self._watch)))
        except BaseException as error:  # noqa: BLE001 - raised where the listing is asked for
            self._listed.set_exception(error)
        with self._changed:
            self._all_listed = True
            self._changed.notify_all()

    def _watch(self, page: Sequence[Stored]) -> None:
        """Take a page's small objects; a listing that failed in its middle comes once more."""
        if self._closed:
            raise Interrupted("the listing is not wanted any more.")
        wanted = [s for s in page if self._wanted(s)]
        with self._changed:
            for item in wanted:
                if self._bytes < PREFETCH_BYTES and item.key not in self._numbers:
                    self._numbers[item.key] = len(self._items)
                    self._items.append(item)
                    self._bytes += item.size_bytes
            self._changed.notify_all()

    # -- the bodies ----------------------------------------------------------------------------

    def _fetch(self) -> None:
        try:
            gets = self._gets()
            if gets is not None:
                self._fetch_by(gets)
        except Exception:  # noqa: BLE001, S110 - who wants the objects fetches them, and meets it again
            pass
        finally:
            with self._changed:
                self._ended = True
                for event in self._awaited.values():
                    event.set()

    def _fetch_by(self, gets: SmallGets) -> None:
        call = Call(gets, self._items, self._strictly)
        try:
            with self._changed:
                self._call = call
            while self._has_one_more():
                found = call.found(self._at)
                with self._changed:
                    self._found[self._at] = found
                    event = self._awaited.get(self._at)
                    self._at += 1
                if event is not None:
                    event.set()
        finally:
            if self._closed:
                call.close()
            else:
                call.hang_up()  # what the strict way still does, somebody waits for

    def _has_one_more(self) -> bool:
        with self._changed:
            while self._at == len(self._items) and not (self._all_listed or self._closed):
                self._changed.wait()
            return self._at < len(self._items) and not self._closed

    def _number(self, item: RawObject) -> int | None:
        """Where the object stands, if it is fetched here and in that very state."""
        if self._fetcher is None:
            return None
        number = self._numbers.get(item.key)
        if number is None:
            return None
        listed = self._items[number]
        return number if (listed.size_bytes, listed.etag) == (item.size_bytes, item.etag) else None

    def _wait(self, number: int) -> None:
        """Until the object ``number``, and with it all before it, has been found, or nothing more will be.

        Whoever waits wants all of a split: woken once, it does not take the interpreter away meanwhile.
        """
        with self._changed:
            if number < self._at or self._ended:
                return
            event = self._awaited.setdefault(number, threading.Event())
        event.wait()
