"""Parquet files as others write them, odd ones, small ones that hold much, and too little memory."""

from __future__ import annotations

import datetime as dt
import io
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette.decoding.decode import decode_in_turn, decode_objects, decode_records_only
from briquette.decoding.parquet.file import InMemory, Meter, ParquetObject, Ranged, enough_memory, reading
from briquette.decoding.parquet.rows import parquet_blocks
from briquette.decoding.parquet.sizes import row_bytes
from briquette.errors import EXIT_RETRYABLE, CorruptObject, LimitExceeded, OutOfMemory, PreconditionFailed
from briquette.inference.infer import infer_schema
from briquette.model import CompactionSpec, ExtraFields, Field, Limits, Schema

from .test_lanes_agree import facts, together

MIB = 1 << 20
NEAR, FAR = (dt.datetime.fromisoformat(day) for day in ("2020-01-01", "9999-12-31"))
ROOT = Path(__file__).parents[3]


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def spec_of(extra: ExtraFields = ExtraFields.IGNORE, **columns: str) -> CompactionSpec:
    fields = tuple(Field(name, word) for name, word in columns.items())
    return CompactionSpec(Schema(fields), extra_fields=extra)


def decoded(body: bytes, spec: CompactionSpec) -> Any:
    """What both lanes, and blocks of one row, say."""
    done = decode_objects([("a.parquet", body)], spec)
    assert facts(done) == facts(decode_records_only([("a.parquet", body)], spec))
    assert facts(together(parquet_blocks("a.parquet", InMemory(body), spec, 1))) == facts(done)
    return done


# -- odd files -----------------------------------------------------------------------------------


def test_a_name_that_is_there_twice_is_refused_at_every_level() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    inner = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    for body, name in ((parquet(twice), "a"), (parquet(pa.table({"s": inner})), r"s\.x")):
        for ask in (
            lambda b: decode_objects([("k", b)], spec_of(a="int64")),
            lambda b: infer_schema([("k", b)]),
        ):
            with pytest.raises(CorruptObject, match=f"column {name} more than once"):
                ask(body)


def test_dots_in_names_are_part_of_them() -> None:
    nested = pa.array([{"b": FAR}], pa.struct([("b", pa.timestamp("us"))]))
    table = pa.table({"a.b": pa.array([NEAR], pa.timestamp("us")), "a": nested})
    for options in ({}, {"use_deprecated_int96_timestamps": True}):
        spec = spec_of(**{"a": "struct<b: timestamp[us]>", "a.b": "timestamp[us]"})
        done = decoded(parquet(table, **options), spec)
        assert done.table.to_pylist() == [{"a": {"b": FAR}, "a.b": NEAR}]


def test_files_without_rows_columns_or_row_groups() -> None:
    spec = spec_of(a="int64")
    schema = pa.schema([("a", pa.int64())])
    out = io.BytesIO()
    pq.ParquetWriter(out, schema).close()
    for body in (out.getvalue(), parquet(schema.empty_table()), parquet(pa.table({}))):
        done = decoded(body, spec)
        assert (done.table.num_rows, done.object_records) == (0, (0,))


def test_unknown_columns_are_kept_in_their_form() -> None:
    table = pa.table(
        {
            "id": [1, 2],
            "m": pa.array([[(1, None)], None], pa.map_(pa.int8(), pa.int8())),
            "t": pa.array([5, None], pa.time64("ns")),
            "b": pa.array([b"text", b"\xff"]),
        }
    )
    done = decoded(parquet(table), spec_of(ExtraFields.RESCUE, id="int64"))
    assert done.table.column("_rescued").to_pylist() == [
        '{"m":{"1":null},"t":"00:00:00.000000005","b":"text"}',
        '{"m":null,"t":null,"b":"0xff"}',
    ]


# -- files of others -----------------------------------------------------------------------------


