"""Publishing on local disk: the whole directory, parts and manifest, changes in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from briquette.errors import PreconditionFailed, VerificationFailed
from briquette.model import Manifest, Piece
from briquette.parquet.splice import SplicedPart
from briquette.planning.layout import MANIFEST_NAME, PLAN, Layout, is_hidden, is_part_name, part_name
from briquette.publishing.early_parts import Drafts
from briquette.publishing.key_by_key import Finish, conflict
from briquette.publishing.part_hashes import PartHashes, published
from briquette.publishing.snapshot import Snapshot
from briquette.storage.interface import Directories, NextDirectory, Store, Stored
from briquette.storage.local.files import read_blocks


def publish_on_disk(
    store: Store,
    layout: Layout,
    parts: Sequence[SplicedPart],
    hashes: PartHashes,
    plan_id: str,
    seen: Snapshot,
    finish: Finish,
    drafts: Drafts | None = None,
) -> Manifest:
    """Swap in a directory of these parts; raises ``PublishConflict``, or ``SwapUnavailable`` at no harm.

    ``drafts``, if there are any, are being written already, and hashed by ``hashes``.
    """
    begun, drafted = drafts.hand_over() if drafts else (None, [])
    with _next_state(store, layout, seen, begun) as swap:

        def add(index: int) -> Stored:
            def once_written() -> dict[str, str]:
                hashes.written(index, swap.path_of(part_name(index)))  # while the disk syncs it
                return {PLAN: plan_id}

            return swap.add(part_name(index), parts[index].pieces, once_written)

        stored = drafted or [add(index) for index in range(len(parts))]
        files = [published(*one) for one in zip(stored, parts, hashes, strict=True)]
        manifest = finish(tuple(files))
        body = layout.manifest_body(manifest)
        swap.add(MANIFEST_NAME, (Piece(len(body), body),), lambda: {PLAN: plan_id})
        if b"".join(read_blocks(swap.path_of(MANIFEST_NAME), 0, len(body) + 1, len(body) + 1)) != body:
            raise VerificationFailed(
                f"The manifest of {seen.output} was written with other bytes than it has.",
                hint="Nothing was published; run it again, and look after this disk.",
            )
        swap.exchange(_expected(seen, layout), lambda: _shown(store, layout))
    return manifest


def remove_on_disk(store: Store, layout: Layout, seen: Snapshot) -> None:
    """Swap in a directory without parts and manifest, and drop it if nothing hidden is left in it."""
    with _next_state(store, layout, seen) as swap:
        swap.exchange(_expected(seen, layout), lambda: _shown(store, layout))
        live = swap.live
    if not os.listdir(live):
        os.rmdir(live)


def clear_dead_directories(store: Store, layout: Layout) -> None:
    """Remove what runs of this partition left in their workshop when they died."""
    directories = _directories(store)
    directories.clear_dead(layout.live, *_workshop(directories, layout), is_ours=_is_ours)


@contextmanager
def drafting(
    store: Store, layout: Layout, plan_id: str, target_bytes: int, order: Sequence[int]
) -> Iterator[Drafts]:
    """Parts that are written while the block makes the splits; what nobody took over is removed after it."""
    drafts = Drafts(store, plan_id, target_bytes, order, lambda: _begin_next(store, layout), _is_ours)
    try:
        yield drafts
    finally:
        drafts.close()


@contextmanager
def _next_state(
    store: Store, layout: Layout, seen: Snapshot, begun: NextDirectory | None = None
) -> Iterator[NextDirectory]:
    replaced = {key.removeprefix(layout.live) for key in _expected(seen, layout)}
    swap = begun or _begin_next(store, layout)
    try:
        yield swap
    except PreconditionFailed as error:
        raise conflict(seen) from error
    finally:
        swap.clear(lambda name: name in replaced or _is_ours(name))


def _directories(store: Store) -> Directories:
    directories = store.directories
    assert directories is not None, "asked for by the caller"
    return directories


def _begin_next(store: Store, layout: Layout) -> NextDirectory:
    directories = _directories(store)
    return directories.begin_next(layout.live, *_workshop(directories, layout))


def _workshop(directories: Directories, layout: Layout) -> tuple[str, str]:
    """The folder in which the next state is built, and how its name begins there."""
    if layout.segment:
        return os.path.join(directories.root, layout.all_staging.rstrip("/")), "swap-"
    live = os.path.realpath(os.path.join(directories.root, layout.live.rstrip("/")))
    return os.path.dirname(live), f".{os.path.basename(live)}.briquette-"


def _expected(seen: Snapshot, layout: Layout) -> Mapping[str, str]:
    expected = dict(seen.etags)
    if seen.manifest_etag:
        expected[layout.manifest_key] = seen.manifest_etag
    return expected


def _shown(store: Store, layout: Layout) -> Mapping[str, str]:
    return {
        s.key: s.etag
        for s in store.list(layout.live)
        if s.key == layout.manifest_key or not is_hidden(s.key.removeprefix(layout.live))
    }


def _is_ours(name: str) -> bool:
    return name == MANIFEST_NAME or is_part_name(name)
