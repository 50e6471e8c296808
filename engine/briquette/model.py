"""The data types of the engine: small frozen values that all other modules exchange.

Nothing here does I/O, imports a heavy library or carries a client. Tasks carry addresses
(URLs and keys); workers open the stores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

SPEC_VERSION = 2  # raise it when the same spec would give other bytes or other rows
MIB = 1 << 20


class ExtraFields(StrEnum):
    """What happens to a field that the schema does not name (C8)."""

    IGNORE = "ignore"
    RESCUE = "rescue"
    REJECT = "reject"


class OnEmpty(StrEnum):
    """What happens to a published dataset when there is nothing to compact (C15)."""

    KEEP = "keep"
    REMOVE = "remove"
    FAIL = "fail"


class PublishMode(StrEnum):
    """How several parts become visible: stable names overwritten, or an immutable sibling prefix."""

    IN_PLACE = "in_place"
    VERSIONED = "versioned"


class State(StrEnum):
    """What a plan finds at the output."""

    NEW = "NEW"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"
    EMPTY = "EMPTY"


class Status(StrEnum):
    """How a run ended."""

    PUBLISHED = "PUBLISHED"
    UNCHANGED = "UNCHANGED"
    EMPTY = "EMPTY"


class FileFormat(StrEnum):
    """Family of a raw object's format; compression is told apart by its first bytes."""

    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


# The formats that are decoded from text. Whoever tells them apart ends with ``assert_never``, so that
# the type checker names every place that a further format must be added to.
TextFormat = Literal[FileFormat.JSON, FileFormat.CSV, FileFormat.TSV]

COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")  # of the names of compressed objects


@dataclass(frozen=True, slots=True)
class Limits:
    """Absolute caps: a JSON record above one is a reject, an object is ``LimitExceeded``."""

    object_bytes: int = 16 << 30  # decompressed
    record_bytes: int = 64 * MIB  # one record's raw text
    depth: int = 128  # JSON nesting
    columns: int = 10_000  # CSV columns, or keys of one JSON object
    number_digits: int = 1_000


@dataclass(frozen=True, slots=True)
class Field:
    """One declared column. ``type`` is the schema's own word, e.g. ``timestamp[us, UTC]``."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Schema:
    """A declared schema: column order is file order; absent values are null."""

    fields: tuple[Field, ...]
    null_values: tuple[str, ...] = ("",)  # unquoted CSV texts that mean null
    name: str = ""


@dataclass(frozen=True, slots=True)
class CompactionSpec:
    """Everything that can change the output bytes, and nothing else."""

    schema: Schema
    codec: str = "zstd"
    target_part_bytes: int = 256 * MIB
    split_bytes: int = 32 * MIB
    split_objects: int = 8_192
    extra_fields: ExtraFields = ExtraFields.IGNORE
    max_reject_ratio: float = 0.05
    unique_key: tuple[str, ...] = ()
    publish: PublishMode = PublishMode.IN_PLACE
    limits: Limits = field(default_factory=Limits)
    spec_version: int = SPEC_VERSION


@dataclass(frozen=True, slots=True)
class Partition:
    """One table-day: the unit of plan and publish. Generic targets have only ``table`` and ``ds``."""

    domain: str = ""
    table: str = ""
    interval: str = ""
    data_source: str = ""
    ds: str = ""

    def __str__(self) -> str:
        parts = (self.domain, self.table, self.interval, self.data_source, self.ds)
        return "/".join(p for p in parts if p) or "dataset"


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a store: ``url`` opens the store, ``prefix`` is inside it ("" or ends with "/")."""

    url: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.url.rstrip('/')}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class RawObject:
    """One landed object, pinned: ``key`` is relative to its store, ``etag`` opaque.

    ``sha256`` is its identity where it is known, as it is of a published part; else the etag is.
    """

    key: str
    size_bytes: int
    etag: str
    splittable: bool = False  # a huge plain JSON object whose records start lines (probed at listing)
    refused: str = ""  # why it is not read but becomes one reject: a name that nobody can use safely
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """A contiguous run ``[start, stop)`` of the listing, or a byte range of the one object at ``start``."""

    index: int
    start: int
    stop: int
    raw_bytes: int
    fingerprint: str
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What turns a plan's inputs into rows. ``parameters`` are those that can change a row or a verdict."""

    name: str = "compaction"
    version: int = 1  # raise it when the same inputs would give other rows
    parameters: tuple[tuple[str, str], ...] = ()


