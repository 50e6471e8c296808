"""What a store is: one abstract class over local disk, S3 and memory, and the values it speaks in.

Keys are relative to the store's root and use "/"; etags are opaque; conditions are honoured atomically for
one key. Errors: ``NotFound``, ``PreconditionFailed``, ``UnsafePath``, ``SourceChanged`` (pinned raw objects),
``StoreRefused`` where no retry can help, and ``StoreError`` for what is left after bounded retries.

Where stores differ, they say so by their capabilities (the class attributes of ``Store``); nobody asks which
class a store is. A store of your own inherits from ``Store`` and is held to ``briquette.testing.stores``.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import IO, ClassVar, Protocol

from briquette import cancellation
from briquette.errors import NotFound, PreconditionFailed, SourceChanged, StoreError, UnsafePath
from briquette.model import Piece, RawObject
from briquette.storage.range_file import RangeFile

WRITE_VERBS = frozenset({"PUT", "DELETE", "STAGE", "CREATE_UPLOAD", "UPLOAD", "COPY", "COMPLETE", "SWAP"})
NO_METADATA: Mapping[str, str] = {}
HASH_BYTES = 8 << 20  # read at once
FILE_BYTES = 1 << 20  # of an object that is opened as a file, in one request, at least

_BAD_SEGMENT = re.compile(r"/\.{0,2}(?:/|\Z)|\x00")  # in "/" + key, which is faster than with "\A"
# A set: to compile a pattern of characters so far apart takes a hundredth of a small run.
_BAD_CHARACTERS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))
_MAX_KEY_BYTES = 1_024  # S3's own limit


@dataclass(slots=True, unsafe_hash=True)  # frozen, it would take twice the time, for each file of a listing
class Stored:
    """An object as the store knows it; listings carry no ``metadata``. Nobody changes one."""

    key: str
    size_bytes: int
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)
    modified_seconds: float = field(default=0.0, compare=False)  # by the store's clock, since the epoch
    refused: str = field(default="", compare=False)  # why it cannot be read; ``key`` only names it
    # So new that it may change again and keep its etag, as files do within a tick of the clock.
    fresh: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the key for a write to happen: anything, nothing there, or exactly this etag."""

    absent: bool = False
    etag: str = ""

    def __str__(self) -> str:
        if self.absent:
            return "nothing at the key"
        return f"etag {self.etag}" if self.etag else "any state"


ANY = Condition()
IF_ABSENT = Condition(absent=True)


def if_match(etag: str) -> Condition:
    """The write happens only over the object that has this etag."""
    if not etag:
        raise ValueError("an empty etag would match anything; use ANY or IF_ABSENT")
    return Condition(etag=etag)


class Requests:
    """Counts what a store was asked, by verb; ``before`` (tests) is called ahead of every request.

    On S3 one count is one HTTP request, retries included; on disk and in memory one count is the
    operation that stands for it.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.before: Callable[[str, str], None] | None = None

    def note(self, verb: str, key: str) -> None:
        if self.before is not None:
            self.before(verb, key)
        cancellation.look(self._url, verb, key)
        with self._lock:
            self._counts[verb] += 1

    def __getitem__(self, verb: str) -> int:
        return self._counts[verb]

    @property
    def writes(self) -> int:
        return sum(n for verb, n in self._counts.items() if verb in WRITE_VERBS)

    def as_dict(self) -> dict[str, int]:
        return dict(self._counts)

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()


class Staged(Protocol):
    """A whole object that nobody sees yet; ``commit`` is the one visible step."""

    key: str
    size_bytes: int
    multipart: bool  # committed by CompleteMultipartUpload rather than by one PUT or rename

    def commit(self, condition: Condition) -> Stored:
        """Make it visible; raises ``PreconditionFailed`` where ``condition`` does not hold."""

    def read_back(self) -> Iterator[bytes] | None:
        """Its bytes as they wait; None where the store has them, or where they are the caller's own."""

    def abort(self) -> None:
        """Forget it; after ``commit`` this does nothing."""


class Prefetch(Protocol):
    """A listing on its way, and the bodies of it that ``get_many`` will be asked for."""

    def listed(self) -> Iterator[Stored]:
        """The whole listing, or the error that it ended with."""

    def fetch(self) -> None:
        """Begin to fetch what was wanted of the listing; until then no body is."""


