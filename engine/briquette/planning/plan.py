"""Listing + spec -> Plan: pure functions, no I/O, no clock, no worker count.

Split boundaries are content-defined: whether a split may end after an object depends on that object's
key and size (a hash under a threshold), so adding or correcting one object moves the cuts around it and
leaves far-away splits, and with them their finished row groups, as they were.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from zlib import crc32

from briquette import serialization
from briquette.errors import BatchManifestMismatch, PartitionConflict, UnsafePath
from briquette.model import (
    COMPACTION,
    COMPRESSED_SUFFIXES,
    MIB,
    CompactionSpec,
    Location,
    Manifest,
    Partition,
    Plan,
    RawObject,
    Split,
    Stage,
    State,
)

BATCH_MANIFEST_NAME = "_batch.manifest.json"
TERSE_FACTOR = 2
_TERSE = tuple(kind + suffix for kind in (".csv", ".tsv") for suffix in ("", *COMPRESSED_SUFFIXES))
# Text of one writer compresses about eightfold; splits and memory count what will be decoded.
COMPRESSION_FACTOR = 8
# Raw bytes, the joined buffer, Arrow columns and the encoder's pages live at once for one split.
MEMORY_FACTOR = 5
BASE_MEMORY_BYTES = 256 * MIB  # interpreter and libraries
INLINE_TOTAL_BYTES = 256 * MIB  # row groups that may travel through the driver in one run
INLINE_SPLIT_BYTES = 16 * MIB


# In "/" + key: a pattern that begins with one of a few characters is found twice as fast as one with "\A".
_PARQUET_NAME = re.compile(rf"\.parquet(?:{'|'.join(map(re.escape, COMPRESSED_SUFFIXES))})?\Z", re.IGNORECASE)
_UNSAFE_KEY = re.compile(r"[\x00-\x1f\x7f]|/\.{0,2}(?:/|\Z)")


def is_input(key: str, prefix: str = "") -> bool:
    """Whether a key under ``prefix`` is a raw object: hidden names and folder markers are not (C1).

    >>> [is_input(k, "d/") for k in ("d/A.json", "d/_batch.manifest.json", "d/.x.json", "d/_t/A.json")]
    [True, False, False, False]
    """
    below = "/" + key[len(prefix) :]
    return not (below[-1] == "/" or "/_" in below or "/." in below)


def why_refused(key: str) -> str:
    """Why a raw object of that name is not read but one reject; "" where it is read.

    Such a name leaves its prefix, means another thing to another reader, or could forge a line of a log.
    """
    unsafe = _UNSAFE_KEY.search("/" + key)
    return "its key has an empty, '.' or '..' segment or a control character" if unsafe else ""


def check_key(key: str) -> None:
    """Refuse keys that leave their prefix or could forge log lines; raises ``UnsafePath``."""
    if reason := why_refused(key):
        raise UnsafePath(f"{key!r}: {reason}.", hint="Rename the object.")


def expected_bytes(item: RawObject) -> int:
    """Bytes that reading ``item`` is expected to make after decompression."""
    compressed = item.key.endswith(COMPRESSED_SUFFIXES)
    return item.size_bytes * (COMPRESSION_FACTOR if compressed else 1)


def expected_work(item: RawObject) -> int:
    """Its weight in a split, as bytes of JSON: CSV names its columns once, so it has twice the rows a byte.

    >>> expected_work(RawObject("a.csv", 10, "")), expected_work(RawObject("a.json", 10, ""))
    (20, 10)
    """
    return expected_bytes(item) * (TERSE_FACTOR if item.key.endswith(_TERSE) else 1)


def parse_batch_manifest(data: bytes, key: str) -> tuple[tuple[str, int], ...]:
    """``(key, records)`` of each entry of a ``_batch.manifest.json``, sorted; records -1 where it says none.

    Source: the ingestion's contract (docs/flow.md). Entries for hidden names, such as the manifest
    itself, are dropped. Raises ``BatchManifestMismatch`` when it cannot be read.
    """
    hint = "Let the ingestion write it again, or pass --batch-manifest ignore."
    try:
        entries = json.loads(data)["objects"]
        found = {str(e["key"]): int(e.get("records", -1)) for e in entries}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as cause:
        raise BatchManifestMismatch(
            f"{key} cannot be read ({type(cause).__name__}: {cause}).", hint=hint
        ) from cause
    return tuple(sorted((k, n) for k, n in found.items() if is_input(posixpath.basename(k))))


def check_batch_manifest(expected: Sequence[tuple[str, int]], listing: Iterable[RawObject]) -> None:
    """Every key that the ingestion says it wrote must be in the listing; raises ``BatchManifestMismatch``."""
    keys = {o.key for o in listing}
    missing = [k for k, _ in expected if k not in keys]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BatchManifestMismatch(
            f"{BATCH_MANIFEST_NAME} lists {missing[0]}{more}, which the raw prefix does not hold.",
            hint="Wait for the ingestion or run it again; --batch-manifest ignore compacts what is there.",
        )


def plan_partition(
    partition: Partition,
    raw: Location,
    output: Location,
    spec: CompactionSpec,
    listing: Iterable[RawObject],
    expected_records: tuple[tuple[str, int], ...] = (),
    stage: Stage = COMPACTION,
    fresh: tuple[tuple[str, str], ...] = (),
) -> Plan:
    """Cut a listing into splits and seal the result with its content hash.

    For a later stage the "raw objects" are the published parts that it reads. The order of ``listing``
    does not matter; raises ``UnsafePath`` and ``BatchManifestMismatch``.
    """
    ordered = tuple(sorted(listing, key=lambda o: o.key.encode()))
    for item in ordered:
        if not item.refused:
            check_key(item.key)
    check_batch_manifest(expected_records, ordered)
    spec_print = serialization.spec_fingerprint(spec)
    if stage != COMPACTION:
        spec_print = serialization.fingerprint(
            spec_print.encode(), serialization.canonical_json(serialization.to_value(stage))
        )
    draft = Plan(
        partition=partition,
        raw=raw,
        output=output,
        spec=spec,
        listing=ordered,
        splits=tuple(_splits(ordered, spec, spec_print)),
        expected_records=expected_records,
        input_fingerprint=serialization.input_fingerprint(spec_print, ordered, expected_records),
        plan_id="",
        stage=stage,
        fresh=fresh,
    )
    return replace(draft, plan_id=serialization.plan_id(draft))


def _splits(listing: tuple[RawObject, ...], spec: CompactionSpec, spec_print: str) -> Iterable[Split]:
    index = 0
    for start, stop in _runs(listing, spec):
        objects = listing[start:stop]
        size = sum(o.size_bytes for o in objects)
        for byte_range in _byte_ranges(objects, spec):
            raw_bytes = size if byte_range is None else byte_range[1] - byte_range[0]
            print_ = serialization.split_fingerprint(spec_print, objects, byte_range)
            yield Split(index, start, stop, raw_bytes, print_, byte_range)
            index += 1


def _runs(listing: tuple[RawObject, ...], spec: CompactionSpec) -> Iterable[tuple[int, int]]:
    """Contiguous runs: at least half a split, at most one and a half, ended by an object's own hash."""
    start, size = 0, 0
    least, most = spec.split_bytes // 2, _huge_bytes(spec)
    fewest, highest = spec.split_objects // 2, spec.split_objects
    for i, item in enumerate(listing):
        weight = expected_work(item)
        if i > start and size + weight > most:
            yield start, i
            start, size = i, 0
        size += weight
        count = i + 1 - start
        # The chance to end here grows with the object's own weight, so the mean run is about one split
        # for a million crumbs as for a few large files.
        by_bytes = size >= least and _hash(item.key) < weight / max(least, 1)
        by_count = count >= fewest and _hash(item.key) < 2 / max(highest, 1)
        if by_bytes or by_count or count >= highest or weight > most:  # the last: it is huge
            yield start, i + 1
            start, size = i + 1, 0
    if start < len(listing):
        yield start, len(listing)