def test_what_duckdb_writes(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    duckdb.sql(
        f"""copy (select '{"0" * 8}-0000-0000-0000-00000000002a'::uuid u,
        interval '1 month 2 days 3.5 seconds' i, map{{'a': 1, 'b': null}} m, '{{"a": [1.50]}}'::json j,
        '12:00:01.5'::time t, 'abc'::blob b, '\\xFF'::blob n, 1.50::decimal(4, 2) d,
        timestamp_ns '2020-01-01 00:00:00.123456789' ns) to '{tmp_path / "a.parquet"}' (format parquet)"""
    )
    body = (tmp_path / "a.parquet").read_bytes()
    words = {"u": "string", "i": "string", "m": "json", "j": "json", "t": "string"}
    words |= {"b": "string", "n": "binary", "d": "decimal(4, 2)", "ns": "string"}
    (row,) = decoded(body, spec_of(**words)).table.to_pylist()
    assert row["u"] == "00000000-0000-0000-0000-00000000002a"
    assert (row["i"], row["t"]) == ("P1M2DT3.5S", "12:00:01.500000")
    assert (row["m"], row["j"]) == ('{"a":1,"b":null}', '{"a":[1.50]}')
    assert (row["b"], row["n"], str(row["d"])) == ("abc", b"\xff", "1.50")
    assert row["ns"] == "2020-01-01T00:00:00.123456789"
    found = {f.name: f.type for f in infer_schema([("a.parquet", body)]).schema.fields}
    assert found == words | {"ns": "timestamp[ns]"}


def test_what_polars_writes() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "t": [dt.time(1, 2, 3)],
            "c": pl.Series(["x"], dtype=pl.Categorical),
            "b": [b"\xff"],
            "a": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)),
            "n": pl.Series([None], dtype=pl.Null),
        }
    )
    out = io.BytesIO()
    frame.write_parquet(out)
    spec = spec_of(t="string", c="string", b="binary", a="list<int8>", n="float64")
    assert decoded(out.getvalue(), spec).table.to_pylist() == [
        {"t": "01:02:03", "c": "x", "b": b"\xff", "a": [1, 2], "n": None}
    ]


def test_int96_of_all_years_in_all_places() -> None:
    """As Spark writes them: 9999-12-31 for what has no end."""
    times = pa.array([253_402_300_799_000_000, -62_135_596_800_000_000, 1, None], pa.timestamp("us"))
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3, 4], pa.int32()), times)
    table = pa.table({"t": times, "s": pa.StructArray.from_arrays([times], ["x"]), "l": lists})
    body = parquet(table, use_deprecated_int96_timestamps=True, row_group_size=2)
    spec = spec_of(t="timestamp[us]", s="struct<x: timestamp[us]>", l="list<timestamp[us]>")
    assert decoded(body, spec).table.to_pylist() == table.to_pylist()
    assert [f.type for f in infer_schema([("k", body)]).schema.fields] == [f.type for f in spec.schema.fields]


# -- little bytes, much text -----------------------------------------------------------------------


def unfolding(rows: int, size: int) -> bytes:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * size])
    return parquet(pa.table({"i": range(rows), "t": texts}), store_schema=False)


def test_a_small_file_that_holds_much_is_read_in_bounded_slices() -> None:
    body = unfolding(4_000, MIB)
    assert len(body) < MIB
    file = ParquetObject("k", InMemory(body), Limits())
    rows = [piece.rows.num_rows for piece in file.slices(Meter())]
    assert sum(rows) == 4_000
    assert max(rows) <= 8
    with pytest.raises(LimitExceeded, match="of values"):
        list(ParquetObject("k", InMemory(body), Limits(object_bytes=MIB * 1_000)).slices(Meter()))