COMPACTION = Stage()


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be read, how it is cut, and what it is turned into: a value, content-addressed."""

    partition: Partition
    raw: Location
    output: Location
    spec: CompactionSpec
    listing: tuple[RawObject, ...]
    splits: tuple[Split, ...]
    expected_records: tuple[tuple[str, int], ...]  # from _batch.manifest.json: (key, records), sorted
    input_fingerprint: str  # listing + spec: equal means nothing to do
    plan_id: str  # content hash of all the rest but ``fresh``
    stage: Stage = COMPACTION
    # (key, SHA-256) of inputs that had changed so shortly before the listing that they may keep their etags
    fresh: tuple[tuple[str, str], ...] = ()

    @property
    def raw_bytes(self) -> int:
        return sum(o.size_bytes for o in self.listing)

    def objects(self, split: Split) -> tuple[RawObject, ...]:
        return self.listing[split.start : split.stop]


@dataclass(frozen=True, slots=True)
class SplitTask:
    """All that a worker needs for one split: addresses and values, no client."""

    split_index: int
    raw_url: str
    objects: tuple[RawObject, ...]
    byte_range: tuple[int, int] | None
    spec: CompactionSpec
    staging: Location  # where row groups go when they are larger than ``inline_limit_bytes``
    inline_limit_bytes: int
    raw_bytes: int = 0
    plan_bytes: int = 0  # of all splits together: what decides whether the template scan repays loading
    drop_rows: tuple[int, ...] = ()  # rows (after the split's own deduplication) that lose to a later split


@dataclass(frozen=True, slots=True)
class Reject:
    """A record set aside: ``position`` counts its object's records from 0, offsets are decompressed."""

    key: str
    position: int
    byte_offset: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes: inline, or a range of a stored object pinned by etag."""

    size_bytes: int
    data: bytes | None = None
    key: str = ""
    offset: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A finished Parquet row group: its column chunks as one piece, its metadata and page indexes apart.

    ``footer`` is the Thrift-compact FileMetaData of the one-row-group file it was cut from, with offsets
    relative to that file (its column chunks start at byte 4). ``column_indexes`` / ``offset_indexes`` hold
    one Thrift blob for each column chunk ("" where the writer made none).
    """

    body: Piece
    footer: bytes
    column_indexes: tuple[bytes, ...]
    offset_indexes: tuple[bytes, ...]
    rows: int
    sha256: str  # of the body, where it was made; "" when it was read out of a part
    footer_sha256: str = ""  # likewise of rows, footer and page indexes

    @property
    def size_bytes(self) -> int:
        return self.body.size_bytes


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What a split became. C7: ``records == rows + len(rejects) + duplicates``."""

    split_index: int
    records: int
    rows: int
    duplicates: int
    rejects: tuple[Reject, ...]
    row_groups: tuple[RowGroup, ...]
    digest: str  # of the rows in canonical form, in order
    object_records: tuple[int, ...]  # records read from each object, in listing order
    extra_fields: tuple[tuple[str, int], ...]  # (name, records with a non-null value), sorted
    duplicate_json_keys: int
    raw_bytes: int  # read from the store
    decoded_bytes: int  # after decompression
    reject_bytes: int = 0  # of them in rejects
    unique_keys: bytes = b""  # Arrow IPC stream of the key columns, only with spec.unique_key
    findings: bytes = b""  # what a later stage's kernel counted in these rows, for that stage's own check


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One published object: it is whatever has this size and SHA-256; ``etag`` is that of its first place."""

    key: str
    size_bytes: int
    etag: str
    sha256: str
    rows: int
    row_groups: int


@dataclass(frozen=True, slots=True)
class PublishedSplit:
    """Where a split's row groups lie, so that a later run can take them over without decoding."""

    index: int
    fingerprint: str
    first_row_group: int  # counted through all parts in order
    row_groups: int
    rows: int
    records: int
    rejects: int
    duplicates: int
    digest: str
    object_records: tuple[int, ...]
    extra_fields: tuple[tuple[str, int], ...]
    duplicate_json_keys: int
    decoded_bytes: int = 0  # 0 in manifests that were written before it was kept


@dataclass(frozen=True, slots=True)
class Manifest:
    """``_manifest.json``: what was published, from what, with checksums. No clock, host or random value."""

    partition: Partition
    plan_id: str
    input_fingerprint: str
    spec: CompactionSpec
    content_digest: str
    records: int
    rows: int
    rejects: int
    duplicates: int
    input_objects: int
    input_bytes: int
    raw: Location
    files: tuple[PublishedFile, ...]
    rejects_file: PublishedFile | None
    splits: tuple[PublishedSplit, ...]
    extra_fields: tuple[tuple[str, int], ...]
    duplicate_json_keys: int
    writer: str  # library versions that made the bytes, e.g. "briquette 0.1.0, pyarrow 26.0.1"
    stage: Stage = COMPACTION
    fresh: tuple[tuple[str, str], ...] = ()  # those of the plan: an equal etag is not enough for them
    warnings: tuple[str, ...] = ()  # sentences about what these inputs may have been meant to say
