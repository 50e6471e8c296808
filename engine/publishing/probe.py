"""What a store really honours of the conditional writes on which a safe publish rests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

from engine.errors import BriquetteError, PreconditionFailed, UnsafeStore
from engine.model import Piece
from engine.store import IF_ABSENT, Store, if_match

_LARGE_BYTES = 10 * (1 << 20) + 1  # enough for a stored range to be copied as a part
_NO_SUCH_ETAG = '"00000000000000000000000000000000"'


def probe_store(store: Store, prefix: str, *, multipart: bool = True) -> dict[str, bool]:
    """Try each promise under a throw-away hidden prefix and clean up: ``{"what it is": honoured}``.

    ``multipart`` moves 10 MiB to see whether completing an upload is conditional too.
    """
    place = f"{prefix}_staging/probe-{secrets.token_hex(8)}/"
    one, many = f"{place}one", f"{place}many"
    try:
        first = store.put(one, b"first")
        honours = {
            "a written object is read at once": store.get(one) == b"first",
            "a written object is listed at once": [s.key for s in store.list(place)] == [one],
            "PUT If-None-Match": _refuses(lambda: store.put(one, b"second", IF_ABSENT)),
            "PUT If-Match": _refuses(lambda: store.put(one, b"third!", if_match(_NO_SUCH_ETAG))),
            "GET If-Match": _refuses(lambda: store.get(one, etag=_NO_SUCH_ETAG)),
        }
        now = store.stat(one)
        store.put(one, b"fourth", if_match(now.etag if now else first.etag))
        honours["an overwritten object is read at once"] = store.get(one) == b"fourth"
        if multipart:
            honours |= _probe_multipart(store, place, many)
        return honours
    finally:
        for stored in list(store.list(place)):
            with suppress(BriquetteError):
                store.delete(stored.key)


def _probe_multipart(store: Store, place: str, key: str) -> dict[str, bool]:
    source = store.put(f"{place}source", bytes(_LARGE_BYTES))
    pieces = (Piece(source.size_bytes, key=source.key, etag=source.etag),)
    store.compose(key, pieces, IF_ABSENT)
    return {
        "CompleteMultipartUpload If-None-Match": _refuses(lambda: store.compose(key, pieces, IF_ABSENT)),
        "CompleteMultipartUpload If-Match": _refuses(
            lambda: store.compose(key, pieces, if_match(_NO_SUCH_ETAG))
        ),
        "a copied part has its bytes": store.get(key) == bytes(_LARGE_BYTES),
    }


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except PreconditionFailed:
        return True
    except BriquetteError:
        return False
    return False


_SAFE: set[tuple[str, bool]] = set()


def require_safe_store(store: Store, prefix: str, *, multipart: bool) -> None:
    """Raise ``UnsafeStore`` if a server that only claims to be S3 ignores a condition we rely on.

    AWS, disk and memory are known; another endpoint is probed once in a process.
    """
    if not store.endpoint or {(store.endpoint, multipart), (store.endpoint, True)} & _SAFE:
        return
    broken = [
        promise for promise, kept in probe_store(store, prefix, multipart=multipart).items() if not kept
    ]
    if broken:
        raise UnsafeStore(
            f"The store at {store.endpoint} does not honour: {', '.join(broken)}. Nothing was published.",
            hint="Use a store that does (see `briquette doctor`), or pass --unsafe-store and let no two runs "
            "publish the same partition at once.",
        )
    _SAFE.add((store.endpoint, multipart))