def test_blocks_are_the_same_however_the_file_is_written() -> None:
    """They go by the values: not by row groups, pages, encodings or Arrow's types."""
    texts = [str(i) * (i % 50) for i in range(500)]
    table = pa.table(
        {"i": pa.array(range(500), pa.int16()), "t": texts, "l": [[i] * (i % 3) for i in range(500)]}
    )
    wider = table.set_column(0, "i", table["i"].cast(pa.int64())).set_column(
        1, "t", table["t"].cast(pa.large_string())
    )
    bodies = [parquet(table), parquet(table, row_group_size=7), parquet(wider, use_dictionary=False)]
    spec = CompactionSpec(spec_of(i="int64", t="string", l="list<int64>").schema, split_bytes=1_000)
    cuts = [
        [b.object_records for b in decode_in_turn([("a", body), ("b", body)], 2, 9, spec)] for body in bodies
    ]
    assert len(cuts[0]) > 10
    assert cuts[0] == cuts[1] == cuts[2]
    assert np.sum(cuts[0], axis=0).tolist() == [500, 500]


def test_what_a_value_counts_for() -> None:
    assert row_bytes(pa.array(["abc", None, ""])).tolist() == [7, 4, 4]
    assert row_bytes(pa.array(["abc", None, "abc"]).dictionary_encode()).tolist() == [7, 4, 7]
    assert row_bytes(pa.array([[1, 2], None, []], pa.list_(pa.int8())).slice(1)).tolist() == [4, 4]
    assert row_bytes(pa.array([{"a": 1, "b": "x"}])).tolist() == [13]
    assert row_bytes(pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8()))).tolist() == [17]


def test_of_a_file_read_by_ranges_only_pages_are_fetched() -> None:
    columns = {f"c{i}": pa.array(np.random.default_rng(i).random(200_000)) for i in range(8)}
    body = parquet(pa.table(columns), row_group_size=20_000)
    longest = 0

    def fetch(start: int, stop: int) -> bytes:
        nonlocal longest
        longest = max(longest, stop - start)
        return body[start:stop]

    spec = spec_of(**dict.fromkeys(columns, "float64"))
    whole = decode_objects([("k", body)], spec)
    assert facts(together(parquet_blocks("k", Ranged(len(body), fetch), spec, MIB))) == facts(whole)
    assert longest < len(body) // 8


@pytest.mark.parametrize("failing", [1, 2, 5])
def test_a_file_that_changes_while_it_is_read_is_not_called_corrupt(failing: int) -> None:
    body = parquet(pa.table({"c": np.random.default_rng(0).random(200_000)}), row_group_size=20_000)
    reads = 0

    def fetch(start: int, stop: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == failing:
            raise PreconditionFailed("it changed")
        return body[start:stop]

    with pytest.raises(PreconditionFailed, match="it changed"):
        list(parquet_blocks("k", Ranged(len(body), fetch), spec_of(c="float64"), MIB))


# -- too little memory -----------------------------------------------------------------------------


def test_a_lack_of_memory_is_no_fault_of_the_object() -> None:
    for cause in (MemoryError("1"), pa.ArrowMemoryError("malloc of size 9 failed")):
        for context in (reading, enough_memory):
            with (
                pytest.raises(OutOfMemory, match=r"k\.parquet takes more memory") as caught,
                context("k.parquet"),
            ):
                raise cause
            assert caught.value.exit_code == EXIT_RETRYABLE
            assert isinstance(pickle.loads(pickle.dumps(caught.value)), OutOfMemory)
    with pytest.raises(CorruptObject), reading("k.parquet"):
        raise pa.ArrowInvalid("bad page")


def read_with_little_memory() -> None:
    """Run by the test below: one page of 240 MB, and 120 MB more than the process has now."""
    page = pa.table({"t": pa.array(["x" * (8 * MIB)] * 30)})
    body = parquet(page, use_dictionary=False, compression="zstd")
    del page
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 120 * MIB, used + 120 * MIB))
    with pytest.raises(OutOfMemory, match=r"a\.parquet"):
        decode_objects([("a.parquet", body)], spec_of(t="string"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_page_beyond_the_machine_is_a_lack_of_memory() -> None:
    code = "from tests.unit.decoding.test_parquet_files import read_with_little_memory as run; run()"
    env = {"ARROW_DEFAULT_MEMORY_POOL": "system", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=env, timeout=100)
