"""What CSV and Parquet objects mean; both lanes are asked."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.rows.result import Decoded
from briquette.errors import CorruptObject, LimitExceeded
from briquette.model import CompactionSpec, ExtraFields, Field, Limits, Schema

SPEC = CompactionSpec(
    Schema((Field("symbol", "string"), Field("close", "float64"), Field("volume", "int64")))
)
BOTH = pytest.mark.parametrize("decode", [decode_objects, decode_records_only])


def rows(decoded: Decoded) -> list[tuple[Any, ...]]:
    return [tuple(r.values()) for r in decoded.table.to_pylist()]


@BOTH
def test_columns_go_by_name_whatever_their_order_in_each_file(decode: Any) -> None:
    done = decode(
        [
            ("a.csv", b"volume,symbol\n1,A\n"),
            ("b.csv", b'"symbol",volume , close\nB,2,1.5\n'),
            ("c.csv", b"volume,symbol\r\n3,C"),
        ],
        SPEC,
    )
    assert rows(done) == [("A", None, 1), ("B", 1.5, 2), ("C", None, 3)]


@BOTH
def test_percent_g_numbers_are_exact_integers_where_they_are(decode: Any) -> None:
    done = decode([("a.csv", b"symbol,close,volume\nA,nan,1.23457e+06\nB,,\nC,189.123,1e-05\n")], SPEC)
    assert repr(rows(done)) == repr([("A", float("nan"), 1234570), ("B", None, None)])
    assert [r.position for r in done.rejects] == [2]


@BOTH
def test_rfc_4180_quotes(decode: Any) -> None:
    text = b'symbol,close\r\n"a,b",1\r\n"x ""y""",2\r\n"two\r\nlines",3\r\n"",4\r\nab,5\r\n'
    done = decode([("a.csv", text)], SPEC)
    assert [r[0] for r in rows(done)] == ["a,b", 'x "y"', "two\r\nlines", "", "ab"]
    assert done.object_records == (5,)


@BOTH
def test_a_bad_record_is_set_aside_with_its_text_and_place(decode: Any) -> None:
    lines = [
        b"\xef\xbb\xbfsymbol,close,volume",
        b"A,1,2",
        b"B,1",
        b"C,1,2,3",
        b"",
        b"D,x,1",
        b"\xff,1,1",
        b'"E"x,1,1',
        b"F,1,1",
    ]
    done = decode([("a.csv", b"\r\n".join(lines))], SPEC)
    assert [(r.position, r.raw, r.reason) for r in done.rejects] == [
        (1, b"B,1", "2 fields where the header has 3"),
        (2, b"C,1,2,3", "4 fields where the header has 3"),
        (3, b"D,x,1", 'field close: "x" is not a number'),
        (4, b"\xff,1,1", "not valid UTF-8"),
        (5, b'"E"x,1,1', "text after the closing quote of a field"),
    ]
    text = b"\r\n".join(lines)
    assert all(text[r.byte_offset :].startswith(r.raw) for r in done.rejects)
    assert [r[0] for r in rows(done)] == ["A", "F"]


@BOTH
def test_a_quote_that_never_closes_ends_before_lines_that_are_records_for_sure(decode: Any) -> None:
    open_to_the_end = b'symbol,close,volume\nA,1,\n"B,2,\nC,3,'
    done = decode([("a.csv", open_to_the_end)], SPEC)
    assert [(r.raw, r.reason) for r in done.rejects] == [(b'"B,2,\nC,3,', "a quoted field is not closed")]
    assert done.object_records == (2,)
    done = decode([("a.csv", open_to_the_end + b"\n")], SPEC)
    assert [r.raw for r in done.rejects] == [b'"B,2,']
    assert rows(done) == [("A", 1.0, None), ("C", 3.0, None)]


@BOTH
def test_null_texts_count_only_without_quotes(decode: Any) -> None:
    spec = CompactionSpec(Schema(SPEC.schema.fields, null_values=("NA", "")))
    done = decode([("a.csv", b'symbol,close\nNA,NA\n"NA",\n,1\n"",2\n')], spec)
    assert rows(done) == [(None, None, None), ("NA", None, None), (None, 1.0, None), ("", 2.0, None)]
    none = CompactionSpec(Schema(SPEC.schema.fields, null_values=()))
    assert rows(decode([("a.csv", b"symbol\n\nNA\n"), ("b.csv", b"symbol,x\n,\n")], none)) == [
        ("NA", None, None),
        ("", None, None),
    ]


@BOTH
@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf", b" \n\n", b"symbol,close\n", b"symbol,close"])
def test_an_object_without_records_is_empty(decode: Any, text: bytes) -> None:
    done = decode([("a.csv", text)], SPEC)
    assert (done.table.num_rows, done.rejects, done.object_records) == (0, (), (0,))


@BOTH
def test_an_empty_last_field_behind_a_quoted_one_is_null_even_at_the_end_of_the_text(decode: Any) -> None:
    text = b'close,symbol\n"1",'
    assert rows(decode([("a.csv", text)], SPEC)) == [(None, 1.0, None)]
    assert rows(decode([("a.csv", text), ("b.csv", text)], SPEC)) == [(None, 1.0, None)] * 2


