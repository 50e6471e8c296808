"""Folders that are tables of Delta Lake, Apache Iceberg or Apache Hudi: their files are not their rows.

Such a table says in a log which of its files, and which rows of them, are alive. Whoever reads the folder
reads deleted and replaced rows too, so it is refused as an input, and so is a folder inside of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from briquette.errors import StoreError, UnsupportedTable
from briquette.model import Location
from briquette.planning.plan import is_input
from briquette.storage.interface import Store
from briquette.storage.urls import is_remote

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What only such a table holds, from its own folder on.
_MARKS = (
    ("Delta", re.compile(r"_delta_log/.")),
    ("Hudi", re.compile(r"\.hoodie(?:/.|_partition_metadata)")),
    (
        "Iceberg",
        re.compile(
            rf"metadata/(?:version-hint\.text|snap-\d+-.*\.avro|(?:v\d+|\d{{5,}}-{_UUID})"
            r"(?:\.gz)?\.metadata\.json(?:\.gz)?)"
        ),
    ),
)
# Keys that are there in nearly every such table: asked for above an input, where a listing would be long.
_TELLTALE = (
    ("Delta", "_delta_log/_last_checkpoint"),
    ("Delta", "_delta_log/00000000000000000000.json"),
    ("Hudi", ".hoodie/hoodie.properties"),
    ("Iceberg", "metadata/version-hint.text"),
)
_FOLDERS = (("Delta", "_delta_log"), ("Hudi", ".hoodie"))
_DATA = ("/data/", "metadata/")  # where an Iceberg table keeps its files, and its log beside them
_THREADS = 16
_READ_IT = {
    "Delta": "deltalake.DeltaTable(\"{place}\").to_pyarrow_dataset(), or DuckDB's delta_scan('{place}')",
    "Iceberg": "pyiceberg's table.scan().to_arrow_batch_reader(), or DuckDB's iceberg_scan('{place}')",
    "Hudi": 'spark.read.format("hudi").load("{place}")',
}


def refuse_table(store: Store, place: Location, inputs: Sequence[str], hidden: Iterable[str] = ()) -> None:
    """Raise ``UnsupportedTable`` if ``inputs``, keys below ``place``, are files of such a table.

    ``hidden`` are the other keys below it. Only where there is Parquet in it the folders above are looked at
    too: on disk for nothing, else with four HEAD requests for each, side by side.
    """
    for key in (*hidden, *inputs):
        if "_delta_log/" in key or ".hoodie" in key or "metadata/" in key:
            for kind, root in _marked(key, place.prefix):
                raise _refusal(kind, f"{place}{root}")
    if any(key.lower().endswith(".parquet") for key in inputs):
        for kind, root in _above(store, place):
            raise _refusal(kind, root, inside=str(place))


def _marked(key: str, prefix: str) -> Iterator[tuple[str, str]]:
    """The kind of table that a key belongs to, and the table's folder below ``prefix``."""
    below = key[len(prefix) :]
    at = -1
    while True:
        root = below[: at + 1]
        if root and not is_input(f"{root}x"):
            return  # a table in a hidden folder, of which nothing is read
        for kind, mark in _MARKS:
            if mark.match(below, at + 1):
                yield kind, root
        at = below.find("/", at + 1)
        if at < 0:
            return


def _above(store: Store, place: Location) -> Iterator[tuple[str, str]]:
    if not is_remote(place):
        path = os.path.join(place.url, place.prefix)
        folders = dict.fromkeys((*_upward(os.path.abspath(path)), *_upward(os.path.realpath(path))))
        for folder in folders:
            for kind, name in _FOLDERS:
                if os.path.isdir(os.path.join(folder, name)):
                    yield kind, folder
            log = os.path.join(folder, "metadata")
            if os.path.isdir(log) and any(_is_iceberg(f"metadata/{name}") for name in os.listdir(log)):
                yield "Iceberg", folder
        return
    segments = place.prefix.rstrip("/").split("/") if place.prefix else []
    roots = ["/".join((*segments[:n], "")) for n in range(len(segments), -1, -1)]
    asked = [(kind, root, root + name) for root in roots for kind, name in _TELLTALE]
    logs = {f"{before}/{_DATA[1]}": f"{before}/" for before in _before_data(f"/{place.prefix}")}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="briquette-tables") as threads:
        there = threads.map(lambda one: _is_there(store, one[2]), asked)
        listed = threads.map(lambda log: _holds_a_log(store, log.removeprefix("/")), logs)
        yield from (
            (kind, f"{place.url}/{root}")
            for (kind, root, _), is_it in zip(asked, there, strict=True)
            if is_it
        )
        yield from (
            ("Iceberg", f"{place.url}{root}")
            for root, is_it in zip(logs.values(), listed, strict=True)
            if is_it
        )


def _upward(path: str) -> Iterator[str]:
    while True:
        yield path
        above = os.path.dirname(path)
        if above == path:
            return
        path = above


def _before_data(path: str) -> Iterator[str]:
    at = path.find(_DATA[0])
    while at >= 0:
        yield path[:at]
        at = path.find(_DATA[0], at + 1)


def _is_iceberg(name: str) -> bool:
    return _MARKS[2][1].match(name) is not None


def _is_there(store: Store, key: str) -> bool:
    with suppress(StoreError):  # who may not look above the input cannot be told
        return store.stat(key) is not None
    return False


def _holds_a_log(store: Store, prefix: str) -> bool:
    with suppress(StoreError):
        return any(_is_iceberg(f"metadata/{s.key[len(prefix) :]}") for s in store.list(prefix))
    return False


def _refusal(kind: str, root: str, inside: str = "") -> UnsupportedTable:
    root = root.rstrip("/")
    what = f"{inside} lies inside of {root}, which is" if inside else f"{root} is"
    article = "an" if kind == "Iceberg" else "a"
    return UnsupportedTable(
        f"{what} {article} {kind} table: its files also hold rows that were deleted or replaced, and "
        "only its log tells them apart. Nothing was read.",
        hint=f"Read it with {_READ_IT[kind].format(place=root)}, write that to a folder, "
        "and compact the folder.",
    )