class NextDirectory(Protocol):
    """The next state of a directory, built out of sight under a hidden name."""

    live: str  # the path that it will have

    def path_of(self, name: str) -> str:
        """Where a file of the next state lies until the exchange."""

    def add(self, name: str, pieces: Iterable[Piece], metadata: Callable[[], Mapping[str, str]]) -> Stored:
        """Write one file; it has its live key from the exchange on. ``metadata`` is asked for then."""

    def exchange(self, expected: Mapping[str, str], shown: Callable[[], Mapping[str, str]]) -> None:
        """Become the live directory if ``shown()`` (etags by key) is still ``expected``.

        Raises ``PreconditionFailed`` or ``SwapUnavailable``; either way nothing visible has changed.
        """

    def clear(self, is_replaced: Callable[[str], bool]) -> None:
        """Remove what has the hidden name now, of the names that ``is_replaced`` knows."""


class SwapUnavailable(Exception):
    """This directory cannot be swapped here; nothing was changed."""


class Directories(Protocol):
    """A capability: directories are real, so a whole one changes in one step, and parts can be begun early.

    ``workshop`` is the path of the folder in which next states are built, ``begins`` how their names begin.
    """

    root: str  # the path of the store's root

    def begin_next(self, live: str, workshop: str, begins: str) -> NextDirectory:
        """An empty next state of the directory with the prefix ``live``; may raise ``SwapUnavailable``."""

    def clear_dead(self, live: str, workshop: str, begins: str, is_ours: Callable[[str], bool]) -> None:
        """Remove next states that runs began and did not live to finish; of the names of ``is_ours``."""

    def clear_temporary(self, prefix: str, before_seconds: float) -> int:
        """Remove what killed processes were writing below ``prefix`` before that time; returns how many."""


