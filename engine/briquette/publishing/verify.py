"""A published dataset against its manifest: presence, checksums, footers, strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from briquette.errors import (
    BriquetteError,
    CorruptObject,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    VerificationFailed,
)
from briquette.model import Location, PublishedFile, RawObject
from briquette.parquet.splice import read_part_row_groups
from briquette.planning.layout import Layout, is_hidden
from briquette.publishing.identity import Match, match
from briquette.publishing.snapshot import read_manifest
from briquette.storage.interface import Store, Stored

BLOCK_BYTES = 8 << 20
_WHILE_READ = "it was replaced while it was read"


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong, a sentence each. ``copied``: all bytes are right, some etags not those of the manifest.

    ``strangers`` are the visible files that the manifest does not name.
    """

    problems: tuple[str, ...]
    copied: bool = False
    strangers: tuple[str, ...] = ()


def verify_dataset(store: Store, output: Location, *, read_parts: bool = True) -> list[str]:
    """What is wrong with a published dataset, a sentence each; empty when it is as its manifest says."""
    return list(examine(store, output, read_parts=read_parts).problems)


def examine(store: Store, output: Location, *, read_parts: bool = True) -> Findings:
    """Compare what lies at ``output`` with its manifest; with ``read_parts`` every byte is hashed."""
    layout = Layout.of(output)
    try:
        found = read_manifest(store, output)
    except StoreError:  # a store in trouble says nothing about the dataset
        raise
    except BriquetteError as error:
        return Findings((str(error),))
    if found is None:
        return Findings((f"{layout.manifest_key}: there is no manifest",))
    manifest, _ = found
    listed = {s.key: s for s in store.list(layout.live)}
    visible = (key for key in listed if not is_hidden(key.removeprefix(layout.live)))
    strangers = tuple(sorted(set(visible) - {f.key for f in manifest.files}))
    problems = [f"{key}: readers see it, the manifest does not name it" for key in strangers]
    copied = False
    for file in manifest.files:
        now = listed.get(file.key) or store.stat(file.key)
        found_wrong = list(_problems(store, file, now, "part", hashed=read_parts))
        problems += found_wrong
        copied = copied or (now is not None and now.etag != file.etag)
        if read_parts and now is not None and not any(w.endswith(_WHILE_READ) for w in found_wrong):
            problems += _footer_problems(store, file, now)
    if (rejects := manifest.rejects_file) is not None:
        problems += _problems(store, rejects, store.stat(rejects.key), "reject file", hashed=read_parts)
    rows = sum(f.rows for f in manifest.files)
    if rows != manifest.rows:
        problems.append(
            f"{layout.manifest_key}: its parts have {rows} rows together, it says {manifest.rows}"
        )
    counted = manifest.rows + manifest.rejects + manifest.duplicates
    if counted != manifest.records:
        problems.append(
            f"{layout.manifest_key}: {manifest.records} records became {counted} rows, rejects, duplicates"
        )
    return Findings(tuple(problems), copied and not problems, strangers)


def require_as_published(store: Store, file: PublishedFile) -> Stored:
    """A part as it stands; raises ``VerificationFailed`` if it has other bytes than were published.

    On disk it is read whole: a disk that loses bits keeps its times, and what is taken over into another part
    would get a checksum that fits. S3 compares what it stores with its own checksums.
    """
    now = store.stat(file.key)
    for problem in _problems(store, file, now, "part", hashed=not store.checks_its_bytes):
        raise VerificationFailed(problem, hint="Publish it again.")
    assert now is not None
    return now


def _problems(
    store: Store, file: PublishedFile, now: Stored | None, what: str, *, hashed: bool
) -> Iterator[str]:
    """What makes the object at a published file's key another one; ``hashed``: whatever its etag says."""
    if now is None:
        yield f"{file.key}: the {what} is missing"
    elif now.size_bytes != file.size_bytes:
        yield f"{file.key}: it has {now.size_bytes} bytes, the manifest says {file.size_bytes}"
    elif hashed:
        try:
            found = _sha256(store, now)
        except SourceChanged:
            yield f"{file.key}: {_WHILE_READ}"
        else:
            if found != file.sha256:
                yield f"{file.key}: its SHA-256 is {found}, the manifest says {file.sha256}"
    elif match(store, file, now) is Match.OTHER:
        yield f"{file.key}: it has etag {now.etag} and other bytes, the manifest says {file.etag}"


def _sha256(store: Store, now: Stored) -> str:
    whole = hashlib.sha256()
    for chunk in store.open_chunks(RawObject(now.key, now.size_bytes, now.etag), BLOCK_BYTES):
        whole.update(chunk)
    return whole.hexdigest()


def _footer_problems(store: Store, file: PublishedFile, now: Stored) -> Iterator[str]:
    try:
        groups = read_part_row_groups(
            lambda offset, length: store.get(now.key, etag=now.etag, start=offset, length=length),
            now.size_bytes,
            now.key,
            now.etag,
        )
    except (CorruptObject, NotFound, PreconditionFailed) as error:
        yield f"{file.key}: {error.message}"
        return
    rows = sum(g.rows for g in groups)
    if (rows, len(groups)) != (file.rows, file.row_groups):
        yield (
            f"{file.key}: its footer has {rows} rows in {len(groups)} row groups, "
            f"the manifest says {file.rows} in {file.row_groups}"
        )
