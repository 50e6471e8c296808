"""Whether the files that lie there are those that were published, by their bytes.

Two other questions are asked of what is published, and answered elsewhere: whether it is of this partition
and of these inputs (``planning.plan.check_same_partition``, ``is_made_of``), and whether days that were
read are still as they were (``pipeline.lookback.stale_reason``). ``compaction.unchanged`` asks the first two.

An etag only pins one place's file for one run: a copy, a restore or a promotion to another bucket has others.
So where the etag is the manifest's, the file is taken for the same; where it is not, and the size is, the
bytes decide. They are hashed once for each etag in a process. S3 keeps the SHA-256 that a run has put beside
a part, and copies it along: then nothing is read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from briquette.errors import SourceChanged
from briquette.model import PublishedFile, RawObject
from briquette.planning.layout import SHA256
from briquette.storage.interface import Store, Stored


class Match(StrEnum):
    """What lies at a published file's key: the very file, a copy of it, something else, or nothing."""

    SAME = "same"
    COPY = "copy"
    OTHER = "other"
    MISSING = "missing"

    @property
    def is_published(self) -> bool:
        """Whether the bytes at the key are those that were published."""
        return self in (Match.SAME, Match.COPY)


@dataclass(frozen=True, slots=True)
class Standing:
    """Published files with the etags that they have now; ``copied``: some are not the manifest's."""

    files: tuple[PublishedFile, ...]
    copied: bool


def match(store: Store, file: PublishedFile, now: Stored | None) -> Match:
    """Compare what is at the key of ``file`` now; reads it only if its etag differs and its size does not."""
    if now is None:
        return Match.MISSING
    if now.size_bytes != file.size_bytes:
        return Match.OTHER
    if now.etag == file.etag:
        return Match.SAME
    return Match.COPY if sha256_now(store, now) == file.sha256 else Match.OTHER


def standing(store: Store, files: Iterable[PublishedFile], listed: Mapping[str, Stored]) -> Standing | None:
    """The files by what ``listed`` or the store says of each; None if one is not what it was published as."""
    found, copied = [], False
    for file in files:
        now = listed.get(file.key) or store.stat(file.key)
        how = match(store, file, now)
        if now is None or not how.is_published:
            return None
        copied = copied or how is Match.COPY
        found.append(replace(file, etag=now.etag))
    return Standing(tuple(found), copied)


def sha256_now(store: Store, now: Stored) -> str:
    """The SHA-256 of an object in this state; "" if it has changed meanwhile."""
    mark = (store.url, now.key, now.etag, now.size_bytes)
    with _LOCK:
        known = _KNOWN.get(mark)
    if known is None:
        known = _told(store, now) or _hashed(store, now)
        if known and not now.fresh:
            with _LOCK:
                _KNOWN[mark] = known
    return known


def _told(store: Store, now: Stored) -> str:
    """What the object says of itself: nothing on disk, where a file is edited and keeps its attributes."""
    if not store.metadata_follows_bytes:
        return ""
    seen = now if now.metadata else store.stat(now.key)
    return seen.metadata.get(SHA256, "") if seen is not None and seen.etag == now.etag else ""


def _hashed(store: Store, now: Stored) -> str:
    try:
        return store.sha256(RawObject(now.key, now.size_bytes, now.etag))
    except SourceChanged:
        return ""


_KNOWN: dict[tuple[str, str, str, int], str] = {}
_LOCK = threading.Lock()
