"""Splicing: the bytes of a single writer from row groups made apart; damage is an error, never a crash."""

import contextlib
import dataclasses
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.errors import CorruptObject, VerificationFailed
from briquette.model import Piece, RowGroup
from briquette.parquet import footer as footers
from briquette.parquet import thrift
from briquette.parquet.splice import cut, read_part_row_groups, splice, verify_part

ROWS = 300


def table_of(rows: int, seed: int = 1, nulls: float = 0.2) -> pa.Table:
    rng = np.random.default_rng(seed)

    def mask() -> np.ndarray:
        return rng.random(rows) < nulls

    numbers = rng.integers(0, 50, rows)
    return pa.table(
        {
            "symbol": pa.array([f"S{n:03d}" for n in numbers], mask=mask()),
            "at": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us", "UTC"), mask=mask()),
            "close": pa.array(rng.random(rows), mask=mask()),
            "volume": pa.array(rng.integers(-(2**40), 2**40, rows), mask=mask()),
            "halted": pa.array(rng.random(rows) < 0.5, mask=mask()),
            "tags": pa.array([["a", None, "b"][: n % 4] for n in numbers], mask=mask()),
            "quote": pa.array([{"bid": n / 4, "at": [n]} for n in numbers.tolist()], mask=mask()),
        }
    )


def write(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    defaults = {"compression": "zstd", "write_page_index": True, "store_schema": False}
    pq.write_table(table, sink, **{**defaults, **options})
    return sink.getvalue().to_pybytes()


def read(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))


def pieces_of(table: pa.Table, row_group_rows: int) -> list[pa.Table]:
    return [table.slice(at, row_group_rows) for at in range(0, table.num_rows, row_group_rows)]


def sample(count: int = 3, rows: int = ROWS, **options) -> tuple[RowGroup, ...]:
    table = table_of(count * rows)
    return tuple(group for part in pieces_of(table, rows) for group in cut(write(part, **options)))


# -- the same bytes as a single writer -----------------------------------------------------------

written = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["zstd", "snappy", "gzip", "lz4", "none"]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "use_dictionary": st.booleans(),
        "write_statistics": st.booleans(),
        "write_page_index": st.booleans(),
        "write_page_checksum": st.booleans(),
        "store_schema": st.booleans(),
        "data_page_size": st.sampled_from([64, 1 << 20]),
        "write_batch_size": st.just(64),
    }
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.integers(1, 400),
    row_group_rows=st.integers(20, 400),
    nulls=st.sampled_from([0, 0.3, 1]),
    seed=st.integers(0, 99),
    options=written,
)
def test_splicing_gives_the_bytes_of_one_writer_with_these_row_groups(
    rows, row_group_rows, nulls, seed, options
):
    table = table_of(rows, seed, nulls)
    together = write(table, row_group_size=row_group_rows, **options)
    apart = [group for part in pieces_of(table, row_group_rows) for group in cut(write(part, **options))]
    part = splice(apart)
    assert part.to_bytes() == together
    assert (part.rows, part.row_groups, part.size_bytes) == (rows, len(apart), len(together))
    assert cut(together) == tuple(apart)
    assert read(part.to_bytes()).equals(table)


@pytest.mark.parametrize("indexed", [True, False])
def test_the_metadata_says_what_a_single_writer_says(indexed):
    table = table_of(1_000)
    whole = pq.read_metadata(pa.BufferReader(write(table, row_group_size=300, write_page_index=indexed)))
    groups = [g for part in pieces_of(table, 300) for g in cut(write(part, write_page_index=indexed))]
    spliced = pq.read_metadata(pa.BufferReader(splice(groups).to_bytes()))
    assert spliced.to_dict() == whole.to_dict()
    column = spliced.row_group(3).column(0)
    assert column.has_offset_index is indexed
    assert column.data_page_offset < splice(groups).size_bytes


def test_any_order_and_any_repetition_of_row_groups_reads_as_such():
    groups = sample(4)
    order = [2, 0, 0, 3, 1, 2]
    expected = pa.concat_tables([table_of(4 * ROWS).slice(i * ROWS, ROWS) for i in order])
    assert read(splice([groups[i] for i in order]).to_bytes()).equals(expected)


def test_what_was_spliced_can_be_cut_and_spliced_again():
    groups = sample(5)
    part = splice(groups).to_bytes()
    assert cut(part) == groups
    assert splice(cut(part)).to_bytes() == part
    assert splice(cut(part)[3:4]).to_bytes() == splice(groups[3:4]).to_bytes()


