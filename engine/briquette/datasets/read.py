"""A published dataset as a Dask DataFrame, pinned to its manifest.

The manifest names every part with its size, SHA-256 and etag; each partition of the frame opens its part and
checks that it is that part before it reads, so a frame never mixes two publications: it reads the one it was
made from, or raises ``SnapshotChanged``. A copy of a dataset is read like the dataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

from briquette.errors import NoDataset, SnapshotChanged, UsageError
from briquette.model import Location, Manifest, PublishedFile
from briquette.planning.target import check_ds, dataset_location
from briquette.publishing.identity import match
from briquette.storage.opening import open_store
from briquette.storage.urls import below

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
    columns. Returns a frame whose rows keep the published order. Raises ``NoDataset`` where nothing is
    published; computing it after somebody published again raises ``SnapshotChanged``: call ``read`` again.

    >>> from briquette import read
    >>> read(curated, columns=["price"]).compute()["price"].tolist()
    [0.5, 1.5, 2.5]
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
        # Where requests take time, one for each row group instead of one for each of its columns.
        part = pq.ParquetFile(handle, pre_buffer=open_store(piece.root).requests_take_time)
        wanted = list(columns) if columns is not None else None
        return part.read_row_groups(list(range(piece.first, piece.stop)), columns=wanted, use_threads=False)


def read_tables(dataset: Dataset, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The dataset as Arrow tables in published order, one at a time; raises ``SnapshotChanged``."""
    return (_read_table(piece, columns) for piece in _pieces(dataset))


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
    store = open_store(root)
    handle, now = store.open_file(file.key, changed)
    fits = now.size_bytes == file.size_bytes
    if not (fits and (not whole or match(store, file, now).is_published)):
        handle.close()
        raise changed
    return handle
