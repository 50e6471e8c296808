"""The scan of CSV rows against the record reader: what it accepts is right, the rest is reported."""

import random
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.csv_records import CsvReader, Header, Splitter
from briquette.model import CompactionSpec, Field, Limits, Schema
from briquette.template_scan import abi as at
from briquette.template_scan import scan
from briquette.template_scan.columns import columns_of
from briquette.template_scan.compiler import native
from briquette.template_scan.driver import CellsRun
from briquette.template_scan.template import program_of_header

from .test_scan import MOMENTS, REQUIRED, SCHEMA, TYPES, WORDS, ZONES, _python, float_bits, rows_of

pytestmark = pytest.mark.skipif(not scan.available(), reason="numba is not installed")

NAMES = tuple(TYPES)
ROW = b"AAPL,2024-01-01T00:00:00.5Z,2024-01-01,1.25e3,1,123456789012,1,2,true,caf\xc3\xa9,\n"


# -- comparing ---------------------------------------------------------------------------------------


def strict_rows(buffer: bytes, names: tuple[str, ...], delimiter: bytes) -> dict[int, tuple | None]:
    """The row of each record by the offset at which it begins, None for a reject; also each record's end."""
    reader = CsvReader("k", Header(names), Splitter(delimiter), SCHEMA.null_values, Limits())
    builder = RowBuilder(CompactionSpec(SCHEMA), text_cells=True)
    accepted, found = [], {}
    for record in reader.read(buffer, 0):
        found[record.offset] = None
        if record.value is not None and not builder.add(record.value):
            accepted.append(record.offset)
    table = builder.table()
    result = scan.Scan([c.combine_chunks() for c in table.columns], np.zeros(len(accepted)), None, None, 0)
    return found | dict(zip(accepted, rows_of(result, SCHEMA), strict=True))


def lines_of(buffer: bytes) -> list[tuple[int, int]]:
    """Byte ranges of the lines that hold a character."""
    spans, start = [], 0
    for line in buffer.split(b"\n"):
        if line not in (b"", b"\r"):
            spans.append((start, start + len(line)))
        start += len(line) + 1
    return spans


def check(buffer: bytes, names: tuple[str, ...] = NAMES, delimiter: bytes = b",") -> scan.Scan:
    """Every line is accepted with the record reader's row, or reported; in order, and none twice."""
    result = scan.scan_csv_rows(buffer, SCHEMA, names, delimiter, max_deviating_ratio=1.0)
    assert result is not None
    spans = lines_of(buffer)
    ends = dict(spans)
    assert result.lines == len(spans) == result.rows + len(result.deviating)
    reported = [tuple(span) for span in result.deviating.tolist()]
    accepted = [(start, ends[start]) for start in result.row_starts.tolist()]
    assert sorted(reported + accepted) == spans
    for (start, _), before in zip(reported, result.rows_before.tolist(), strict=True):
        assert before == sum(s < start for s, _ in accepted)
    wanted = strict_rows(buffer, names, delimiter)
    begun = sorted(wanted)
    for row, (start, end) in zip(rows_of(result, SCHEMA), accepted, strict=True):
        if start in wanted:
            assert row == wanted[start], buffer[start:end]
        else:  # inside a quoted field: the line on which that record begins is reported
            record = max(b for b in begun if b < start)
            assert any(a <= record <= b for a, b in reported), buffer[start:end]
    return result


# -- input -------------------------------------------------------------------------------------------

