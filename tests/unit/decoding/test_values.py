# ruff: noqa: DTZ001 - naive times are what some columns hold
"""C5, value by value: what fits a column without loss, and what is refused. Both lanes are asked."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.model import CompactionSpec, Field, Schema

UTC = dt.UTC
REFUSED = object()


def value_of(word: str, token: str, *, csv: bool = False) -> Any:
    """What a token becomes in a column, asked of the fast lanes and of the record readers."""
    spec = CompactionSpec(Schema((Field("pad", "string"), Field("v", word))))
    body = f"pad,v\n1,{token}\n" if csv else f'{{"v": {token}}}\n'
    objects = [("k.csv" if csv else "k.json", body.encode())]
    answers = []
    for decode in (decode_objects, decode_records_only):
        done = decode(objects, spec)
        column = done.table.column("v")
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.int64())
        answers.append(REFUSED if done.rejects else column.to_pylist()[0])
    assert repr(answers[0]) == repr(answers[1])
    return answers[0]


NUMBER_CASES = [
    ("int64", "3", 3),
    ("int64", "3.0", 3),
    ("int64", "-0.0", 0),
    ("int64", "1.23457e+06", 1_234_570),
    ("int64", "1e3", 1_000),
    ("int64", "100e-2", 1),
    ("int64", "3.7", REFUSED),
    ("int64", "1e-400", REFUSED),
    ("int64", "3.00000000000000000001", REFUSED),
    ("int64", "9223372036854775807", 2**63 - 1),
    ("int64", "9223372036854775808", REFUSED),
    ("int64", "9007199254740993", 2**53 + 1),
    ("int64", "9007199254740993.0", 2**53 + 1),
    ("uint64", "18446744073709551615", 2**64 - 1),
    ("uint64", "-1", REFUSED),
    ("int8", "-128", -128),
    ("int8", "128", REFUSED),
    ("float64", "9007199254740993", 9007199254740992.0),
    ("float64", "1e309", REFUSED),
    ("float64", "0.30000000000000004", 0.30000000000000004),
    ("float64", "5e-324", 5e-324),
    ("float64", "2.2250738585072011e-308", 2.2250738585072011e-308),
    ("float32", "0.1", 0.10000000149011612),
    ("float32", "3.5e38", REFUSED),
    ("decimal(10, 2)", "12345678.12", Decimal("12345678.12")),
    ("decimal(10, 2)", "1.50e1", Decimal("15.00")),
    ("decimal(10, 2)", "1.005", REFUSED),
    ("decimal(10, 2)", "1e-999", REFUSED),
    ("decimal(10, 2)", "123456789.1", REFUSED),
]


@pytest.mark.parametrize(("word", "text", "expected"), NUMBER_CASES)
def test_numbers_numeric_strings_and_cells_mean_the_same(word: str, text: str, expected: object) -> None:
    assert repr(value_of(word, text)) == repr(expected)
    assert repr(value_of(word, json.dumps(text))) == repr(expected)
    assert repr(value_of(word, text, csv=True)) == repr(expected)


@pytest.mark.parametrize("word", ["int64", "float64", "decimal(10, 2)", "float32", "uint8"])
@pytest.mark.parametrize(
    "text",
    [
        " 3",
        "3 ",
        "+3",
        "0x10",
        "1_000",
        ".5",
        "5.",
        "1.e5",
        "e5",
        "--1",
        "1e",
        "nan(1)",
        "-nan",
        "INF",
        "-Inf",
        "١",
    ],
)
def test_text_outside_of_the_grammar_is_refused(word: str, text: str) -> None:
    assert value_of(word, json.dumps(text)) is REFUSED
    assert value_of(word, text, csv=True) is REFUSED


@pytest.mark.parametrize("word", ["int64", "float64"])
def test_leading_zeros_are_fine_in_text_and_malformed_in_json(word: str) -> None:
    assert value_of(word, '"007"') == 7
    assert value_of(word, "-007", csv=True) == -7
    assert value_of(word, "007") is REFUSED


def test_an_empty_string_is_no_number_but_an_empty_cell_is_null() -> None:
    assert value_of("int64", '""') is REFUSED
    assert value_of("int64", '""', csv=True) is REFUSED
    assert value_of("int64", "", csv=True) is None
    assert value_of("float64", "", csv=True) is None


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_tokens_that_are_no_numbers_live_in_float_columns_only(token: str) -> None:
    for word in ("float64", "float32"):
        assert repr(value_of(word, token)) == repr(float(token))
    for word in ("int64", "string", "decimal(5, 1)", "json", "bool"):
        assert value_of(word, token) is REFUSED


@pytest.mark.parametrize("token", ["Inf", "-Inf", "-NaN", "nan"])
def test_other_spellings_of_them_are_malformed_json(token: str) -> None:
    assert value_of("float64", token) is REFUSED


@pytest.mark.parametrize("text", ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"])
def test_their_texts_are_floats_in_strings_and_cells(text: str) -> None:
    for got in (value_of("float64", json.dumps(text)), value_of("float64", text, csv=True)):
        assert repr(got) == repr(float(text))
    assert value_of("int64", text, csv=True) is REFUSED


def test_minus_zero_keeps_its_sign_as_a_float() -> None:
    assert math.copysign(1, value_of("float64", "-0")) == -1
    assert math.copysign(1, value_of("float64", "-0.0", csv=True)) == -1


@pytest.mark.parametrize("text", ["000", "null", "NA", "NaN", "true", " a "])
def test_text_of_a_cell_stays_itself_in_a_string_column(text: str) -> None:
    assert value_of("string", text, csv=True) == text


def test_strings_take_the_literal_text_of_numbers_and_nothing_else() -> None:
    assert [value_of("string", t) for t in ('"x"', "12", "1.50", "1E5")] == ["x", "12", "1.50", "1E5"]
    assert all(value_of("string", t) is REFUSED for t in ("true", "{}", "[1]"))
    assert value_of("string", '""', csv=True) == ""
    assert value_of("string", "", csv=True) is None


def test_booleans_are_never_guessed() -> None:
    assert [value_of("bool", t) for t in ("true", "false", '"True"', '"false"')] == [True, False, True, False]
    assert all(value_of("bool", t) is REFUSED for t in ("0", "1", '"TRUE"', '"yes"', '""'))
    assert value_of("bool", "False", csv=True) is False


TIMES = [
    ("2025-09-05T10:11:12Z", dt.datetime(2025, 9, 5, 10, 11, 12)),
    ("2025-09-05 10:11:12", dt.datetime(2025, 9, 5, 10, 11, 12)),
    ("2025-09-05T10:11", dt.datetime(2025, 9, 5, 10, 11)),
    ("2025-09-05", dt.datetime(2025, 9, 5)),
    ("2025-09-05T00:00:00-04:00", dt.datetime(2025, 9, 5, 4)),
    ("2025-09-05T10:11:12+0430", dt.datetime(2025, 9, 5, 5, 41, 12)),
    ("2025-09-05T10:11+04", dt.datetime(2025, 9, 5, 6, 11)),
    ("2025-09-05T10:11:12.123456", dt.datetime(2025, 9, 5, 10, 11, 12, 123456)),
    ("2025-09-05T10:11:12.123456000Z", dt.datetime(2025, 9, 5, 10, 11, 12, 123456)),
    ("2024-02-29T23:59:59.5Z", dt.datetime(2024, 2, 29, 23, 59, 59, 500000)),
    ("1969-12-31T23:59:59.9Z", dt.datetime(1969, 12, 31, 23, 59, 59, 900000)),
]


@pytest.mark.parametrize(("text", "moment"), TIMES)
def test_iso_times_become_utc(text: str, moment: dt.datetime) -> None:
    for csv in (False, True):
        token = text if csv else json.dumps(text)
        assert value_of("timestamp[us, UTC]", token, csv=csv).replace(tzinfo=None) == moment
        assert value_of("timestamp[us]", token, csv=csv) == moment


@pytest.mark.parametrize(
    "text",
    """2025-09-05T10:11:12.1234567Z 2025-09-05T10:11:60Z 2025-09-05T24:00:00Z 0000-01-01T00:00:00Z 2025-02-29
    2025-9-5 20250905 2025-09-05T10 2025-09-05T10Z 2025-09-05Z 2025-09-05T10:11:12+24:00 2025-09-05t10:11:12z
    2025-09-05T10:11:12,5Z 2025-09-05T10:11:12.Z 9999-12-31T23:59:59-01:00 0001-01-01T00:00:00+01:00 x
    10000-01-01T00:00:00Z 2025-09-05T10:11:12.1234567890Z 2025-09-05T10:11:12ZZ""".split(),  # noqa: SIM905
)
def test_times_that_do_not_exist_or_would_lose_digits_are_refused(text: str) -> None:
    assert value_of("timestamp[us, UTC]", json.dumps(text)) is REFUSED
    assert "," in text or value_of("timestamp[us, UTC]", text, csv=True) is REFUSED


def test_the_unit_of_a_numeric_time_is_never_guessed() -> None:
    assert value_of("timestamp[us, UTC]", "1757030400") is REFUSED
    assert value_of("timestamp[us, UTC]", "1757030400", csv=True) is REFUSED


def test_units_bound_what_a_time_may_hold() -> None:
    assert value_of("timestamp[s]", '"2025-09-05T10:11:12.000"') == dt.datetime(2025, 9, 5, 10, 11, 12)
    assert value_of("timestamp[s]", '"2025-09-05T10:11:12.5"') is REFUSED
    assert value_of("timestamp[ns, UTC]", '"2262-04-11T23:47:16.854775807Z"') == 2**63 - 1
    assert value_of("timestamp[ns, UTC]", '"2262-04-11T23:47:16.854775808Z"') is REFUSED
    assert value_of("timestamp[ns, UTC]", '"1500-01-01"') is REFUSED


def test_dates_take_dates_and_midnights() -> None:
    day = dt.date(2025, 9, 5)
    for text in ("2025-09-05", "2025-09-05T00:00:00", "2025-09-05T00:00:00Z"):
        assert value_of("date", json.dumps(text)) == day
    for text in ("2025-09-05T00:00:01", "2025-09-05T00:00:00-04:00", "2025-9-5", "20250905", "2025-02-30"):
        assert value_of("date", json.dumps(text)) is REFUSED
    assert value_of("date", "20250905") is REFUSED


def test_binary_is_base64_text() -> None:
    assert value_of("binary", '"QUI="') == b"AB"
    assert value_of("binary", "QUI=", csv=True) == b"AB"
    assert value_of("binary", '"Q"') is REFUSED


def test_json_keeps_any_value_as_compact_text() -> None:
    assert value_of("json", '{"b": [1.50, true], "a": "\\u00e9"}') == '{"b":[1.50,true],"a":"é"}'
    assert value_of("json", "12") == "12"
    assert value_of("json", "null") is None
    assert value_of("json", '"{""k"": 1}"', csv=True) == '{"k":1}'
    assert value_of("json", "oops", csv=True) is REFUSED


def test_nested_values_follow_the_same_rules() -> None:
    word = "struct<n: int64, at: timestamp[us, UTC], tags: list<string>>"
    at = dt.datetime(2025, 9, 5, tzinfo=UTC)
    assert value_of(word, '{"n": "3", "at": "2025-09-05", "tags": ["a", null, 1.0]}') == {
        "n": 3,
        "at": at,
        "tags": ["a", None, "1.0"],
    }
    assert value_of(word, '{"n": 3.5}') is REFUSED
    assert value_of(word, "[]") is REFUSED
    assert value_of("list<int64>", '"[1, 2.0, null]"', csv=True) == [1, 2, None]
    assert value_of("list<float64>", "{}") is REFUSED
