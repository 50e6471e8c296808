"""Stage, verify, publish: readers see one conditional change, and a crash is repaired by running again.

``snapshot.observe`` looks at the output place before the work begins, ``publish`` replaces exactly what was
seen. Parts and manifest are staged and checked first, and only then made visible: on disk by swapping the
whole directory, on S3 key by key with the manifest last, or (``versioned``) by the manifest alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from briquette import cancellation
from briquette.accelerators import Accelerator, allowed
from briquette.errors import NotFound, StoreError, UnsafePath
from briquette.model import Location, Manifest, PublishedFile, PublishMode
from briquette.parquet.splice import SplicedPart
from briquette.planning.layout import PLAN, Layout
from briquette.planning.plan import check_same_partition
from briquette.publishing.clean_up import clean_up, delete_ours
from briquette.publishing.key_by_key import CLAIM, Finish, conflict, publish_in_place, remove_in_place
from briquette.publishing.part_hashes import PartHashes, check_footers
from briquette.publishing.snapshot import Snapshot, refuse_strangers
from briquette.publishing.store_probe import probing, require_safe_store
from briquette.publishing.versioned import publish_versioned
from briquette.storage.interface import ANY, Store, SwapUnavailable, check_writable, if_match

if TYPE_CHECKING:
    from briquette.publishing.early_parts import Drafts

BuildManifest = Callable[[tuple[PublishedFile, ...], PublishedFile | None], Manifest]
_SMALL_BYTES = 10 << 20  # a part up to this is one PUT in every store


@dataclass(frozen=True, slots=True)
class NewDataset:
    """What a plan made: ``parts`` and ``rejects`` (lines), and how readers will see it.

    ``build_manifest`` is called with the files and the reject file as they will be pinned.
    """

    plan_id: str
    parts: Sequence[SplicedPart]
    build_manifest: BuildManifest
    rejects: bytes = b""
    mode: PublishMode = PublishMode.IN_PLACE


def publish(
    store: Store,
    seen: Snapshot,
    new: NewDataset,
    *,
    unsafe_store: bool = False,
    drafts: Drafts | None = None,
) -> Manifest:
    """Verify the parts and make them the dataset where ``seen`` was observed; returns its manifest.

    ``drafts`` made these parts and write them already.

    Raises ``VerificationFailed``, ``OutputOccupied``, ``UnsafeStore`` and ``PartitionConflict`` before
    anything is visible, ``PublishConflict`` if another run was faster, ``StoreError``.
    """
    layout = Layout.of(seen.output)
    check_writable(layout.part_key(0), seen.output.prefix)
    refuse_strangers(seen)
    check_footers(store, new.parts)
    if not unsafe_store:
        _require_safe_store(store, layout, seen, new)
    with closing(drafts.hashes if drafts else PartHashes(store, new.parts)) as hashes:
        rejects_file = write_rejects(store, seen.output, new.plan_id, new.rejects)
        planned = _planned_files(layout, new)
        # What building the manifest raises, it raises here, before anything is visible.
        partition = new.build_manifest(planned, rejects_file).partition
        if seen.manifest is not None:  # the dataset may have been published since the plan was made
            check_same_partition(partition, seen.output, seen.manifest)

        def finish(files: tuple[PublishedFile, ...]) -> Manifest:
            return new.build_manifest(files, rejects_file)

        manifest = _make_visible(store, layout, seen, new, hashes, finish, drafts)
    clean_up(store, layout, new.plan_id, new.mode, seen, manifest)
    return manifest


def _require_safe_store(store: Store, layout: Layout, seen: Snapshot, new: NewDataset) -> None:
    require_safe_store(
        store,
        layout.above,
        multipart=any(p.size_bytes > _SMALL_BYTES for p in new.parts),
        replaces=bool(seen.visible or seen.manifest_etag or len(new.parts) > 1),
    )


def _planned_files(layout: Layout, new: NewDataset) -> tuple[PublishedFile, ...]:
    return tuple(
        PublishedFile(layout.part_key(i), part.size_bytes, "", "", part.rows, part.row_groups)
        for i, part in enumerate(new.parts)
    )


def _make_visible(
    store: Store,
    layout: Layout,
    seen: Snapshot,
    new: NewDataset,
    hashes: PartHashes,
    finish: Finish,
    drafts: Drafts | None,
) -> Manifest:
    if new.mode is PublishMode.VERSIONED:
        hashes.start()
        return publish_versioned(store, layout, new.parts, hashes, new.plan_id, seen, finish)
    if store.directories is not None:
        from briquette.publishing.directory_swap import clear_dead_directories, publish_on_disk

        clear_dead_directories(store, layout)
        try:
            return publish_on_disk(store, layout, new.parts, hashes, new.plan_id, seen, finish, drafts)
        except SwapUnavailable:
            pass  # no such system call, or a mount point: the files are replaced one by one
    hashes.start()
    return publish_in_place(store, layout, new.parts, hashes, new.plan_id, seen, finish)


def staging_prefix(output: Location, plan_id: str) -> str:
    """Where the workers of a plan put row groups that are too large to travel."""
    return check_writable(Layout.of(output).staging(plan_id).rstrip("/")) + "/"


def running(store: Store, output: Location) -> AbstractContextManager[cancellation.Run]:
    """While the block runs, SIGTERM stops it, or lets it end the publish at ``output`` that it has begun."""
    layout = Layout.of(output)
    hidden = (layout.all_staging, layout.all_versions, layout.all_rejects)
    return cancellation.running(store.url, layout.live, hidden)


def probe_meanwhile(store: Store, output: Location, *, unsafe_store: bool) -> AbstractContextManager[None]:
    """While the block works, find out about the store what ``publish`` will need to know."""
    return nullcontext() if unsafe_store else probing(store, Layout.of(output).above)


def drafting(
    store: Store, output: Location, plan_id: str, target_bytes: int, order: Sequence[int], mode: PublishMode
) -> AbstractContextManager[Drafts | None]:
    """While the block makes the splits of ``order``, write parts of those done, where a store can."""
    if mode is PublishMode.VERSIONED or store.directories is None:
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


def _holds(store: Store, key: str, body: bytes) -> bool:
    try:
        return store.get(key) == body
    except NotFound:
        return False


def remove_dataset(
    store: Store,
    seen: Snapshot,
    *,
    unsafe_store: bool = False,
) -> None:
    """Remove the dataset that was seen: exactly what its manifest names.

    Raises ``PublishConflict``, and ``UnsafeStore`` where a store could remove what another run published.
    """
    layout = Layout.of(seen.output)
    # Parts go before the manifest, and another run may have published the very same parts meanwhile.
    now = store.stat(layout.manifest_key)
    if (now.etag if now else "") != seen.manifest_etag:
        raise conflict(seen)
    if not unsafe_store:
        require_safe_store(store, layout.above, multipart=False)
    done = False
    if store.directories is not None:
        from briquette.publishing.directory_swap import clear_dead_directories, remove_on_disk

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
                delete_ours(store, file)


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
