"""The object-store door: a handful of verbs over local disk, S3 and memory.

Everything outside ``engine/stores`` sees only what is defined here. Keys are relative to the store's
root and use "/"; etags are opaque; conditions are honoured atomically for one key. Errors: ``NotFound``,
``PreconditionFailed``, ``UnsafePath``, ``SourceChanged`` (pinned raw objects), ``StoreRefused`` where no
retry can help, and ``StoreError`` for what is left after bounded retries.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from briquette import cancellation
from briquette.errors import UnsafePath, UsageError
from briquette.model import Location, Piece, RawObject

if TYPE_CHECKING:
    from briquette.storage.s3.prefetch import Ahead

WRITE_VERBS = frozenset({"PUT", "DELETE", "STAGE", "CREATE_UPLOAD", "UPLOAD", "COPY", "COMPLETE", "SWAP"})
NO_METADATA: Mapping[str, str] = {}

_BAD_SEGMENT = re.compile(r"/\.{0,2}(?:/|\Z)|\x00")  # in "/" + key, which is faster than with "\A"
# A set: to compile a pattern of characters so far apart takes a hundredth of a small run.
_BAD_CHARACTERS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
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


class Staged(Protocol):
    """A whole object that nobody sees yet; ``commit`` is the one visible step."""

    key: str
    size_bytes: int
    multipart: bool  # committed by CompleteMultipartUpload rather than by one PUT or rename

    def commit(self, condition: Condition) -> Stored: ...

    def read_back(self) -> Iterator[bytes] | None:
        """Its bytes as they wait; None where the store has them, or where they are the caller's own."""

    def abort(self) -> None: ...


class Store(Protocol):
    """The verbs. ``start``/``length`` are bytes; reading past the end gives what is there."""

    url: str
    endpoint: str  # a server that only claims to be S3, "" for AWS, disk and memory
    requests: Requests

    def list(self, prefix: str) -> Iterator[Stored]: ...

    def look_ahead(
        self, prefix: str, wanted: Callable[[Stored], bool]
    ) -> AbstractContextManager[Ahead | None]: ...

    def why_nothing(self, prefix: str) -> tuple[str, str]: ...

    def stat(self, key: str) -> Stored | None: ...

    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes: ...

    def get_many(self, objects: Sequence[RawObject]) -> Iterator[bytes]: ...

    def sha256(self, item: RawObject) -> str: ...

    def open_chunks(
        self, item: RawObject, chunk_bytes: int, *, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]: ...

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,
    ) -> Stored: ...

    def stage(
        self, key: str, pieces: Sequence[Piece], metadata: Mapping[str, str] = NO_METADATA
    ) -> Staged: ...

    def compose(
        self,
        key: str,
        pieces: Sequence[Piece],
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> Stored: ...

    def delete(self, key: str, condition: Condition = ANY) -> None: ...


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

    def note_all(self, verb: str, keys: Sequence[str]) -> None:
        """As ``note`` for each of the keys, of which none shows anything to readers."""
        if self.before is not None:
            for key in keys:
                self.before(verb, key)
        if cancellation.asked():
            for key in keys:
                cancellation.look(self._url, verb, key)
        with self._lock:
            self._counts[verb] += len(keys)

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


def parse_url(url: str) -> Location:
    """A path, ``file://``, ``s3://bucket/prefix`` or ``memory://name/prefix`` as store + prefix.

    >>> parse_url("s3://curated/market/prices")
    Location(url='s3://curated', prefix='market/prices/')
    >>> parse_url("file:///data/raw/"), parse_url("file://localhost/data/raw%201")
    (Location(url='/data/raw', prefix=''), Location(url='/data/raw 1', prefix=''))
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "file" or url.startswith("file:/"):
        return Location(_path_of_file_url(url))
    if not separator:
        if not url or "\x00" in url:
            raise UnsafePath(f"{url!r} is not a path.", hint="Give a directory, file:// or s3:// URL.")
        return Location(os.path.abspath(os.path.expanduser(url)))
    if scheme in ("s3", "s3a", "memory"):
        root, _, prefix = rest.partition("/")
        prefix = prefix.rstrip("/")
        if not root:
            raise UsageError(f"{url} has no bucket.", hint="Write s3://bucket/prefix.")
        if "@" in root or ":" in root:  # never repeated: it may hold a credential
            raise UsageError(
                f"a {scheme}:// URL does not name a bucket and may hold a credential.",
                hint="Write s3://bucket/prefix, and give credentials by the AWS environment.",
            )
        if scheme != "memory" and not _BUCKET.fullmatch(root):  # a client would panic at some of them
            raise UsageError(
                f"{url!r}: {root!r} is not a bucket's name.",
                hint="A bucket has letters, digits, '.', '_' and '-' only.",
            )
        if prefix:
            check_writable(prefix)
        return Location(
            f"{'memory' if scheme == 'memory' else 's3'}://{root}", f"{prefix}/" if prefix else ""
        )
    raise UsageError(f"{url} has the unknown scheme {scheme}://.", hint="Use a path, file:// or s3://.")


def _path_of_file_url(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{url} names a host.", hint="Write file:///absolute/path.")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise UsageError(f"{url} holds a '?' or '#'.", hint="Write %3F or %23, or give the plain path.")
    if not path.startswith("/") or "\x00" in path:
        raise UsageError(f"{url} names no absolute path.", hint="Write file:///absolute/path.")
    return os.path.abspath(path)


def open_store(url: str) -> Store:
    """The store at the root of ``url`` (an s3 URL's prefix is not part of it; see ``parse_url``).

    One store for each root and environment in a process, so opening is cheap; after a fork the child
    opens its own.
    """
    root = parse_url(url).url
    key: tuple[str | int, ...] = (root, os.getpid(), *(os.environ.get(name, "") for name in _ENVIRONMENT))
    with _OPEN_LOCK:
        store = _OPEN.get(key)
        if store is None:
            store = _OPEN[key] = _new_store(root)
    return store


def _new_store(root: str) -> Store:
    if root.startswith("s3://"):
        return _s3_store(root.removeprefix("s3://"))
    if root.startswith("memory://"):
        from briquette.storage.memory import MemoryStore

        return MemoryStore(root)
    from briquette.storage.local.store import LocalStore

    return LocalStore(root)


def _s3_store(bucket: str) -> Store:
    try:
        import obstore  # noqa: F401 - only whether it is there: a Lambda's package leaves it out
    except ImportError:
        from briquette.storage.s3.plain import PlainS3Store

        return PlainS3Store(bucket)
    from briquette.storage.s3.store import S3Store

    return S3Store(bucket)


_ENVIRONMENT = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
_OPEN: dict[tuple[str | int, ...], Store] = {}
_OPEN_LOCK = threading.Lock()


def _fresh_lock() -> None:
    global _OPEN_LOCK  # noqa: PLW0603 - a fork may copy the lock while another thread holds it
    _OPEN_LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)
