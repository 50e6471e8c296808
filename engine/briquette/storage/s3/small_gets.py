"""Thousands of small GETs, hundreds at once, in one thread and without a client library.

For a small object a client costs more CPU than everything else that is done with its bytes
(docs/decisions/0009-small-gets.md). Here an answer that is exactly what the plan expects (200, the pinned
size and etag, the bytes' MD5 where that is looked at) is the body. Any other answer, error or silence is the
first failed attempt of the strict way (`S3Store.get_pinned`), which repeats it and knows what errors mean.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from briquette.model import RawObject
from briquette.storage.interface import Requests, Stored
from briquette.storage.s3.clients import CONNECT_SECONDS, READ_SECONDS, Connection
from briquette.storage.s3.etag_check import EtagCheck
from briquette.storage.s3.exchange import exchange
from briquette.storage.s3.get_threads import AHEAD_BYTES
from briquette.storage.s3.retry import TransientError
from briquette.storage.s3.sigv4 import Signer, encoded
from briquette.storage.s3.wires import CONNECTIONS, Answer, Host, Wanted, Wires

if TYPE_CHECKING:
    from ssl import SSLContext

Pinned = RawObject | Stored  # as planned, or as listed a moment ago: key, size and etag
Strictly = Callable[[Pinned, TransientError | None], Future[bytes]]

SMALL_BYTES = 1 << 20
AHEAD_OBJECTS = 4_096
MOST_TLS = 256
MOST_MISSES = 16  # in a row and never an answer: this is no way to talk to that store
MOST_DELETES = 32  # each has a connection of its own; boto3 keeps some open
SIGNER_SECONDS = 60.0  # credentials are asked for anew after this

_STRICT_SECONDS = 0.02  # how soon it is noticed that the strict way has a body
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
        self._connection, self._etags, self._requests = connection, etags, requests
        self._proved = False
        self._misses = self._deletes = 0
        self._host: Host | None = None
        self._possible = (
            hasattr(select, "epoll")
            and _PLAIN_BUCKET.fullmatch(connection.bucket) is not None
            and not connection.bucket.endswith("--x-s3")
            and not any(value and _OTHER_WAYS.fullmatch(name) for name, value in os.environ.items())
        )

    @property
    def usable(self) -> bool:
        """False where the strict way is the only one."""
        if self._possible and self._host is None:
            self._resolve()
        return self._possible and (self._proved or self._misses < MOST_MISSES)

    def _resolve(self) -> None:
        url, self._region, self._credentials = self._connection.host()
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._authority, self._folder = parts.netloc, parts.path + "/"
        self._possible = (
            parts.scheme in ("http", "https")
            and "@" not in parts.netloc
            and encoded(url.partition("://")[2].partition("/")[2]) == parts.path[1:]
        )
        port = parts.port or (443 if secure else 80)
        self._host = Host(parts.hostname or "", port, _tls() if secure and self._possible else None)

    def side_by_side(self, objects: int) -> int:
        """How many requests at once: few until one was answered, for each other costs a request more.

        A connection costs as much as many requests where it is greeted with TLS; and the stores that are
        spoken to so, the true S3 first, promise some thousand answers a second and slow down who wants more.
        """
        if not self._proved:
            return MOST_MISSES
        most = CONNECTIONS if self._host is None or self._host.tls is None else min(CONNECTIONS, MOST_TLS)
        return min(most, max(MOST_MISSES, objects // 8))

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
                yield call.body(number)
        finally:
            call.close()

    def delete(self, key: str, etag: str) -> tuple[int, bytes] | None:
        """Ask for one object's removal: status and body, or None where that has to go another way.

        boto3's import costs more than a run of ten thousand small objects should spend on a few removals.
        """
        self._deletes += 1
        plain = _ODD_KEY.search(key) is None and (not etag or _PLAIN_ETAG.fullmatch(etag) is not None)
        if not plain or self._deletes > MOST_DELETES or not self.usable:
            return None
        assert self._host is not None
        request = self.signer().head(encoded(self._folder + key), etag, method="DELETE")
        return exchange(self._host, request, "DELETE", CONNECT_SECONDS, READ_SECONDS)

    # -- for a call ----------------------------------------------------------------------------

    def wires(self, request: Callable[[int], bytes]) -> Wires:
        assert self._host is not None
        return Wires(self._host, request, CONNECT_SECONDS, READ_SECONDS)

    def signer(self) -> Signer:
        """Of the credentials of now."""
        return Signer(self._authority, self._region, self._credentials())

    def request(self, signer: Signer, item: Pinned) -> bytes:
        """The bytes to be sent now, and counted."""
        self._requests.note("GET", item.key)
        return signer.head(encoded(self._folder + item.key), item.etag)

    def settle(self, item: Pinned, answer: Answer) -> bytes | TransientError | None:
        """The body, or the failed attempt that the strict way goes on from; None if it was none."""
        failed = TransientError(answer.failure) if answer.sent else None
        if answer.body is not None:
            try:
                self._etags.check(item.etag, answer.body)
            except TransientError as error:
                failed = error
            else:
                self._proved, self._misses = True, 0
                return answer.body
        self._misses += 1
        return failed


class Call:
    """Bodies on their way: begun in order, ready in any, and no more than memory and server may take.

    ``objects`` may grow while they are asked for. ``stopped`` ends the call from another thread.
    """

    def __init__(self, gets: SmallGets, objects: Sequence[Pinned], strictly: Strictly) -> None:
        self.stopped = False
        self._gets, self._objects, self._strictly = gets, objects, strictly
        self._wires = gets.wires(self._request)
        self._ready: dict[int, bytes | Future[bytes]] = {}
        self._strict: list[Future[bytes]] = []  # had not ended when they were looked at
        self._begun = self._ahead_bytes = 0
        self._signer_until = 0.0

    def _request(self, number: int) -> bytes:
        now = time.monotonic()
        if now >= self._signer_until:
            self._signer, self._signer_until = self._gets.signer(), now + SIGNER_SECONDS
        return self._gets.request(self._signer, self._objects[number])

    def body(self, number: int) -> bytes:
        """The next body."""
        found = self.found(number)
        return found if isinstance(found, bytes) else found.result()

    def found(self, number: int) -> bytes | Future[bytes]:
        """The next body, or what the strict way will give; meanwhile those behind it are asked for."""
        while not self.stopped:
            self._begin_more(number)
            found = self._ready.get(number)
            if isinstance(found, bytes):
                break
            if found is not None and (found.done() or not self._wires.in_flight):
                break
            self._take(1.0 if found is None else _STRICT_SECONDS)
        else:
            raise CancelledError
        del self._ready[number]
        self._ahead_bytes -= self._objects[number].size_bytes
        return found

    def _begin_more(self, number: int) -> None:
        if self._strict:
            self._strict = [future for future in self._strict if not future.done()]
        most = self._gets.side_by_side(len(self._objects))
        while (
            self._begun < len(self._objects)
            and self._begun - number < AHEAD_OBJECTS
            and (self._ahead_bytes < AHEAD_BYTES or self._begun == number)
            # What the strict way repeats, with pauses, holds back what is asked of a store in trouble.
            and self._wires.in_flight + len(self._strict) < most
        ):
            item = self._objects[self._begun]
            if not self._gets.usable or not self._gets.takes(item):
                self._hand_over(self._begun, None)
            elif self._wires.free():
                self._wires.begin(Wanted(self._begun, item.size_bytes, item.etag))
            else:
                return
            self._ahead_bytes += item.size_bytes
            self._begun += 1

    def _take(self, seconds: float) -> None:
        for answer in self._wires.poll(seconds):
            found = self._gets.settle(self._objects[answer.number], answer)
            if isinstance(found, bytes):
                self._ready[answer.number] = found
            else:
                self._hand_over(answer.number, found)

    def _hand_over(self, number: int, failed: TransientError | None) -> None:
        future = self._ready[number] = self._strictly(self._objects[number], failed)
        self._strict.append(future)

    def hang_up(self) -> None:
        """Close the connections; the strict way goes on."""
        self._wires.close()

    def close(self) -> None:
        """Ask for nothing any more."""
        self.hang_up()
        for future in self._strict:
            future.cancel()


def _tls() -> SSLContext:
    """What certificates are checked with: AWS_CA_BUNDLE, the system's authorities, or botocore's own copy."""
    import ssl

    chosen = os.environ.get("AWS_CA_BUNDLE") or None
    context = ssl.create_default_context(cafile=chosen)
    known = ssl.get_default_verify_paths()
    if not chosen and not known.cafile and not known.capath:
        from importlib.util import find_spec

        found = find_spec("botocore")
        if found is not None and found.origin:
            context.load_verify_locations(Path(found.origin).with_name("cacert.pem"))
    return context
