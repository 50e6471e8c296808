"""Removing what a partition no longer needs: staging, old versions, old rejects; never what is pinned."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress

from briquette.errors import PreconditionFailed, StoreError
from briquette.model import Location, Manifest, PublishedFile, PublishMode
from briquette.planning.layout import Layout
from briquette.publishing.identity import match
from briquette.publishing.snapshot import Snapshot, read_manifest
from briquette.storage.interface import Store, if_match

EXPIRED_SECONDS = 24 * 3_600.0
# Names that this engine gives, and nobody else.
_STAGED = re.compile(r"[0-9a-f]{16}/[a-z]+-\d{6}-\d{6}")
_VERSION = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}/part-\d{5,}\.parquet")
_REJECTS = re.compile(r"[0-9a-f]{16}\.jsonl")


def clean_up(
    store: Store, layout: Layout, plan_id: str, mode: PublishMode, seen: Snapshot, manifest: Manifest
) -> None:
    """Delete this plan's staging, old versions, and the rejects of the manifest that was replaced.

    The dataset is published by now, so a store that fails here does not fail the run: what stays is hidden,
    and the next run deletes it.
    """
    with suppress(StoreError):
        before = time.time() - EXPIRED_SECONDS
        for stored in list(store.list(layout.staging(plan_id))):
            store.delete(stored.key)
        if mode is PublishMode.VERSIONED and seen.manifest_modified_seconds < before:
            # The version before this one stays: its readers may have begun a moment ago.
            _clear_expired(store, layout.all_versions, _VERSION, before, (manifest, seen.manifest))
            _clear_expired(store, layout.all_rejects, _REJECTS, before, (manifest, seen.manifest))
        if seen.manifest and any(f.key.startswith(layout.all_versions) for f in seen.manifest.files):
            return  # that version stays for a while: its manifest can be put back, so its rejects stay too
        old = seen.manifest.rejects_file if seen.manifest else None
        if old is not None and (manifest.rejects_file is None or old.key != manifest.rejects_file.key):
            delete_ours(store, old)


def delete_ours(store: Store, file: PublishedFile) -> None:
    """Delete a published file, as long as it has the bytes that were published."""
    now = store.stat(file.key)
    if now is not None and match(store, file, now).is_published:
        with suppress(PreconditionFailed):  # written again since: it belongs to a run that is not this one
            store.delete(file.key, if_match(now.etag))


def janitor(
    store: Store,
    output: Location,
    *,
    older_than_seconds: float = EXPIRED_SECONDS,
    now_seconds: float | None = None,
) -> int:
    """Delete expired staging, versions and rejects of this partition; returns how many objects.

    Only names that this engine gives are touched, and nothing that the manifest pins.
    """
    layout = Layout.of(output)
    before = (time.time() if now_seconds is None else now_seconds) - older_than_seconds
    found = read_manifest(store, output)
    manifest = found[0] if found else None
    switched = store.stat(layout.manifest_key)
    deleted = _clear_expired(store, layout.all_rejects, _REJECTS, before, (manifest,))
    deleted += _clear_expired(store, layout.all_staging, _STAGED, before, ())
    if switched is None or switched.modified_seconds < before:
        deleted += _clear_expired(store, layout.all_versions, _VERSION, before, (manifest,))
    if (directories := store.directories) is not None:
        from briquette.publishing.directory_swap import clear_dead_directories

        clear_dead_directories(store, layout)  # of any age: nobody holds their locks
        for prefix in (layout.live, layout.all_rejects, layout.all_staging, layout.all_versions):
            deleted += directories.clear_temporary(prefix, before)
    return deleted


def _clear_expired(
    store: Store, prefix: str, names: re.Pattern[str], before: float, manifests: Sequence[Manifest | None]
) -> int:
    """Delete what is older than ``before``, has one of our ``names`` and is in none of the manifests."""
    pinned = {f.key for m in manifests if m for f in (*m.files, m.rejects_file) if f}
    deleted = 0
    for stored in list(store.list(prefix)):
        ours = names.fullmatch(stored.key.removeprefix(prefix)) and stored.key not in pinned
        if ours and stored.modified_seconds < before:
            with suppress(PreconditionFailed):  # a run has written it anew
                store.delete(stored.key, if_match(stored.etag))
                deleted += 1
    return deleted
