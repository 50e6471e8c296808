"""The store at a URL: one for each root and environment in a process."""

from __future__ import annotations

import os
import threading

from briquette.storage.interface import Store
from briquette.storage.urls import parse_object_url, parse_url


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


def open_object(url: str) -> tuple[Store, str]:
    """The store of the one object at ``url``, and its key there."""
    place, name = parse_object_url(url)
    return open_store(place.url), place.prefix + name


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
