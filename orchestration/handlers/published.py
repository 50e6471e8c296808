"""What is published below a table's root: which days, and the columns of the one that was published last.

One listing tells the days, one manifest the columns; nothing else is read, however many days there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from briquette.errors import NotFound
from briquette.model import COMPACTION, ExtraFields, Location, Manifest
from briquette.planning.layout import MANIFEST_NAME, is_hidden, is_part_name
from briquette.prices.fingerprint import columns_of, simple_string
from briquette.publishing.snapshot import read_manifest
from briquette.schemas.declared import RESCUED
from briquette.storage.interface import Store
from briquette.storage.opening import open_object, open_store
from briquette.storage.urls import below

_DAY = re.compile(r"ds=(\d{4}-\d{2}-\d{2})/(.+)", re.DOTALL)
Columns = tuple[tuple[str, str], ...]  # (name, type) in the words of Hive


@dataclass(frozen=True, slots=True)
class Published:
    """``columns`` is None where no manifest tells them; ``unseen`` days have rows where no query looks."""

    days: tuple[str, ...]
    columns: Columns | None
    unseen: tuple[str, ...]


@dataclass(slots=True)
class _Folder:
    """What a listing shows of one day."""

    manifest_seconds: float | None = None
    parquet: bool = False
    foreign: bool = False  # Parquet that has not this engine's name

    @property
    def whole(self) -> bool:
        """Parts without a manifest are of a run that did not finish; other programs write no manifest."""
        return self.parquet and (self.manifest_seconds is not None or self.foreign)


def published_below(root: Location) -> Published:
    """The published days below a table's root, in order. Raises a typed error for a store in trouble."""
    store = open_store(root.url)
    folders: dict[str, _Folder] = {}
    for stored in store.list(f"{root.prefix}ds="):
        found = _DAY.fullmatch(stored.key.removeprefix(root.prefix))
        if not found:
            continue
        ds, name = found.groups()
        folder = folders.setdefault(ds, _Folder())
        if name == MANIFEST_NAME:
            folder.manifest_seconds = stored.modified_seconds
        elif name.endswith(".parquet") and stored.size_bytes and not is_hidden(name):
            folder.parquet = True
            folder.foreign = folder.foreign or not is_part_name(name)
    told = {ds: f.manifest_seconds for ds, f in folders.items() if f.manifest_seconds is not None}
    return Published(
        tuple(sorted(ds for ds, f in folders.items() if f.whole)),
        _newest_columns(store, root, told),
        tuple(sorted(ds for ds in told if not folders[ds].parquet)),
    )


def _newest_columns(store: Store, root: Location, told: Mapping[str, float]) -> Columns | None:
    """Of the manifest that was written last: a day of long ago may have been published anew today."""
    for ds in sorted(told, key=lambda ds: (told[ds], ds), reverse=True):
        found = read_manifest(store, below(root, f"ds={ds}"))
        if found is not None:  # else it was taken away since
            return columns_of_manifest(found[0])
    return None


def columns_of_manifest(published: Manifest) -> Columns:
    """The columns of a dataset as a catalog names them."""
    found = columns_of(published.spec.schema)
    if published.stage == COMPACTION and published.spec.extra_fields is ExtraFields.RESCUE:
        found.append({"name": RESCUED, "type": simple_string("string")})
    return hive_columns(found)


def columns_of_fingerprint(uri: str) -> Columns | None:
    """The columns of a stored schema fingerprint; None where there is none that can be read."""
    store, key = open_object(uri)
    try:
        document = json.loads(store.get(key))
    except (NotFound, ValueError, RecursionError):
        return None
    columns = document.get("columns") if isinstance(document, dict) else None
    if not isinstance(columns, list) or not all(
        isinstance(c, dict) and {"name", "type"} <= c.keys() for c in columns
    ):
        return None
    return hive_columns(columns)


def hive_columns(columns: list[dict[str, str]]) -> Columns:
    """Names and types as a crawler would write them: no capital letters, and one kind of timestamp.

    Two names that differ in their case only are one column there, the first.

    >>> hive_columns([{"name": "At", "type": "timestamp_ntz"}, {"name": "at", "type": "string"}])
    (('at', 'timestamp'),)
    """
    found: dict[str, str] = {}
    for column in columns:
        kind = column["type"].lower().replace("timestamp_ntz", "timestamp").replace(" ", "")
        found.setdefault(column["name"].lower(), kind)
    return tuple(found.items())
