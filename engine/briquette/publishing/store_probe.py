"""What a store really honours of the promises on which a safe publish rests: each is tried, none believed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from briquette.errors import PreconditionFailed, StoreError, UnsafeStore
from briquette.model import Piece
from briquette.storage.interface import IF_ABSENT, Store, if_match

READ, LIST = "read-after-write", "list-after-write"
READ_OVER, LIST_DELETED = "read-after-overwrite", "list-after-delete"
SAME_ETAG, RANGE = "one etag in PUT, HEAD and LIST", "GET Range"
PUT_ABSENT, PUT_MATCH, GET_MATCH = "PUT If-None-Match", "PUT If-Match", "GET If-Match"
DELETE_MATCH = "DELETE If-Match"
COPY, COPY_MATCH = "UploadPartCopy", "UploadPartCopy If-Match"
COMPLETE_ABSENT = "CompleteMultipartUpload If-None-Match"
COMPLETE_MATCH = "CompleteMultipartUpload If-Match"

# Each promise, and what may happen on a store that breaks it.
WITHOUT = {
    READ: "a run may miss what it has just staged",
    LIST: "a run may not see files that lie there, and leave them to readers",
    READ_OVER: "readers and the next run may see a manifest that was replaced",
    LIST_DELETED: "a run may take a removed file for one that is there",
    SAME_ETAG: "pins of the manifest hold for nobody",
    RANGE: "footers and row groups cannot be read back from a part",
    PUT_ABSENT: "two first runs at once may write over each other",
    PUT_MATCH: "two runs at once may both replace the dataset",
    GET_MATCH: "a reader of the manifest may get another run's bytes",
    DELETE_MATCH: "a run may delete what another has just published",
    COPY: "large parts cannot be put together inside of the store",
    COPY_MATCH: "a large part may be put together of other bytes than were checked",
    COMPLETE_ABSENT: "two first runs with large parts may write over each other",
    COMPLETE_MATCH: "two runs with large parts may both replace the dataset",
}
CONSISTENCY = frozenset({READ, LIST, READ_OVER, LIST_DELETED, SAME_ETAG})
LARGE = frozenset({COPY, COPY_MATCH, COMPLETE_ABSENT, COMPLETE_MATCH})

T = TypeVar("T")

_THREADS = 6  # the longest promise takes six requests, all together forty
_LARGE_BYTES = 10 * (1 << 20) + 1  # enough for a stored range to be copied as a part
_NO_SUCH_ETAG = '"00000000000000000000000000000000"'


def probe_store(
    store: Store, prefix: str, *, multipart: bool = True, promises: Collection[str] = frozenset(WITHOUT)
) -> dict[str, bool]:
    """Try ``promises`` side by side under a throw-away hidden prefix and clean up: ``{promise: honoured}``.

    ``multipart`` moves 10 MiB to see whether completing an upload is conditional too. A store that cannot
    be written to at all raises ``StoreError``.
    """
    place = f"{prefix}_staging/probe-{secrets.token_hex(8)}/"
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="briquette-probe") as threads:
        try:
            # Not empty: a listing with an empty object is read the exact and slower way.
            store.put(f"{place}can-be-written", b"x")
            # Each has a folder of its own, so that one broken promise does not make others look broken.
            tried: dict[str, Callable[[], bool]] = {
                name: partial(_keeps, check, store, f"{place}{i}/")
                for i, (name, check) in enumerate(_CHECKS)
                if name in promises
            }
            if multipart:
                tried |= _prepare_multipart(store, f"{place}large/")
            return dict(zip(tried, _side_by_side(threads, tried.values()), strict=True))
        finally:
            stored = [s.key for s in store.list(place)]
            _side_by_side(threads, [partial(_remove, store, key) for key in stored])


def _side_by_side(threads: ThreadPoolExecutor, acts: Collection[Callable[[], T]]) -> list[T]:
    """What each returns, in order; the first error only after all have ended, so that none writes later."""
    futures = [threads.submit(act) for act in acts]
    wait(futures)
    return [future.result() for future in futures]


def _remove(store: Store, key: str) -> None:
    with suppress(StoreError):
        store.delete(key)


def _keeps(check: Callable[[Store, str], bool], store: Store, folder: str) -> bool:
    try:
        return check(store, folder)
    except StoreError:
        return False


def _reads_at_once(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    absent = store.stat(key) is None  # and that must not be remembered
    store.put(key, b"first")
    return absent and store.get(key) == b"first"


def _lists_at_once(store: Store, folder: str) -> bool:
    before = list(store.list(folder))
    store.put(f"{folder}x", b"first")
    return [*before, *(s.key for s in store.list(folder))] == [f"{folder}x"]


def _reads_what_was_written_over(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    store.put(key, b"first")
    before = store.get(key)
    store.put(key, b"second")
    return (before, store.get(key)) == (b"first", b"second")


def _lists_no_more(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    store.put(key, b"first")
    before = [s.key for s in store.list(folder)]
    store.delete(key)
    return before == [key] and not list(store.list(folder)) and store.stat(key) is None


def _has_one_etag(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    etags = set()
    for body in (b"first", b"second"):
        put, head, listed = store.put(key, body).etag, store.stat(key), list(store.list(folder))
        if not put or head is None or {head.etag, *(s.etag for s in listed)} != {put}:
            return False
        etags.add(put)
    return len(etags) == 2


def _reads_ranges(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    store.put(key, b"0123456789")
    asked = ((2, 3), (0, 10), (7, 10), (10, 1))  # inside, all of it, past the end, behind the end
    found = [store.get(key, start=start, length=length) for start, length in asked]
    return found == [b"234", b"0123456789", b"789", b""]


def _put_if_none_match(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    store.put(key, b"first", IF_ABSENT)
    return _refuses(lambda: store.put(key, b"second", IF_ABSENT)) and store.get(key) == b"first"


def _put_if_match(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    made = store.put(key, b"first")
    refuses = (
        _refuses(lambda: store.put(key, b"second", if_match(_NO_SUCH_ETAG)))
        and _refuses(lambda: store.put(f"{folder}absent", b"second", if_match(_NO_SUCH_ETAG)))
        and store.get(key) == b"first"
    )
    store.put(key, b"third", if_match(made.etag or _NO_SUCH_ETAG))
    return refuses and store.get(key) == b"third"


def _get_if_match(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    made = store.put(key, b"first")
    return _refuses(lambda: store.get(key, etag=_NO_SUCH_ETAG)) and store.get(key, etag=made.etag) == b"first"


def _delete_if_match(store: Store, folder: str) -> bool:
    key = f"{folder}x"
    made = store.put(key, b"first")
    refuses = _refuses(lambda: store.delete(key, if_match(_NO_SUCH_ETAG))) and store.get(key) == b"first"
    store.delete(key, if_match(made.etag or _NO_SUCH_ETAG))
    return refuses and store.stat(key) is None


_CHECKS: tuple[tuple[str, Callable[[Store, str], bool]], ...] = (
    (READ, _reads_at_once),
    (LIST, _lists_at_once),
    (READ_OVER, _reads_what_was_written_over),
    (LIST_DELETED, _lists_no_more),
    (SAME_ETAG, _has_one_etag),
    (RANGE, _reads_ranges),
    (PUT_ABSENT, _put_if_none_match),
    (PUT_MATCH, _put_if_match),
    (GET_MATCH, _get_if_match),
    (DELETE_MATCH, _delete_if_match),
)


def _prepare_multipart(store: Store, folder: str) -> dict[str, Callable[[], bool]]:
    """Put what large promises are tried on; returns how to try each, at keys of its own."""
    source = store.put(f"{folder}source", bytes(_LARGE_BYTES))
    pieces = (Piece(source.size_bytes, key=source.key, etag=source.etag),)
    strange = (Piece(source.size_bytes, key=source.key, etag=_NO_SUCH_ETAG),)
    first, second, there = f"{folder}first", f"{folder}second", f"{folder}there"
    store.put(there, b"x")

    def copies(store: Store, _: str) -> bool:
        store.compose(first, pieces)
        return store.get(first) == bytes(_LARGE_BYTES)

    def is_conditional(store: Store, _: str) -> bool:
        made = store.compose(second, pieces)
        refuses = _refuses(lambda: store.compose(second, pieces, if_match(_NO_SUCH_ETAG)))
        store.compose(second, pieces, if_match(made.etag or _NO_SUCH_ETAG))
        return refuses

    return {
        COPY: partial(_keeps, copies, store, folder),
        COPY_MATCH: partial(_refuses, lambda: store.compose(f"{folder}strange", strange)),
        COMPLETE_ABSENT: partial(_refuses, lambda: store.compose(there, pieces, IF_ABSENT)),
        COMPLETE_MATCH: partial(_keeps, is_conditional, store, folder),
    }


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except PreconditionFailed:
        return True
    except StoreError:
        return False
    return False


_SAFE: dict[str, set[str]] = {}  # promises that an endpoint was seen to keep


def require_safe_store(store: Store, prefix: str, *, multipart: bool, replaces: bool = True) -> None:
    """Raise ``UnsafeStore`` if a server that only claims to be S3 breaks a promise we rely on.

    AWS, disk and memory are known; another endpoint is probed once in a process. ``replaces``: the run has
    to delete what lies there or what it wrote itself; a first publish of one part has not.
    """
    if not store.unproven_server:
        return
    needed = [p for p in WITHOUT if (multipart or p not in LARGE) and (replaces or p != DELETE_MATCH)]
    unknown = [p for p in needed if p not in _SAFE.get(store.unproven_server, ())]
    if not unknown:
        return
    honours = probe_store(store, prefix, multipart=not LARGE.isdisjoint(unknown), promises=unknown)
    _SAFE.setdefault(store.unproven_server, set()).update(
        promise for promise, kept in honours.items() if kept
    )
    broken = [promise for promise in unknown if not honours[promise]]
    if broken:
        told = "; ".join(f"{promise} ({WITHOUT[promise]})" for promise in broken)
        raise UnsafeStore(
            f"The store at {store.unproven_server} does not honour: {told}. Nothing was published.",
            hint="Use a store that does (see `briquette doctor`), or pass --unsafe-store and "
            f"{_care(broken)}.",
        )


@contextmanager
def probing(store: Store, prefix: str) -> Iterator[None]:
    """Try all promises but those of large parts while the block runs, which may take minutes.

    It decides nothing: what could not be tried or was broken, ``require_safe_store`` tries again and tells.
    """
    if not store.unproven_server:
        yield
        return
    with ThreadPoolExecutor(1, thread_name_prefix="briquette-probe") as thread:  # whose end waits for it
        thread.submit(require_safe_store, store, prefix, multipart=False)
        yield


def _care(broken: list[str]) -> str:
    if CONSISTENCY.isdisjoint(broken):
        return "let no two runs publish the same partition at once"
    return "let nobody publish or read the partition until the store has settled"
