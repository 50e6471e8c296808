"""The template scan against a slow reading of the same bytes: what it accepts is right, the rest reported."""

import json
import math
import os
import random
import re
import struct
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.model import Field, Schema
from briquette.template_scan import scan
from briquette.template_scan.columns import columns_of
from briquette.template_scan.compiler import native
from briquette.template_scan.driver import LinesRun

pytestmark = pytest.mark.skipif(not scan.available(), reason="numba is not installed")

TYPES = {
    "symbol": "string",
    "at": "timestamp[us, UTC]",
    "day": "date",
    "price": "float64",
    "weight": "float32",
    "volume": "int64",
    "level": "int8",
    "flags": "uint16",
    "open": "bool",
    "note": "string",
    "nanos": "timestamp[ns]",
}
REQUIRED = "symbol"
SCHEMA = Schema(tuple(Field(name, word, nullable=name != REQUIRED) for name, word in TYPES.items()))
NULL = object()  # tells "null" from "cannot be read" below
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# -- the slow reading ------------------------------------------------------------------------------


class Number(str):
    """A JSON number or NaN token: its text."""

    __slots__ = ()


def reference_row(line: bytes) -> tuple | None:
    """The row that a line means; None when it is no record, or only the strict reader may judge it."""
    try:
        text = line.decode("utf-8")
        pairs = json.loads(
            text, object_pairs_hook=list, parse_int=Number, parse_float=Number, parse_constant=Number
        )
        keys = [key for key, _ in pairs]
    except (ValueError, TypeError):
        return None
    if not text.startswith("{") or len(set(keys)) < len(keys) or not set(keys) <= set(TYPES):
        return None
    found = dict(pairs)
    row = []
    for name, word in TYPES.items():
        value = found.get(name)
        if value is None:
            if name == REQUIRED:
                return None
            row.append(None)
            continue
        read = reference_value(word, value)
        if read is None:
            return None
        row.append(read)
    return tuple(row)


