"""The numbers and limits of a plan, exactly: found by changing the planner and seeing no test fail."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from zlib import crc32

import pytest

from briquette import serialization
from briquette.errors import BatchManifestMismatch, PartitionConflict, UnsafePath
from briquette.model import (
    COMPACTION,
    CompactionSpec,
    Field,
    Location,
    Partition,
    RawObject,
    Schema,
    Stage,
    State,
)
from briquette.planning import plan as planning
from briquette.planning.plan import plan_partition

MIB = 1_048_576
SPEC = CompactionSpec(Schema((Field("a", "int64"),)), split_bytes=1_000, split_objects=20)
PRICES = Partition("market", "prices", "1d", "x", "2025-09-09")
RAW, OUTPUT = Location("memory://raw", "day/"), Location("memory://curated", "t/ds=2025-09-09/")
NEVER, ALWAYS = float("inf"), 0.0  # hashes that end no run, and each run that may end


def plan_of(*sizes: int, spec: CompactionSpec = SPEC, splittable: bool = True, suffix: str = ".json"):
    listing = [RawObject(f"day/{i:04d}{suffix}", n, f"e{i}", splittable) for i, n in enumerate(sizes)]
    return plan_partition(PRICES, RAW, OUTPUT, spec, listing)


def runs(plan) -> list[int]:
    """How many objects each split has."""
    return [s.stop - s.start for s in plan.splits]


@pytest.fixture
def hashed(monkeypatch):
    """Gives every key the same hash."""
    return lambda value: monkeypatch.setattr(planning, "_hash", lambda key: value)


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "raw"),
    [("d/a.json", True), ("d/", False), ("d/sub/", False), ("d/s/a.json", True), ("d/s/_a.json", False)],
)
def test_only_visible_files_below_the_prefix_are_input(key, raw):
    assert planning.is_input(key, "d/") is raw


def test_a_hidden_segment_of_the_prefix_itself_hides_nothing():
    assert planning.is_input("_raw/a.json", "_raw/")
    assert not planning.is_input("_raw/a.json")


@pytest.mark.parametrize("key", ["..", ".", "a/..", "../a", "/a", "a/", "a\x1fb", "a\x00b", ""])
def test_an_unsafe_key_is_named_with_what_to_do(key):
    with pytest.raises(UnsafePath) as caught:
        planning.check_key(key)
    assert repr(key) in caught.value.message
    assert "Rename" in caught.value.hint


@pytest.mark.parametrize("key", ["a b", "a..b/c", ".../a", "a/.b", "é/ü.json"])
def test_an_unusual_key_is_not_unsafe(key):
    planning.check_key(key)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_a_compressed_object_counts_eight_times_its_size(suffix):
    assert planning.expected_bytes(RawObject(f"a.json{suffix}", 7, "e")) == 56
    assert planning.expected_bytes(RawObject(f"a{suffix}.json", 7, "e")) == 7


# -- the batch manifest --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "said"), [(1, "lists d/0,"), (2, "d/0 and 1 more,"), (4, "d/0 and 3 more,")]
)
def test_absent_objects_are_counted(missing, said):
    with pytest.raises(BatchManifestMismatch, match=said) as caught:
        planning.check_batch_manifest([(f"d/{i}", 1) for i in range(missing)], [])
    assert "--batch-manifest ignore" in caught.value.hint


def test_a_batch_manifest_that_cannot_be_read_names_itself_and_the_cause():
    with pytest.raises(BatchManifestMismatch, match=r"^d/m\.json cannot be read \(KeyError") as caught:
        planning.parse_batch_manifest(b"{}", "d/m.json")
    assert "--batch-manifest ignore" in caught.value.hint
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_batch_manifest_that_is_too_deep_is_refused():
    with pytest.raises(BatchManifestMismatch):
        planning.parse_batch_manifest(b"[" * 200_000, "m")


# -- cuts ----------------------------------------------------------------------------------------


def test_a_run_holds_up_to_one_and_a_half_splits(hashed):
    hashed(NEVER)
    assert runs(plan_of(*[500] * 7)) == [3, 3, 1]
    assert runs(plan_of(500, 500, 501)) == [2, 1]
    assert runs(plan_of(*[501] * 3)) == [2, 1]


def test_a_run_holds_up_to_the_most_objects(hashed):
    hashed(NEVER)
    assert runs(plan_of(*[1] * 50)) == [20, 20, 10]


def test_a_run_may_end_from_half_a_split_on(hashed):
    hashed(ALWAYS)
    assert runs(plan_of(*[100] * 12)) == [5, 5, 2]
    assert runs(plan_of(*[100] * 6, spec=replace(SPEC, split_bytes=1_001))) == [5, 1]


def test_a_run_may_end_from_half_the_most_objects_on(hashed):
    hashed(ALWAYS)
    assert runs(plan_of(*[1] * 25)) == [10, 10, 5]
    assert runs(plan_of(*[1] * 25, spec=replace(SPEC, split_objects=21))) == [10, 10, 5]


@pytest.mark.parametrize(("hash_", "first"), [(0.19, 5), (0.2, 15), (0.21, 15)])
def test_the_chance_to_end_at_half_a_split_is_the_weight_of_the_object(hashed, hash_, first):
    hashed(hash_)
    assert runs(plan_of(*[100] * 16))[0] == first


@pytest.mark.parametrize(("hash_", "first"), [(0.09, 10), (0.1, 20), (0.11, 20)])
def test_the_chance_to_end_at_half_the_objects_is_two_in_the_most_objects(hashed, hash_, first):
    hashed(hash_)
    assert runs(plan_of(*[1] * 25))[0] == first


def test_a_run_may_end_anywhere_after_half_the_most_objects(monkeypatch):
    monkeypatch.setattr(planning, "_hash", lambda key: ALWAYS if "0012" in key else NEVER)
    assert runs(plan_of(*[1] * 25)) == [13, 12]


def test_the_smallest_splits_are_planned(hashed):
    hashed(0.7)
    assert runs(plan_of(1, 1, 1, spec=replace(SPEC, split_bytes=2))) == [1, 1, 1]
    assert runs(plan_of(0, 0, spec=replace(SPEC, split_bytes=1))) == [2]
    assert runs(plan_of(1, 1, spec=replace(SPEC, split_objects=1))) == [1, 1]


def test_a_huge_object_stands_alone(hashed):
    hashed(NEVER)
    plan = plan_of(100, 1_501, 100, 100, splittable=False)
    assert runs(plan) == [1, 1, 2]
    assert [s.byte_range for s in plan.splits] == [None] * 3
    assert [s.raw_bytes for s in plan.splits] == [100, 1_501, 200]
    assert runs(plan_of(0, 1_500, 1)) == [2, 1]


def test_the_hash_of_a_key_is_its_crc_as_a_fraction():
    assert planning._hash("day/é.json") == crc32("day/é.json".encode()) / 4_294_967_296


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (1_500, [None]),
        (1_501, [(0, 750), (750, 1_501)]),
        (3_000, [(0, 1_000), (1_000, 2_000), (2_000, 3_000)]),
        (3_001, [(0, 750), (750, 1_500), (1_500, 2_250), (2_250, 3_001)]),
    ],
)
def test_byte_ranges_are_the_fewest_that_are_no_larger_than_a_split(size, ranges):
    plan = plan_of(size)
    assert [s.byte_range for s in plan.splits] == ranges
    assert [s.raw_bytes for s in plan.splits] == [b - a for a, b in (r or (0, size) for r in ranges)]
    assert [s.index for s in plan.splits] == list(range(len(ranges)))


def test_a_plan_is_identified_by_its_own_content():
    plan = plan_of(1, 2, 3)
    assert plan.plan_id == serialization.plan_id(replace(plan, plan_id=""))
    spec_print = serialization.spec_fingerprint(SPEC)
    assert plan.input_fingerprint == serialization.input_fingerprint(spec_print, plan.listing, ())
    [split] = plan.splits
    assert split.fingerprint == serialization.split_fingerprint(spec_print, plan.listing, None)


def test_every_stage_has_fingerprints_of_its_own():
    stages = [COMPACTION, *(replace(COMPACTION, name=name) for name in ("transform", "indicators"))]
    plans = [plan_partition(PRICES, RAW, OUTPUT, SPEC, [RawObject("day/a", 1, "e")], stage=s) for s in stages]
    assert len({p.input_fingerprint for p in plans}) == len({p.splits[0].fingerprint for p in plans}) == 3
    assert [p.stage for p in plans] == stages
    assert all(isinstance(s, Stage) for s in stages)


def test_an_equal_stage_is_the_same_stage():
    listing = [RawObject("day/a", 1, "e")]
    plans = [plan_partition(PRICES, RAW, OUTPUT, SPEC, listing, stage=s) for s in (COMPACTION, Stage())]
    assert plans[0] == plans[1]


# -- beside what is published --------------------------------------------------------------------


@dataclasses.dataclass
class Published:
    """What the planner looks at in a manifest."""

    partition: Partition = PRICES
    input_fingerprint: str = ""
    input_objects: int = 0
    input_bytes: int = 0


@pytest.mark.parametrize("name", ["domain", "table", "interval", "data_source", "ds"])
def test_a_partition_that_differs_in_one_name_is_another(name):
    plan = plan_of(1)
    other = Published(replace(PRICES, **{name: "other"}))
    with pytest.raises(PartitionConflict, match=f"holds {name} 'other'") as caught:
        planning.check_same_partition(plan.partition, plan.output, other)
    assert repr(getattr(PRICES, name)) in caught.value.message
    assert "--curated" in caught.value.hint
    nameless = replace(PRICES, **{name: ""})
    planning.check_same_partition(plan.partition, plan.output, Published(nameless))
    planning.check_same_partition(nameless, plan.output, other)
    planning.check_same_partition(plan.partition, plan.output, Published())


def test_the_state_of_a_partition():
    plan = plan_of(1)
    same, other = Published(input_fingerprint=plan.input_fingerprint), Published(input_fingerprint="other")
    assert planning.state_of(plan, None) is State.NEW
    assert planning.state_of(plan, same) is State.UNCHANGED
    assert planning.state_of(plan, other) is State.CHANGED
    assert planning.state_of(plan_of(), same) is State.EMPTY
    assert planning.state_of(plan_of(), None) is State.EMPTY


def test_as_many_inputs_of_as_many_bytes_need_not_be_the_same_ones():
    plan = plan_of(2)
    there = Published(input_objects=len(plan.listing), input_bytes=plan.raw_bytes)
    assert planning.is_of_the_size_of(there, plan)
    assert not planning.is_made_of(there, plan)
    assert not planning.is_of_the_size_of(replace(there, input_objects=2), plan)
    assert not planning.is_of_the_size_of(replace(there, input_bytes=plan.raw_bytes + 1), plan)


# -- predicted numbers ---------------------------------------------------------------------------


def test_row_groups_that_travel_share_what_the_driver_may_hold():
    one = plan_of(1)
    for splits, limit in ((0, 16 * MIB), (1, 16 * MIB), (16, 16 * MIB), (32, 8 * MIB), (1_000, 268_435)):
        assert planning.inline_limit_bytes(replace(one, splits=one.splits * splits)) == limit


def test_the_projected_memory_is_five_times_the_largest_split(hashed):
    hashed(NEVER)
    assert planning.split_memory_bytes(plan_of()) == 0
    assert planning.split_memory_bytes(plan_of(700, 700, 200, 100)) == 5 * 1_400
    assert planning.split_memory_bytes(plan_of(100, suffix=".json.gz")) == 5 * 800
    assert planning.split_memory_bytes(plan_of(9_000, splittable=False)) == 5 * 2_000, "it is streamed"
    assert planning.split_memory_bytes(plan_of(3_000)) == 5 * 1_000, "of a byte range"
    assert planning.split_memory_bytes(plan_of(100, suffix=".parquet")) == 5 * 1_100, (
        "and one block of values"
    )


def test_the_projection_of_a_run_counts_the_libraries_the_splits_and_the_listing(hashed):
    hashed(NEVER)
    plan = plan_of(700, 700, 200)
    assert planning.projected_memory_bytes(plan, 0) == 256 * MIB + 3_000
    assert planning.projected_memory_bytes(plan, 4) == 256 * MIB + 4 * 7_000 + 3_000


def test_the_concurrency_is_what_fits(hashed):
    hashed(NEVER)
    plan = plan_of(700, 700, 200)
    base = 256 * MIB + 3_000
    fits = [planning.concurrency_within(plan, 8, base + n) for n in (0, 6_999, 7_000, 13_999, 14_000, 10**9)]
    assert fits == [1, 1, 1, 1, 2, 8]
    assert planning.concurrency_within(plan, 8, base + 21_000) == 3
    assert planning.concurrency_within(plan_of(), 8, 10**9) == 8
    assert planning.concurrency_within(plan_of(), 8, 256 * MIB + 5) == 5, "splits of no size"


def test_the_output_is_predicted_as_an_eighth_of_what_is_decoded():
    assert planning.predicted_output_bytes(plan_of(800, 801, 14)) == 201
    assert planning.predicted_output_bytes(plan_of(800, suffix=".json.gz")) == 800