CLEAN = {
    "string": st.sampled_from([w for w in WORDS if w]),
    "bool": st.sampled_from(["true", "false", "True", "False"]),
    "date": st.dates(min_value=date(2, 1, 1), max_value=date(9998, 1, 1)).map(date.isoformat),
    "float64": st.one_of(
        st.decimals(-10_000, 10_000, places=4).map(str),
        st.floats(1e-40, 1e40, allow_nan=False).map(repr),
        st.sampled_from(["NaN", "0", "-0.0", "1e5", "1.5E-7", "Infinity", "-Infinity", "123456789012345678"]),
    ),
    "float32": st.floats(-1000, 1000, width=32).map("{:.8g}".format),
    "int64": st.integers(-(2**63) + 1, 2**63 - 1).map(str) | st.sampled_from(["3.0", "1e3", "1.5e1", "-0"]),
    "int8": st.integers(-128, 127).map(str),
    "uint16": st.integers(0, 65_535).map(str),
    "timestamp[us, UTC]": st.builds(
        lambda t, sep, zone: t.isoformat(sep=sep) + zone, MOMENTS, st.sampled_from("T "), ZONES
    ),
    "timestamp[ns]": st.builds(
        lambda t, n, zone: f"{t.isoformat()[:19]}.{n:09d}{zone}", MOMENTS, st.integers(0, 10**9 - 1), ZONES
    ),
}
ODD = st.sampled_from(
    [
        "",
        '""',
        " ",
        " 1",
        "1 ",
        "NA",
        "null",
        "nan",
        "-inf",
        "-NaN",
        "1e400",
        "007",
        "1.",
        ".5",
        "-",
        "+1",
        "3.7",
        "1e",
        "1_0",
        "9223372036854775808",
        "-9223372036854775808",
        "128",
        "65536",
        "3.5e38",
        "0." + "0" * 90 + "1",
        "TRUE",
        "2023-02-29",
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60",
        "2024-01-01T00:00:00+15:00",
        "2024-01-01T00:00:00.1234567Z",
        "2024-01-01T00:00:00Z",
        "2024-01-01T",
        "0000-01-01",
        'a"b',
        '"a""b"',
        '"a"b',
        '"a',
        '"a\nb"',
        '"a\r\nb"',
        '"a\\b"',
        "a\\b",
        "a\tb",
        "a\rb",
        "\r",
        "\0",
        ",",
    ]
)


@st.composite
def buffers(draw, *, odd: bool) -> tuple[bytes, tuple[str, ...], bytes]:
    names = tuple(draw(st.permutations(NAMES)))
    absent = draw(st.sampled_from([(), ("note",), ("note", "open", "price")]))
    names = tuple(name for name in names if name not in absent)
    delimiter = draw(st.sampled_from([b",", b",", b"\t"]))
    ends = draw(st.sampled_from([("\n",), ("\r\n",), ("\n", "\r\n", "\n\n", "\r\n\r\n")]))
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        cells = []
        for name in names:
            cell = draw(CLEAN[TYPES[name]])
            if draw(st.integers(0, 9)) == 0:
                cell = f'"{cell}"'
            elif name != REQUIRED and draw(st.integers(0, 9)) == 0:
                cell = ""
            elif odd and draw(st.integers(0, 19)) == 0:
                cell = draw(ODD)
            cells.append(cell)
        lines.append(delimiter.decode().join(cells) + draw(st.sampled_from(ends)))
    text = "".join(lines).encode()
    return (text.rstrip(b"\r\n") if draw(st.booleans()) else text), names, delimiter


@st.composite
def damaged(draw) -> tuple[bytes, tuple[str, ...], bytes]:
    text, names, delimiter = draw(buffers(odd=True))
    buffer = bytearray(text)
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(len(buffer) - 1, 0)))
        size = draw(st.integers(0, 3))
        buffer[place : place + size] = draw(
            st.sampled_from(
                [b"", b'"', b'""', b",", b"\t", b"\n", b"\r", b"\0", b" ", b"0", b"-", b".", b"e"]
            )
            | st.sampled_from(
                [b"\x80", b"\xc3\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", ROW]
            )
            | st.binary(max_size=4)
        )
    cut = draw(st.integers(0, len(buffer))) if draw(st.integers(0, 3)) == 0 else len(buffer)
    return bytes(buffer[:cut]), names, delimiter


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(buffers(odd=False))
def test_clean_rows_are_all_accepted(drawn):
    result = check(*drawn)
    assert len(result.deviating) == 0
    assert result.rows > 0


@QUICK
@given(damaged())
def test_what_is_accepted_of_a_damaged_buffer_is_what_the_record_reader_reads(drawn):
    check(*drawn)