def reference_value(word: str, value):
    """The column's value as the tests compare it, or None: strings, ints, float bits."""
    if word == "string":
        return value if isinstance(value, str) and not isinstance(value, Number) and is_text(value) else None
    if word == "bool":
        return value if isinstance(value, bool) else None
    if word.startswith("float"):
        if not isinstance(value, Number):
            return None
        double = float(value)
        if math.isinf(double) and "Infinity" not in value:
            return None
        if word == "float32" and math.isfinite(double) and abs(double) > 3.4028234663852886e38:
            return None
        return float_bits(np.float32(double) if word == "float32" else double)
    if re.fullmatch("u?int[0-9]+", word):
        if not isinstance(value, Number) or value in ("NaN", "Infinity", "-Infinity"):
            return None
        exact = Fraction(value)
        bits = int(word.lstrip("uint"))
        low, high = (0, 2**bits) if word[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        return int(exact) if exact.denominator == 1 and low <= exact < high else None
    if not isinstance(value, str) or isinstance(value, Number):
        return None
    return reference_instant(word, value)


def reference_instant(word: str, text: str) -> int | None:
    parts = re.fullmatch(
        r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?",
        text,
        re.ASCII,
    )
    if parts is None:
        return None
    day, hour, minute, second, fraction, zone = parts.groups()
    try:
        days = date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    if word == "date":
        return days if hour is None else None
    hour, minute, second = int(hour or 0), int(minute or 0), int(second or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    offset = 0
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        if int(digits[2:]) > 59:
            return None
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * (-60 if zone[0] == "-" else 60)
    nanoseconds = int((fraction or "").ljust(9, "0"))
    unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[re.search(r"\[(\w+)", word)[1]]
    total = (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 10**9 + nanoseconds
    return total // unit if total % unit == 0 and abs(total // unit) < 2**63 else None


def is_text(text: str) -> bool:
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def float_bits(value) -> int | str:
    if math.isnan(value):
        return "nan"  # one NaN is as good as another
    return struct.unpack("<q", struct.pack("<d", value))[0]


# -- comparing ---------------------------------------------------------------------------------------


def rows_of(result: scan.Scan, schema: Schema) -> list[tuple]:
    columns = []
    for field, column in zip(schema.fields, result.columns, strict=True):
        column.validate(full=True)
        if field.type.startswith("float"):
            columns.append([None if v is None else float_bits(v) for v in column.to_pylist()])
        elif field.type.startswith("timestamp"):
            columns.append(column.cast("int64").to_pylist())
        elif field.type == "date":
            columns.append(column.cast("int32").to_pylist())
        else:
            columns.append(column.to_pylist())
    return list(zip(*columns, strict=True)) if columns else [()] * result.rows


def lines_of(buffer: bytes) -> list[tuple[int, int]]:
    """Byte ranges of the lines that are not blank."""
    spans, start = [], 0
    for line in buffer.split(b"\n"):
        if line.strip(b" \t\r"):
            spans.append((start, start + len(line)))
        start += len(line) + 1
    return spans


def check(buffer: bytes) -> scan.Scan | None:
    """Every line is accepted with its reference row, or reported; in order, and none twice."""
    result = scan.scan_json_lines(buffer, SCHEMA, max_deviating_ratio=1.0)
    if result is None:
        return None
    spans = lines_of(buffer)
    ends = dict(spans)
    assert result.lines == len(spans) == result.rows + len(result.deviating)
    reported = [tuple(span) for span in result.deviating.tolist()]
    accepted = [(start, ends[start]) for start in result.row_starts.tolist()]
    assert sorted(reported + accepted) == spans
    for (start, _), before in zip(reported, result.rows_before.tolist(), strict=True):
        assert before == sum(s < start for s, _ in accepted)
    for row, (start, end) in zip(rows_of(result, SCHEMA), accepted, strict=True):
        assert row == reference_row(buffer[start:end]), buffer[start:end]
    return result


# -- input -------------------------------------------------------------------------------------------

WORDS = [
    "AAPL",
    "BRK.B",
    "",
    "x" * 7,
    "x" * 8,
    "x" * 9,
    "a longer text of some thirty bytes",
    "Zürich",
    "日本",
    "🙂",
]
CLEAN = {
    "string": st.sampled_from(WORDS).map(lambda w: json.dumps(w, ensure_ascii=False)),
    "bool": st.sampled_from(["true", "false"]),
    "date": st.dates(min_value=date(2, 1, 1), max_value=date(9998, 1, 1)).map(lambda d: f'"{d.isoformat()}"'),
    "float64": st.one_of(
        st.decimals(-10_000, 10_000, places=4).map(str),
        st.floats(1e-40, 1e40, allow_nan=False).map(repr),
        st.sampled_from(["NaN", "0", "-0.0", "1e5", "1.5E-7", "Infinity", "-Infinity", "123456789012345678"]),
    ),
    # A long decimal now and then lies too close to the middle of two floats for the fast lane.
    "float32": st.floats(-1000, 1000, width=32).map("{:.8g}".format),
    "int64": st.integers(-(2**63) + 1, 2**63 - 1).map(str) | st.sampled_from(["3.0", "1e3", "1.5e1", "-0"]),
    "int8": st.integers(-128, 127).map(str),
    "uint16": st.integers(0, 65_535).map(str),
}
MOMENTS = st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2250, 1, 1))  # noqa: DTZ001
ZONES = st.sampled_from(["", "Z", "+00:00", "-05:30", "+0900", "+14"])
CLEAN["timestamp[us, UTC]"] = st.builds(
    lambda t, sep, zone: f'"{t.isoformat(sep=sep)}{zone}"', MOMENTS, st.sampled_from("T "), ZONES
)
CLEAN["timestamp[ns]"] = st.builds(
    lambda t, n, zone: f'"{t.isoformat()[:19]}.{n:09d}{zone}"', MOMENTS, st.integers(0, 10**9 - 1), ZONES
)
ODD = st.sampled_from(
    [
        "null",
        "1e400",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "3.7",
        "1e",
        '"3"',
        "1_0",
        "9223372036854775808",
        "tru",
        "[1]",
        "{}",
        '"2023-02-29"',
        '"2024-02-30T00:00:00Z"',
        '"2024-01-01T24:00:00Z"',
        '"2024-01-01T00:00:60"',
        '"2024-1-1"',
        '"2024-01-01T00:00:00+15:00"',
        '"2024-01-01T00:00:00.1234567Z"',
        '"0000-01-01"',
        '"2024-01-01T00:00.5"',
        '"\\u00e9"',
        '"\\ud800"',
        '"\\n"',
        '"tab\there"',
        '"',
        "-NaN",
        "nan",
        "128",
        "-129",
        "65536",
        "3.5e38",
        "nulls",
    ]
)


@st.composite
def buffers(draw, *, odd: bool) -> bytes:
    names = list(TYPES)
    shapes = draw(st.lists(st.permutations(names), min_size=1, max_size=3))
    commas = draw(st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    absent = draw(st.sampled_from([(), ("note",), ("note", "open", "price")]))
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        keys = [name for name in draw(st.sampled_from(shapes)) if name not in absent or draw(st.booleans())]
        values = {name: draw(CLEAN[TYPES[name]]) for name in keys}
        for name in keys:
            if name != REQUIRED and draw(st.integers(0, 9)) == 0:
                values[name] = "null"
            elif odd and draw(st.integers(0, 19)) == 0:
                values[name] = draw(ODD)
        lines.append("{" + commas[0].join(f'"{k}"{commas[1]}{v}' for k, v in values.items()) + "}" + line_end)
    return "".join(lines).encode()


@st.composite
def damaged(draw) -> bytes:
    buffer = bytearray(draw(buffers(odd=True)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(len(buffer) - 1, 0)))
        size = draw(st.integers(0, 3))
        buffer[place : place + size] = draw(
            st.sampled_from(
                [b"", b'"', b"\\", b"{", b"}", b",", b"\n", b"\0", b" ", b"0", b"-", b".", b"e", b"\x80"]
            )
            | st.sampled_from(
                [b"\xc3\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b'{"symbol":"a"}\n']
            )
            | st.binary(max_size=4)
        )
    return bytes(buffer[: draw(st.integers(0, len(buffer)))] if draw(st.integers(0, 3)) == 0 else buffer)


QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(buffers(odd=False))
def test_clean_lines_are_all_accepted_whatever_their_templates(buffer):
    result = check(buffer)
    assert result is not None
    assert len(result.deviating) == 0


@QUICK
@given(damaged())
def test_what_is_accepted_of_a_damaged_buffer_is_what_a_slow_reader_reads(buffer):
    check(buffer)


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_survived(data):
    check(data)
    check(b'{"symbol": "a"}\n' * 3 + data)


# -- values ------------------------------------------------------------------------------------------


def scan_values(word: str, texts: list[str]) -> dict[str, object]:
    """What the scan makes of each JSON text in a column of that type; texts that left the lane are absent."""
    schema = Schema((Field("v", word),))
    lines = [f'{{"v": {text}}}\n'.encode() for text in texts]
    result = scan.scan_json_lines(b"".join(lines), schema, max_deviating_ratio=1.0)
    if result is None:
        return {}
    starts = dict(zip(np.cumsum([0] + [len(line) for line in lines]).tolist(), texts, strict=False))
    values = [row[0] for row in rows_of(result, schema)]
    return {starts[start]: value for start, value in zip(result.row_starts.tolist(), values, strict=True)}


def significant_digits(text: str) -> int:
    return len(re.sub(r"\D", "", text.split("e", maxsplit=1)[0]).lstrip("0"))


def test_doubles_are_rounded_as_python_rounds_them_bit_for_bit():
    rng = random.Random(7)
    texts = []
    for _ in range(20_000):
        texts.append(repr(struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64)))[0]))
        texts.append(repr(rng.uniform(-1, 1) * 10 ** rng.randint(-15, 15)))
        texts.append(f"{rng.randint(0, 10**9)}.{rng.randint(0, 10 ** rng.randint(1, 9)):04d}")
        texts.append(f"{rng.randint(1, 10 ** rng.randint(1, 19) - 1)}e{rng.randint(-60, 60)}")
        texts.append(f"0.{'0' * rng.randint(0, 20)}{rng.randint(1, 10 ** rng.randint(1, 19) - 1)}")
    # The middle between two doubles, and its neighbours: where a rounding error would show.
    for _ in range(5_000):
        below = rng.randint(2**52, 2**53 - 1) * 2 ** rng.randint(0, 9)
        texts += [str(below * 2 + d) for d in (0, 1, 2)] + [f"{below}.5", f"{below}.50000"]
    texts = [text for text in dict.fromkeys(texts) if text not in ("nan", "inf", "-inf")]
    read = scan_values("float64", texts)
    wrong = {text: bits for text, bits in read.items() if bits != float_bits(float(text))}
    assert wrong == {}
    everyday = [t for t in texts if significant_digits(t) <= 19 and 1e-40 < abs(float(t)) < 1e40]
    assert sum(text not in read for text in everyday) == 0


