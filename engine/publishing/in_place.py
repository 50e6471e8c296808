"""Publishing under stable names in an object store: conditional writes key by key, the manifest last.

The first part is the fence: whoever replaces what was seen there goes on, everybody else has changed
nothing. A crash leaves parts that the manifest does not pin; the next run sees them as its own and
replaces them. Two runs that both repair such a state at once may leave it torn again, but then neither
reports success and a manifest reader gets an error, not a mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from engine.errors import PreconditionFailed, PublishConflict
from engine.model import Manifest, PublishedFile
from engine.publishing.layout import PLAN, SHA256, Layout, is_hidden
from engine.publishing.parts import published
from engine.publishing.snapshot import Snapshot
from engine.splice import SplicedPart
from engine.store import IF_ABSENT, Condition, Staged, Store, if_match

T = TypeVar("T")
Finish = Callable[[tuple[PublishedFile, ...]], Manifest]


def publish_in_place(
    store: Store,
    layout: Layout,
    parts: Sequence[SplicedPart],
    hashes: Sequence[str],
    plan_id: str,
    seen: Snapshot,
    finish: Finish,
) -> Manifest:
    """Replace what was seen by these parts; raises ``PublishConflict`` when it is something else by now."""
    keys = [layout.part_key(i) for i in range(len(parts))]
    with ExitStack() as undo:
        staged = stage_all(store, keys, parts, hashes, plan_id, undo)
        files = []
        for key, one, part, sha256 in zip(keys, staged, parts, hashes, strict=True):
            etag = seen.etags.get(key, "")
            stored = _or_conflict(lambda one=one, etag=etag: one.commit(_as_seen(etag)), seen)  # type: ignore[misc]
            files.append(published(stored, part, sha256))
    for old in seen.visible:  # exact keys, and only as they were seen
        if old.key not in keys:
            _or_conflict(lambda old=old: store.delete(old.key, if_match(old.etag)), seen)  # type: ignore[misc]
    manifest = finish(tuple(files))
    _require_standing(store, layout, seen, files)
    write_manifest(store, layout, manifest, seen)
    _require_standing(store, layout, seen, files)
    return manifest


def stage_all(
    store: Store,
    keys: Sequence[str],
    parts: Sequence[SplicedPart],
    hashes: Sequence[str],
    plan_id: str,
    undo: ExitStack,
) -> list[Staged]:
    """Everything that can fail slowly happens here, before anything is visible."""
    staged = []
    for key, part, sha256 in zip(keys, parts, hashes, strict=True):
        one = store.stage(key, part.pieces, {PLAN: plan_id, SHA256: sha256})
        undo.callback(one.abort)
        staged.append(one)
    return staged


def write_manifest(store: Store, layout: Layout, manifest: Manifest, seen: Snapshot) -> str:
    """Put the manifest over the one that was seen; returns its etag."""
    body = layout.manifest_body(manifest)
    condition = _as_seen(seen.manifest_etag)
    stored = _or_conflict(
        lambda: store.put(layout.manifest_key, body, condition, {PLAN: manifest.plan_id}), seen
    )
    return stored.etag


def remove_in_place(store: Store, layout: Layout, seen: Snapshot) -> None:
    """Delete exactly what was seen and is ours; the manifest last, so that a second run can finish it."""
    for old in seen.visible:
        if old.key in seen.ours:
            _or_conflict(lambda old=old: store.delete(old.key, if_match(old.etag)), seen)  # type: ignore[misc]
    if seen.manifest_etag:
        _or_conflict(lambda: store.delete(layout.manifest_key, if_match(seen.manifest_etag)), seen)


def conflict(seen: Snapshot) -> PublishConflict:
    """The error of the run that came second."""
    return PublishConflict(
        f"{seen.output} was changed by another run since this one looked at it.",
        hint="Run it again: it will see what the other one published.",
    )


def _as_seen(etag: str) -> Condition:
    return if_match(etag) if etag else IF_ABSENT


def _or_conflict(act: Callable[[], T], seen: Snapshot) -> T:
    try:
        return act()
    except PreconditionFailed as error:
        raise conflict(seen) from error


def _require_standing(store: Store, layout: Layout, seen: Snapshot, files: Sequence[PublishedFile]) -> None:
    standing = {
        s.key: s.etag for s in store.list(layout.live) if not is_hidden(s.key.removeprefix(layout.live))
    }
    if standing != {f.key: f.etag for f in files}:
        raise conflict(seen)
