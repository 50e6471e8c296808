"""Parts before they are visible: their bytes are read once, hashed, and their footers checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import overload

from engine.errors import VerificationFailed
from engine.model import Piece, PublishedFile
from engine.splice import SplicedPart, read_part_row_groups, verify_part
from engine.store import Store, Stored

BLOCK_BYTES = 16 << 20
HASH_THREADS = 4

BodyHashes = Mapping[tuple[str, int], str]  # SHA-256 of staged bodies by (key, offset)


class PartHashes(Sequence[str]):
    """The SHA-256 of each part, whose staged bodies are what their splits wrote, found in the background.

    Asking for one waits for it, and raises ``VerificationFailed``; meanwhile the parts can be written where
    nobody looks yet.
    """

    def __init__(self, store: Store, parts: Sequence[SplicedPart], bodies: BodyHashes) -> None:
        self._threads = ThreadPoolExecutor(HASH_THREADS)
        self._found = [self._threads.submit(_verified_hash, store, part, bodies) for part in parts]

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [found.result() for found in self._found[index]]
        return self._found[index].result()

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


def check_footers(store: Store, parts: Sequence[SplicedPart]) -> None:
    """Raise ``VerificationFailed`` for a part whose footer is not what its splits made."""
    for part in parts:
        _check_footer(store, part)


def _check_footer(store: Store, part: SplicedPart) -> None:
    def read(offset: int, length: int) -> bytes:
        return read_range(store, part.pieces, offset, length)

    groups = read_part_row_groups(read, part.size_bytes, "the spliced part", "")
    rows = [group.rows for group in groups]
    if sum(rows) != part.rows or len(rows) != part.row_groups:
        raise VerificationFailed(
            f"A part's footer has {sum(rows)} rows in {len(rows)} row groups, "
            f"its splits made {part.rows} in {part.row_groups}.",
            hint="Nothing was published. This is a defect of briquette: report it.",
        )
    verify_part(read, part.size_bytes, rows)


def _verified_hash(store: Store, part: SplicedPart, bodies: BodyHashes) -> str:
    whole = hashlib.sha256()
    size = 0
    for piece in part.pieces:
        body = hashlib.sha256()
        wanted = bodies.get((piece.key, piece.offset), "") if piece.data is None else ""
        for block in _blocks(store, piece):
            whole.update(block)
            size += len(block)
            if wanted:
                body.update(block)
        if wanted and body.hexdigest() != wanted:
            raise VerificationFailed(
                f"The staged row group {store.url}/{piece.key} is not what its split wrote.",
                hint="Nothing was published; run it again.",
            )
    if size != part.size_bytes:
        raise VerificationFailed(
            f"A part has {size:,} bytes, its footer was made for {part.size_bytes:,}.",
            hint="Nothing was published; run it again.",
        )
    return whole.hexdigest()


def read_range(store: Store, pieces: Sequence[Piece], offset: int, length: int) -> bytes:
    """A range of the bytes that the pieces make, wherever they lie."""
    found = []
    at = 0
    for piece in pieces:
        begin, end = max(offset - at, 0), min(offset + length - at, piece.size_bytes)
        if begin < end:
            if piece.data is not None:
                found.append(piece.data[begin:end])
            else:
                found.append(
                    store.get(piece.key, etag=piece.etag, start=piece.offset + begin, length=end - begin)
                )
        at += piece.size_bytes
    return b"".join(found)


def _blocks(store: Store, piece: Piece) -> Iterator[bytes]:
    if piece.data is not None:
        yield piece.data
        return
    for at in range(0, piece.size_bytes, BLOCK_BYTES):
        yield read_range(store, (piece,), at, BLOCK_BYTES)


def published(stored: Stored, part: SplicedPart, sha256: str) -> PublishedFile:
    """A committed part as the manifest pins it; ``VerificationFailed`` if the store says another size."""
    if stored.size_bytes != part.size_bytes:
        raise VerificationFailed(
            f"{stored.key} has {stored.size_bytes:,} bytes, {part.size_bytes:,} were written.",
            hint="The store altered it; run it again.",
        )
    return PublishedFile(stored.key, part.size_bytes, stored.etag, sha256, part.rows, part.row_groups)
