"""What lies at an output place at one moment: the manifest, the visible files, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.errors import NotFound, OutputOccupied, PreconditionFailed, SnapshotChanged, VerificationFailed
from engine.model import Location, Manifest
from engine.publishing.layout import PLAN, Layout, is_hidden, is_part_name
from engine.store import Store, Stored
from engine.value import Value

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Snapshot(Value):
    """The state that a publish replaces; every write is conditional on it."""

    output: Location
    manifest: Manifest | None
    manifest_etag: str  # "" where there is no manifest
    visible: tuple[Stored, ...]
    ours: frozenset[str]  # visible keys that the manifest names, or that a crashed run left
    manifest_modified_seconds: float = 0.0
    manifest_body: bytes = b""
    versions_stand: bool = True  # whether what the manifest names outside of the place is as it says

    @property
    def etags(self) -> Mapping[str, str]:
        """Etags of the visible files by key."""
        return {s.key: s.etag for s in self.visible}

    @property
    def intact(self) -> bool:
        """Whether our files are exactly those that the manifest pins, which no crashed run leaves."""
        if self.manifest is None or not self.versions_stand:
            return False
        live = Layout.of(self.output).live
        wanted = {f.key: f.etag for f in self.manifest.files if _is_below(f.key, live)}
        return wanted == {key: etag for key, etag in self.etags.items() if key in self.ours}


def observe(store: Store, output: Location, *, force: bool = False) -> Snapshot:
    """Look at an output place: one LIST, one GET of the manifest, a HEAD for each versioned file
    and for each file of a crashed run.

    ``force`` takes an unreadable manifest as none; otherwise it raises ``VerificationFailed``.
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
            manifest = _parse(body, store, layout, force=force)
        named = {f.key for f in manifest.files} if manifest else set()
        ours = {s.key for s in visible if s.key in named or is_left_over(store, s, layout)}
        modified = pin.modified_seconds if pin else 0.0
        stand = manifest is None or _versions_stand(store, manifest, layout)
        return Snapshot(output, manifest, etag, visible, frozenset(ours), modified, body, stand)
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
        manifest = _parse(body, store, layout, force=False)
        return (manifest, found.etag) if manifest else None
    raise SnapshotChanged(
        f"{store.url}/{layout.manifest_key} was replaced {_ATTEMPTS} times while we read it.",
        hint="Find out who publishes there again and again.",
    )


def refuse_strangers(seen: Snapshot, *, force: bool) -> None:
    """Raise ``OutputOccupied`` if the place holds visible files that no run of ours made.

    ``force`` gives up foreign ``*.parquet`` files directly in the place; anything else is never touched.
    """
    live = Layout.of(seen.output).live
    strangers = [s.key for s in seen.visible if s.key not in seen.ours]
    if force:
        strangers = [k for k in strangers if "/" in k.removeprefix(live) or not k.endswith(".parquet")]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise OutputOccupied(
            f"{seen.output} holds {strangers[0].removeprefix(live)}{more}, which briquette did not publish; "
            "nothing was written.",
            hint="Move it away or choose another output."
            if force
            else "Move it away, choose another output, or pass --force to replace the Parquet files there.",
        )


def _parse(body: bytes, store: Store, layout: Layout, *, force: bool) -> Manifest | None:
    if not body.strip():
        return None  # the claim of a first run that is at work, or died (see ``in_place``)
    try:
        return layout.manifest_of(body, f"{store.url}/{layout.manifest_key}")
    except VerificationFailed:
        if force:
            return None
        raise


def is_left_over(store: Store, stored: Stored, layout: Layout) -> bool:
    """Whether a file outside the manifest is a part that a run of ours wrote before it crashed."""
    if not is_part_name(stored.key.removeprefix(layout.live)):
        return False
    found = store.stat(stored.key)
    return found is None or PLAN in found.metadata  # one that has gone since was in the middle of a publish


def _versions_stand(store: Store, manifest: Manifest, layout: Layout) -> bool:
    for file in manifest.files:
        if not _is_below(file.key, layout.live):
            now = store.stat(file.key)
            if now is None or (now.etag, now.size_bytes) != (file.etag, file.size_bytes):
                return False
    return True


def _is_below(key: str, live: str) -> bool:
    return key.startswith(live) and not is_hidden(key.removeprefix(live))
