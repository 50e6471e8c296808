"""Thousands of small GETs, hundreds at once, in one thread and by libcurl.

An answer that is exactly what the plan expects (200, the pinned size and etag, the bytes' MD5 where that is
looked at) is the body. Any other answer, error or silence is the first failed attempt of the strict way
(`S3Store.get_pinned`), which repeats it and knows what errors mean. Without pycurl that does it all
(docs/decisions/0014-small-gets-by-curl.md).
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any
from urllib.parse import quote, urlsplit

from briquette.model import RawObject
from briquette.storage.interface import Requests, Stored
from briquette.storage.s3 import curl_get
from briquette.storage.s3.clients import Connection, Credentials, refuse_fork
from briquette.storage.s3.curl_get import CurlGet
from briquette.storage.s3.etag_check import EtagCheck
from briquette.storage.s3.get_threads import AHEAD_BYTES
from briquette.storage.s3.retry import TransientError

Pinned = RawObject | Stored  # as planned, or as listed a moment ago: key, size and etag
Strictly = Callable[[Pinned, TransientError | None], Future[bytes]]

SMALL_BYTES = 1 << 20
AHEAD_OBJECTS = 4_096
CONNECTIONS, TLS_CONNECTIONS = 512, 256  # of a process, of a call
FEWEST = 8  # of a call, however many others the process has
CREDENTIAL_SECONDS = 60.0  # they are asked for anew after this
MOST_MISSES = 16  # in a row and never an answer: this is no way to talk to that store

# How long to sleep at most: select() does not see every socket of a process that has more than a thousand.
_TURN_SECONDS = 0.05
_ODD_KEY = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\x00-\x1f\x7f\ud800-\udfff]")
_PLAIN_ETAG = re.compile(r'"[\w-]+"', re.ASCII)
_PLAIN_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")
# What the clients take from the environment and this does not: proxies, other ways to sign, more headers.
_OTHER_WAYS = re.compile(
    r"(?:https?|all)_proxy|aws_(?:skip_signature|request_payer|sse_.*|server_side_encryption|s3_express"
    r"|unsigned_payload|virtual_hosted_style_request|default_headers|allow_invalid_certificates)",
    re.IGNORECASE,
)


class SmallGets:
    """How small objects of one bucket are asked for, and whether that has ever worked."""

    def __init__(self, connection: Connection, etags: EtagCheck, requests: Requests) -> None:
        self.requests = requests
        self.options: dict[int, Any] = {}
        self._connection, self._etags = connection, etags
        self._proved = False
        self._misses = 0
        self._credentials_until = 0.0
        self.possible = (
            _PLAIN_BUCKET.fullmatch(connection.bucket) is not None
            and not connection.bucket.endswith("--x-s3")
            and not any(value and _OTHER_WAYS.fullmatch(name) for name, value in os.environ.items())
            and curl_get.available()
        )

    @property
    def usable(self) -> bool:
        """False where the strict way is the only one."""
        if self.possible and not self.options:
            self.url, region, self._ask_credentials = self._connection.host()
            path = urlsplit(self.url).path
            self.possible = quoted(path) == path
            self.options = curl_get.options(self.url, region)
        return self.possible and (self._proved or self._misses < MOST_MISSES)

    def side_by_side(self, objects: int) -> int:
        """How many requests at once: few until one was answered, for each other costs a request more.

        A connection costs as much as many requests where it is greeted with TLS; and the stores that are
        spoken to so, the true S3 first, promise some thousand answers a second and slow down who wants more.
        """
        most = TLS_CONNECTIONS if self.url.startswith("https:") else CONNECTIONS
        return min(most, max(MOST_MISSES, objects // 8)) if self._proved else MOST_MISSES

    def takes(self, item: Pinned) -> bool:
        """Whether an object is small, and of a name and an etag that need no thought."""
        return (
            item.size_bytes <= SMALL_BYTES
            and _PLAIN_ETAG.fullmatch(item.etag) is not None
            and _ODD_KEY.search(item.key) is None
        )

    def get_many(self, objects: Sequence[RawObject], strictly: Strictly) -> Iterator[bytes]:
        """The bodies in order; those that are not small, or not as expected, come from ``strictly``."""
        call = Call(self, objects, strictly)
        try:
            for number in range(len(objects)):
                found = call.found(number)
                yield found if isinstance(found, bytes) else found.result()
        finally:
            call.close()

    def credentials(self) -> Credentials:
        """Those of now, or of less than a minute ago."""
        now = time.monotonic()
        if now >= self._credentials_until:
            self._credentials, self._credentials_until = self._ask_credentials(), now + CREDENTIAL_SECONDS
        return self._credentials

    def settle(self, item: Pinned, body: bytes | None, failure: str) -> bytes | TransientError | None:
        """The body, or the failed attempt that the strict way goes on from; None if nothing was sent."""
        try:
            if body is not None:
                self._etags.check(item.etag, body)
                self._proved, self._misses = True, 0
                return body
        except TransientError as error:
            failure = str(error)
        self._misses += 1
        return TransientError(failure) if failure else None


class Call:
    """Bodies on their way: begun in order, ready in any, and no more than memory and server may take.

    ``objects`` may grow while they are asked for. ``stopped`` ends the call from another thread.
    """

    def __init__(self, gets: SmallGets, objects: Sequence[Pinned], strictly: Strictly) -> None:
        import pycurl

        self.stopped = False
        self._gets, self._objects, self._strictly = gets, objects, strictly
        self._ready: dict[int, bytes | Future[bytes]] = {}
        self._strict: list[Future[bytes]] = []  # had not ended when they were looked at
        self._begun = self._ahead_bytes = self._opened = self._slots = 0
        self._busy: dict[Any, CurlGet] = {}
        self._idle: list[CurlGet] = []
        self._pid = os.getpid()
        self._error = pycurl.error
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, CONNECTIONS)
        _OPEN.add(self)

    def found(self, number: int) -> bytes | Future[bytes]:
        """The next body, or what the strict way will give; meanwhile those behind it are asked for."""
        refuse_fork(self._pid)
        while not self.stopped:
            self._begin_more(number)
            found = self._ready.get(number)
            if isinstance(found, bytes) or (found is not None and (found.done() or not self._busy)):
                break
            self._poll()
        else:
            raise CancelledError
        del self._ready[number]
        self._ahead_bytes -= self._objects[number].size_bytes
        return found

    def hang_up(self) -> None:
        """Close the connections; the strict way goes on."""
        if self not in _OPEN or os.getpid() != self._pid:  # the sockets of a fork's copy are its parent's too
            return
        for curl in list(self._busy):
            self._release(curl)
        for get in self._idle:
            get.curl.close()
        self._multi.close()
        _OPEN.discard(self)
        if self._slots:
            _SLOTS.release(self._slots)

    def close(self) -> None:
        """Ask for nothing any more."""
        self.hang_up()
        for future in self._strict:
            future.cancel()

    def _begin_more(self, number: int) -> None:
        self._strict = [future for future in self._strict if not future.done()]
        most = self._gets.side_by_side(len(self._objects))
        while (
            self._begun < len(self._objects)
            and self._begun - number < AHEAD_OBJECTS
            and (self._ahead_bytes < AHEAD_BYTES or self._begun == number)
            # What the strict way repeats, with pauses, holds back what is asked of a store in trouble.
            and len(self._busy) + len(self._strict) < most
        ):
            item = self._objects[self._begun]
            if not self._gets.usable or not self._gets.takes(item):
                self._hand_over(self._begun, None)
            elif self._idle or self._may_open_one():
                self._begin(self._begun, item)
            else:
                return
            self._ahead_bytes += item.size_bytes
            self._begun += 1

    def _may_open_one(self) -> bool:
        slot = _SLOTS.acquire(blocking=False)
        may = slot or self._opened < FEWEST
        self._slots += slot
        self._opened += may
        return may

    def _begin(self, number: int, item: Pinned) -> None:
        self._gets.requests.note("GET", item.key)
        try:
            get = self._idle.pop() if self._idle else CurlGet(self._gets.options)
            url = f"{self._gets.url}/{quoted(item.key)}"
            get.prepare(number, url, item.size_bytes, item.etag, self._gets.credentials())
            self._multi.add_handle(get.curl)
            self._busy[get.curl] = get
        except Exception:  # noqa: BLE001 - of libcurl or of credentials: the strict way says why, or does it
            self._gets.possible = False
            self._hand_over(number, None)

    def _poll(self) -> None:
        """Take what has ended; wait a moment if nothing has."""
        try:
            self._multi.perform()
            _, whole, broken = self._multi.info_read()
            if not whole and not broken and self._multi.select(_TURN_SECONDS) < 1:
                time.sleep(0.001)  # while a name is looked up, there is nothing to select
        except self._error as error:
            whole, broken = [], [(curl, 0, str(error)) for curl in self._busy]
        for curl, trouble in [(curl, "") for curl in whole] + [(curl, text) for curl, _, text in broken]:
            get = self._release(curl)
            found = self._gets.settle(self._objects[get.number], *get.outcome(trouble))
            if isinstance(found, bytes):
                self._ready[get.number] = found
            else:
                self._hand_over(get.number, found)

    def _release(self, curl: Any) -> CurlGet:
        get = self._busy.pop(curl)
        self._multi.remove_handle(curl)
        self._idle.append(get)
        return get

    def _hand_over(self, number: int, failed: TransientError | None) -> None:
        future = self._ready[number] = self._strictly(self._objects[number], failed)
        self._strict.append(future)


def quoted(key: str) -> str:
    """A key as it is signed and sent.

    >>> quoted("a b+c=ü%.json")
    'a%20b%2Bc%3D%C3%BC%25.json'
    """
    return quote(key, safe="/-_.~")


def _slots() -> threading.Semaphore:
    """A slot for each connection of this process; half of the files that it may open are left to others."""
    files, _ = getrlimit(RLIMIT_NOFILE)
    return threading.Semaphore(CONNECTIONS if files == RLIM_INFINITY else min(CONNECTIONS, files // 2))


def _after_fork() -> None:
    global _SLOTS  # noqa: PLW0603 - one set of slots for each process
    _SLOTS = _slots()


_SLOTS = _slots()
_OPEN: set[Call] = set()  # a fork's copies stay in it: closing them would hang up on their parent's servers
os.register_at_fork(after_in_child=_after_fork)
