"""Encoding: the same rows give the same bytes, exact types come back, and row groups fit their part."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.encoding.row_digest import rows_digest
from briquette.encoding.row_groups import CODECS, encode
from briquette.errors import ConfigError
from briquette.model import CompactionSpec, RowGroup, Schema
from briquette.parquet.packing import pack_row_groups
from briquette.parquet.splice import added_bytes, splice, verify_part
from briquette.schemas.declared import arrow_type

SPEC = CompactionSpec(Schema(()))


def spec(**changes: object) -> CompactionSpec:
    return CompactionSpec(Schema(()), **changes)


def file_of(row_groups: tuple[RowGroup, ...]) -> pa.BufferReader:
    return pa.BufferReader(splice(row_groups).to_bytes())


def bodies(table: pa.Table, how: CompactionSpec = SPEC) -> list[tuple[bytes | None, bytes]]:
    return [(g.body.data, g.footer) for g in encode(table, how)]


def prices(rows: int, seed: int = 1, symbols: int = 7) -> pa.Table:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.001, rows))), 2)
    start = np.datetime64("2025-09-09T13:30", "us")
    missing = rng.random(rows) < 0.05
    return pa.table(
        {
            "symbol": pa.array([f"S{i * symbols // rows:04d}" for i in range(rows)]),
            "timestamp": pa.array(
                start + np.arange(rows) % 390 * np.timedelta64(60, "s"), pa.timestamp("us", "UTC")
            ),
            "open": np.round(close * (1 + rng.normal(0, 0.0005, rows)), 2),
            "close": close,
            "adjusted_close": pa.array(np.round(close * 0.98, 4), mask=missing),
            "volume": rng.integers(0, 5_000_000, rows),
        }
    )


def random_rows(rows: int) -> pa.Table:
    rng = np.random.default_rng(2)
    return pa.table({f"x{i}": rng.integers(-(2**63), 2**63 - 1, rows) for i in range(8)})


def constant_rows(rows: int) -> pa.Table:
    return pa.table({"symbol": ["AAPL"] * rows, "close": [1.5] * rows, "volume": [7] * rows})


# -- the same rows, the same bytes ---------------------------------------------------------------


def arrivals(text: list[str | None]) -> dict[str, pa.ChunkedArray]:
    """One text column as decoders and readers may hand it over."""
    plain = pa.array(text, pa.string())
    values = sorted({t for t in text if t is not None}, reverse=True)
    padded = pa.array(["unused", *values, "also unused"])
    codes = pa.array([None if t is None else 1 + values.index(t) for t in text], pa.int16())
    half = len(text) // 2
    twice = pa.array(values + values, pa.string())  # a dictionary that holds each value twice
    second = pa.array([None if t is None else len(values) + values.index(t) for t in text], pa.int32())
    chunks = [plain.slice(0, half).dictionary_encode(), plain.slice(half).dictionary_encode()]
    shifted = pa.array(["garbage", *text, "garbage"]).slice(1, len(text))
    return {
        "plain": pa.chunked_array([plain]),
        "large": pa.chunked_array([plain.cast(pa.large_string())]),
        "view": pa.chunked_array([plain.cast(pa.string_view())]),
        "many chunks": pa.chunked_array([plain.slice(0, half), plain.slice(half, 0), plain.slice(half)]),
        "slice of a longer array": pa.chunked_array([shifted]),
        "dictionary": pa.chunked_array([plain.dictionary_encode()]),
        "dictionary in another order, with unused values": pa.chunked_array(
            [pa.DictionaryArray.from_arrays(codes, padded)]
        ),
        "dictionary with repeated values": pa.chunked_array([pa.DictionaryArray.from_arrays(second, twice)]),
        "dictionaries that differ by chunk": pa.chunked_array(chunks),
    }


@pytest.mark.parametrize("distinct", [1, 3, 700, 100_000])
@pytest.mark.parametrize("rows", [1, 10, 5_000])
def test_how_texts_arrive_does_not_change_the_bytes(rows, distinct):
    rng = np.random.default_rng(3)
    text = [None if rng.random() < 0.1 else f"name {rng.integers(distinct)}" for _ in range(rows)]
    number = pa.array(range(rows))
    results = {
        way: bodies(pa.table({"name": column, "n": number}), spec(target_part_bytes=1 << 18))
        for way, column in arrivals(text).items()
    }
    for way, result in results.items():
        assert result == results["plain"], way


def test_how_numbers_and_nested_values_arrive_does_not_change_the_bytes():
    table = pa.table(
        {
            "n": pa.array([None, 1, 2, None, 4, 5] * 50),
            "f": pa.array([0.5, None, 1.5, 2.5, None, 3.5] * 50),
            "list": pa.array([[1, 2], None, [], [None], [3], [4, 5, 6]] * 50),
            "struct": pa.array([{"a": "x"}, None, {"a": None}, {"a": "y"}, {"a": "z"}, None] * 50),
        }
    )
    cut_up = pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7, 130), table.slice(137)])
    shifted = pa.concat_tables([table.slice(0, 3), table]).combine_chunks().slice(3)
    under_nulls = table.set_column(
        0,
        "n",
        pa.Array.from_buffers(
            pa.int64(),
            table.num_rows,
            [
                table["n"].chunk(0).buffers()[0],
                pa.py_buffer(np.where(table["n"].is_null(), -99, table["n"].fill_null(0)).astype(np.int64)),
            ],
        ),
    )
    large = table.set_column(2, "list", table["list"].cast(pa.large_list(pa.int64())))
    for other in (cut_up, shifted, under_nulls, large):
        assert bodies(other) == bodies(table)


def test_encoding_again_gives_the_same_bytes_and_names_no_clock_or_host():
    table = prices(10_000)
    assert bodies(table) == bodies(table)
    metadata = pq.read_metadata(file_of(encode(table, SPEC)))
    assert metadata.metadata is None
    assert metadata.created_by == f"parquet-cpp-arrow version {pa.__version__}"


# -- what comes back -----------------------------------------------------------------------------

UTC = dt.UTC
VALUES = {
    "string": ["", "Zürich", "a\nb", None, "\x00"],
    "json": ['{"a":1}', "[]", None],
    "bool": [True, False, None],
    "int8": [-128, 127, None],
    "int16": [-(2**15), 2**15 - 1, None],
    "int32": [-(2**31), 2**31 - 1, None],
    "int64": [-(2**63), 2**63 - 1, None],
    "uint8": [0, 255, None],
    "uint16": [0, 2**16 - 1, None],
    "uint32": [0, 2**32 - 1, None],
    "uint64": [0, 2**64 - 1, None],
    "float32": [0.5, -0.0, float("inf"), None],
    "float64": [0.1, -0.0, float("-inf"), 5e-324, None],
    "date": [dt.date(1, 1, 1), dt.date(9999, 12, 31), None],
    "timestamp[ms]": [dt.datetime(1, 1, 1), None],  # noqa: DTZ001
    "timestamp[us]": [dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), None],  # noqa: DTZ001
    "timestamp[us, UTC]": [dt.datetime(2025, 9, 9, 13, 30, 0, 1, tzinfo=UTC), None],
    "timestamp[ns]": [dt.datetime(2025, 9, 9, 13, 30), None],  # noqa: DTZ001
    "timestamp[ns, UTC]": [dt.datetime(2025, 9, 9, 13, 30, tzinfo=UTC), None],
    "decimal(5, 2)": [Decimal("-999.99"), Decimal("0.01"), None],
    "decimal(18, 0)": [Decimal(10**18 - 1), None],
    "decimal(38, 9)": [Decimal("12345678901234567890123456789.123456789"), None],
    "binary": [b"", b"\xff\x00", None],
    "list<int64>": [[], [1, None], None],
    "list<string>": [["a", "a", None], None],
    "list<list<float64>>": [[[0.5], None, []], None],
    "struct<a: int64, b: string>": [{"a": 1, "b": None}, None],
    "list<struct<at: timestamp[us, UTC], price: decimal(9, 4)>>": [
        [{"at": dt.datetime(2025, 9, 9, tzinfo=UTC), "price": Decimal("1.5000")}, None],
        None,
    ],
}


@pytest.mark.parametrize("word", VALUES)
@pytest.mark.parametrize("repeat", [1, 3_000])
def test_every_declared_type_comes_back_exactly(word, repeat):
    column = pa.array(VALUES[word] * repeat, arrow_type(word))
    table = pa.table({"before": pa.array(range(len(column))), "value": column})
    back = pq.read_table(file_of(encode(table, SPEC)))
    assert back.schema == table.schema
    assert back.equals(table)
    assert rows_digest(back) == rows_digest(table)


def test_timestamps_in_seconds_come_back_in_milliseconds_because_parquet_has_no_seconds():
    table = pa.table({"at": pa.array([0, None, 1_757_424_600], pa.timestamp("s", "UTC"))})
    back = pq.read_table(file_of(encode(table, SPEC)))
    assert back.equals(table.cast(pa.schema([("at", pa.timestamp("ms", "UTC"))])))
    assert rows_digest(back) == rows_digest(table)


def test_signs_of_zero_and_nan_survive_a_dictionary():
    table = pa.table({"x": pa.array([0.0, -0.0, float("nan"), 1.5] * 5_000)})
    groups = encode(table, SPEC)
    assert "RLE_DICTIONARY" in pq.read_metadata(file_of(groups)).row_group(0).column(0).encodings
    back = pq.read_table(file_of(groups))["x"].to_numpy()
    np.testing.assert_array_equal(back, table["x"].to_numpy())
    np.testing.assert_array_equal(np.signbit(back[:2]), [False, True])


def test_columns_declared_not_null_stay_so():
    schema = pa.schema([pa.field("symbol", pa.string(), nullable=False), pa.field("x", pa.int64())])
    table = pa.table({"symbol": ["A", "A", "A"], "x": [1, None, 3]}, schema=schema)
    back = pq.read_schema(file_of(encode(table, SPEC)))
    assert [f.nullable for f in back] == [False, True]


def test_odd_column_names_are_kept():
    table = pa.table(
        {
            "a.b": pa.array([1.5, 2.5]),
            "a": pa.array([{"b": 1}, {"b": 2}]),  # its path reads like the column before
            "with space": pa.array(["x", "x"]),
            "Ünï.list.element": pa.array([1, 2]),
        }
    )
    assert pq.read_table(file_of(encode(table, SPEC))).equals(table)


def test_no_rows_give_no_row_group():
    assert encode(prices(10).slice(0, 0), SPEC) == ()


def test_an_unknown_codec_names_the_known_ones():
    with pytest.raises(ConfigError, match="zstd, snappy, gzip, lz4, none"):
        encode(prices(10), spec(codec="brotli"))


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_written_and_read(codec):
    table = prices(5_000)
    groups = encode(table, spec(codec=codec))
    written = pq.read_metadata(file_of(groups)).row_group(0).column(0).compression
    assert written == {"lz4": "LZ4", "none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert pq.read_table(file_of(groups)).equals(table)


# -- what readers can skip by --------------------------------------------------------------------


def test_statistics_and_page_indexes_are_there_for_every_column():
    table = prices(100_000)
    (group,) = encode(table, SPEC)
    metadata = pq.read_metadata(file_of((group,))).row_group(0)
    for i, name in enumerate(table.column_names):
        column = metadata.column(i)
        assert column.has_column_index
        assert column.has_offset_index
        values = table[name].drop_null().to_pylist()
        assert (column.statistics.min, column.statistics.max) == (min(values), max(values))
        assert column.statistics.null_count == table[name].null_count
    assert all(group.column_indexes)
    assert all(group.offset_indexes)


def encodings_of(table: pa.Table) -> dict[str, set[str]]:
    metadata = pq.read_metadata(file_of(encode(table, SPEC))).row_group(0)
    columns = [metadata.column(i) for i in range(metadata.num_columns)]
    return {c.path_in_schema: set(c.encodings) - {"RLE"} for c in columns}


def test_each_column_gets_the_encoding_that_suits_it():
    rows = 200_000
    rng = np.random.default_rng(4)
    table = pa.table(
        {
            "symbol": pa.array([f"S{i // 390}" for i in range(rows)]),
            "id": pa.array([f"{x:016x}" for x in rng.integers(0, 2**62, rows)]),
            "timestamp": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us", "UTC")),
            "volume": rng.integers(0, 5_000_000, rows),
            "hash": rng.integers(-(2**63), 2**63 - 1, rows),
            "venue": rng.integers(0, 20, rows) * 1_000_003,
            "cents": np.round(rng.random(rows) * 100, 2),
            "exact": rng.random(rows),
            "amount": pa.array(rng.integers(0, 10**6, rows), pa.int64()).cast(pa.decimal128(38, 2))
            .cast(pa.decimal128(18, 2)),
        }
    )  # fmt: skip
    dictionary, delta, plain = {"PLAIN", "RLE_DICTIONARY"}, {"DELTA_BINARY_PACKED"}, {"PLAIN"}
    assert encodings_of(table) == {
        "symbol": dictionary,
        "id": plain,
        "timestamp": delta,
        "volume": delta,
        "hash": plain,
        "venue": dictionary,
        "cents": dictionary,
        "exact": plain,
        "amount": delta,
    }


def test_a_column_of_nulls_and_a_table_without_repeats_are_no_special_cases():
    table = pa.table(
        {
            "nothing": pa.array([None] * 6_000, pa.float64()),
            "no text": pa.array([None] * 6_000, pa.string()),
            "one": pa.array([None] * 5_999 + [7]),
        }
    )
    assert pq.read_table(file_of(encode(table, SPEC))).equals(table)


# -- sizes (C12) ---------------------------------------------------------------------------------

TABLES = {"constant": constant_rows, "prices": prices, "random": random_rows}


@pytest.mark.parametrize("shape", TABLES)
@pytest.mark.parametrize(
    ("target", "split_rows"), [(64 << 10, 6_000), (256 << 10, 20_000), (1 << 20, 30_000)], ids=str
)
def test_parts_come_within_five_percent_of_their_target(shape, target, split_rows):
    encoded = [encode(TABLES[shape](rows), spec(target_part_bytes=target)) for rows in (split_rows, 1_000)]
    sizes = [sum(map(added_bytes, groups)) for groups in encoded]
    assert max(added_bytes(g) for groups in encoded for g in groups) <= target // 12
    # Splits of unlike sizes, as many as fill about three parts.
    groups = (encoded[0] * 2 + encoded[1]) * (1 + 3 * target // (2 * sizes[0] + sizes[1]))
    parts = [splice(groups[start:stop]) for start, stop in pack_row_groups(groups, target)]
    assert len(parts) >= 3
    assert sum(part.rows for part in parts) == sum(g.rows for g in groups)
    for part in parts[:-1]:
        assert abs(part.size_bytes - target) <= 0.05 * target
    assert parts[-1].size_bytes <= 1.05 * target
    rows = [g.rows for g in groups[: parts[0].row_groups]]
    verify_part(parts[0].read_range, parts[0].size_bytes, rows)


def test_rows_cut_for_their_size_are_all_there_in_order():
    table = prices(20_000)
    groups = encode(table, spec(target_part_bytes=200_000))
    assert len(groups) > 5
    assert pq.read_table(file_of(groups)).equals(table)


def test_one_row_group_where_the_target_leaves_room():
    assert len(encode(prices(100_000), SPEC)) == 1


def test_a_row_larger_than_the_limit_stays_one_row_group():
    text = [f"{np.random.default_rng(i).integers(0, 2**62, 4_000)}" * 50 for i in range(4)]
    groups = encode(pa.table({"text": text}), spec(target_part_bytes=64 << 10, codec="none"))
    assert [g.rows for g in groups] == [1, 1, 1, 1]


def test_a_wide_table_is_not_cut_into_footers():
    table = pa.table({f"column {i}": np.arange(2_000) * i % 1_009 for i in range(200)})
    groups = encode(table, spec(target_part_bytes=64 << 10))
    metadata_bytes = sum(added_bytes(g) - g.size_bytes for g in groups)
    assert len(groups) < 10
    assert metadata_bytes < sum(g.size_bytes for g in groups)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 3_000),
    values=st.integers(1, 3_000),
    target=st.sampled_from([1, 20_000, 64 << 10, 1 << 30]),
    codec=st.sampled_from(sorted(CODECS)),
    seed=st.integers(0, 99),
)
def test_whatever_the_rows_they_come_back(rows, values, target, codec, seed):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, values, rows)
    mask = rng.random(rows) < rng.choice([0, 0.3, 1])
    table = pa.table(
        {
            "text": pa.array([f"t{x}" for x in drawn], mask=mask),
            "int": pa.array(drawn * 10**12, mask=mask),
            "float": pa.array(drawn / 7, mask=~mask),
            "date": pa.array(drawn.astype(np.int32), pa.int32(), mask=mask).cast(pa.date32()),
            "list": pa.array([[f"t{x}"] * (x % 3) for x in drawn.tolist()], mask=mask),
        }
    )
    groups = encode(table, spec(target_part_bytes=target, codec=codec))
    assert sum(g.rows for g in groups) == rows
    assert rows_digest(pq.read_table(file_of(groups))) == rows_digest(table)
