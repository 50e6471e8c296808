"""Parts before they are visible: their bytes are read once, hashed, and their footers checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import overload

from briquette.errors import VerificationFailed
from briquette.model import Piece, PublishedFile
from briquette.parquet.splice import SplicedPart, verify_part
from briquette.storage.interface import Staged, Store, Stored
from briquette.storage.local.files import read_blocks

BLOCK_BYTES = 16 << 20  # of a stored range: one request each
FILE_BLOCK_BYTES = 4 << 20
HASH_THREADS = 4

Blocks = Callable[[Piece, int], Iterator[bytes]]  # the bytes of a piece that begins at this byte of its part


class PartHashes(Sequence[str]):
    """The SHA-256 of each part, whose pieces are what was made of them, found in the background.

    What is hashed is the file as it was written, where it can be read before readers see it (``written``),
    else the pieces that it is written from (``start``). Asking for a hash waits for it, and raises
    ``VerificationFailed``; meanwhile the parts can be written where nobody looks yet.
    """

    def __init__(self, store: Store, parts: Sequence[SplicedPart]) -> None:
        self._store, self._parts = store, parts
        self._threads = ThreadPoolExecutor(HASH_THREADS)
        self._helpers = ThreadPoolExecutor(HASH_THREADS)
        self._found: dict[int, Future[str]] = {}

    def start(self) -> None:
        """Hash the pieces of every part that was not hashed as it was written."""
        for index in range(len(self._parts)):
            if index not in self._found:
                self._submit(index, lambda piece, _at: _blocks(self._store, piece))

    def written(self, index: int, path: str) -> None:
        """Hash a part out of the file at ``path``, which is complete."""

        def blocks(piece: Piece, at: int) -> Iterator[bytes]:
            return read_blocks(path, at, piece.size_bytes, FILE_BLOCK_BYTES)

        self._submit(index, blocks)

    def _submit(self, index: int, blocks: Blocks) -> None:
        self._found[index] = self._threads.submit(
            _verified_hash, self._store, self._parts[index], blocks, self._helpers
        )

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._found[i].result() for i in range(len(self._parts))[index]]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._found[index].result()

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._helpers.shutdown(wait=True)


def check_footers(store: Store, parts: Sequence[SplicedPart]) -> None:
    """Raise ``VerificationFailed`` for a part whose footer is not what its splits made."""
    for part in parts:
        _check_footer(store, part)


def _check_footer(store: Store, part: SplicedPart) -> None:
    def read(offset: int, length: int) -> bytes:
        return read_range(store, part.pieces, offset, length)

    verify_part(read, part.size_bytes, part.group_rows)


def _verified_hash(store: Store, part: SplicedPart, blocks: Blocks, helpers: Executor) -> str:
    whole = hashlib.sha256()
    size = 0
    for piece, wanted in zip(part.pieces, part.sha256s or ("",) * len(part.pieces), strict=True):
        own = hashlib.sha256()
        for block in blocks(piece, size):
            # A run waits for its last part to be hashed: the two hashes of a block are made side by side.
            also = helpers.submit(own.update, block) if wanted else None
            whole.update(block)
            size += len(block)
            if also is not None:
                also.result()
        if wanted and own.hexdigest() != wanted:
            where = f"The staged row group {store.url}/{piece.key}" if piece.key else "A piece of a part"
            raise VerificationFailed(
                f"{where} is not what was made: its SHA-256 is {own.hexdigest()}, not {wanted}.",
                hint="Nothing was published; run it again. It was altered since, in memory or in the store.",
            )
    if size != part.size_bytes:
        raise VerificationFailed(
            f"A part has {size:,} bytes, its footer was made for {part.size_bytes:,}.",
            hint="Nothing was published; run it again.",
        )
    return whole.hexdigest()


def require_hash(staged: Staged, sha256: str) -> None:
    """Raise ``VerificationFailed`` if a part waits for its name with other bytes than were hashed."""
    waiting = staged.read_back()
    if waiting is None:
        return  # they are with the store, which has compared each upload's bytes
    found = hashlib.sha256()
    for block in waiting:
        found.update(block)
    if found.hexdigest() != sha256:
        raise VerificationFailed(
            f"{staged.key} was written with other bytes than were hashed: {found.hexdigest()}, not {sha256}.",
            hint="Nothing was published; run it again. It was altered on its way.",
        )


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