@QUICK
@given(st.binary(max_size=300), st.text(alphabet=',"\r\n1a', max_size=60))
def test_any_bytes_at_all_are_survived(data, text):
    for buffer in (data, text.encode(), ROW * 3 + data, ROW + text.encode() + ROW):
        check(buffer)
        check(buffer, (REQUIRED, "note"))
        check(buffer, (REQUIRED,))


# -- cells -------------------------------------------------------------------------------------------


def scan_cells(word: str, cells: list[str]) -> dict[str, object]:
    """What the scan makes of each text in a column of that type; texts that left the lane are absent."""
    schema = Schema((Field("v", word), Field("w", "string")))
    lines = [f"{cell},x\n".encode() for cell in cells]
    result = scan.scan_csv_rows(b"".join(lines), schema, ("v", "w"), b",", max_deviating_ratio=1.0)
    starts = dict(zip(np.cumsum([0] + [len(line) for line in lines]).tolist(), cells, strict=False))
    values = [row[0] for row in rows_of(result, schema)]
    return {starts[start]: value for start, value in zip(result.row_starts.tolist(), values, strict=True)}


@pytest.mark.parametrize(
    ("word", "cells"),
    [
        (
            "string",
            {"": None, '""': "", "000": "000", "null": "null", '"a,b"': "a,b", " a ": " a ", "\\": "\\"},
        ),
        (
            "int64",
            {"": None, '"12"': 12, "2484337.0": 2_484_337, "1.23457e+06": 1_234_570, "007": 7, "-00": 0},
        ),
        (
            "float64",
            {
                "": None,
                "NaN": "nan",
                "nan": "nan",
                "inf": float_bits(float("inf")),
                "-inf": float_bits(float("-inf")),
                "01.0": float_bits(1.0),
                '"1.5"': float_bits(1.5),
                "-0.0": float_bits(-0.0),
            },
        ),
        ("bool", {"": None, "True": 1, "false": 0, '"true"': 1}),
        ("date", {"": None, "1970-01-02": 1, '"1970-01-03"': 2}),
        (
            "timestamp[s]",
            {"": None, "1970-01-02": 86_400, '"1970-01-01 00:01"': 60, "1970-01-01T00:00:09Z": 9},
        ),
    ],
)
def test_cells_bare_quoted_and_empty(word, cells):
    assert scan_cells(word, list(cells)) == cells


@pytest.mark.parametrize(
    ("word", "cells"),
    [
        ("string", ['a"b', '"a"b', '"a""b"', '"a', '"a\\b"', "a\tb", "a\0", "a\rb"]),
        ("int64", ['""', "x", "3.7", "+1", " 1", "1 ", "0x1", '"1"2', '"1x', "9223372036854775808", "true"]),
        (
            "float64",
            [
                '""',
                "-nan",
                "Inf",
                "infinity",
                "nan(1)",
                "-NaN",
                "000000001",
                "1e400",
                "1e",
                ".5",
                "1.",
                '"1.5x',
                "0." + "0" * 90 + "1",
            ],
        ),
        ("bool", ['""', "TRUE", "1", "truest", "falsey", '"truex']),
        ("date", ['""', "2023-02-29", "2024-01-01T00:00:00", "2024-1-1", "20240101", '"2024-01-01x']),
        (
            "timestamp[s]",
            ['""', "2024-01-01T00", "2024-01-01T00:00:00.5Z", "2024-01-01Z", "1704067200", '"2024-01-01x'],
        ),
    ],
)
def test_cells_that_need_the_record_reader_leave_the_lane(word, cells):
    assert scan_cells(word, ["", *cells]) == {"": None}


def test_no_number_that_is_taken_is_longer_than_promised():
    rng = random.Random(5)
    cells = ["0", "-0." + "0" * 71 + "12345678e-1234"]
    for _ in range(20_000):
        digits = "0." + "0" * rng.randint(0, 130) if rng.random() < 0.5 else "1" * rng.randint(1, 30)
        cells.append(
            f"-{digits}{rng.randint(0, 10 ** rng.randint(1, 19))}e{rng.choice('+-')}{rng.randint(0, 9999)}"
        )
    for word in ("float64", "int64"):
        lengths = [len(cell) for cell in scan_cells(word, cells)]
        assert max(lengths) < scan.NUMBER_CHARS