@BOTH
@pytest.mark.parametrize(("header", "word"), [(b"a,a\n1,2\n", "more than once"), (b'"a\n', "closed")])
def test_a_header_that_cannot_be_read_is_an_error(decode: Any, header: bytes, word: str) -> None:
    with pytest.raises(CorruptObject, match=word):
        decode([("a.csv", header)], SPEC)


@BOTH
def test_too_many_columns_or_too_long_records_are_errors(decode: Any) -> None:
    spec = CompactionSpec(SPEC.schema, limits=Limits(columns=3, record_bytes=100))
    with pytest.raises(LimitExceeded, match="4 CSV columns"):
        decode([("a.csv", b"a,b,c,d\n")], spec)
    with pytest.raises(LimitExceeded, match="100 bytes"):
        decode([("a.csv", b"symbol\n" + b"x" * 101)], spec)


@BOTH
def test_unknown_columns_follow_the_policy(decode: Any) -> None:
    text = b'x,symbol,y\n1,A,\n,B,""\n'
    ignored = decode([("a.csv", text)], SPEC)
    assert ignored.extra_fields == (("x", 1), ("y", 1))
    rescued = decode([("a.csv", text)], CompactionSpec(SPEC.schema, extra_fields=ExtraFields.RESCUE))
    assert rescued.table.column("_rescued").to_pylist() == ['{"x":"1","y":null}', '{"x":null,"y":""}']
    rejected = decode([("a.csv", text)], CompactionSpec(SPEC.schema, extra_fields=ExtraFields.REJECT))
    assert [r.reason for r in rejected.rejects] == ["unknown field x"] * 2


@BOTH
def test_tabs_separate_in_tsv_only(decode: Any) -> None:
    done = decode([("a.tsv", b"symbol\tclose\nA,B\t1\nC\t\n")], SPEC)
    assert rows(done) == [("A,B", 1.0, None), ("C", None, None)]


@BOTH
def test_formats_may_be_mixed_and_rows_keep_the_order_of_the_listing(decode: Any) -> None:
    objects = [
        ("1.csv", b"symbol\nA\nB\n"),
        ("2.json", b'{"symbol":"C"}\n{"symbol":{}}'),
        ("3.tsv", b"symbol\tvolume\nD\tx\nE\t1\n"),
        ("4.csv", b"symbol\nF\n"),
        ("5.json", b'[{"symbol":"G"}]'),
        ("6.json", b'{"symbol":"H"}'),
    ]
    done = decode(objects, SPEC)
    assert "".join(r[0] for r in rows(done)) == "ABCEFGH"
    assert [(r.key, r.position) for r in done.rejects] == [("2.json", 1), ("3.tsv", 0)]
    assert done.object_records == (2, 2, 2, 1, 1, 1)
    assert done.table.column("symbol").num_chunks == 1


# -- Parquet -----------------------------------------------------------------------------------


def parquet(**columns: pa.Array) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


@BOTH
def test_parquet_columns_are_converted_without_loss(decode: Any) -> None:
    body = parquet(
        volume=pa.array([1.0, 2.5, None]),
        symbol=pa.array(["A", "B", "C"]).dictionary_encode(),
        close=pa.array([1, 2, 3], pa.int32()),
        other=pa.array([None, "x", "y"]),
    )
    done = decode([("a.parquet", body)], SPEC)
    assert rows(done) == [("A", 1.0, 1), ("C", 3.0, None)]
    assert [(r.position, r.raw) for r in done.rejects] == [
        (1, b'{"volume":2.5,"symbol":"B","close":2,"other":"x"}')
    ]
    assert done.extra_fields == (("other", 1),)


@BOTH
def test_parquet_times_keep_their_instant_and_lose_no_digit(decode: Any) -> None:
    spec = CompactionSpec(Schema((Field("t", "timestamp[us, UTC]"), Field("d", "date"))))
    nanos = pa.array([1_000, 1_001, None], pa.timestamp("ns", "Europe/Berlin"))
    done = decode([("a.parquet", parquet(t=nanos, d=pa.array([dt.date(2025, 9, 5)] * 3)))], spec)
    assert done.table.column("t").cast(pa.int64()).to_pylist() == [1, None]
    assert [r.position for r in done.rejects] == [1]
    naive = pa.array([1_757_034_123_000], pa.timestamp("ms"))
    done = decode([("a.parquet", parquet(t=naive))], spec)
    assert done.table.column("t").to_pylist() == [dt.datetime(2025, 9, 5, 1, 2, 3, tzinfo=dt.UTC)]


def test_content_decides_where_the_name_is_wrong() -> None:
    body = parquet(symbol=pa.array(["A"]))
    done = decode_objects(
        [("a.csv", body), ("b.parquet", b' {"symbol":"B"}'), ("c", b'\n[{"symbol":"C"}]')], SPEC
    )
    assert [r[0] for r in rows(done)] == ["A", "B", "C"]


@pytest.mark.parametrize(
    "body", [b"PAR1", b"PAR1xxxxPAR1", parquet(symbol=pa.array(["A"]))[:-9], b"symbol\nA\n"]
)
def test_a_parquet_file_that_cannot_be_read_is_an_error(body: bytes) -> None:
    with pytest.raises(CorruptObject, match=r"a\.parquet"):
        decode_objects([("a.parquet", body)], SPEC)