def test_a_number_longer_than_any_double_needs_is_left_to_the_strict_reader():
    texts = ["0." + "0" * 2_000, "1." + "0" * 2_000, "1" + "0" * 40, "0." + "1" * 40, "1.5"]
    assert list(scan_values("float64", texts)) == ["1.5"]
    assert list(scan_values("int64", ["7", *texts])) == ["7"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-0.0", -0.0),
        ("-0", -0.0),
        ("0e9", 0.0),
        ("1E+2", 100.0),
        ("NaN", math.nan),
        ("-Infinity", -math.inf),
    ],
)
def test_special_doubles(text, value):
    assert scan_values("float64", ["1.5", text])[text] == float_bits(value)


@pytest.mark.parametrize(
    "text", ["01", "-01", "1.", ".5", "+1", "1e", "1e+", "0x1", "1_0", "--1", "-", "1e400", '"1"']
)
@pytest.mark.parametrize("word", ["float64", "float32", "int64"])
def test_what_is_no_json_number_leaves_the_lane(word, text):
    assert list(scan_values(word, ["1", text, "2"])) == ["1", "2"]


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        ("int8", -128, 127),
        ("uint8", 0, 255),
        ("int32", -(2**31), 2**31 - 1),
        ("uint32", 0, 2**32 - 1),
        ("int64", -(2**63) + 1, 2**63 - 1),
        ("uint64", 0, 2**63 - 1),
    ],
)
def test_integers_keep_to_their_range(word, low, high):
    texts = [str(low), str(high), str(low - 1), str(high + 1)]
    assert scan_values(word, texts) == {str(low): low, str(high): high}


