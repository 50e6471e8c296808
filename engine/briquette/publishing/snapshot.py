"""What lies at an output place at one moment: the manifest, the visible files, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from briquette.errors import NotFound, OutputOccupied, PreconditionFailed, SnapshotChanged, VerificationFailed
from briquette.model import Location, Manifest
from briquette.planning.layout import PLAN, Layout, is_hidden, is_part_name
from briquette.publishing.identity import Standing, standing
from briquette.storage.interface import Store, Stored

_ATTEMPTS = 5
_BEGINNING = b'{"briquette":"manifest"'


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state that a publish replaces; every write is conditional on it."""

    output: Location
    manifest: Manifest | None
    manifest_etag: str  # "" where there is no manifest
    visible: tuple[Stored, ...]
    ours: frozenset[str]  # visible keys that the manifest names, or that a crashed run left
    manifest_modified_seconds: float = 0.0
    manifest_body: bytes = b""
    elsewhere: tuple[Stored, ...] = ()  # what the manifest names outside of the place and is there

    @property
    def etags(self) -> Mapping[str, str]:
        """Etags of the visible files by key."""
        return {s.key: s.etag for s in self.visible}

    @property
    def is_complete(self) -> bool:
        """Whether there is a file at each key that the manifest names, and no crashed run's part beside."""
        if self.manifest is None:
            return False
        named = {f.key for f in self.manifest.files}
        return named == self.ours | {s.key for s in self.elsewhere}

    def standing(self, store: Store) -> Standing | None:
        """The manifest's files as they stand, copies told by their bytes; None if they are others."""
        if self.manifest is None or not self.is_complete:
            return None
        return standing(store, self.manifest.files, {s.key: s for s in (*self.visible, *self.elsewhere)})


def observe(store: Store, output: Location, *, force: bool = False) -> Snapshot:
    """Look at an output place: one LIST, one GET of the manifest, a HEAD for each versioned file
    and for each file of a crashed run.

    ``force`` takes an unreadable manifest of ours as none; otherwise it raises ``VerificationFailed``, and
    ``UpgradeNeeded`` for one of a newer version.
    """
    layout = Layout.of(output)
    for _ in range(_ATTEMPTS):
        listed = list(store.list(layout.live))
        visible = tuple(s for s in listed if not is_hidden(s.key.removeprefix(layout.live)))
        pin = next((s for s in listed if s.key == layout.manifest_key), None)
        etag = pin.etag if pin else ""
        manifest, body = None, b""
        if etag:
            try:
                body = store.get(layout.manifest_key, etag=etag)
            except (NotFound, PreconditionFailed):
                continue  # replaced between listing and reading
            manifest = _parse(body, store, layout, pin, force=force)
        named = {f.key for f in manifest.files} if manifest else set()
        ours = {s.key for s in visible if s.key in named or is_left_over(store, s, layout)}
        modified = pin.modified_seconds if pin else 0.0
        elsewhere = tuple(_elsewhere(store, manifest, layout)) if manifest else ()
        return Snapshot(output, manifest, etag, visible, frozenset(ours), modified, body, elsewhere)
    raise SnapshotChanged(
        f"{output} was replaced {_ATTEMPTS} times while we looked at it.",
        hint="Find out who publishes there again and again.",
    )


def read_manifest(store: Store, output: Location) -> tuple[Manifest, str] | None:
    """The manifest published at ``output`` and its etag; one GET where there is one."""
    layout = Layout.of(output)
    for _ in range(_ATTEMPTS):
        found = store.stat(layout.manifest_key)
        if found is None:
            return None
        try:
            body = store.get(layout.manifest_key, etag=found.etag)
        except (NotFound, PreconditionFailed):
            continue
        manifest = _parse(body, store, layout, found, force=False)
        return (manifest, found.etag) if manifest else None
    raise SnapshotChanged(
        f"{store.url}/{layout.manifest_key} was replaced {_ATTEMPTS} times while we read it.",
        hint="Find out who publishes there again and again.",
    )


def refuse_strangers(seen: Snapshot) -> None:
    """Raise ``OutputOccupied`` if there are visible files that no run of ours made: no run removes them."""
    live = Layout.of(seen.output).live
    strangers = [s.key for s in seen.visible if s.key not in seen.ours]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise OutputOccupied(
            f"{seen.output} holds {strangers[0].removeprefix(live)}{more}, which briquette did not publish; "
            "nothing was written.",
            hint="Choose another output, or move what lies there away by hand.",
        )


def _parse(body: bytes, store: Store, layout: Layout, pin: Stored | None, *, force: bool) -> Manifest | None:
    if not body.strip():
        return None  # the claim of a first run that is at work, or died (see ``in_place``)
    where = f"{store.url}/{layout.manifest_key}"
    try:
        return layout.manifest_of(body, where)
    except VerificationFailed as error:
        if not _is_our_manifest(body, store, layout, pin):
            raise VerificationFailed(
                f"{error.message} Nothing says that briquette wrote it.",
                hint="Name another place, or move that file away by hand.",
            ) from error
        if force:
            return None
        raise VerificationFailed(
            error.message,
            hint="Put it back from a backup, or publish the dataset again: the same command with --force.",
        ) from error


def _is_our_manifest(body: bytes, store: Store, layout: Layout, pin: Stored | None) -> bool:
    """Whether an unreadable manifest was written by a run: by its beginning, its mark or its parts."""
    if body.startswith(_BEGINNING):
        return True
    with suppress(ValueError, RecursionError):
        json.loads(body)
        return False  # a whole document of somebody else
    seen = pin if pin is not None and pin.metadata else store.stat(layout.manifest_key)
    if seen is not None and PLAN in seen.metadata:
        return True
    first = store.stat(layout.part_key(0))
    return first is not None and PLAN in first.metadata


def is_left_over(store: Store, stored: Stored, layout: Layout) -> bool:
    """Whether a file outside the manifest is a part that a run of ours wrote before it crashed."""
    if not is_part_name(stored.key.removeprefix(layout.live)):
        return False
    found = store.stat(stored.key)
    return found is None or PLAN in found.metadata  # one that has gone since was in the middle of a publish


def _elsewhere(store: Store, manifest: Manifest, layout: Layout) -> Iterator[Stored]:
    for file in manifest.files:
        if not _is_below(file.key, layout.live) and (now := store.stat(file.key)) is not None:
            yield now


def _is_below(key: str, live: str) -> bool:
    return key.startswith(live) and not is_hidden(key.removeprefix(live))