class Store(ABC):
    """A store under one root. ``start``/``length`` are bytes; reading past the end gives what is there."""

    # -- capabilities: what a store states of itself ------------------------------------------------

    # A server that only claims to keep the promises of S3, so that they are tried before a publish.
    unproven_server: str = ""
    # Whether a request takes time worth saving: one request for more bytes, or made before it is needed.
    requests_take_time: ClassVar[bool] = False
    # Whether bytes never change under their metadata; a file is edited and keeps its attributes.
    metadata_follows_bytes: ClassVar[bool] = True
    # Whether the store compares what it keeps with its own checksums; a disk that loses bits does not.
    checks_its_bytes: ClassVar[bool] = True

    @property
    def directories(self) -> Directories | None:
        """What real directories can do; None where a prefix is no more than text."""
        return None

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = Requests(url)

    # -- what every store does in its own way -------------------------------------------------------

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Stored]:
        """Every committed object whose key starts with ``prefix``, sorted by the bytes of the key."""

    @abstractmethod
    def stat(self, key: str) -> Stored | None:
        """An object as it is now, with its metadata; None where there is nothing."""

    @abstractmethod
    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes:
        """Bytes of one state of an object; raises ``NotFound``, or ``PreconditionFailed`` for ``etag``."""

    @abstractmethod
    def open_chunks(
        self, item: RawObject, chunk_bytes: int, *, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The bytes of a pinned object in chunks; raises ``SourceChanged`` if it is another."""

    @abstractmethod
    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,
    ) -> Stored:
        """Write a whole object in one visible step, if ``condition`` holds, else ``PreconditionFailed``.

        With ``durable=False`` it may be lost if the machine fails.
        """

    @abstractmethod
    def stage(self, key: str, pieces: Sequence[Piece], metadata: Mapping[str, str] = NO_METADATA) -> Staged:
        """A whole object from inline bytes and ranges of stored objects that nobody sees yet."""

    @abstractmethod
    def delete(self, key: str, condition: Condition = ANY) -> None:
        """Remove an object, if ``condition`` holds of it; one that is not there is removed already."""

    # -- what follows from it, which a store may do in a better way ---------------------------------

    def get_many(self, objects: Sequence[RawObject]) -> Iterator[bytes]:
        """The bodies in order, each pinned by size and etag; ``SourceChanged`` otherwise."""
        return (self.get_pinned(item) for item in objects)

    def get_pinned(self, item: RawObject) -> bytes:
        """The body of an object in exactly this state; ``SourceChanged`` otherwise."""
        try:
            body = self.get(item.key, etag=item.etag)
        except (NotFound, PreconditionFailed) as error:
            raise self.changed(item) from error
        if len(body) != item.size_bytes:
            raise self.changed(item)
        return body

    def sha256(self, item: RawObject) -> str:
        """The SHA-256 of an object in exactly this state; ``SourceChanged`` otherwise."""
        digest = hashlib.sha256()
        for chunk in self.open_chunks(item, HASH_BYTES):
            digest.update(chunk)
        return digest.hexdigest()

    def open_file(self, key: str, changed: Exception) -> tuple[IO[bytes], Stored]:
        """One state of an object as a seekable file, and which state that is.

        ``changed`` is raised where there is nothing, and by a read that meets another state.
        """
        now = self.stat(key)
        if now is None:
            raise changed

        def read(start: int, stop: int) -> bytes:
            try:
                return self.get(key, etag=now.etag, start=start, length=stop - start)
            except (NotFound, PreconditionFailed):
                raise changed from None

        return io.BufferedReader(RangeFile(now.size_bytes, read), FILE_BYTES), now

    def prefetch(
        self,
        prefix: str,  # noqa: ARG002 - for stores whose requests take time
        wanted: Callable[[Stored], bool],  # noqa: ARG002
    ) -> AbstractContextManager[Prefetch | None]:
        """While the block runs, list ``prefix`` and, after ``Prefetch.fetch``, get what is ``wanted`` of it.

        None where requests take no time worth saving.
        """
        return nullcontext()

    def why_nothing(self, prefix: str) -> tuple[str, str]:
        """Why a listing of ``prefix`` found nothing, where that is a mistake, and what to do; else ("", "").

        A prefix without objects is nothing wrong, the name of an object is.
        """
        try:
            one = self.stat(prefix.rstrip("/")) if prefix else None
        except StoreError:  # whoever may only list cannot tell
            one = None
        if one is None:
            return "", ""
        return f"{self.url}/{one.key} is one object, not a prefix.", (
            "Pass the prefix above it, whose objects are all read; for this one alone, give it a prefix."
        )

    def compose(
        self,
        key: str,
        pieces: Sequence[Piece],
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> Stored:
        """One object from inline bytes and ranges of stored objects, visible in one conditional step."""
        return self.stage(key, pieces, metadata).commit(condition)

    # -- errors ------------------------------------------------------------------------------------

    def changed(self, item: RawObject | Stored) -> SourceChanged:
        """The error of a pinned object that is another by now."""
        now = self.stat(item.key)
        state = f"now {now.size_bytes:,} bytes, etag {now.etag}" if now else "now it is gone"
        return SourceChanged(
            f"{self.url}/{item.key} had {item.size_bytes:,} bytes, etag {item.etag} in the plan, {state}.",
            hint="Run it again: the plan is made from a fresh listing.",
        )

    def missing(self, key: str) -> NotFound:
        """The error of a key where nothing is."""
        return NotFound(f"{self.url}/{key} does not exist.", hint="List the prefix to see what is there.")

    def refused(self, verb: str, key: str, condition: str) -> PreconditionFailed:
        """The error of a condition that does not hold."""
        return PreconditionFailed(
            f"{verb} {self.url}/{key} needs {condition}, which does not hold.",
            hint="Somebody else wrote it since; look again before writing.",
        )


def check_readable(key: str) -> str:
    """The key itself, or ``UnsafePath`` when a segment of it is empty, "." or ".."."""
    if _BAD_SEGMENT.search("/" + key):
        raise UnsafePath(
            f"The key {key!r} has an empty, '.' or '..' segment.",
            hint="Use a key relative to the store's root.",
        )
    return key


def check_writable(key: str, prefix: str = "") -> str:
    """The key itself, or ``UnsafePath`` when it may not be written or lies outside ``prefix``."""
    check_readable(key)
    if "\\" in key or (not key.isprintable() and any(map(_is_bad, key))):
        raise UnsafePath(
            f"The key {key!r} holds a control character, a backslash or a broken character.",
            hint="Rename it: such keys mean different things to different readers.",
        )
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise UnsafePath(f"The key {key[:80]!r}… is longer than {_MAX_KEY_BYTES} bytes.", hint="Shorten it.")
    if not key.startswith(prefix):
        raise UnsafePath(
            f"The key {key!r} is outside the output prefix {prefix!r}.", hint="Nothing was written."
        )
    return key


def _is_bad(character: str) -> bool:
    return character in _BAD_CHARACTERS or "\ud800" <= character <= "\udfff"