def test_integers_in_other_clothes_are_exact_or_leave_the_lane():
    texts = {
        "3.0": 3,
        "3.000": 3,
        "1.23457e+06": 1_234_570,
        "1e3": 1000,
        "1200e-2": 12,
        "-0.0": 0,
        "1e18": 10**18,
    }
    refused = ["3.7", "1e-1", "1e19", "9223372036854775808", "1234e-3", "NaN", "true", '"3"']
    assert scan_values("int64", [*texts, *refused]) == texts


def test_every_day_of_eight_centuries_and_no_other():
    days = [date(1600, 1, 1) + timedelta(days=n) for n in range(800 * 365)]
    texts = {f'"{day.isoformat()}"': (day - date(1970, 1, 1)).days for day in days}
    assert scan_values("date", list(texts)) == texts
    instants = {f'{text[:-1]}T23:59:59Z"': days * 86_400 + 86_399 for text, days in texts.items()}
    assert scan_values("timestamp[s, UTC]", list(instants)) == instants


def test_days_that_do_not_exist_leave_the_lane():
    real = {
        f'"{y:04d}-{m:02d}-{d:02d}"' for y in (1900, 2000, 2023, 2024) for m in range(14) for d in range(34)
    }
    read = scan_values("timestamp[us, UTC]", sorted(real))
    assert set(read) == {text for text in real if reference_instant("date", text.strip('"')) is not None}


ZONED = ["", "Z", "+00:00", "-00:00", "+05:30", "-0930", "+14", "+14:00", "-12:00"]