# -- rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"b",
        b"b,1,2",
        b",1",
        b"b,1,",
        b"b,x",
        b" ",
        b"b,1\r\r",
        b"b\r,1",
        b"b,\xff",
        b"\xff,1",
        b'"b"x,1',
        b'b,"1',
        b",",
        b"\xef\xbb\xbf,\xc3",
    ],
)
def test_lines_that_are_not_one_plain_record_of_the_header_are_reported(line):
    schema = Schema((Field("s", "string", nullable=False), Field("n", "int8")))
    result = scan.scan_csv_rows(
        b"a,1\n" + line + b"\na,2\n", schema, ("s", "n"), b",", max_deviating_ratio=1.0
    )
    assert result.deviating.tolist() == [[4, 4 + len(line)]]
    assert result.rows_before.tolist() == [1]
    assert [c.to_pylist() for c in result.columns] == [["a", "a"], [1, 2]]


def test_a_record_over_several_lines_reports_the_line_on_which_it_begins():
    result = scan.scan_csv_rows(
        b'a,1\nb,"\nc,3\n"\nd,4\n', SCHEMA, (REQUIRED, "note"), b",", max_deviating_ratio=1
    )
    assert result.deviating[0].tolist() == [4, 7]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r\n\n"])
@pytest.mark.parametrize("last", ["", "\n", "\r", "\r\n"])
def test_line_ends_and_blank_lines(end, last):
    buffer = (end.join(["a,1", "b,", "c,3"]) + last).encode()
    result = check(buffer, (REQUIRED, "volume"))
    assert result.columns[NAMES.index("volume")].to_pylist() == [1, None, 3]


def test_an_empty_line_of_one_column_is_no_record():
    assert check(b"a\n\nb\n", (REQUIRED,)).rows == 2


@pytest.mark.parametrize("size", range(1, 140))
def test_a_buffer_cut_anywhere_is_read_to_its_end(size):
    check((b"AAPL,1.25,\r\n" * 12)[:size], (REQUIRED, "price", "note"))


def test_a_missing_column_is_null_and_must_be_nullable():
    assert scan.scan_csv_rows(b"1.5\n", SCHEMA, ("price",), b",") is None
    assert check(b"a\n", (REQUIRED,)).columns[1].to_pylist() == [None]


@pytest.mark.parametrize("nulls", [(), ("", "NA"), ("NA",)])
def test_other_null_values_than_the_empty_text_are_the_record_readers(nulls):
    schema = Schema((Field("v", "string"),), null_values=nulls)
    assert scan.scan_csv_rows(b"a\n", schema, ("v",), b",") is None


def test_a_column_that_the_schema_does_not_name_declines():
    assert scan.scan_csv_rows(b"a,b\n", SCHEMA, (REQUIRED, "new"), b",") is None


@pytest.mark.parametrize("word", ["json", "binary", "decimal(9, 2)", "list<int64>", "struct<a: int64>"])
def test_types_that_need_the_record_reader_decline(word):
    assert scan.scan_csv_rows(b"1\n", Schema((Field("v", word),)), ("v",), b",") is None


def test_the_scan_gives_up_when_too_many_rows_deviate():
    names = (REQUIRED, "volume")
    assert scan.scan_csv_rows(b"a,1\n" * 9 + b"a,x\n", SCHEMA, names, b",").rows == 9
    assert scan.scan_csv_rows(b"a,1\n" * 2 + b"a,x\n", SCHEMA, names, b",") is None
    assert scan.scan_csv_rows(b"a,1\n" + b"a,x\n" * 5_000, SCHEMA, names, b",") is None


def test_an_attempt_that_bears_no_odd_row_ends_at_the_first():
    columns = columns_of(SCHEMA)
    program = program_of_header((REQUIRED, "volume"), columns)
    memory = np.frombuffer(b"a,1\n" * 9 + b"a,x\n" + b"a,1\n" * 990, np.uint8)
    run = CellsRun(native.entry(), memory.size, columns, 0.0, program, ord(","))
    assert run.whole(memory) is None
    assert run.block[at.S_ROWS] == 9
    assert CellsRun(native.entry(), 36, columns, 0.0, program, ord(",")).whole(memory[:36]).rows == 9