def test_a_file_without_rows_has_no_row_groups():
    assert cut(write(table_of(0))) == ()


def test_no_row_groups_make_no_part():
    with pytest.raises(ValueError, match="at least one"):
        splice([])


# -- stored bodies -------------------------------------------------------------------------------


class Store:
    """One stored object that counts what is read of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []

    def read_range(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(self.content)
        self.reads.append((offset, length))
        return self.content[offset : offset + length]


def inline(part, content: bytes) -> bytes:
    return b"".join(
        content[p.offset : p.offset + p.size_bytes] if p.data is None else p.data for p in part.pieces
    )


def test_a_stored_part_is_taken_over_by_reading_its_tail_only():
    table = pa.table({"x": np.random.default_rng(1).random(400_000)})
    stored = write(table, row_group_size=100_000, data_page_size=8_000, write_batch_size=100)
    store = Store(stored)
    groups = read_part_row_groups(store.read_range, len(stored), key="part-00000.parquet", etag="e1")
    assert sum(length for _, length in store.reads) < len(stored) / 5
    assert {(g.body.key, g.body.etag, g.body.data, g.sha256) for g in groups} == {
        ("part-00000.parquet", "e1", None, "")
    }
    mixed = splice([groups[2], *cut(stored)[:1], groups[0]])
    assert [p.data is None for p in mixed.pieces] == [False, True, False, True, False]
    inlined = inline(mixed, stored)
    local = cut(stored)
    assert inlined == splice([local[2], local[0], local[0]]).to_bytes()
    mixed.verify([100_000] * 3)
    with pytest.raises(ValueError, match=r"stored in part-00000\.parquet"):
        mixed.to_bytes()


def test_a_footer_larger_than_the_first_read_costs_a_few_more_requests():
    groups = sample(1, rows=2) * 900
    stored = splice(groups).to_bytes()
    store = Store(stored)
    assert len(read_part_row_groups(store.read_range, len(stored), "k", "e")) == 900
    assert len(store.reads) <= 4
    assert sum(length for _, length in store.reads) <= len(stored)


def test_a_short_read_is_an_error():
    stored = splice(sample()).to_bytes()
    with pytest.raises(CorruptObject, match="k cannot be read"):
        read_part_row_groups(lambda o, n: stored[o : o + n - 1], len(stored), "k", "e")
    with pytest.raises(VerificationFailed):
        verify_part(lambda o, n: stored[o : o + n - 1], len(stored), [ROWS] * 3)


# -- row groups that do not belong together ------------------------------------------------------


def test_row_groups_of_another_schema_are_refused():
    (other,) = cut(write(table_of(10).rename_columns([f"{n}2" for n in table_of(10).column_names])))
    with pytest.raises(VerificationFailed, match="row group 1 has another schema"):
        splice([*sample(1), other])


def test_row_groups_of_another_nullability_are_refused():
    strict = pa.table({"x": [1]}, schema=pa.schema([pa.field("x", pa.int64(), nullable=False)]))
    with pytest.raises(VerificationFailed, match="another schema"):
        splice([*cut(write(pa.table({"x": [1]}))), *cut(write(strict))])


@pytest.mark.parametrize(
    "change",
    [
        {"rows": ROWS + 1},
        {"footer": b""},
        {"footer": b"\x00"},
        {"column_indexes": ()},
        {"offset_indexes": ()},
        {"body": Piece(3, b"abc")},
        {"body": Piece(10, None, "k")},
    ],
    ids=str,
)
def test_a_row_group_that_contradicts_itself_is_refused(change):
    broken = dataclasses.replace(sample(1)[0], **change)
    with pytest.raises(VerificationFailed):
        splice([broken])


# -- what other writers do -----------------------------------------------------------------------


def test_bloom_filters_are_left_behind_and_the_rest_still_reads():
    table = table_of(600)
    options = {"bloom_filter_options": {"symbol": {"ndv": 50, "fpp": 0.05}}}
    filtered = write(table, row_group_size=200, **options)
    plain = write(table, row_group_size=200)
    assert len(filtered) > len(plain)
    part = splice(cut(filtered)).to_bytes()
    assert part == plain


def footer_bytes(data: bytes) -> tuple[bytes, int]:
    length = int.from_bytes(data[-8:-4], "little")
    return data[-8 - length : -8], len(data) - 8 - length


def with_footer(data: bytes, footer: bytes) -> bytes:
    _, start = footer_bytes(data)
    return data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


UNKNOWN = (
    b"\x0c\xc8\x01"  # field 100, long form: a struct
    b"\x18\x03abc"  # 1: binary
    b"\x17\x00\x01\x02\x03\x04\x05\x06\x07"  # 2: double
    b"\x1b\x01\x86\x01x\x02"  # 3: map binary -> i64 ...
    b"\x11"  # 4: true
    b"\x19\x31\x01\x02\x01"  # 5: list of booleans
    b"\x1a\x14\x7f"  # 6: set of one i16
    b"\x1d" + bytes(16) +  # 7: uuid
    b"\x13\xff"  # 8: byte
    b"\x16\x80\x80\x00"  # 9: a zero in three bytes
    b"\x00"
)  # fmt: skip


def with_unknown_fields(data: bytes) -> bytes:
    """The same file as if a later version of the format had added a struct to every known struct."""
    footer, _ = footer_bytes(data)
    parsed = footers.parse(footer)
    structs = [parsed.root]
    for entry in parsed.entries:
        structs.append(entry.struct)
        for chunk in entry.chunks:
            structs += [chunk.struct, chunk.meta]
    edits = [(s.stop - 1, s.stop - 1, UNKNOWN) for s in structs]
    return with_footer(data, thrift.patched(footer, 0, len(footer), edits))


def test_fields_of_a_future_format_survive_byte_for_byte():
    table = table_of(900)
    together = with_unknown_fields(write(table, row_group_size=300))
    apart = [g for part in pieces_of(table, 300) for g in cut(with_unknown_fields(write(part)))]
    part = splice(apart).to_bytes()
    assert part == together
    assert footer_bytes(part)[0].count(UNKNOWN) == 1 + 3 * (1 + 2 * 8)
    assert read(part).equals(table)


def with_ordinals(data: bytes) -> bytes:
    """The same file by a writer that numbers its row groups."""
    footer, _ = footer_bytes(data)
    edits = []
    for i, entry in enumerate(footers.parse(footer).entries):
        assert max(entry.struct.fields) == 6
        edits.append((entry.struct.stop - 1, entry.struct.stop - 1, b"\x14" + thrift.encode_int(i)))
    return with_footer(data, thrift.patched(footer, 0, len(footer), edits))


def ordinals(data: bytes) -> list[int | None]:
    return [e.ordinal for e in footers.parse(footer_bytes(data)[0]).entries]


def test_ordinals_count_through_the_part():
    table = table_of(900)
    apart = [g for part in pieces_of(table, 300) for g in cut(with_ordinals(write(part)))]
    part = splice(apart)
    assert part.to_bytes() == with_ordinals(write(table, row_group_size=300))
    assert [ordinals(splice([g]).to_bytes()) for g in cut(part.to_bytes())] == [[0], [0], [0]]
    part.verify([300] * 3)


def test_row_groups_beyond_the_largest_ordinal_have_none(monkeypatch):
    monkeypatch.setattr(footers, "MAX_ORDINAL", 4)
    (group,) = cut(with_ordinals(write(table_of(10))))
    part = splice([group] * 8)
    assert ordinals(part.to_bytes()) == [0, 1, 2, 3, 4, None, None, None]
    part.verify([10] * 8)
    assert read(part.to_bytes()).num_rows == 80


def test_a_chunk_without_an_index_beside_chunks_with_one():
    (group,) = sample(1)
    partial = dataclasses.replace(
        group,
        column_indexes=(b"", *group.column_indexes[1:]),
        offset_indexes=(*group.offset_indexes[:-1], b""),
        footer_sha256="",
    )
    part = splice([group, partial])
    verify_part(part.read_range, part.size_bytes, [ROWS, ROWS])
    metadata = pq.read_metadata(pa.BufferReader(part.to_bytes()))
    assert not metadata.row_group(1).column(0).has_column_index
    assert metadata.row_group(1).column(0).has_offset_index
    assert metadata.row_group(0).column(0).has_column_index
    assert read(part.to_bytes()).num_rows == 2 * ROWS
    assert cut(part.to_bytes())[1].column_indexes[0] == b""


# -- verification --------------------------------------------------------------------------------


def check(data: bytes, rows: list[int]) -> None:
    verify_part(lambda offset, length: data[offset : offset + length], len(data), rows)


def test_a_good_part_passes_and_other_row_counts_do_not():
    part = splice(sample()).to_bytes()
    check(part, [ROWS] * 3)
    for wrong in ([ROWS] * 2, [ROWS] * 4, [3 * ROWS], [ROWS, ROWS - 1, ROWS + 1], []):
        with pytest.raises(VerificationFailed, match="900 rows in 3 row groups"):
            check(part, wrong)


def numbers_of_interest(data: bytes) -> list[tuple[str, thrift.Field]]:
    footer, _ = footer_bytes(data)
    parsed = footers.parse(footer)
    found = [("rows", parsed.root.fields[3])]
    for entry in parsed.entries:
        found += [(f"row group field {i}", entry.struct.fields[i]) for i in (3, 5, 7)]
        for chunk in entry.chunks:
            found += [(f"chunk field {i}", chunk.struct.fields[i]) for i in (4, 5, 6, 7)]
            found += [
                (f"metadata field {i}", chunk.meta.fields[i]) for i in (7, 9, 11) if i in chunk.meta.fields
            ]
    return found


@pytest.mark.parametrize("delta", [-1, 1, 1 << 40])
def test_a_footer_with_one_wrong_offset_length_or_count_does_not_pass(delta):
    part = splice([g for g in sample(2) for g in cut(with_ordinals(splice([g]).to_bytes()))]).to_bytes()
    footer, _ = footer_bytes(part)
    interesting = numbers_of_interest(part)
    assert len(interesting) > 90
    for name, field in interesting:
        value = thrift.int_of(footer, field) + delta
        edit = (field.start, field.stop, thrift.encode_int(value))
        wrong = with_footer(part, thrift.patched(footer, 0, len(footer), [edit]))
        try:
            check(wrong, [ROWS] * 2)
        except VerificationFailed:
            continue
        pytest.fail(f"{name} = {value} passed")


def test_an_offset_index_that_was_copied_and_not_moved_does_not_pass():
    groups = sample(2)
    good = splice(groups).to_bytes()
    moved = footers.moved_offset_index(groups[1].offset_indexes[3], groups[0].size_bytes)
    assert good.count(moved) == 1
    stale = groups[1].offset_indexes[3]
    if len(stale) < len(moved):  # a smaller number in as many bytes
        stale = footers.moved_offset_index(groups[1].offset_indexes[3], groups[0].size_bytes - 1)
    wrong = good.replace(moved, stale)
    assert len(wrong) == len(good)
    check(good, [ROWS] * 2)
    with pytest.raises(VerificationFailed, match="offset index of row group 1"):
        check(wrong, [ROWS] * 2)


@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"PAR1PAR1", b"PAR1\x00\x00\x00\x00PAR1", b"PAR1\xff\xff\xff\xffPAR1", bytes(1_000)],
    ids=["nothing", "magic", "twice", "no footer", "a footer of 4 GiB", "zeros"],
)
def test_what_is_no_parquet_file_is_refused(data):
    with pytest.raises(CorruptObject, match="cannot be read as Parquet"):
        cut(data)
    with pytest.raises(VerificationFailed):
        check(data, [1])


# -- hostile footers -----------------------------------------------------------------------------


def attempt(data: bytes) -> None:
    """Whatever the bytes are: row groups no larger than them, or an error of ours; a hang times out."""
    for take in (cut, lambda d: read_part_row_groups(lambda o, n: d[o : o + n], len(d), "k", "e")):
        try:
            groups = take(data)
        except CorruptObject:
            continue
        assert sum(g.size_bytes for g in groups) <= len(data)
        blobs = [blob for g in groups for blob in g.column_indexes + g.offset_indexes]
        assert sum(map(len, blobs)) <= 2 * len(data)
        with contextlib.suppress(VerificationFailed):
            assert not groups or splice(groups).rows
    with contextlib.suppress(VerificationFailed):
        check(data, [50])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_never_crashes(data):
    part = bytearray(splice(sample(1, rows=50)).to_bytes())
    _, start = footer_bytes(bytes(part))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(start - 200, len(part) - 1))
        part[at] = data.draw(st.integers(0, 255))
    attempt(bytes(part))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_a_footer_never_crash(noise):
    attempt(b"PAR1" + bytes(100) + noise + len(noise).to_bytes(4, "little") + b"PAR1")


def test_a_cut_file_never_crashes():
    part = splice(sample(1, rows=50)).to_bytes()
    for length in random.Random(1).sample(range(len(part)), 200):
        attempt(part[:length])
        attempt(b"PAR1" + part[length:])


@pytest.mark.parametrize(
    ("name", "footer"),
    {
        "structs in structs": b"\x1c" * 100_000,
        "lists in lists": b"\x19" + b"\x19" * 100_000,
        "row groups in row groups": b"\x49\x1c" * 50_000,
        "a list of four billion structs": b"\x15\x02\x49\xfc\xff\xff\xff\xff\x0f",
        "a list of four billion doubles": b"\x19\xf7\xff\xff\xff\xff\x0f" + bytes(100),
        "a map of four billion": b"\x1b\xff\xff\xff\xff\x0f\x77" + bytes(100),
        "a text of four billion bytes": b"\x18\xff\xff\xff\xff\x0f" + bytes(100),
        "a number without end": b"\x15" + b"\xff" * 100_000,
        "a field id without end": b"\x05" + b"\xff" * 100_000,
        "an unknown type": b"\x1e\x00\x00",
        "a field without a type": b"\x10\x00\x00",
        "a list of unknown type": b"\x19\x1f\x00\x00",
        "many empty structs": b"\x49\xfc\x80\x80\x08" + bytes(131_072) + b"\x00",
    }.items(),
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_hostile_footer_is_refused_at_once(name, footer):
    data = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(CorruptObject):
        cut(data)


def test_row_groups_that_claim_the_same_bytes_are_refused_before_they_are_copied():
    data = write(table_of(ROWS))
    footer, _ = footer_bytes(data)
    parsed = footers.parse(footer)
    struct = parsed.entries[0].struct
    entry = footer[struct.start : struct.stop]
    thousandfold = footers.with_entries(parsed, [entry] * 1_000, 1_000 * ROWS)
    with pytest.raises(CorruptObject, match="row group 1 overlaps"):
        cut(with_footer(data, thousandfold))


def test_an_encrypted_file_and_columns_in_other_files_are_refused_by_name():
    data = write(pa.table({"x": [1]}))
    footer, _ = footer_bytes(data)
    parsed = footers.parse(footer)
    encrypted = footer[:-1] + b"\x0c\x10\x00\x00"  # field 8, long form: an empty struct
    with pytest.raises(CorruptObject, match="encrypted"):
        cut(with_footer(data, encrypted))
    chunk = parsed.entries[0].chunks[0].struct
    first = next(iter(chunk.fields.values()))
    path = b"\x18\x01f" + bytes([(first.id - 1) << 4 | first.type])  # field 1 before the others
    elsewhere = thrift.patched(footer, 0, len(footer), [(first.header, first.start, path)])
    with pytest.raises(CorruptObject, match="another file"):
        cut(with_footer(data, elsewhere))


def test_a_row_group_without_columns_is_refused_by_name():
    data = write(pa.table({"x": [1]}))
    footer, _ = footer_bytes(data)
    struct = footers.parse(footer).entries[0].struct
    columns = struct.fields[1]
    none = thrift.patched(footer, 0, len(footer), [(columns.start, columns.stop, thrift.list_of_structs(0))])
    absent = thrift.patched(footer, 0, len(footer), thrift.without(struct, [1]))
    for broken in (none, absent):
        with pytest.raises(CorruptObject, match="a row group has no columns"):
            cut(with_footer(data, broken))


@pytest.mark.parametrize("what", ["no metadata", "metadata that is no struct", "an encrypted column"])
def test_a_column_whose_metadata_cannot_be_read_is_refused_by_name(what):
    data = write(pa.table({"x": [1]}))
    footer, _ = footer_bytes(data)
    struct = footers.parse(footer).entries[0].chunks[0].struct
    meta = struct.fields[3]
    edits = {
        "no metadata": thrift.without(struct, [3]),
        # An i64 in its place, under the same field id.
        "metadata that is no struct": [(meta.header, meta.stop, bytes([footer[meta.header] & 0xF0 | 6, 0]))],
        "an encrypted column": [(struct.stop - 1, struct.stop, b"\x0c\x10\x00\x00")],  # field 8, long form
    }[what]
    broken = thrift.patched(footer, 0, len(footer), edits)
    with pytest.raises(CorruptObject, match="a column chunk has no readable metadata"):
        cut(with_footer(data, broken))


def test_two_thousand_row_groups_are_spliced_and_verified():
    groups = sample(1, rows=100) * 2_000
    part = splice(groups)
    verify_part(part.read_range, part.size_bytes, [100] * 2_000)
    assert (part.rows, part.row_groups) == (200_000, 2_000)