@pytest.mark.parametrize("zone", ZONED)
@pytest.mark.parametrize(
    "clock", ["00:00", "23:59", "12:34:56", "23:59:59.5", "00:00:00.000001", "01:02:03.123456000"]
)
@pytest.mark.parametrize("between", ["T", " "])
def test_instants_in_every_accepted_form(zone, clock, between):
    texts = [
        f'"{day}{between}{clock}{zone}"' for day in ("2024-02-29", "1969-12-31", "0002-01-01", "9998-12-31")
    ]
    read = scan_values("timestamp[us, UTC]", texts)
    assert read == {text: reference_instant("timestamp[us, UTC]", text.strip('"')) for text in texts}
    moment = datetime.fromisoformat(texts[0].strip('"').replace(" ", "T"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert read[texts[0]] == (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T24:00:00",
        "2024-01-01T00:60:00",
        "2024-01-01T00:00:60",
        "2024-01-01T00:00:00+00:60",
        "2024-01-01T",
        "2024-01-01T00",
        "2024-01-01T00:00:00.",
        "2024-01-01T00:00:00.1234567",
        "2024-01-01T00:00:00.0000000001",
        "2024-01-01t00:00:00",
        "2024-01-01T00:00:00z",
        "2024-01-01T00:00:00 Z",
        "2024-1-01",
        "24-01-01",
        "20240101",
        "2024-01-01T0:00:00",
        "2024-01-01T00:00.5",
        "2024-01-01T00:00:00+1",
        "2024-01-01T00:00:00+1:00",
        "+2024-01-01",
        "0000-01-01",
        "2024/01/01",
        "2024-01-01T00-00-00",
        "2024-01-01T00:00:00+00:00:00",
        "2024-01-01Z",
        "２024-01-01",
    ],
)
def test_what_is_no_instant_leaves_the_lane(text):
    good = '"2024-01-01T00:00:00Z"'
    assert list(scan_values("timestamp[us, UTC]", [good, f'"{text}"'])) == [good]


def test_a_fraction_finer_than_the_unit_leaves_the_lane_unless_it_is_zero():
    texts = ['"2024-01-01T00:00:01.500Z"', '"2024-01-01T00:00:01.500000000Z"', '"2024-01-01T00:00:01.5001Z"']
    assert list(scan_values("timestamp[ms]", texts)) == texts[:2]


def test_nanoseconds_reach_as_far_as_int64():
    texts = {'"1677-09-23T00:00:00.000000001Z"', '"2262-04-10T00:00:00.999999999Z"', '"2262-04-12T00:00:00Z"'}
    read = scan_values("timestamp[ns]", sorted(texts))
    assert set(read) == {text for text in texts if "04-12" not in text}
    assert all(value == reference_instant("timestamp[ns]", text.strip('"')) for text, value in read.items())


# -- columns of text ---------------------------------------------------------------------------------


def test_repeated_texts_become_a_dictionary_in_order_of_first_occurrence():
    words = ["b", "b", None, "a", "b", "", "a"]
    buffer = "".join(json.dumps({"v": w}) + "\n" for w in words).encode()
    column = scan.scan_json_lines(buffer, Schema((Field("v", "string"),))).columns[0]
    assert column.dictionary.to_pylist() == ["b", "a", ""]
    assert column.to_pylist() == words


def test_a_line_that_leaves_the_lane_leaves_nothing_in_the_dictionary():
    pairs = ('"a"', "1"), ('"gone"', "1.5"), ('"b"', "2"), ("null", '"x"'), ('"a"', "3")
    buffer = "".join(f'{{"s": {s}, "n": {n}}}\n' for s, n in pairs).encode()
    result = scan.scan_json_lines(
        buffer, Schema((Field("s", "string"), Field("n", "int64"))), max_deviating_ratio=1.0
    )
    assert result.columns[0].dictionary.to_pylist() == ["a", "b"]
    assert result.columns[0].null_count == 0
    assert result.rows_before.tolist() == [1, 2]


@pytest.mark.parametrize("distinct", [100, 257, 5_000, 20_000])
def test_many_different_texts_are_kept_whole(distinct):
    rng = random.Random(distinct)
    words = [
        None if rng.random() < 0.1 else f"{rng.randrange(distinct)}" * rng.randint(0, 4)
        for _ in range(30_000)
    ]
    rows = [{"v": word, "w": word and word[:1], "x": str(n)} for n, word in enumerate(words)]
    buffer = "".join(json.dumps(row) + "\n" for row in rows).encode()
    result = scan.scan_json_lines(buffer, Schema(tuple(Field(name, "string") for name in "vwx")))
    for name, column in zip("vwx", result.columns, strict=True):
        column.validate(full=True)
        assert column.to_pylist() == [row[name] for row in rows]


def test_a_text_larger_than_all_before_it_finds_room():
    words = [f"{n}" for n in range(2_000)] + ["y" * 3_000_000] + [f"z{n}" for n in range(2_000)]
    buffer = "".join(json.dumps({"v": w}) + "\n" for w in words).encode()
    assert scan.scan_json_lines(buffer, Schema((Field("v", "string"),))).columns[0].to_pylist() == words


# -- lines and buffers -------------------------------------------------------------------------------


def test_rows_grow_beyond_what_the_first_line_promised():
    first = json.dumps({"a": 1.2345678, "b": "x" * 5_000})
    buffer = (first + "\n" + '{"a": 1.2345678, "b": ""}\n' * 50_000).encode()
    result = scan.scan_json_lines(buffer, Schema((Field("a", "float64"), Field("b", "string"))))
    assert result.rows == 50_001
    assert set(result.columns[0].to_pylist()) == {1.2345678}


@pytest.mark.parametrize("size", range(1, 140))
def test_a_buffer_cut_anywhere_is_read_to_its_end(size):
    whole = b'{"symbol": "AAPL", "price": 1.25}\n' * 4
    result = check(whole[:size])
    assert (0 if result is None else result.rows) == (whole[:size] + b"\n").count(b"}\n")


def test_blank_lines_are_no_lines():
    result = check(b'\n  \n{"symbol": "a"}\r\n\t\n\r\n{"symbol": "b"}\r\n \n')
    assert (result.rows, result.lines, len(result.deviating)) == (2, 2, 0)


@pytest.mark.parametrize(
    "line",
    [
        b'{"symbol": "a", "symbol": "b"}',
        b'{"symbol": "a", "new": 1}',
        b'{"SYMBOL": "a"}',
        b"{}",
        b'{"symbol": null}',
        b'{"symbol": "a"} ',
        b' {"symbol": "a"}',
        b'{"symbol": "a"}}',
        b'{"symbol": "a"}{"symbol": "b"}',
        b"[",
        b"null",
        b'{"symbol": {"symbol": "a"}}',
        b'{"symbol": "a",}',
        b'{"s\\u0079mbol": "a"}',
        b'\xef\xbb\xbf{"symbol": "a"}',
    ],
)
def test_lines_that_are_not_one_plain_record_of_the_schema_are_reported(line):
    before = b'{"symbol": "first"}\n'
    result = check(before + line + b"\n" + before)
    assert result.deviating.tolist() == [[len(before), len(before) + len(line)]]
    assert result.rows_before.tolist() == [1]


def test_a_missing_key_of_a_nullable_column_is_null_by_a_template_of_its_own():
    result = check(b'{"symbol": "a", "price": 1}\n{"symbol": "b"}\n{"price": 2, "symbol": "c"}\n')
    assert result.columns[list(TYPES).index("price")].to_pylist() == [1.0, None, 2.0]


def test_the_scan_gives_up_when_too_many_lines_deviate():
    good, bad = b'{"symbol": "a"}\n', b'{"symbol": "\\n"}\n'
    assert scan.scan_json_lines(good * 9 + bad, SCHEMA).rows == 9
    assert scan.scan_json_lines(good * 2 + bad, SCHEMA) is None
    assert scan.scan_json_lines(good + bad * 5_000, SCHEMA) is None


@pytest.mark.parametrize("word", ["json", "binary", "decimal(9, 2)"])
def test_types_that_need_the_strict_reader_are_declined(word):
    assert scan.scan_json_lines(b'{"v": 1}\n', Schema((Field("v", word),))) is None


def test_memoryviews_and_arrays_are_read_like_bytes():
    buffer = b'{"symbol": "a", "price": 1.5}\n' * 10
    for form in (buffer, memoryview(buffer), bytearray(buffer), np.frombuffer(buffer, np.uint8)):
        assert scan.scan_json_lines(form, SCHEMA).rows == 10


def test_no_bytes_are_no_rows():
    result = scan.scan_json_lines(b"", SCHEMA)
    assert (result.rows, result.lines, len(result.columns)) == (0, 0, len(TYPES))


# -- the compiled kernel -----------------------------------------------------------------------------


def test_a_wish_overrides_the_estimate(monkeypatch):
    monkeypatch.setenv("BRIQUETTE_SCAN", "off")
    assert not scan.worthwhile(1 << 40)
    monkeypatch.setenv("BRIQUETTE_SCAN", "on")
    assert scan.worthwhile(1)


def test_a_small_day_does_not_pay_for_the_kernel(monkeypatch):
    monkeypatch.delenv("BRIQUETTE_SCAN", raising=False)
    monkeypatch.setattr(native, "_loaded", [])
    assert not scan.worthwhile(1 << 16)
    assert scan.worthwhile(8 << 30)


def test_a_damaged_or_foreign_object_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BRIQUETTE_SCAN_CACHE", str(tmp_path))
    native._store(b"machine code")
    path = native._cached_file()
    assert native._verified(path) == b"machine code"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert native._verified(path) is None
    path.chmod(0o666)
    assert native._cached_file() is None


def test_a_compiler_that_fails_turns_the_scan_off_with_one_warning(monkeypatch):
    def broken():
        raise RuntimeError("no such pass")

    monkeypatch.setattr(native, "_loaded", [])
    monkeypatch.setattr(native, "_failed", [])
    monkeypatch.setattr(native, "_load", broken)
    with pytest.warns(RuntimeWarning, match="no such pass"):
        assert scan.scan_json_lines(b'{"symbol": "a"}\n', SCHEMA) is None
    assert scan.scan_json_lines(b'{"symbol": "a"}\n', SCHEMA) is None
    assert not scan.available()


def test_the_cached_kernel_needs_no_compiler():
    scan.warm()
    program = "import sys; from briquette.template_scan import scan; scan.warm(); print({*sys.modules})"
    assert "'numba'" not in _python(program)


@pytest.mark.slow
def test_no_access_leaves_its_memory():
    """The same kernel compiled with every access checked reads damaged buffers without one error."""
    program = f"""
import random, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_scan
print(*test_scan.scan_damaged_buffers(random.Random(11), 3000))
"""
    accepted, rows, caught = _python(program, BRIQUETTE_SCAN_CHECKED="1").split()
    assert int(accepted) > 1000
    assert (rows, caught) == ("5000", "True")


def scan_damaged_buffers(rng: random.Random, count: int) -> tuple[int, int, bool]:
    """Rows accepted of damaged buffers, rows of a whole one, and whether a broken promise is caught."""
    line = (
        b'{"symbol": "AAPL", "at": "2024-01-01T00:00:00.5Z", "day": "2024-01-01", "price": 1.25e3, '
        b'"weight": 1, "volume": 123456789012, "level": 1, "flags": 2, "open": true, '
        b'"note": "caf\xc3\xa9", "nanos": null}\n'
    )
    marks = [b'"', b"{", b"}", b",", b"\n", b"\0", b"0", b"-", b".", b"e", b"\x80", b"\\", b""]
    accepted = 0
    for _ in range(count):
        data = bytearray(line * rng.randint(1, 4))
        for _ in range(rng.randint(0, 4)):
            place = rng.randrange(len(data))
            data[place : place + rng.randint(0, 2)] = rng.choice(marks)
        result = check(bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.5 else data))
        accepted += 0 if result is None else result.rows
    words = "".join(json.dumps({"symbol": str(n), "note": "x" * (n % 40)}) + "\n" for n in range(5_000))
    rows = check(words.encode()).rows
    # No newline at the end of the region, nothing readable behind it: the checks must bite.
    cut = np.frombuffer(line + line[:20], np.uint8)
    try:
        LinesRun(native.entry(), cut.size, columns_of(SCHEMA), 1.0).scan(cut, cut.size, 0)
    except IndexError:
        return accepted, rows, True
    return accepted, rows, False


def _python(program: str, **environment: str) -> str:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
