"""The plan is a value: what it says depends on the listing and the spec, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette import serialization
from briquette.errors import BatchManifestMismatch, PlanError, UnsafePath
from briquette.model import CompactionSpec, Field, Location, Partition, Plan, RawObject, Schema
from briquette.planning import plan as planning

SPEC = CompactionSpec(Schema((Field("a", "int64"),)), split_bytes=1_000, split_objects=20)
RAW, OUTPUT = Location("memory://raw", "day/"), Location("memory://curated", "t/ds=2025-09-09/")


def make_plan(listing, spec=SPEC, expected=()) -> Plan:
    return planning.plan_partition(
        Partition("market", "prices", "1d", "x", "2025-09-09"), RAW, OUTPUT, spec, listing, expected
    )


def crumbs(count: int, size: int = 90) -> list[RawObject]:
    return [RawObject(f"day/S{i:05d}.json", size + i % 7, f"e{i}") for i in range(count)]


@st.composite
def listings(draw) -> list[RawObject]:
    sizes = draw(st.lists(st.integers(0, 3_000), min_size=1, max_size=80))
    suffixes = st.sampled_from([".json", ".json.gz", ".csv"])
    return [
        RawObject(f"day/{i:03d}{draw(suffixes)}", size, f"e{i}", draw(st.booleans()))
        for i, size in enumerate(sizes)
    ]


@given(listings(), st.randoms(use_true_random=False))
def test_shuffling_the_listing_changes_nothing(listing, rng):
    shuffled = list(listing)
    rng.shuffle(shuffled)
    assert make_plan(shuffled) == make_plan(listing)


@given(listings())
def test_splits_cover_the_listing_once_and_in_order(listing):
    plan = make_plan(listing)
    at, byte = 0, 0
    for split in plan.splits:
        if split.byte_range is None:
            assert (split.start, byte) == (at, 0)
            at = split.stop
            continue
        assert (split.start, split.stop, split.byte_range[0]) == (at, at + 1, byte)
        byte = split.byte_range[1]
        if byte == plan.listing[at].size_bytes:
            at, byte = at + 1, 0
    assert (at, byte) == (len(listing), 0)
    assert sum(s.raw_bytes for s in plan.splits) == plan.raw_bytes
    assert [s.index for s in plan.splits] == list(range(len(plan.splits)))


@given(listings())
def test_a_split_is_bounded_unless_one_object_alone_is_larger(listing):
    plan = make_plan(listing)
    for split in plan.splits:
        objects = plan.objects(split)
        assert len(objects) <= SPEC.split_objects
        expected = sum(planning.expected_bytes(o) for o in objects)
        assert expected <= SPEC.split_bytes * 3 // 2 or len(objects) == 1


def test_a_huge_splittable_object_becomes_byte_ranges_of_about_a_split():
    plan = make_plan([RawObject("day/huge.json", 10_500, "e", splittable=True)])
    assert [s.byte_range for s in plan.splits][:2] == [(0, 954), (954, 1909)]
    assert plan.splits[-1].byte_range[1] == 10_500
    assert len({s.fingerprint for s in plan.splits}) == len(plan.splits)


def test_a_corrected_object_leaves_far_away_splits_as_they_were():
    before = make_plan(crumbs(2_000))
    listing = crumbs(2_000)
    listing[1_000] = replace(listing[1_000], etag="corrected", size_bytes=140)
    after = make_plan(listing)
    changed = {s.fingerprint for s in after.splits} - {s.fingerprint for s in before.splits}
    assert len(before.splits) > 50
    assert 1 <= len(changed) <= 3


def test_a_late_object_leaves_far_away_splits_as_they_were():
    before = make_plan(crumbs(2_000))
    after = make_plan([*crumbs(2_000), RawObject("day/S00500a.json", 95, "late")])
    changed = {s.fingerprint for s in after.splits} - {s.fingerprint for s in before.splits}
    assert 1 <= len(changed) <= 3


@pytest.mark.parametrize(
    "change",
    [{"codec": "snappy"}, {"target_part_bytes": 1 << 20}, {"unique_key": ("a",)}, {"max_reject_ratio": 0.5}],
)
def test_every_part_of_the_spec_is_part_of_the_identity(change):
    plan, other = make_plan(crumbs(5)), make_plan(crumbs(5), replace(SPEC, **change))
    assert plan.input_fingerprint != other.input_fingerprint
    assert plan.plan_id != other.plan_id


@pytest.mark.parametrize("change", [{"etag": "other"}, {"size_bytes": 1}, {"key": "day/S00002b.json"}])
def test_every_pinned_fact_of_a_raw_object_is_part_of_the_identity(change):
    listing = crumbs(5)
    listing[2] = replace(listing[2], **change)
    assert make_plan(listing).input_fingerprint != make_plan(crumbs(5)).input_fingerprint


@given(listings())
def test_a_plan_survives_being_written_and_read(listing):
    plan = make_plan(listing, expected=((listing[0].key, 3),))
    assert serialization.plan_from_bytes(serialization.plan_to_bytes(plan)) == plan


def test_an_altered_plan_is_refused():
    data = serialization.plan_to_bytes(make_plan(crumbs(3)))
    with pytest.raises(PlanError, match="content hash"):
        serialization.plan_from_bytes(data.replace(b"S00001", b"S00009"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"briquette":"plan"}',
        b"[" * 100_000,
        b'{"briquette":"manifest","format_version":1}',
    ],
)
def test_what_is_no_plan_is_refused_with_a_next_step(data):
    with pytest.raises(PlanError) as caught:
        serialization.plan_from_bytes(data, where="plan.json")
    assert "plan.json" in str(caught.value)
    assert "briquette plan" in caught.value.hint


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_any_json_under_the_plan_key_is_refused_not_crashed_on(value):
    document = {"briquette": "plan", "format_version": serialization.FORMAT_VERSION, "plan": value}
    try:
        data = serialization.canonical_json(document)
    except UnicodeEncodeError:
        return
    with pytest.raises(PlanError):
        serialization.plan_from_bytes(data)


@pytest.mark.parametrize(
    "key", ["day/../x.json", "day//x.json", "day/./x.json", "day/a\nb.json", "day/a\x7f.json"]
)
def test_a_key_that_could_escape_or_forge_a_log_line_is_refused(key):
    with pytest.raises(UnsafePath):
        make_plan([RawObject(key, 1, "e")])


def test_a_batch_manifest_that_lists_an_absent_object_is_refused():
    with pytest.raises(BatchManifestMismatch, match=r"S9\.json and 1 more"):
        make_plan(crumbs(2), expected=(("day/S8.json", 1), ("day/S9.json", 1))[::-1])


def test_a_batch_manifest_is_read_without_its_own_entry():
    entries = b'{"key": "d/B.json", "records": 2}, {"key": "d/A.json"}, {"key": "d/_batch.manifest.json"}'
    data = b'{"objects": [' + entries + b"]}"
    assert planning.parse_batch_manifest(data, "m") == (("d/A.json", -1), ("d/B.json", 2))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"objects": 3}', b'{"objects": [1]}', b'{"objects": [{"records": 1}]}']
)
def test_a_batch_manifest_that_cannot_be_read_says_so(data):
    with pytest.raises(BatchManifestMismatch, match="cannot be read"):
        planning.parse_batch_manifest(data, "m")


def test_memory_bounds_the_concurrency_but_never_below_one():
    plan = make_plan(crumbs(2_000))
    assert planning.concurrency_within(plan, 8, None) == 8
    assert planning.concurrency_within(plan, 8, planning.projected_memory_bytes(plan, 3)) == 3
    assert planning.concurrency_within(plan, 8, 1) == 1