def _hash(key: str) -> float:
    return crc32(key.encode()) / 2**32


def is_huge(item: RawObject, spec: CompactionSpec) -> bool:
    """Whether an object is a split (or several byte ranges) of its own and is streamed in blocks."""
    most = _huge_bytes(spec)
    return item.size_bytes * COMPRESSION_FACTOR > most and expected_bytes(item) > most  # few get that far


def _huge_bytes(spec: CompactionSpec) -> int:
    return spec.split_bytes * 3 // 2


def _byte_ranges(objects: Sequence[RawObject], spec: CompactionSpec) -> Iterable[tuple[int, int] | None]:
    item = objects[0]
    if len(objects) > 1 or not item.splittable or not is_huge(item, spec):
        return (None,)
    count = -(-item.size_bytes // spec.split_bytes)
    edges = [item.size_bytes * i // count for i in range(count + 1)]
    return tuple(pairwise(edges))


# -- a plan beside what is published --------------------------------------------------------------


def check_same_partition(partition: Partition, output: Location, published: Manifest) -> None:
    """Refuse to replace another partition's dataset (C16); raises ``PartitionConflict``."""
    for name in ("domain", "table", "interval", "data_source", "ds"):
        ours, theirs = getattr(partition, name), getattr(published.partition, name)
        if ours and theirs and ours != theirs:
            raise PartitionConflict(
                f"{output} holds {name} {theirs!r} ({published.partition}); this run is for {ours!r}.",
                hint="Publish to another --curated or compacted_subdir, or remove that dataset first.",
            )


def is_made_of(published: Manifest, plan: Plan) -> bool:
    """Whether a manifest says that these inputs and this spec were published, by their etags."""
    return published.input_fingerprint == plan.input_fingerprint


def is_of_the_size_of(published: Manifest, plan: Plan) -> bool:
    """Whether as many inputs of as many bytes were published, whatever their etags are."""
    return (published.input_objects, published.input_bytes) == (len(plan.listing), plan.raw_bytes)


def state_of(plan: Plan, published: Manifest | None) -> State:
    """What a plan is beside a manifest: NEW, CHANGED, UNCHANGED or EMPTY; no file is looked at."""
    if not plan.listing:
        return State.EMPTY
    if published is None:
        return State.NEW
    return State.UNCHANGED if is_made_of(published, plan) else State.CHANGED


# -- what a plan cannot say in rows --------------------------------------------------------------

_PATH_KEY = re.compile(r"([^=/]+)=[^/]*")
_KEYS_SHOWN = 8


def path_keys(listing: Iterable[RawObject], prefix: str) -> tuple[tuple[str, int], ...]:
    """The keys that folders below ``prefix`` name (``dt=2024-01-01/``), each with its number of values.

    >>> path_keys([RawObject("t/dt=1/eu=x/a.csv", 1, ""), RawObject("t/dt=2/b=c.csv", 1, "")], "t/")
    (('dt', 2), ('eu', 1))
    """
    keys = (item.key[len(prefix) :] for item in listing)
    folders = {posixpath.dirname(key) for key in keys if "=" in key}
    found: dict[str, set[str]] = {}
    for segment in {s for folder in folders for s in folder.split("/")}:
        if named := _PATH_KEY.fullmatch(segment):
            found.setdefault(named[1], set()).add(segment)
    return tuple((name, len(values)) for name, values in sorted(found.items()))


def warnings_of(listing: Iterable[RawObject], prefix: str) -> tuple[str, ...]:
    """Sentences about what the inputs say and rows will not (C1.7)."""
    keys = path_keys(listing, prefix)
    if not keys:
        return ()
    shown = ", ".join(f"{name} ({n:,} {'value' if n == 1 else 'values'})" for name, n in keys[:_KEYS_SHOWN])
    more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
    sentence = (
        f"the folders of the input name {shown}{more}: what only they say is in no column of the output, "
        "where rows of different folders can no longer be told apart; compact each folder to an output "
        "of its own, or write the keys into the records"
    )
    return (sentence,)


# -- numbers that a plan predicts ----------------------------------------------------------------


def inline_limit_bytes(plan: Plan) -> int:
    """Row groups up to this size travel with the result; larger ones are staged in the store."""
    return min(INLINE_SPLIT_BYTES, INLINE_TOTAL_BYTES // max(len(plan.splits), 1))


def split_memory_bytes(plan: Plan) -> int:
    """Projected bound of what the largest split holds in memory at once.

    What a Parquet object holds is not known from its size: a small one may have values for many blocks, so
    it counts as one whole block (``decode_in_turn``).
    """
    largest = 0
    for split in plan.splits:
        objects = plan.objects(split)
        expected = split.raw_bytes if split.byte_range else sum(expected_bytes(o) for o in objects)
        if split.byte_range is None and any(_PARQUET_NAME.search(o.key) for o in objects):
            expected += plan.spec.split_bytes
        largest = max(largest, min(expected, plan.spec.split_bytes * 2))
    return largest * MEMORY_FACTOR


def projected_memory_bytes(plan: Plan, concurrency: int) -> int:
    """Projected bound of one process that runs ``concurrency`` splits at once."""
    return BASE_MEMORY_BYTES + concurrency * split_memory_bytes(plan) + len(plan.listing) * 1_000


def concurrency_within(plan: Plan, workers: int, memory_limit_bytes: int | None) -> int:
    """How many of ``workers`` may run at once so that the projection stays within the limit (at least 1)."""
    if memory_limit_bytes is None:
        return workers
    spare = memory_limit_bytes - projected_memory_bytes(plan, 0)
    return max(1, min(workers, spare // max(split_memory_bytes(plan), 1)))


def predicted_output_bytes(plan: Plan) -> int:
    """Rough size of the output: an eighth of the decoded bytes, as price records come out with zstd."""
    return sum(expected_bytes(o) for o in plan.listing) // 8