def test_no_bytes_are_no_rows():
    result = scan.scan_csv_rows(b"", SCHEMA, NAMES, b",")
    assert (result.rows, result.lines, len(result.columns)) == (0, 0, len(TYPES))


# -- room --------------------------------------------------------------------------------------------


def test_rows_grow_beyond_what_the_first_lines_promised():
    names = (REQUIRED, "price", "note")
    long = b"a,1.5," + b"x" * 200_000 + b"\n"
    result = scan.scan_csv_rows(long + b"b,1.5,\n" * 50_000, SCHEMA, names, b",")
    assert result.rows == 50_001
    assert set(result.columns[NAMES.index("price")].to_pylist()) == {1.5}


@pytest.mark.parametrize("distinct", [100, 257, 5_000, 20_000])
def test_many_different_texts_are_kept_whole(distinct):
    rng = random.Random(distinct)
    words = [
        "" if rng.random() < 0.1 else f"{rng.randrange(distinct)}" * rng.randint(1, 4) for _ in range(30_000)
    ]
    schema = Schema(tuple(Field(name, "string") for name in "vwx"))
    buffer = "".join(f"{w},{w[:1]},{n}\n" for n, w in enumerate(words)).encode()
    result = scan.scan_csv_rows(buffer, schema, tuple("vwx"), b",")
    for column in result.columns:
        column.validate(full=True)
    assert result.columns[0].to_pylist() == [w or None for w in words]
    assert result.columns[1].to_pylist() == [w[:1] or None for w in words]
    assert result.columns[2].to_pylist() == [str(n) for n in range(len(words))]


def test_a_row_that_leaves_the_lane_leaves_nothing_behind():
    schema = Schema((Field("s", "string"), Field("t", "string"), Field("n", "int64")))
    buffer = b"a,x,1\ngone,,1.5\nb,x,2\n,gone,y\na,x,3\n"
    result = scan.scan_csv_rows(buffer, schema, ("s", "t", "n"), b",", max_deviating_ratio=1.0)
    assert [c.dictionary.to_pylist() for c in result.columns[:2]] == [["a", "b"], ["x"]]
    assert [c.null_count for c in result.columns] == [0, 0, 0]
    assert result.rows_before.tolist() == [1, 2]


# -- memory ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_access_leaves_its_memory():
    """The same kernel compiled with every access checked reads damaged buffers without one error."""
    program = f"""
import random, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.unit import test_scan_csv
print(*test_scan_csv.scan_damaged_buffers(random.Random(11), 800))
"""
    accepted, rows, caught = _python(program, BRIQUETTE_SCAN_CHECKED="1").split()
    assert int(accepted) > 300
    assert (rows, caught) == ("5000", "True")


def scan_damaged_buffers(rng: random.Random, count: int) -> tuple[int, int, bool]:
    """Rows accepted of damaged buffers, rows of a whole one, and whether a broken promise is caught."""
    marks = [b'"', b",", b"\n", b"\r", b"\r\n", b"\0", b"0", b"-", b".", b"e", b"\x80", b"T", b""]
    quoted = b",".join(b'"%b"' % cell if cell else b"" for cell in ROW.rstrip().split(b",")) + b"\r\n"
    accepted = 0
    for _ in range(count):
        data = bytearray(rng.choice((ROW, quoted)) * rng.randint(1, 4))
        for _ in range(rng.randint(0, 4)):
            place = rng.randrange(len(data))
            data[place : place + rng.randint(0, 2)] = rng.choice(marks)
        accepted += check(bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.5 else data)).rows
    texts = "".join(f"{n},{'x' * (n % 40)}\n" for n in range(5_000)).encode()
    rows = check(texts, (REQUIRED, "note")).rows
    # No newline at the end of the region, nothing readable behind it: the checks must bite.
    cut = np.frombuffer(ROW + ROW[:20], np.uint8)
    columns = columns_of(SCHEMA)
    try:
        CellsRun(native.entry(), cut.size, columns, 1.0, program_of_header(NAMES, columns), 44).scan(
            cut, cut.size, 0
        )
    except IndexError:
        return accepted, rows, True
    return accepted, rows, False
