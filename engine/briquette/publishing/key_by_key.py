"""Publishing under stable names in an object store: conditional writes key by key, the manifest last.

The fence is the manifest. Before anything visible changes, a run replaces the manifest that it saw by the
same manifest and one more newline: its claim. Of all runs that saw the same, one can; the others have changed
nothing. Whoever claims later (it saw this run in the middle of its work) takes over: the run before can no
longer write its manifest, and what it still writes is written over. So the last to claim wins, unless it
dies, and then the next run finds parts that the manifest does not pin, sees that they are ours, and claims.
The first publish of one part needs no claim: nothing lies there, and the part itself is the fence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

from briquette.errors import NotFound, PreconditionFailed, PublishConflict, VerificationFailed
from briquette.model import Manifest, PublishedFile
from briquette.parquet.splice import SplicedPart
from briquette.planning.layout import PLAN, SHA256, Layout, is_hidden
from briquette.publishing.part_hashes import published, require_hash
from briquette.publishing.snapshot import Snapshot, is_left_over
from briquette.storage.interface import IF_ABSENT, Condition, Staged, Store, Stored, if_match

T = TypeVar("T")
Finish = Callable[[tuple[PublishedFile, ...]], Manifest]
CLAIM = b"\n"  # behind a manifest, which ends with "}"
_ROUNDS = 5  # how often a run that was taken over may get in the way of the one that took over


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
        claim = (
            _claim(store, layout, plan_id, seen) if seen.visible or seen.manifest_etag or staged[1:] else ""
        )
        change = _Change(store, layout, seen, claim)
        try:
            for one, part, sha256 in zip(staged, parts, hashes, strict=True):
                change.write(one, part, sha256)
            for old in seen.visible:  # exact keys, and only as they were seen
                if old.key not in keys:
                    change.delete(old)
            files = change.settled(parts, hashes, plan_id)
            manifest = finish(files)
            change.claim = write_manifest(store, layout, manifest, seen, claim)
        except PublishConflict:
            change.take_back()
            raise
        # A run that was taken over may have written once more, without knowing.
        if change.settled(parts, hashes, plan_id) != files:
            raise conflict(seen)
    return manifest


def _claim(store: Store, layout: Layout, plan_id: str, seen: Snapshot) -> str:
    """The etag of the seen manifest and one more newline, written over it; the manifest says what it said."""
    stored = _or_conflict(
        lambda: store.put(
            layout.manifest_key, seen.manifest_body + CLAIM, _as_seen(seen.manifest_etag), {PLAN: plan_id}
        ),
        seen,
    )
    return stored.etag


class _Change:
    """The visible keys on their way from what was seen to what is published, under one claim."""

    def __init__(self, store: Store, layout: Layout, seen: Snapshot, claim: str) -> None:
        self._store, self._layout, self._seen = store, layout, seen
        self.claim = claim  # the etag of the manifest while it is ours to replace
        self._files: dict[str, PublishedFile] = {}
        self._created: dict[str, str] = {}  # etags of what we put where nothing was seen

    def write(self, one: Staged, part: SplicedPart, sha256: str) -> None:
        """Put a part over what was seen at its key."""
        etag = self._seen.etags.get(one.key, "")
        try:
            self._keep(one.commit(_as_seen(etag)), part, sha256)
        except PreconditionFailed as error:
            if not self.claim:
                raise conflict(self._seen) from error
            # A run that was taken over has been here; settled() writes over it.

    def delete(self, old: Stored) -> None:
        """Remove a surplus file as it was seen."""
        with suppress(PreconditionFailed):  # likewise
            self._store.delete(old.key, if_match(old.etag))

    def settled(
        self, parts: Sequence[SplicedPart], hashes: Sequence[str], plan_id: str
    ) -> tuple[PublishedFile, ...]:
        """The parts as they stand at last, whoever was taken over; ``PublishConflict`` if that were we."""
        wanted = {
            self._layout.part_key(i): (p, h) for i, (p, h) in enumerate(zip(parts, hashes, strict=True))
        }
        for _ in range(_ROUNDS):
            standing = _standing(self._store, self._layout)
            ours = {k: f.etag for k, f in self._files.items()}
            if ours.keys() == wanted.keys() and {k: s.etag for k, s in standing.items()} == ours:
                return tuple(self._files[key] for key in wanted)
            for key in sorted(standing.keys() | wanted.keys()):
                self._mend(key, standing.get(key), wanted.get(key), plan_id)
        raise conflict(self._seen)

    def _mend(
        self, key: str, now: Stored | None, wanted: tuple[SplicedPart, str] | None, plan_id: str
    ) -> None:
        held = self._files.get(key)
        if held is not None and now is not None and now.etag == held.etag:
            return
        changed = now is not None and now.etag != self._seen.etags.get(key)
        if now is not None and changed and not is_left_over(self._store, now, self._layout):
            raise conflict(self._seen)  # no run of ours wrote it: it is not ours to replace
        self._require_claim()
        with suppress(PreconditionFailed):  # changed again: the next round sees it
            if wanted is None:
                assert now is not None  # it was listed, or it would not be asked about
                self._store.delete(key, if_match(now.etag))
                return
            part, sha256 = wanted
            one = self._store.stage(key, part.pieces, {PLAN: plan_id, SHA256: sha256})
            try:
                require_hash(one, sha256)
                self._keep(one.commit(_as_seen(now.etag if now else "")), part, sha256)
            finally:
                one.abort()

    def take_back(self) -> None:
        """After a conflict: remove what we put where nothing was seen, unless the winner's manifest names it.

        While another run is at work everything is left alone: that run sees it, and settles it.
        """
        with suppress(NotFound, PreconditionFailed, VerificationFailed):
            for key, etag in self._created.items():
                body = self._store.get(self._layout.manifest_key)
                named = {f.key for f in self._layout.manifest_of(body, self._layout.manifest_key).files}
                if key not in named and not body.endswith(CLAIM):
                    self._store.delete(key, if_match(etag))

    def _keep(self, stored: Stored, part: SplicedPart, sha256: str) -> None:
        self._files[stored.key] = published(stored, part, sha256)
        if self.claim and stored.key not in self._seen.etags:
            self._created[stored.key] = stored.etag

    def _require_claim(self) -> None:
        now = self._store.stat(self._layout.manifest_key)
        if not self.claim or now is None or now.etag != self.claim:
            raise conflict(self._seen)


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
        require_hash(one, sha256)
        staged.append(one)
    return staged


def write_manifest(store: Store, layout: Layout, manifest: Manifest, seen: Snapshot, claim: str = "") -> str:
    """Put the manifest over the one that was seen, or over this run's claim to it; returns its etag."""
    body = layout.manifest_body(manifest)
    condition = _as_seen(claim or seen.manifest_etag)
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


def _standing(store: Store, layout: Layout) -> Mapping[str, Stored]:
    return {s.key: s for s in store.list(layout.live) if not is_hidden(s.key.removeprefix(layout.live))}
