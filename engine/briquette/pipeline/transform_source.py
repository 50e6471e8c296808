"""What the transform reads: the places of a day, and the best of its compacted, plain and raw rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from briquette.compaction.new_plan import resolve_spec
from briquette.compaction.options import RunOptions
from briquette.errors import MissingColumns, NoRawData, PartitionConflict, SourceChanged, UsageError
from briquette.model import (
    CompactionSpec,
    ExtraFields,
    Field,
    Location,
    Manifest,
    Partition,
    PublishedFile,
    RawObject,
    Schema,
)
from briquette.planning.listing import list_partition
from briquette.planning.table_formats import refuse_table
from briquette.planning.target import Target, check_ds, dataset_location
from briquette.schemas.declared import RESCUED
from briquette.storage.opening import open_store
from briquette.storage.urls import above, below

QUARANTINE = "quarantine"
# A byte of Parquet holds what some bytes of raw text held, so a split takes fewer of them.
SPLIT_SHARE = 4


# -- places ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """Where a day is read and written; ``ds=<ds>/`` and ``quarantine/ds=<ds>/`` lie in ``table``."""

    partition: Partition
    raw: Location
    compacted: Location
    table: Location

    @property
    def output(self) -> Location:
        return below(self.table, f"ds={self.partition.ds}")

    @property
    def quarantine(self) -> Location:
        return below(self.table, QUARANTINE, f"ds={self.partition.ds}")


def places_of(target: Target, compacted_subdir: str = "compacted") -> Places:
    """The places of a target of the daily pipeline, or of any input and an output that ends in ``ds=<ds>``.

    Raises ``UsageError`` for a target that does not say where the table is.
    """
    part, output = target.partition, target.output
    if part.table:
        root = output.prefix.removesuffix(f"{compacted_subdir}/ds={part.ds}/")
        if root == output.prefix:
            raise UsageError(
                f"the table of {output} is unknown: it is not below a folder {compacted_subdir!r}.",
                hint="Pass the --compacted-subdir that the day was compacted with.",
            )
        return Places(part, target.raw, output, Location(output.url, root))
    folder, last = above(output)
    if part.ds or not last.startswith("ds="):
        raise UsageError(
            "transform needs to know the table: adjusted rows lie in its ds=<ds> folder.",
            hint="Pass --domain, --table, --interval and --data-source, or --input with --output …/ds=<ds>.",
        )
    day = last.removeprefix("ds=")
    check_ds(day)
    source = dataset_location(f"{target.raw.url}/{target.raw.prefix}".rstrip("/"))
    return Places(Partition(ds=day), target.raw, source, folder)


# -- what is read ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """The inputs of a day and how they are decoded; ``kind`` is compacted, parquet or raw."""

    kind: str
    place: Location
    objects: tuple[RawObject, ...]
    spec: CompactionSpec
    expected_records: tuple[tuple[str, int], ...] = ()
    note: str = ""  # why it is not the published compaction
    fresh: tuple[tuple[str, str], ...] = ()  # see ``Plan.fresh``

    @property
    def schema(self) -> Schema:
        """The columns that decoding gives."""
        return _with_rescued(self.spec.schema, self.spec.extra_fields)


def find_source(
    places: Places,
    options: RunOptions,
    schema: Schema | str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Source:
    """The published compaction of a day; else plain Parquet in its place; else the raw day itself.

    Raises ``NoRawData`` where there is none of them, ``PartitionConflict`` for another partition's rows.
    """
    from briquette.publishing.snapshot import observe

    seen = observe(open_store(places.compacted.url), places.compacted)
    if seen.manifest is not None:
        standing = seen.standing(open_store(places.compacted.url))
        if standing is None:
            raise SourceChanged(
                f"the parts under {places.compacted} are not those of their manifest.",
                hint="A compaction is publishing, or one crashed: run `briquette compact`, then this again.",
            )
        return _compacted(places, seen.manifest, standing.files, dict(overrides or {}))
    ours = sorted(seen.ours)
    if ours:
        raise SourceChanged(
            f"{ours[0]} was left by a compaction that did not finish: there is no manifest.",
            hint="Run `briquette compact`, then this again.",
        )
    plain = tuple(RawObject(s.key, s.size_bytes, s.etag) for s in seen.visible if s.key.endswith(".parquet"))
    place = places.compacted if plain else places.raw
    target = Target(places.partition, place, places.output)
    if plain:
        refuse_table(open_store(place.url), place, [item.key for item in plain])
        spec = _without_key(resolve_spec(target, schema, dict(overrides or {})), place)
        note = f"{place} has no manifest: its {len(plain)} Parquet files were read as they are."
        curated = open_store(place.url)
        new = {s.key for s in seen.visible if s.fresh}
        fresh = tuple((item.key, curated.sha256(item)) for item in plain if item.key in new)
        return Source("parquet", place, plain, _smaller_splits(spec), note=note, fresh=fresh)
    store = open_store(place.url)
    bare = CompactionSpec(Schema(()))
    if not list_partition(store, place, bare, check_batch_manifest=False).objects:
        where = f"{places.compacted} nor raw objects under {places.raw}"
        raise NoRawData(
            f"there is no compacted data under {where}; nothing was written.",
            hint="Check the ingestion of that day, and --domain, --table, --interval and --data-source.",
        )
    spec = _without_key(resolve_spec(target, schema, dict(overrides or {})), place)
    listing = list_partition(
        store,
        place,
        spec,
        check_batch_manifest=options.check_batch_manifest,
        batch_manifest=options.batch_manifest,
    )
    note = f"there is no compacted data under {places.compacted}: the raw day {place} was read itself."
    return Source("raw", place, listing.objects, spec, listing.expected_records, note, listing.fresh)


def _compacted(
    places: Places, published: Manifest, files: Sequence[PublishedFile], overrides: dict[str, Any]
) -> Source:
    for name in ("domain", "table", "interval", "data_source", "ds"):
        ours, theirs = getattr(places.partition, name), getattr(published.partition, name)
        if ours and theirs and ours != theirs:
            raise PartitionConflict(
                f"{places.compacted} holds {name} {theirs!r} ({published.partition}); "
                f"this run is for {ours!r}.",
                hint="Compact this partition, or transform that one.",
            )
    target = Target(places.partition, places.compacted, places.output)
    spec = resolve_spec(target, published.spec.schema, overrides)
    columns = _with_rescued(published.spec.schema, published.spec.extra_fields)
    spec = replace(_smaller_splits(spec), schema=columns, unique_key=(), extra_fields=ExtraFields.IGNORE)
    parts = tuple(RawObject(f.key, f.size_bytes, f.etag, splittable=True, sha256=f.sha256) for f in files)
    return Source("compacted", places.compacted, parts, spec)


def _without_key(spec: CompactionSpec, place: Location) -> CompactionSpec:
    if spec.unique_key:
        raise UsageError(
            f"the table has the unique key {', '.join(spec.unique_key)}, and {place} is not compacted.",
            hint="Run `briquette compact` first: it removes the duplicates.",
        )
    return spec


def _smaller_splits(spec: CompactionSpec) -> CompactionSpec:
    return replace(spec, split_bytes=max(spec.split_bytes // SPLIT_SHARE, 1))


def _with_rescued(schema: Schema, policy: ExtraFields) -> Schema:
    if policy is not ExtraFields.RESCUE:
        return schema
    return replace(schema, fields=(*schema.fields, Field(RESCUED, "string")))


def check_columns(source: Source) -> None:
    """Raise ``MissingColumns`` for rows without symbol, close and timestamp or date."""
    names = {f.name for f in source.schema.fields}
    missing = [n for n in ("symbol", "close") if n not in names]
    if not names & {"timestamp", "date"}:
        missing.append("timestamp or date")
    if missing:
        raise MissingColumns(
            f"the rows under {source.place} lack {', '.join(missing)}; they have {', '.join(sorted(names))}.",
            hint="Declare the columns in the table's schema and compact again.",
        )
