"""Packing: contiguous runs of row groups that come as near to the target as whole row groups can."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette.encoding.row_groups import encode
from briquette.model import CompactionSpec, Schema
from briquette.parquet.packing import Packer, pack_row_groups, runs
from briquette.parquet.splice import added_bytes, fixed_bytes, splice

sizes_lists = st.lists(st.integers(0, 1_000), max_size=300)


def pack_parts(sizes, target, fixed=0, slack=0):
    """Plain numbers, packed; ``slack`` is how much too large the bounds are."""
    packer = Packer(target, most=lambda n: n + fixed + slack, exact=lambda n: n, fixed=lambda _: fixed)
    return runs(sizes, packer)


def nearest(sizes, target, fixed):
    """The rule alone, on sums to the byte."""
    starts, filled = [0], fixed
    for i, size in enumerate(sizes):
        if i > starts[-1] and target - filled <= filled + size - target:
            starts.append(i)
            filled = fixed
        filled += size
    return tuple(zip(starts, [*starts[1:], len(sizes)], strict=True)) if sizes else ()


def totals(sizes, parts, fixed=0):
    return [fixed + sum(sizes[start:stop]) for start, stop in parts]


@given(sizes_lists, st.integers(1, 5_000), st.integers(0, 500))
def test_every_row_group_is_in_exactly_one_part_in_order(sizes, target, fixed):
    parts = pack_parts(sizes, target, fixed)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(len(sizes)))
    assert all(start < stop for start, stop in parts)


@given(sizes_lists, st.integers(1, 5_000), st.integers(0, 500), st.integers(0, 2_000))
def test_bounds_save_work_and_decide_nothing(sizes, target, fixed, slack):
    assert pack_parts(sizes, target, fixed, slack) == nearest(sizes, target, fixed)


@given(st.data(), st.integers(1_000, 1_000_000))
def test_row_groups_up_to_a_tenth_of_the_target_give_parts_within_five_percent(data, target):
    sizes = data.draw(st.lists(st.integers(1, target // 10), max_size=300))
    fixed = data.draw(st.integers(0, target // 20))
    *full, last = totals(sizes, pack_parts(sizes, target, fixed), fixed) or [0]
    assert all(abs(total - target) <= target * 0.05 for total in full)
    assert last <= target * 1.05


@given(sizes_lists, st.integers(1, 5_000))
def test_no_part_would_be_nearer_to_the_target_with_one_row_group_less(sizes, target):
    for start, stop in pack_parts(sizes, target):
        if stop - start > 1:
            total = sum(sizes[start:stop])
            assert abs(total - target) <= abs(total - sizes[stop - 1] - target) or total <= target


@given(sizes_lists, st.integers(1, 5_000))
def test_no_part_but_the_last_would_be_nearer_with_the_next_row_group(sizes, target):
    for start, stop in pack_parts(sizes, target)[:-1]:
        total = sum(sizes[start:stop])
        assert abs(total - target) <= abs(total + sizes[stop] - target)


def test_a_row_group_larger_than_the_target_is_a_part_of_its_own():
    assert pack_parts([500, 10, 500], 100) == ((0, 1), (1, 2), (2, 3))


def test_nothing_packs_into_nothing():
    assert pack_parts([], 100) == ()
    assert pack_row_groups([], 100) == ()


def test_a_target_of_zero_is_refused():
    with pytest.raises(ValueError, match="positive"):
        pack_parts([1], 0)


@pytest.mark.parametrize("page_rows", [10, 40_000])
def test_predicted_sizes_are_those_of_the_files_to_half_a_percent(page_rows):
    table = pa.table({"a": np.arange(page_rows), "b": np.random.default_rng(1).random(page_rows)})
    groups = encode(table, CompactionSpec(Schema(()))) * 200
    size = splice(groups).size_bytes
    predicted = fixed_bytes(groups[0]) + sum(added_bytes(g, size // 2) for g in groups)
    assert abs(predicted - size) <= size / 200


def test_row_groups_are_packed_by_the_sizes_of_the_files_they_will_make():
    table = pa.table({"a": np.random.default_rng(2).integers(0, 1 << 60, 20)})
    groups = encode(table, CompactionSpec(Schema(()))) * 100
    ten, added = splice(groups[:10]).size_bytes, added_bytes(groups[0])
    assert added > 1.5 * groups[0].size_bytes, "bodies alone would pack fifteen and more"
    runs_of_ten = tuple((i, i + 10) for i in range(0, 100, 10))
    # Up to half a row group more or less still makes ten; what every part has besides counts too.
    assert fixed_bytes(groups[0]) > 40
    for target in (ten - added // 2 + 20, ten, ten + added // 2 - 20):
        assert pack_row_groups(groups, target) == runs_of_ten
    assert pack_row_groups(groups, ten + added // 2 + 20)[0] == (0, 11)
    assert pack_row_groups(groups, ten - added // 2 - 20)[0] == (0, 9)


@pytest.mark.parametrize("rows", [1, 300])
def test_a_day_that_surely_fits_is_packed_as_by_sizes_to_the_byte(rows, monkeypatch):
    table = pa.table({"a": np.random.default_rng(3).integers(0, 1 << 60, rows)})
    groups = encode(table, CompactionSpec(Schema(()))) * 7
    size = splice(groups).size_bytes
    asked = []
    monkeypatch.setattr(
        "briquette.parquet.packing.added_bytes", lambda *a: asked.append(a) or added_bytes(*a)
    )
    for target in (size // 3, size - 1, size, size + 1, 2 * size, 3 * size, 8 * size):
        sizes = [added_bytes(g, target // 2) for g in groups]
        assert pack_row_groups(groups, target) == nearest(sizes, target, fixed_bytes(groups[0]))
    places = {at for _, at in asked}
    assert places >= {t // 2 for t in (size // 3, size - 1, size)}, "surely more than one part, or nearly"
    assert 8 * size // 2 not in places
