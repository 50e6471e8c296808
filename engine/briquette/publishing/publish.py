"""Stage, verify, publish: readers see one conditional change, and a crash is mended by running again.

``observe`` looks at the output place before the work begins, ``publish`` replaces exactly what was seen.
Parts and manifest are staged and checked first, and only then made visible: on disk by swapping the whole
directory, on S3 key by key with the manifest last, or (``versioned``) by the manifest alone.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from briquette import cancellation
from briquette.accelerators import Accelerator, allowed
from briquette.errors import NotFound, PartitionConflict, PreconditionFailed, StoreError, UnsafePath
from briquette.model import Location, Manifest, PublishedFile, PublishMode
from briquette.parquet.splice import SplicedPart
from briquette.planning.layout import PLAN, Layout
from briquette.publishing.identity import Match, match
from briquette.publishing.key_by_key import CLAIM, conflict, publish_in_place, remove_in_place
from briquette.publishing.part_hashes import PartHashes, check_footers
from briquette.publishing.snapshot import Snapshot, observe, read_manifest, refuse_strangers
from briquette.publishing.store_probe import probe_store, probing, require_safe_store
from briquette.publishing.verify import Findings, examine
from briquette.publishing.versioned import publish_versioned
from briquette.storage.interface import ANY, Store, check_writable, if_match

if TYPE_CHECKING:
    from briquette.publishing.early_parts import Drafts

__all__ = [
    "Snapshot",
    "drafting",
    "examine_dataset",
    "janitor",
    "observe",
    "probe_meanwhile",
    "probe_store",
    "publish",
    "read_manifest",
    "remove_dataset",
    "renew_manifest",
    "running",
    "staging_prefix",
    "verify_dataset",
    "write_rejects",
]

BuildManifest = Callable[[tuple[PublishedFile, ...], PublishedFile | None], Manifest]
EXPIRED_SECONDS = 24 * 3_600.0
_SMALL_BYTES = 10 << 20  # a part up to this is one PUT in every store


def staging_prefix(output: Location, plan_id: str) -> str:
    """Where the workers of a plan put row groups that are too large to travel."""
    return check_writable(Layout.of(output).staging(plan_id).rstrip("/")) + "/"


def running(store: Store, output: Location) -> AbstractContextManager[cancellation.Run]:
    """While the block runs, SIGTERM stops it, or lets it end the publish at ``output`` that it has begun."""
    layout = Layout.of(output)
    hidden = (layout.all_staging, layout.all_versions, layout.all_rejects)
    return cancellation.running(store.url, layout.live, hidden)


def publish(
    store: Store,
    output: Location,
    parts: Sequence[SplicedPart],
    *,
    build_manifest: BuildManifest,
    rejects: bytes,
    previous: tuple[Manifest, str] | None,
    plan_id: str,
    mode: PublishMode = PublishMode.IN_PLACE,
    unsafe_store: bool = False,
    force: bool = False,
    seen: Snapshot | None = None,
    drafts: Drafts | None = None,
) -> Manifest:
    """Verify the parts and make them the dataset at ``output``; returns its manifest.

    ``seen`` is what ``observe`` found before the work began; without it the place is looked at now, and
    must still hold the manifest ``previous``. ``drafts`` made these parts and write them already.
    ``build_manifest`` is called with the files as they will be
    pinned. ``force`` also replaces a manifest of ours that cannot be read.

    Raises ``VerificationFailed``, ``OutputOccupied``, ``UnsafeStore`` and ``PartitionConflict`` before
    anything is visible, ``PublishConflict`` if another run was faster, ``StoreError``.
    """
    layout = Layout.of(output)
    check_writable(layout.part_key(0), output.prefix)
    if seen is None:
        seen = observe(store, output, force=force)
        if seen.manifest is not None and (previous[1] if previous else "") != seen.manifest_etag:
            raise conflict(seen)
    refuse_strangers(seen)
    check_footers(store, parts)
    if not unsafe_store:
        require_safe_store(
            store,
            layout.above,
            multipart=any(p.size_bytes > _SMALL_BYTES for p in parts),
            replaces=bool(seen.visible or seen.manifest_etag or len(parts) > 1),
        )
    with closing(drafts.hashes if drafts else PartHashes(store, parts)) as hashes:
        rejects_file = write_rejects(store, output, plan_id, rejects)
        planned = tuple(
            PublishedFile(layout.part_key(i), part.size_bytes, "", "", part.rows, part.row_groups)
            for i, part in enumerate(parts)
        )
        _require_same_partition(build_manifest(planned, rejects_file), seen)  # what it raises, it raises here

        def finish(files: tuple[PublishedFile, ...]) -> Manifest:
            return build_manifest(files, rejects_file)

        manifest = _make_visible(store, layout, parts, hashes, plan_id, mode, seen, finish, drafts)
    _clean_up(store, layout, plan_id, mode, seen, manifest)
    return manifest


def _make_visible(
    store: Store,
    layout: Layout,
    parts: Sequence[SplicedPart],
    hashes: PartHashes,
    plan_id: str,
    mode: PublishMode,
    seen: Snapshot,
    finish: Callable[[tuple[PublishedFile, ...]], Manifest],
    drafts: Drafts | None,
) -> Manifest:
    from briquette.storage.local.store import LocalStore

    if mode is PublishMode.VERSIONED:
        hashes.start()
        return publish_versioned(store, layout, parts, hashes, plan_id, seen, finish)
    if isinstance(store, LocalStore):
        from briquette.publishing.directory_swap import clear_dead_directories, publish_on_disk
        from briquette.storage.local.directory_swap import SwapUnavailable

        clear_dead_directories(store, layout)
        try:
            return publish_on_disk(store, layout, parts, hashes, plan_id, seen, finish, drafts)
        except SwapUnavailable:
            pass  # no such system call, or a mount point: the files are replaced one by one
    hashes.start()
    return publish_in_place(store, layout, parts, hashes, plan_id, seen, finish)


def probe_meanwhile(store: Store, output: Location, *, unsafe_store: bool) -> AbstractContextManager[None]:
    """While the block works, find out about the store what ``publish`` will need to know."""
    return nullcontext() if unsafe_store else probing(store, Layout.of(output).above)


def drafting(
    store: Store, output: Location, plan_id: str, target_bytes: int, order: Sequence[int], mode: PublishMode
) -> AbstractContextManager[Drafts | None]:
    """While the block makes the splits of ``order``, write parts of those done, where a store can."""
    from briquette.storage.local.store import LocalStore

    if mode is PublishMode.VERSIONED or not isinstance(store, LocalStore):
        return nullcontext()
    if not allowed(Accelerator.EARLY_PARTS):
        return nullcontext()
    from briquette.publishing import directory_swap

    return directory_swap.drafting(store, Layout.of(output), plan_id, target_bytes, order)


def write_rejects(store: Store, output: Location, plan_id: str, rejects: bytes) -> PublishedFile | None:
    """Write the reject file of a plan, hidden beside the dataset; None when there are no rejects."""
    if not rejects:
        return None
    key = check_writable(Layout.of(output).rejects_key(plan_id))
    sha256 = hashlib.sha256(rejects).hexdigest()
    stored = store.stat(key)
    if stored is None or stored.size_bytes != len(rejects) or not _holds(store, key, rejects):
        stored = store.put(key, rejects, ANY, {PLAN: plan_id})
    return PublishedFile(key, len(rejects), stored.etag, sha256, rejects.count(b"\n"), 0)


def remove_dataset(
    store: Store,
    output: Location,
    previous: tuple[Manifest, str] | None,
    *,
    seen: Snapshot | None = None,
    unsafe_store: bool = False,
) -> None:
    """Remove a published dataset: exactly what its manifest names.

    Raises ``PublishConflict``, and ``UnsafeStore`` where a store could remove what another run published.
    """
    from briquette.storage.local.store import LocalStore

    layout = Layout.of(output)
    if seen is None:
        seen = observe(store, output)
        if (previous[1] if previous else "") != (seen.manifest_etag if seen.manifest else ""):
            raise conflict(seen)
    if not unsafe_store:
        require_safe_store(store, layout.above, multipart=False)
    done = False
    if isinstance(store, LocalStore):
        from briquette.publishing.directory_swap import clear_dead_directories, remove_on_disk
        from briquette.storage.local.directory_swap import SwapUnavailable

        clear_dead_directories(store, layout)
        refuse_strangers(seen)
        try:
            remove_on_disk(store, layout, seen)
            done = True
        except SwapUnavailable:
            pass
    if not done:
        remove_in_place(store, layout, seen)
    if seen.manifest is not None:
        for file in (*seen.manifest.files, seen.manifest.rejects_file):
            if file is not None and file.key not in seen.etags:
                _delete_ours(store, file)


def renew_manifest(store: Store, seen: Snapshot, files: tuple[PublishedFile, ...]) -> Manifest:
    """Write the manifest of a copied dataset again with the etags that its files have in this place.

    So whoever comes next need not hash them. It is a help only: a place that cannot be written to, or that
    another run publishes to, is left as it is.
    """
    assert seen.manifest is not None
    layout = Layout.of(seen.output)
    manifest = replace(seen.manifest, files=files)
    if seen.manifest_body.endswith(CLAIM):
        return manifest  # a run is at work, or died
    with suppress(StoreError, UnsafePath):
        body = layout.manifest_body(manifest)
        store.put(layout.manifest_key, body, if_match(seen.manifest_etag), {PLAN: manifest.plan_id})
    return manifest


def verify_dataset(store: Store, output: Location, *, read_parts: bool = True) -> list[str]:
    """What is wrong with a published dataset, a sentence each; empty when it is as its manifest says."""
    return list(examine_dataset(store, output, read_parts=read_parts).problems)


def examine_dataset(store: Store, output: Location, *, read_parts: bool = True) -> Findings:
    """What is wrong with a published dataset, and whether it is a copy; with ``read_parts`` all is hashed."""
    return examine(store, output, read_parts=read_parts)


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
    from briquette.storage.local.store import LocalStore

    layout = Layout.of(output)
    before = (time.time() if now_seconds is None else now_seconds) - older_than_seconds
    found = read_manifest(store, output)
    manifest = found[0] if found else None
    switched = store.stat(layout.manifest_key)
    deleted = _clear_expired(store, layout.all_rejects, _REJECTS, before, (manifest,))
    deleted += _clear_expired(store, layout.all_staging, _STAGED, before, ())
    if switched is None or switched.modified_seconds < before:
        deleted += _clear_expired(store, layout.all_versions, _VERSION, before, (manifest,))
    if isinstance(store, LocalStore):
        from briquette.publishing.directory_swap import clear_dead_directories

        clear_dead_directories(store, layout)  # of any age: nobody holds their locks
        for prefix in (layout.live, layout.all_rejects, layout.all_staging, layout.all_versions):
            deleted += store.clear_temporary(prefix, before)
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


_STAGED = re.compile(r"[0-9a-f]{16}/[a-z]+-\d{6}-\d{6}")
_VERSION = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}/part-\d{5,}\.parquet")
_REJECTS = re.compile(r"[0-9a-f]{16}\.jsonl")


def _require_same_partition(manifest: Manifest, seen: Snapshot) -> None:
    """C16, once more at the last moment: the dataset may have been published since the plan was made."""
    if seen.manifest is None:
        return
    ours, theirs = manifest.partition, seen.manifest.partition
    for name in ("domain", "table", "interval", "data_source", "ds"):
        left, right = getattr(ours, name), getattr(theirs, name)
        if left and right and left != right:
            raise PartitionConflict(
                f"{seen.output} holds {name} {right!r} ({theirs}); this run is for {left!r}.",
                hint="Publish to another output, or remove that dataset first.",
            )


def _clean_up(
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
            _delete_ours(store, old)


def _delete_ours(store: Store, file: PublishedFile) -> None:
    now = store.stat(file.key)
    if now is not None and match(store, file, now) in (Match.SAME, Match.COPY):
        with suppress(PreconditionFailed):  # written again since: it belongs to a run that is not this one
            store.delete(file.key, if_match(now.etag))


def _holds(store: Store, key: str, body: bytes) -> bool:
    try:
        return store.get(key) == body
    except NotFound:
        return False
