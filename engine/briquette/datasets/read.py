"""A published dataset as a Dask DataFrame, pinned to its manifest.

The manifest names every part with its size, SHA-256 and etag; each partition of the frame opens its part and
checks that it is that part before it reads, so a frame never mixes two publications: it reads the one it was
made from, or raises ``SnapshotChanged``. A copy of a dataset is read like the dataset.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

from briquette.errors import NoDataset, NotFound, PreconditionFailed, SnapshotChanged, UsageError
from briquette.model import Location, Manifest, PublishedFile
from briquette.planning.target import below, check_ds, dataset_location
from briquette.publishing.identity import match
from briquette.storage.interface import Stored, open_store

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Dataset:
    """A published dataset at one moment."""

    output: Location
    manifest: Manifest
    manifest_etag: str


def open_dataset(url: str | os.PathLike[str], ds: str | None = None) -> Dataset:
    """The dataset published at ``url`` (or at ``url/ds=<ds>/``); raises ``NoDataset`` where there is none."""
    from briquette.publishing.snapshot import read_manifest

    place = dataset_location(os.fspath(url))
    if ds is not None:
        check_ds(ds)
        place = below(place, f"ds={ds}")
    found = read_manifest(open_store(place.url), place)
    if found is None:
        raise NoDataset(
            f"there is no published dataset under {place} (no _manifest.json).",
            hint="Check the path and the ds, or publish it with `briquette compact`.",
        )
    return Dataset(place, *found)


def read(
    url: str | os.PathLike[str], ds: str | None = None, *, columns: Sequence[str] | None = None
) -> dd.DataFrame:
    """A published dataset as a Dask DataFrame, one partition for each run of row groups (about 128 MiB).

    ``url`` is the dataset, or with ``ds`` the folder above ``ds=<ds>``; ``columns`` selects and orders
    columns. Rows keep the published order. Computing it after somebody published again raises
    ``SnapshotChanged``: call ``read`` again.

    >>> frame = read("s3://curated/market/prices/compacted", ds="2025-09-09")  # doctest: +SKIP
    """
    import dask.dataframe as dd

    dataset = open_dataset(url, ds)
    meta = _empty(dataset.manifest, columns).to_pandas()
    pieces = list(_pieces(dataset))
    return dd.from_map(  # type: ignore[no-any-return, no-untyped-call]
        _read_piece, pieces, columns=columns, meta=meta, label="briquette", enforce_metadata=False
    )


@dataclass(frozen=True, slots=True)
class _PartPiece:
    root: str
    file: PublishedFile
    first: int
    stop: int


PIECE_BYTES = 128 << 20
READ_BYTES = 1 << 20  # of a part on S3 in one request, at least


def _pieces(dataset: Dataset) -> Iterator[_PartPiece]:
    """Runs of row groups of about ``PIECE_BYTES``, equal in number within a part."""
    for file in dataset.manifest.files:
        count = max(1, min(file.row_groups, round(file.size_bytes / PIECE_BYTES)))
        edges = [file.row_groups * i // count for i in range(count + 1)]
        for first, stop in pairwise(edges):
            yield _PartPiece(dataset.output.url, file, first, stop)


def _empty(manifest: Manifest, columns: Sequence[str] | None) -> pa.Table:
    from briquette.model import ExtraFields
    from briquette.schemas.declared import arrow_schema

    schema = arrow_schema(manifest.spec.schema, rescued=manifest.spec.extra_fields is ExtraFields.RESCUE)
    empty = schema.empty_table()
    if columns is None:
        return empty
    unknown = [c for c in columns if c not in schema.names]
    if unknown:
        raise UsageError(
            f"the dataset has no column {unknown[0]!r}.", hint=f"It has {', '.join(schema.names)}."
        )
    return empty.select(list(columns))


def _read_piece(piece: _PartPiece, columns: Sequence[str] | None = None) -> Any:
    return _read_table(piece, columns).to_pandas()


def _read_table(piece: _PartPiece, columns: Sequence[str] | None = None) -> pa.Table:
    import pyarrow.parquet as pq

    with open_part(piece.root, piece.file) as handle:
        # Ahead: on S3 a request for each row group, not for each of its columns.
        part = pq.ParquetFile(handle, pre_buffer=piece.root.startswith("s3://"))
        wanted = list(columns) if columns is not None else None
        return part.read_row_groups(list(range(piece.first, piece.stop)), columns=wanted, use_threads=False)


def read_tables(dataset: Dataset, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The dataset as Arrow tables in published order, one at a time; raises ``SnapshotChanged``."""
    return (_read_table(piece, columns) for piece in _pieces(dataset))


class _Ranges(io.RawIOBase):
    """A published part in a store, a ranged GET for each read; each asks for the state that was found."""

    def __init__(self, root: str, now: Stored, changed: SnapshotChanged) -> None:
        self._store, self._now, self._changed = open_store(root), now, changed
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._now.size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` in one request; raises ``SnapshotChanged`` where the part is another by now."""
        wanted = min(len(buffer), self._now.size_bytes - self._at)
        if wanted <= 0:
            return 0
        try:
            found = self._store.get(self._now.key, etag=self._now.etag, start=self._at, length=wanted)
        except (NotFound, PreconditionFailed):
            raise self._changed from None
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def open_part(root: str, file: PublishedFile, *, whole: bool = True) -> IO[bytes]:
    """A published part as a seekable file; raises ``SnapshotChanged`` when it is not that part by now.

    Where its etag is not the manifest's, as in a copy, all its bytes are hashed, once for each etag in a
    process (on S3 the SHA-256 beside it is asked for first). Without ``whole`` its size is enough: for
    whoever compares the footer.
    """
    changed = SnapshotChanged(
        f"{root.rstrip('/')}/{file.key} is not what its manifest says: it was replaced or changed since.",
        hint="Read it again; if it says so again, `briquette verify` names what differs.",
    )
    try:
        handle, now = _opened(root, file.key, changed)
    except (FileNotFoundError, NotFound):
        raise changed from None
    fits = now.size_bytes == file.size_bytes
    if not (fits and (not whole or match(open_store(root), file, now).is_published)):
        handle.close()
        raise changed
    return handle


def _opened(root: str, key: str, changed: SnapshotChanged) -> tuple[IO[bytes], Stored]:
    """An object that stays in this state as long as it is read, and which state that is."""
    if root.startswith("s3://"):
        stored = open_store(root).stat(key)
        if stored is None:
            raise changed
        return io.BufferedReader(_Ranges(root, stored, changed), READ_BYTES), stored
    if root.startswith("memory://"):
        now = open_store(root).stat(key)
        if now is None:
            raise changed
        try:
            return io.BytesIO(open_store(root).get(key, etag=now.etag)), now
        except PreconditionFailed:
            raise changed from None
    from briquette.storage.local.files import file_etag

    local = open(os.path.join(root, key), "rb")  # noqa: SIM115 - the caller closes it
    # An open file stays what it is when another takes its name.
    found = os.fstat(local.fileno())
    return local, Stored(key, found.st_size, file_etag(found))
