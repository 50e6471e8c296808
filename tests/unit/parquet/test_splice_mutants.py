"""Limits, spans and messages of splicing, exactly: found by changing it and seeing no test fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from briquette.encoding.row_groups import encode
from briquette.errors import CorruptObject, VerificationFailed
from briquette.model import CompactionSpec, Piece, Schema
from briquette.parquet import footer as footers
from briquette.parquet import splice as splicing
from briquette.parquet import thrift
from briquette.parquet.footer import Chunk, Entry, Footer, Page
from briquette.parquet.splice import (
    SplicedPart,
    added_bytes,
    cut,
    fixed_bytes,
    most_added_bytes,
    read_part_row_groups,
    splice,
    verify_part,
)
from briquette.parquet.thrift import ThriftError
from tests.unit.parquet.test_splice import (
    Store,
    footer_bytes,
    sample,
    table_of,
    with_footer,
    with_ordinals,
    write,
)

NOTHING = thrift.Struct.__new__(thrift.Struct)  # the checks of spans never look at it


def chunk(start, stop, column_index=None, offset_index=None, first=None) -> Chunk:
    return Chunk(NOTHING, NOTHING, start, stop, start if first is None else first, column_index, offset_index)


def entry(*chunks: Chunk, rows=5, ordinal=None, file_offset=0) -> Entry:
    spans = min(c.start for c in chunks), max(c.stop for c in chunks)
    return Entry(NOTHING, rows, ordinal, file_offset, chunks, *spans)


def footer(*entries: Entry) -> Footer:
    return Footer(b"", NOTHING, sum(e.rows for e in entries), entries)


# -- ranges of a part ----------------------------------------------------------------------------


def test_ranges_of_a_part_lie_across_its_pieces():
    part = SplicedPart((Piece(4, b"abcd"), Piece(3, b"efg"), Piece(10, None, "k"), Piece(2, b"xy")), 19, (1,))
    for offset, length, wanted in (
        (0, 7, b"abcdefg"),
        (2, 3, b"cde"),
        (4, 3, b"efg"),
        (17, 2, b"xy"),
        (18, 9, b"y"),
    ):
        assert part.read_range(offset, length) == wanted
    assert part.read_range(19, 5) == part.read_range(3, 0) == b""
    for offset, length, said in ((0, 19, "7-17"), (10, 2, "10-12"), (16, 3, "16-17"), (5, 4, "7-9")):
        with pytest.raises(ValueError, match=f"bytes {said} of the part are stored in k"):
            part.read_range(offset, length)


@pytest.mark.parametrize(
    "value", [chunk(0, 1), entry(chunk(0, 1)), footer(), Page(0, 1, 2), SplicedPart((), 0, ())]
)
def test_values_cannot_be_changed(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")


def test_a_small_part_is_read_once_and_whole():
    stored = splice(sample()).to_bytes()
    store = Store(stored)
    read_part_row_groups(store.read_range, len(stored), "k", "e")
    assert store.reads == [(0, len(stored))]


def test_a_large_part_is_first_read_from_its_last_quarter_of_a_mebibyte():
    table = pa.table({"x": range(100_000)})
    stored = write(table, use_dictionary=False, compression="none")
    store = Store(stored)
    read_part_row_groups(store.read_range, len(stored), "k", "e")
    assert store.reads == [(len(stored) - 262_144, 262_144)]


def test_a_read_before_the_tail_is_joined_to_it():
    content = bytes(range(100))
    store = Store(content)
    read = splicing._tail_first(store.read_range, 100, 10)
    assert read(92, 4) == content[92:96]
    assert read(90, 10) == content[90:]
    assert read(50, 5) == content[50:55]
    assert read(60, 35) == content[60:95]
    assert read(49, 51) == content[49:]
    assert store.reads == [(90, 10), (50, 40), (49, 1)]


def test_a_short_tail_says_how_short():
    with pytest.raises(ThriftError, match="only 3 of its last 10 bytes"):
        splicing._tail_first(lambda o, n: b"abc", 100, 10)


def test_what_a_part_verifies_is_its_own_tail():
    groups = sample()
    part = splice(groups)
    asked = []

    class Watched(SplicedPart):
        def read_range(self, offset, length):
            asked.append((offset, length))
            return SplicedPart.read_range(self, offset, length)

    Watched(part.pieces, part.size_bytes, part.rows, part.row_groups).verify([g.rows for g in groups])
    tail = part.pieces[-1].size_bytes
    assert asked == [(part.size_bytes - tail, tail), (0, 4)]


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_a_part_is_what_its_row_groups_add_and_what_is_fixed(count):
    groups = sample(count)
    size = splice(groups).size_bytes
    if count == 1:
        rows = len(thrift.encode_int(groups[0].rows)) - len(thrift.encode_int(0))
        assert fixed_bytes(groups[0]) + added_bytes(groups[0]) + rows == size
    else:
        at, added = 0, fixed_bytes(groups[0])
        for group in groups:
            added += added_bytes(group, at)
            at += group.size_bytes
        columns = len(groups[0].column_indexes)
        assert abs(size - added) <= count * columns * 2 * 5, "index offsets are numbers of one to five bytes"


def test_a_row_group_far_into_a_part_adds_longer_offsets():
    group = sample(1)[0]
    far = 1 << 40
    moved = [footers.moved_offset_index(index, far) for index in group.offset_indexes]
    spans = splicing._index_spans(far + group.size_bytes, group.column_indexes, moved)
    parsed = footers.parse(group.footer)
    metadata = footers.moved_entry(parsed.data, parsed.entries[0], far, 0, *spans)
    indexes = sum(map(len, group.column_indexes)) + sum(map(len, moved))
    assert added_bytes(group, far) == group.size_bytes + indexes + len(metadata)


@pytest.mark.parametrize("at", [0, 1 << 20, 1 << 40, 1 << 62])
@pytest.mark.parametrize("rows", [1, 20, 40_000])
def test_no_row_group_adds_more_than_is_said_without_parsing(rows, at):
    table = pa.table({"a": np.arange(rows), "b": ["x"] * rows, "c": pa.nulls(rows, pa.float64())})
    for group in (*sample(3), *encode(table, CompactionSpec(Schema(())))):
        assert added_bytes(group, at) + fixed_bytes(group) < most_added_bytes(group) + len(group.footer)


def test_indexes_lie_side_by_side_column_indexes_first():
    spans = splicing._index_spans(10, [b"ab", b"", b"c"], [b"", b"def", b""])
    assert spans == ([(10, 2), None, (12, 1)], [None, (13, 3), None])


# -- ranges that are copied ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [entry(chunk(4, 10))],
        [entry(chunk(4, 4))],
        [entry(chunk(4, 10), chunk(10, 20)), entry(chunk(20, 30))],
        [entry(chunk(7, 10)), entry(chunk(12, 100))],
        [entry(chunk(4, 60, (60, 20), (80, 20)))],
        [entry(chunk(4, 60, (60, 40)))],
        [entry(chunk(4, 60, (60, 20), (60, 20)))],  # the same bytes twice, but no more than there are
        [entry(chunk(4, 60, None, (99, 1)))],
    ],
)
def test_ranges_inside_of_the_file_may_be_copied(entries):
    splicing._check_ranges(entries, 100)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry(chunk(3, 10))], "row group 0 overlaps"),
        ([entry(chunk(4, 20)), entry(chunk(19, 30))], "row group 1 overlaps"),
        ([entry(chunk(4, 10), chunk(12, 11), chunk(12, 20))], "row group 0 overlaps"),
        ([entry(chunk(4, 101))], "lies outside"),
        ([entry(chunk(4, 60, (59, 10)))], "lies outside"),
        ([entry(chunk(4, 60, (60, 41)))], "lies outside"),
        ([entry(chunk(4, 60, None, (90, 11)))], "lies outside"),
        ([entry(chunk(4, 60, None, (59, 1)))], "lies outside"),
        ([entry(chunk(4, 60, (60, 30), (70, 11)))], "page indexes overlap"),
        ([entry(chunk(4, 60, (60, 40), (60, 40)))], "page indexes overlap"),
    ],
)
def test_ranges_outside_of_the_file_or_of_their_order_are_not(entries, said):
    with pytest.raises(ThriftError, match=said):
        splicing._check_ranges(entries, 100)


def unread(offset: int, length: int) -> bytes:
    raise AssertionError("nothing is to be read")


@pytest.mark.parametrize(
    "entries",
    [
        [entry(chunk(4, 100))],
        [
            entry(chunk(4, 50), chunk(50, 60), ordinal=0, file_offset=4),
            entry(chunk(60, 100), ordinal=1, file_offset=60),
        ],
        [entry(chunk(4, 50, (90, 4)), chunk(50, 90, (94, 6)))],
    ],
)
def test_ranges_that_tile_the_file_pass(entries):
    splicing._check_tiling(footer(*entries), 100, unread)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry(chunk(4, 100), ordinal=1)], "row group 0 says that it is number 1"),
        ([entry(chunk(4, 100), ordinal=-1)], "row group 0 says that it is number -1"),
        ([entry(chunk(4, 9)), entry(chunk(9, 100), ordinal=0)], "row group 1 says that it is number 0"),
        ([entry(chunk(4, 100), file_offset=3)], "begins at 3, not 4"),
        ([entry(chunk(4, 100), file_offset=5)], "begins at 5, not 4"),
        ([entry(chunk(5, 100))], "begins at 5, its neighbour ends at 4"),
        ([entry(chunk(4, 50), chunk(49, 100))], "begins at 49, its neighbour ends at 50"),
        ([entry(chunk(4, 50), chunk(51, 100))], "begins at 51, its neighbour ends at 50"),
        ([entry(chunk(4, 4), chunk(4, 100))], "a chunk of row group 0 begins at 4"),
        ([entry(chunk(4, 9)), entry(chunk(9, 9))], "a chunk of row group 1 begins at 9"),
        ([entry(chunk(4, 90, (91, 9)))], "a page index begins at 91, its neighbour ends at 90"),
        ([entry(chunk(4, 90, (89, 11)))], "a page index begins at 89, its neighbour ends at 90"),
        ([entry(chunk(4, 99))], "the data ends at 99, the footer begins at 100"),
        ([entry(chunk(4, 101))], "the data ends at 101, the footer begins at 100"),
        ([entry(chunk(4, 90, (90, 9)))], "the data ends at 99, the footer begins at 100"),
    ],
)
def test_ranges_that_leave_a_gap_or_overlap_do_not_pass(entries, said):
    with pytest.raises(ThriftError, match=said):
        splicing._check_tiling(footer(*entries), 100, unread)


@pytest.mark.parametrize(
    "pages",
    [[Page(10, 20, 0)], [Page(10, 5, 0), Page(15, 15, 1)], [Page(10, 5, 0), Page(15, 5, 3), Page(20, 10, 4)]],
)
def test_pages_that_tile_their_chunk_pass(pages):
    splicing._check_pages(pages, chunk(10, 30), 5, 7)
    splicing._check_pages(pages, chunk(8, 30, first=10), 5, 7)


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([], "pages of a chunk of row group 7 end at 10, the chunk at 30"),
        ([Page(9, 21, 0)], "row group 7 has a page at 9, expected 10"),
        ([Page(11, 19, 0)], "row group 7 has a page at 11, expected 10"),
        ([Page(10, 20, 1)], "has a page at 10"),
        ([Page(10, 5, 0), Page(14, 16, 1)], "a page at 14, expected 15"),
        ([Page(10, 5, 0), Page(15, 15, 0)], "a page at 15"),
        ([Page(10, 5, 0), Page(15, 15, 5)], "a page at 15"),
        ([Page(10, 5, 0), Page(15, 15, 6)], "a page at 15"),
        ([Page(10, 5, 0), Page(15, 5, 3), Page(20, 10, 2)], "a page at 20"),
        ([Page(10, 19, 0)], "end at 29, the chunk at 30"),
        ([Page(10, 21, 0)], "end at 31, the chunk at 30"),
        ([Page(10, 5, 0), Page(15, 14, 2)], "end at 29, the chunk at 30"),
    ],
)
def test_pages_that_leave_a_gap_or_go_back_do_not_pass(pages, said):
    with pytest.raises(ThriftError, match=said):
        splicing._check_pages(pages, chunk(10, 30), 5, 7)


# -- footers -------------------------------------------------------------------------------------


def edited(data: bytes, field: thrift.Field, value: int) -> bytes:
    return thrift.patched(data, 0, len(data), [(field.start, field.stop, thrift.encode_int(value))])


def test_the_format_is_that_of_parquet():
    assert (footers.MAGIC, footers.FOOTER_LENGTH_BYTES, footers.TRAILER_BYTES) == (b"PAR1", 4, 8)
    assert footers.MAX_ORDINAL == 32_767


@pytest.mark.parametrize("more", [1, 3, 100_000])
def test_bytes_after_the_metadata_are_counted(more):
    data, _ = footer_bytes(write(table_of(5)))
    with pytest.raises(ThriftError, match=f"^{more} bytes follow the metadata"):
        footers.parse(data + bytes(more))


def test_numbers_are_neither_negative_nor_absurd():
    data, _ = footer_bytes(write(table_of(5)))
    field = footers.parse(data).root.fields[3]
    assert footers.parse(edited(data, field, 0)).rows == 0
    assert footers.parse(edited(data, field, (1 << 63) - 1)).rows == (1 << 63) - 1
    for wrong in (-1, 1 << 63):
        with pytest.raises(ThriftError):
            footers.parse(edited(data, field, wrong))


def test_a_footer_without_what_is_needed_is_refused_by_name():
    data, _ = footer_bytes(write(table_of(5)))
    root = footers.parse(data).root
    for field_id, said in (
        (2, "schema or row groups"),
        (4, "schema or row groups"),
        (3, "field 3 is missing"),
    ):
        without = thrift.patched(data, 0, len(data), thrift.without(root, (field_id,)))
        with pytest.raises(ThriftError, match=said):
            footers.parse(without)


def test_row_groups_agree_on_key_values_and_column_orders_but_not_on_their_writer():
    (group,) = sample(1)
    parsed = footers.parse(group.footer)
    fields = parsed.root.fields
    assert parsed.shared() == tuple(
        group.footer[fields[i].start : fields[i].stop] if i in fields else b"" for i in (2, 5, 7)
    )

    def changed(field_id: int):
        edits = thrift.without(parsed.root, (field_id,))
        footer = thrift.patched(group.footer, 0, len(group.footer), edits)
        return dataclasses.replace(group, footer=footer, footer_sha256="")

    assert splice([group, changed(6)]).row_groups == 2, "field 6 names the software"
    with pytest.raises(VerificationFailed, match="row group 1 has another schema"):
        splice([group, changed(7)])


def test_row_groups_of_other_key_values_are_refused():
    table = table_of(10)
    (plain,), (told,) = cut(write(table)), cut(write(table, store_schema=True))
    with pytest.raises(VerificationFailed, match="row group 1 has another schema") as caught:
        splice([plain, told])
    assert "--force" in caught.value.hint


@pytest.mark.parametrize("delta", [0, 1_000])
def test_a_damaged_offset_index_is_refused(delta):
    index = sample(1)[0].offset_indexes[0]
    for wrong in (index + b"\x00", b"\x00"):
        with pytest.raises(ThriftError, match="offset index is damaged"):
            footers.moved_offset_index(wrong, delta)
        with pytest.raises(ThriftError, match="offset index is damaged"):
            footers.pages_of(wrong)
    before, after = footers.pages_of(index), footers.pages_of(footers.moved_offset_index(index, delta))
    assert [p.offset + delta for p in before] == [p.offset for p in after]
    assert [(p.size_bytes, p.first_row) for p in before] == [(p.size_bytes, p.first_row) for p in after]
    assert before[0].first_row == 0
    assert footers.pages_of(index)[0].size_bytes > 0


def test_the_usual_form_of_an_offset_index_says_what_the_general_reader_says(monkeypatch):
    """Every index, and each with one byte changed, removed or added: the same pages or the same refusal."""
    indexes = [blob for rows in (1, 40) for group in sample(rows) for blob in group.offset_indexes if blob]
    changed = [
        index[:at] + new + index[at + cut :]
        for index in indexes[:4]
        for at in range(len(index))
        for new, cut in ((b"", 1), (b"\x01", 0), (b"\x00", 1), (bytes([index[at] ^ 0x80]), 1), (b"\xff", 1))
    ]

    def told(index):
        try:
            return footers.pages_of(index), footers.moved_offset_index(index, 1_000)
        except ThriftError:
            return None

    usual = [footers._plain_page_spans(index) is not None for index in indexes + changed]
    assert sum(usual[: len(indexes)]) * 2 > len(indexes)  # those of texts also tell their lengths
    assert any(usual[len(indexes) :])
    quick = [told(index) for index in indexes + changed]
    monkeypatch.setattr(footers, "_plain_page_spans", lambda index: None)
    assert quick == [told(index) for index in indexes + changed]


def test_an_offset_of_nothing_stays_nothing_when_its_row_group_moves():
    data, _ = footer_bytes(write(table_of(5)))
    one = footers.parse(data).entries[0]
    nowhere = edited(data, one.chunks[0].meta.fields[11], 0)
    parsed = footers.parse(nowhere).entries[0]
    spans = [c.column_index for c in parsed.chunks], [c.offset_index for c in parsed.chunks]
    moved = footers.with_entries(
        footers.parse(nowhere), [footers.moved_entry(nowhere, parsed, 9, 0, *spans)], 5
    )
    first, before = footers.parse(moved).entries[0].chunks[0], parsed.chunks[0]
    assert thrift.int_of(moved, first.meta.fields[11]) == 0
    assert first.first_data_page == before.first_data_page + 9
    assert (first.start, first.stop) == (before.start + 9, before.stop + 9)
    assert before.start == before.first_data_page, "without a dictionary page it begins with its data"
    assert one.chunks[0].start < one.chunks[0].first_data_page


def test_an_index_that_has_no_place_in_the_metadata_is_refused():
    (bare,) = cut(write(table_of(5), write_page_index=False))
    indexes = tuple(b"x" for _ in bare.column_indexes)
    indexed = dataclasses.replace(bare, column_indexes=indexes, footer_sha256="")
    with pytest.raises(ThriftError, match="field 6 does not tell where"):
        splice([indexed])


def test_the_last_ordinal_is_the_largest_of_sixteen_bits(monkeypatch):
    (group,) = cut(with_ordinals(write(table_of(5))))
    parsed = footers.parse(group.footer)
    one = parsed.entries[0]
    spans = [c.column_index for c in one.chunks], [c.offset_index for c in one.chunks]
    for ordinal, wanted in ((32_767, 32_767), (32_768, None)):
        metadata = footers.moved_entry(parsed.data, one, 0, ordinal, *spans)
        assert footers.parse(footers.with_entries(parsed, [metadata], 5)).entries[0].ordinal == wanted


# -- whole files ---------------------------------------------------------------------------------


def test_a_footer_may_not_reach_into_the_magic():
    for length, said in ((1, "does not fit into 12 bytes"), (0, "cannot be read as Parquet")):
        data = b"PAR1" + length.to_bytes(4, "little") + b"PAR1"
        with pytest.raises(CorruptObject, match=said):
            cut(data)
    with pytest.raises(CorruptObject, match="does not end with PAR1"):
        cut(b"AR1" + bytes(4) + b"PAR1")


def test_a_part_must_begin_with_the_magic():
    part = splice(sample()).to_bytes()
    said = f"part of {len(part)} bytes is wrong: it does not begin"
    for magic in (b"PAR0", b"PAR2"):
        wrong = magic + part[4:]
        with pytest.raises(VerificationFailed, match=said) as caught:
            verify_part(lambda o, n, wrong=wrong: wrong[o : o + n], len(wrong), [300] * 3)
        assert "Nothing was published" in caught.value.hint


def test_a_footer_may_begin_right_after_the_magic():
    data, _ = footer_bytes(write(table_of(5)))
    bare = footers.with_entries(footers.parse(data), [], 0)
    empty = with_footer(b"PAR1" + bytes(4) + b"PAR1", bare)
    assert cut(empty) == ()
    verify_part(lambda o, n: empty[o : o + n], len(empty), [])


def test_a_row_count_that_differs_from_its_sum_is_told():
    part = splice(sample()).to_bytes()
    data, _ = footer_bytes(part)
    for rows in (899, 901):
        wrong = with_footer(part, edited(data, footers.parse(data).root.fields[3], rows))
        with pytest.raises(VerificationFailed, match=f"says {rows} rows in 3 row groups, expected 900 in 3"):
            verify_part(lambda o, n, wrong=wrong: wrong[o : o + n], len(wrong), [300] * 3)


def test_a_row_group_with_a_longer_body_than_it_says_is_refused():
    (group,) = sample(1)
    body = group.body
    longer = dataclasses.replace(group, body=Piece(body.size_bytes, body.data + b"x"))
    with pytest.raises(VerificationFailed, match="row group 1 and its footer do not agree"):
        splice([group, longer])


def test_a_writer_that_does_not_say_where_row_groups_begin_is_taken_as_it_is():
    part = splice(sample()).to_bytes()
    data, _ = footer_bytes(part)
    structs = [e.struct for e in footers.parse(data).entries]
    edits = [edit for s in structs for edit in thrift.without(s, (5,))]
    silent = with_footer(part, thrift.patched(data, 0, len(data), edits))
    assert [e.file_offset for e in footers.parse(footer_bytes(silent)[0]).entries] == [0, 0, 0]
    verify_part(lambda o, n: silent[o : o + n], len(silent), [300] * 3)
    assert [g.rows for g in cut(splice(cut(silent)).to_bytes())] == [300] * 3


def test_a_row_group_with_fewer_or_more_indexes_than_columns_is_refused():
    (group,) = sample(1)
    for change in (lambda t: t[:-1], lambda t: (*t, b"")):
        columns, offsets = change(group.column_indexes), change(group.offset_indexes)
        with pytest.raises(VerificationFailed, match="row group 0 and its footer do not agree"):
            splice(
                [dataclasses.replace(group, column_indexes=columns, offset_indexes=offsets, footer_sha256="")]
            )


def test_a_footer_that_cannot_be_parsed_is_refused_though_nobody_hashed_it():
    (group,) = sample(1)
    with pytest.raises(VerificationFailed, match="row group 0 has a damaged footer"):
        splice([dataclasses.replace(group, footer=group.footer[:20], footer_sha256="")])


def test_a_row_group_that_was_cut_out_is_the_first_of_its_own_footer():
    groups = cut(with_ordinals(write(table_of(900), row_group_size=300)))
    assert [footers.parse(g.footer).entries[0].ordinal for g in groups] == [0, 0, 0]


def test_row_groups_are_a_list_and_nothing_like_it():
    data, _ = footer_bytes(write(table_of(5)))
    field = footers.parse(data).root.fields[4]
    header = data[field.header]
    assert header & 15 == thrift.LIST
    as_set = data[: field.header] + bytes([header + 1]) + data[field.header + 1 :]
    with pytest.raises(ThriftError, match="schema or row groups are missing"):
        footers.parse(as_set)
