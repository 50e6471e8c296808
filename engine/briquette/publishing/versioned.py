"""Publishing under an immutable sibling prefix: one conditional write of the manifest is the switch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack

from briquette.errors import PreconditionFailed, VerificationFailed
from briquette.model import Manifest, PublishedFile
from briquette.parquet.splice import SplicedPart
from briquette.planning.layout import SHA256, Layout, part_name
from briquette.publishing.key_by_key import Finish, stage_all, write_manifest
from briquette.publishing.part_hashes import published
from briquette.publishing.snapshot import Snapshot
from briquette.storage.interface import IF_ABSENT, Staged, Store, Stored, if_match


def publish_versioned(
    store: Store,
    layout: Layout,
    parts: Sequence[SplicedPart],
    hashes: Sequence[str],
    plan_id: str,
    seen: Snapshot,
    finish: Finish,
) -> Manifest:
    """Write the parts where nobody looks yet, then the manifest; raises ``PublishConflict``.

    The prefix is named by plan and content, so parts that are there already are these parts. The version
    before stays for its readers; ``janitor`` removes it when it is old.
    """
    content = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    prefix = layout.version(plan_id, content)
    keys = [prefix + part_name(i) for i in range(len(parts))]
    files: list[PublishedFile] = []
    with ExitStack() as undo:
        staged = stage_all(store, keys, parts, hashes, plan_id, undo)
        for one, part, sha256 in zip(staged, parts, hashes, strict=True):
            files.append(published(_commit_or_take(store, one, sha256), part, sha256))
    manifest = finish(tuple(files))
    write_manifest(store, layout, manifest, seen)
    for old in [s for s in seen.visible if s.key in seen.ours]:  # from when it was published in place
        store.delete(old.key, if_match(old.etag))
    return manifest


def _commit_or_take(store: Store, staged: Staged, sha256: str) -> Stored:
    try:
        return staged.commit(IF_ABSENT)
    except PreconditionFailed:
        found = store.stat(staged.key)
        if found is None or found.size_bytes != staged.size_bytes or _sha256(store, found) != sha256:
            raise VerificationFailed(
                f"{store.url}/{staged.key} holds other bytes than its name says.",
                hint="Somebody altered an immutable version: delete that prefix and run it again.",
            ) from None
        return found


def _sha256(store: Store, stored: Stored) -> str:
    told = stored.metadata.get(SHA256)
    return told or hashlib.sha256(store.get(stored.key, etag=stored.etag)).hexdigest()
