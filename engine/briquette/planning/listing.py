"""The pinned listing of a partition: which raw objects there are, and what the ingestion said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from briquette.errors import NotFound, UsageError
from briquette.model import COMPRESSED_SUFFIXES, CompactionSpec, Location, RawObject
from briquette.planning.plan import (
    BATCH_MANIFEST_NAME,
    is_huge,
    is_input,
    parse_batch_manifest,
    why_refused,
)
from briquette.planning.table_formats import refuse_table

if TYPE_CHECKING:
    from briquette.storage.interface import Store, Stored

PROBE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Listing:
    """Raw objects sorted by key, and ``(key, records)`` of the batch manifest (empty where there is none).

    ``fresh``: key and SHA-256 of each object that may change again and keep its etag.
    """

    objects: tuple[RawObject, ...]
    expected_records: tuple[tuple[str, int], ...]
    fresh: tuple[tuple[str, str], ...] = ()


def list_partition(
    store: Store,
    raw: Location,
    spec: CompactionSpec,
    *,
    check_batch_manifest: bool = True,
    batch_manifest: str = BATCH_MANIFEST_NAME,
    listed: Callable[[], Iterator[Stored]] | None = None,
) -> Listing:
    """List a raw prefix once; reads the batch manifest, the head of huge objects, and objects that are fresh.

    ``batch_manifest`` is the name of ingestion's manifest; ``listed`` gives the store's listing of the prefix
    where it was begun already. Raises ``UnsupportedTable`` where the files are those of a Delta, Iceberg or
    Hudi table, and ``UsageError`` where nothing is listed because the root on disk does not exist, or because
    the prefix names one object.
    """
    objects: list[RawObject] = []
    fresh: list[tuple[str, str]] = []
    hidden: list[str] = []
    found_any = has_batch_manifest = False
    for stored in listed() if listed else store.list(raw.prefix):
        found_any = True
        if is_input(stored.key, raw.prefix):
            refused = stored.refused or why_refused(stored.key)
            item = RawObject(stored.key, stored.size_bytes, stored.etag, refused=refused)
            objects.append(_probed(store, item) if is_huge(item, spec) and not refused else item)
            if stored.fresh and not refused:
                fresh.append((item.key, store.sha256(item)))
        elif stored.key == raw.prefix + batch_manifest:
            has_batch_manifest = True
        else:
            hidden.append(stored.key)
    if not found_any:
        why, hint = store.why_nothing(raw.prefix)
        if why:
            raise UsageError(f"there is nothing to read: {why}", hint=hint)
    refuse_table(store, raw, [o.key for o in objects], hidden)
    expected: tuple[tuple[str, int], ...] = ()
    if has_batch_manifest and check_batch_manifest:
        expected = _as_listed(
            _expected(store, raw.prefix + batch_manifest), {o.key for o in objects}, raw.prefix
        )
    return Listing(tuple(sorted(objects, key=lambda o: o.key.encode())), expected, tuple(sorted(fresh)))


def _expected(store: Store, key: str) -> tuple[tuple[str, int], ...]:
    try:
        return parse_batch_manifest(store.get(key), key)
    except NotFound:  # rewritten between listing and reading: the ingestion deletes and puts
        return ()


def _as_listed(
    expected: tuple[tuple[str, int], ...], keys: set[str], prefix: str
) -> tuple[tuple[str, int], ...]:
    """The ingestion names objects by their key in its bucket; a day that was moved has other keys."""

    def listed(key: str) -> str:
        segments = key.split("/")
        tails = ("/".join(segments[i:]) for i in range(len(segments)))
        return next((k for tail in tails for k in (tail, prefix + tail) if k in keys), key)

    return tuple(sorted((listed(key), records) for key, records in expected))


def _probed(store: Store, item: RawObject) -> RawObject:
    """Whether byte ranges of a huge object can be decoded apart: plain JSON whose records start lines."""
    if item.key.endswith(COMPRESSED_SUFFIXES) or not item.key.endswith((".json", ".jsonl", ".ndjson")):
        return item
    head = store.get(item.key, etag=item.etag, start=0, length=min(PROBE_BYTES, item.size_bytes))
    splittable = head[:1] == b"{" and b"\n{" in head
    return RawObject(item.key, item.size_bytes, item.etag, splittable)
