"""What a published dataset or any Parquet file is made of, read from footers only."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import IO, TYPE_CHECKING, Any, NotRequired, TypedDict

from briquette.datasets.read import open_dataset, open_part
from briquette.errors import CorruptObject, NoDataset, SnapshotChanged
from briquette.model import Manifest
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_object_url

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class FileFound(TypedDict):
    """One Parquet file; ``key`` is relative to its store, or the name of the one file that was asked for."""

    key: str
    bytes: int
    rows: int
    row_groups: int
    sha256: str


class ColumnFound(TypedDict):
    """One leaf column, summed over all row groups; ``codec`` and ``encodings`` are joined by ``+``."""

    name: str
    type: str
    nullable: bool
    codec: str
    encodings: str
    compressed_bytes: int
    uncompressed_bytes: int


class RowGroupFound(TypedDict):
    """One row group: ``part`` counts the files from 0, ``bytes`` are compressed."""

    part: int
    rows: int
    bytes: int


class Inspection(TypedDict):
    """The document of ``inspect --json``: ``kind`` is ``dataset`` or ``file``.

    A dataset has ``manifest``, what its manifest says, and ``copy``: whether its parts have other etags.
    """

    kind: str
    url: str
    manifest: NotRequired[dict[str, Any]]
    copy: NotRequired[bool]
    files: list[FileFound]
    columns: list[ColumnFound]
    row_groups: list[RowGroupFound]


def inspect(url: str | os.PathLike[str]) -> Inspection:
    """What a published dataset, or one Parquet file, is made of; only footers are read of a dataset's parts.

    Raises ``NoDataset`` where there is none, ``CorruptObject`` where a file is no Parquet, and
    ``SnapshotChanged`` where a part is not what the manifest says.

    >>> from briquette import inspect
    >>> [(column["name"], column["codec"]) for column in inspect(curated)["columns"]]
    [('id', 'ZSTD'), ('price', 'ZSTD')]
    """
    url = os.fspath(url)
    if url.endswith(".parquet"):
        return _inspect_file(url)
    dataset = open_dataset(url)
    made = dataset.manifest
    footers = []
    for file in made.files:
        with open_part(dataset.output.url, file, whole=False) as handle:
            footer = _footer(handle, file.key)
        if (footer.num_rows, footer.num_row_groups) != (file.rows, file.row_groups):
            raise SnapshotChanged(
                f"{file.key} has {footer.num_rows} rows in {footer.num_row_groups} row groups, "
                f"its manifest says {file.rows} in {file.row_groups}.",
                hint="Look again; if it says so again, `briquette verify` names what differs.",
            )
        footers.append(footer)
    store = open_store(dataset.output.url)
    # By etags alone: the footers are compared above, and no part is read here.
    copied = any((now := store.stat(f.key)) is None or now.etag != f.etag for f in made.files)
    files: list[FileFound] = [
        {"key": f.key, "bytes": f.size_bytes, "rows": f.rows, "row_groups": f.row_groups, "sha256": f.sha256}
        for f in made.files
    ]
    return {
        "kind": "dataset",
        "url": str(dataset.output),
        "manifest": _summary(made),
        "copy": copied,
        "files": files,
        "columns": _columns(footers),
        "row_groups": _row_groups(footers),
    }


def _summary(made: Manifest) -> dict[str, Any]:
    return {
        "partition": str(made.partition),
        "raw": f"{made.raw} ({made.input_objects:,} objects, {made.input_bytes:,} bytes)",
        "rows": made.rows,
        "records": made.records,
        "rejects": made.rejects,
        "duplicates": made.duplicates,
        "content_digest": made.content_digest,
        "input_fingerprint": made.input_fingerprint,
        "plan_id": made.plan_id,
        "writer": made.writer,
    }


def _inspect_file(url: str) -> Inspection:
    import hashlib
    import io

    place, name = parse_object_url(url)
    store, key = open_store(place.url), place.prefix + name
    if store.stat(key) is None:
        raise NoDataset(f"there is no object {url}.", hint="Check the path.")
    data = store.get(key)
    footer = _footer(io.BytesIO(data), url)
    one: FileFound = {
        "key": name,
        "bytes": len(data),
        "rows": footer.num_rows,
        "row_groups": footer.num_row_groups,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return {
        "kind": "file",
        "url": url,
        "files": [one],
        "columns": _columns([footer]),
        "row_groups": _row_groups([footer]),
    }


def _footer(handle: IO[bytes], where: str) -> pq.FileMetaData:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(handle).metadata
    except (pa.ArrowInvalid, OSError) as cause:
        raise CorruptObject(f"{where} is no Parquet file ({cause}).", hint="Publish it again.") from cause


def _columns(footers: list[pq.FileMetaData]) -> list[ColumnFound]:
    """One line for each leaf column, summed over all row groups."""
    if not footers:
        return []
    schema = footers[0].schema.to_arrow_schema()
    nullable = {f.name: f.nullable for f in schema}
    types = {f.name: str(f.type) for f in schema}
    stored: dict[str, int] = defaultdict(int)
    plain: dict[str, int] = defaultdict(int)
    encodings: dict[str, set[str]] = defaultdict(set)
    codecs: dict[str, set[str]] = defaultdict(set)
    for footer in footers:
        for g in range(footer.num_row_groups):
            group = footer.row_group(g)
            for c in range(group.num_columns):
                chunk = group.column(c)
                name = chunk.path_in_schema
                stored[name] += chunk.total_compressed_size
                plain[name] += chunk.total_uncompressed_size
                encodings[name].update(chunk.encodings)
                codecs[name].add(chunk.compression)
    return [
        {
            "name": name,
            "type": types.get(name.split(".")[0], ""),
            "nullable": nullable.get(name.split(".")[0], True),
            "codec": "+".join(sorted(codecs[name])),
            "encodings": "+".join(sorted(encodings[name] - {"RLE"}) or ["RLE"]),
            "compressed_bytes": stored[name],
            "uncompressed_bytes": plain[name],
        }
        for name in stored
    ]


def _row_groups(footers: list[pq.FileMetaData]) -> list[RowGroupFound]:
    groups: list[RowGroupFound] = []
    for part, footer in enumerate(footers):
        for g in range(footer.num_row_groups):
            group = footer.row_group(g)
            size = sum(group.column(c).total_compressed_size for c in range(group.num_columns))
            groups.append({"part": part, "rows": group.num_rows, "bytes": size})
    return groups
