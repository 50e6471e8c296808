"""Versions of a small dataset, ready to be published, and what each kind of reader makes of a place."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import md5

import pyarrow as pa
import pyarrow.parquet as pq

from briquette.errors import NotFound, PreconditionFailed
from briquette.model import (
    CompactionSpec,
    Field,
    Location,
    Manifest,
    Partition,
    PublishedFile,
    PublishMode,
    Schema,
)
from briquette.parquet.splice import SplicedPart, cut, splice
from briquette.publishing.publish import NewDataset, publish
from briquette.publishing.snapshot import Snapshot, observe, read_manifest
from briquette.storage.interface import ANY, NO_METADATA, Condition, Store, Stored
from briquette.storage.memory import MemoryStore

DS = "prices/compacted/ds=2025-09-09/"
IN_PLACE, VERSIONED = PublishMode.IN_PLACE, PublishMode.VERSIONED
PRICES = Partition("market", "prices", "1d", "yahoo", "2025-09-09")

Bodies = tuple[bytes, ...]  # of the parts, in order; () where nothing is published
ERROR = "error"


@cache
def part(version: int, index: int) -> SplicedPart:
    """A real Parquet part whose every row says which version and part it is."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"of": [version * 100 + index] * 2}), buffer, compression="none")
    return splice(cut(buffer.getvalue()))


@dataclass(frozen=True)
class Edition:
    """One version of a dataset; ``rejects`` differ as the parts do."""

    version: int
    parts: tuple[SplicedPart, ...]
    rejects: bytes = b""

    def __repr__(self) -> str:
        return f"edition {self.version} of {len(self.parts)} parts"

    @property
    def plan_id(self) -> str:
        return md5(str(self.version).encode(), usedforsecurity=False).hexdigest() * 2

    @cached_property
    def bodies(self) -> Bodies:
        return tuple(p.to_bytes() for p in self.parts)

    def manifest(self, files: tuple[PublishedFile, ...], rejects_file: PublishedFile | None) -> Manifest:
        rows, rejects = sum(f.rows for f in files), rejects_file.rows if rejects_file else 0
        return Manifest(
            partition=PRICES,
            plan_id=self.plan_id,
            input_fingerprint=f"inputs of {self.version}",
            spec=CompactionSpec(Schema((Field("of", "int64"),))),
            content_digest="",
            records=rows + rejects,
            rows=rows,
            rejects=rejects,
            duplicates=0,
            input_objects=0,
            input_bytes=0,
            raw=Location("/raw"),
            files=files,
            rejects_file=rejects_file,
            splits=(),
            extra_fields=(),
            duplicate_json_keys=0,
            writer="test",
        )

    def publish(
        self,
        store: Store,
        output: Location,
        *,
        mode: PublishMode = IN_PLACE,
        seen: Snapshot | None = None,
        parts: Sequence[SplicedPart] | None = None,
    ) -> Manifest:
        made = self.parts if parts is None else parts
        new = NewDataset(self.plan_id, made, self.manifest, self.rejects, mode)
        return publish(store, seen or observe(store, output), new)


@cache
def edition(version: int, parts: int = 1, rejects: bytes = b"", first_part_of: int = 0) -> Edition:
    """``first_part_of`` names another version whose first part this one has unchanged, byte for byte."""
    made = [part(first_part_of if first_part_of and not i else version, i) for i in range(parts)]
    return Edition(version, tuple(made), rejects)


def at(store: Store, prefix: str = DS) -> Location:
    return Location(store.url, prefix)


def a_lister_reads(store: Store, output: Location) -> Bodies | str:
    """One LIST, then each visible file as it is by then; ``ERROR`` where one has gone."""
    below = [s.key.removeprefix(output.prefix) for s in store.list(output.prefix)]
    try:
        return tuple(
            store.get(output.prefix + k) for k in below if not any(s[0] in "_." for s in k.split("/"))
        )
    except NotFound:
        return ERROR


def a_manifest_reader_reads(store: Store, output: Location, attempts: int = 1) -> Bodies | str:
    """The parts as the manifest pins them; where a pin does not hold it looks again, then ``ERROR``."""
    for _ in range(attempts):
        found = read_manifest(store, output)
        if found is None:
            return ()
        try:
            return tuple(store.get(f.key, etag=f.etag) for f in found[0].files)
        except (NotFound, PreconditionFailed):
            continue
    return ERROR


class ContentEtagStore(MemoryStore):
    """Memory whose etags are digests of the bytes, as S3's are: the same bytes again have the same etag."""

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: dict[str, str] = NO_METADATA,  # type: ignore[assignment]
        *,
        durable: bool = True,
    ) -> Stored:
        stored = super().put(key, data, condition, metadata, durable=durable)
        etag = md5(data, usedforsecurity=False).hexdigest()
        held = self._objects[key]
        same = Stored(key, len(data), etag, stored.metadata, stored.modified_seconds)
        self._objects[key] = type(held)(same, held.data)
        return same
