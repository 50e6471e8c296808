"""A published dataset against its manifest: presence, pins, checksums, footers, strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from engine.errors import BriquetteError, CorruptObject, SourceChanged, StoreError, VerificationFailed
from engine.model import Location, PublishedFile, RawObject
from engine.publishing.layout import Layout, is_hidden
from engine.publishing.snapshot import read_manifest
from engine.splice import read_part_row_groups
from engine.store import Store

BLOCK_BYTES = 8 << 20


def problems_of(store: Store, output: Location, *, read_parts: bool) -> Iterator[str]:
    """Sentences that name a file and what is wrong with it; with ``read_parts`` every byte is hashed."""
    layout = Layout.of(output)
    try:
        found = read_manifest(store, output)
    except StoreError:  # a store in trouble says nothing about the dataset
        raise
    except BriquetteError as error:
        yield str(error)
        return
    if found is None:
        yield f"{layout.manifest_key}: there is no manifest"
        return
    manifest, _ = found
    pinned = {f.key for f in manifest.files}
    for stored in store.list(layout.live):
        if stored.key not in pinned and not is_hidden(stored.key.removeprefix(layout.live)):
            yield f"{stored.key}: readers see it, the manifest does not name it"
    for file in manifest.files:
        yield from _pin_problems(store, file, "part")
        if read_parts:
            yield from _byte_problems(store, file)
    if manifest.rejects_file is not None:
        yield from _pin_problems(store, manifest.rejects_file, "reject file")
    rows = sum(f.rows for f in manifest.files)
    if rows != manifest.rows:
        yield f"{layout.manifest_key}: its parts have {rows} rows together, it says {manifest.rows}"
    counted = manifest.rows + manifest.rejects + manifest.duplicates
    if counted != manifest.records:
        yield f"{layout.manifest_key}: {manifest.records} records became {counted} rows, rejects, duplicates"


def require_as_published(store: Store, file: PublishedFile) -> None:
    """Raise ``VerificationFailed`` for a part on disk that has other bytes than were published.

    A disk that loses bits keeps its times, so the pin still holds; what is taken over into another part
    would get a checksum that fits. S3 compares what it stores with its own checksums.
    """
    from engine.stores.local import LocalStore

    if isinstance(store, LocalStore):
        for problem in _byte_problems(store, file):
            raise VerificationFailed(problem, hint="Make it again from raw: `briquette compact --force`.")


def _pin_problems(store: Store, file: PublishedFile, what: str) -> Iterator[str]:
    now = store.stat(file.key)
    if now is None:
        yield f"{file.key}: the {what} is missing"
    elif now.size_bytes != file.size_bytes:
        yield f"{file.key}: it has {now.size_bytes} bytes, the manifest says {file.size_bytes}"
    elif now.etag != file.etag:
        yield f"{file.key}: it has etag {now.etag}, the manifest says {file.etag}"


def _byte_problems(store: Store, file: PublishedFile) -> Iterator[str]:
    now = store.stat(file.key)
    if now is None:
        return
    try:
        whole = hashlib.sha256()
        for chunk in store.open_chunks(RawObject(now.key, now.size_bytes, now.etag), BLOCK_BYTES):
            whole.update(chunk)
        if whole.hexdigest() != file.sha256:
            yield f"{file.key}: its SHA-256 is {whole.hexdigest()}, the manifest says {file.sha256}"
        groups = read_part_row_groups(
            lambda offset, length: store.get(now.key, etag=now.etag, start=offset, length=length),
            now.size_bytes,
            now.key,
            now.etag,
        )
    except SourceChanged:
        yield f"{file.key}: it was replaced while it was read"
        return
    except CorruptObject as error:
        yield f"{file.key}: {error.message}"
        return
    rows = sum(g.rows for g in groups)
    if (rows, len(groups)) != (file.rows, file.row_groups):
        yield (
            f"{file.key}: its footer has {rows} rows in {len(groups)} row groups, "
            f"the manifest says {file.rows} in {file.row_groups}"
        )
