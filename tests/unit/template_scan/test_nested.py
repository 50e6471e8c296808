"""Structs and lists in the template scan: what it accepts is the record reader's, the rest is reported."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.json_records import JsonReader
from briquette.model import CompactionSpec, Field, Limits, Schema
from briquette.schemas.types import ListOf, Struct, parse_type
from briquette.template_scan import scan
from briquette.template_scan.columns import columns_of
from briquette.template_scan.compiler import native
from briquette.template_scan.driver import LinesRun

from .test_scan import CLEAN, ODD, _python, lines_of

pytestmark = pytest.mark.skipif(not scan.available(), reason="numba is not installed")

TYPES = {
    "symbol": "string",
    "sizes": "list<float64>",
    "quote": (
        "struct<venue: string, bid: float64, at: timestamp[us, UTC], "
        "deep: struct<n: int8, tags: list<string>>>"
    ),
    "legs": "list<struct<px: float32, side: string, sub: struct<k: int64, on: bool>>>",
    "days": "list<date>",
    "flags": "list<bool>",
    "after": "int64",
}
REQUIRED = "symbol"
SCHEMA = Schema(tuple(Field(name, word, nullable=name != REQUIRED) for name, word in TYPES.items()))
LINE = (
    b'{"symbol": "AAPL", "sizes": [1.5, null, 2e3], "quote": {"venue": "XNAS", "bid": 1.25, '
    b'"at": "2024-01-01T00:00:00.5Z", "deep": {"n": 7, "tags": ["a", "caf\xc3\xa9"]}}, '
    b'"legs": [{"px": 1.5, "side": "B", "sub": {"k": 1, "on": true}}, '
    b'{"px": null, "side": "S", "sub": {"k": 2, "on": false}}], '
    b'"days": ["2024-02-29"], "flags": [true, false, true], "after": 12}\n'
)


# -- comparing ---------------------------------------------------------------------------------------


def strict_columns(lines: list[bytes], schema: Schema) -> list[str]:
    """What the record reader makes of lines, each of which must be one plain record and a row."""
    builder = RowBuilder(CompactionSpec(schema))
    for line in lines:
        (record,) = JsonReader(Limits(), sequence=True).read(line)
        assert record.value is not None, line
        assert not record.duplicate_keys, line
        assert builder.add(record.value) == "", line
    assert not builder.extra_fields
    return [repr(column.to_pylist()) for column in builder.table().columns]


def check(buffer: bytes, schema: Schema = SCHEMA) -> scan.Scan | None:
    """Every line is accepted with the record reader's row, or reported; in order, and none twice."""
    result = scan.scan_json_lines(buffer, schema, max_deviating_ratio=1.0)
    if result is None:
        return None
    spans = lines_of(buffer)
    ends = dict(spans)
    assert result.lines == len(spans) == result.rows + len(result.deviating)
    accepted = [(start, ends[start]) for start in result.row_starts.tolist()]
    assert sorted([tuple(span) for span in result.deviating.tolist()] + accepted) == spans
    for column in result.columns:
        column.validate(full=True)
    wanted = strict_columns([buffer[start:end] for start, end in accepted], schema)
    assert [repr(column.to_pylist()) for column in result.columns] == wanted
    return result


def values(word: str, texts: list[str]) -> list[object]:
    """A column of these JSON texts, all of which the scan must take behind a full first line."""
    schema = Schema((Field("v", word),))
    result = check("".join(f'{{"v": {text}}}\n' for text in texts).encode(), schema)
    assert result.rows == len(texts)
    return result.columns[0].to_pylist()


def left(word: str, good: str, text: str) -> bool:
    """Whether a line leaves the lane, and its neighbours do not."""
    schema = Schema((Field("v", word), Field("w", "int64")))
    lines = [f'{{"v": {v}, "w": 1}}\n' for v in (good, good, text, good)]
    result = check("".join(lines).encode(), schema)
    assert result.rows in (3, 4)
    return result.rows == 3


# -- input -------------------------------------------------------------------------------------------

NO_NULLS, FEW_NULLS = 0.0, 0.15


def json_text(draw, word, gaps: tuple[str, str], nulls: float, odd: float, *, full: bool = False) -> str:
    """JSON text for a type word; ``full`` gives every list an element."""
    comma, colon = gaps
    rng = draw(st.randoms(use_true_random=False))
    if rng.random() < odd:
        return draw(ODD)
    if rng.random() < nulls:
        return "null"
    match word:
        case ListOf(element):
            count = max(rng.choice((0, 1, 1, 2, 5)), full)
            inner = [json_text(draw, element, gaps, nulls, odd, full=full) for _ in range(count)]
            return rng.choice(("[", "[ ")) + comma.join(inner) + "]"
        case Struct(fields):
            inner = [
                f'"{name}"{colon}{json_text(draw, kind, gaps, nulls, odd, full=full)}'
                for name, kind in fields
            ]
            return "{" + comma.join(inner) + "}"
    return draw(CLEAN[str(word)])


@st.composite
def buffers(draw, *, odd: float, full_first: bool) -> bytes:
    gaps = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " : ")]))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = []
    for number in range(draw(st.integers(1, 6))):
        full = full_first and number == 0
        members = []
        for name, word in TYPES.items():
            nulls = NO_NULLS if full or name == REQUIRED else FEW_NULLS
            text = json_text(draw, parse_type(word), gaps, nulls, 0.0 if full else odd, full=full)
            if full_first or name == REQUIRED or draw(st.integers(0, 9)):
                members.append(f'"{name}"{gaps[1]}{text}')
        lines.append("{" + gaps[0].join(members) + "}" + line_end)
    return "".join(lines).encode()


@st.composite
def damaged(draw) -> bytes:
    buffer = bytearray(draw(buffers(odd=0.03, full_first=draw(st.booleans()))))
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, max(len(buffer) - 1, 0)))
        buffer[place : place + draw(st.integers(0, 3))] = draw(st.sampled_from(MARKS))
    return bytes(buffer[: draw(st.integers(0, len(buffer)))] if draw(st.integers(0, 3)) == 0 else buffer)


MARKS = [
    *(b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\0", b" ", b"0", b"-", b".", b"e"),
    *(b"null", b"[]", b"{}", b", ", b"]]", b"\x80", b"\xc3\xa9", b'"k": 1', b", null"),
]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(buffers(odd=0.0, full_first=True))
def test_behind_a_full_line_all_clean_ones_are_accepted(buffer):
    assert len(check(buffer).deviating) == 0


@QUICK
@given(buffers(odd=0.0, full_first=False) | buffers(odd=0.05, full_first=True))
def test_nulls_missing_members_and_odd_values_are_right_or_reported(buffer):
    check(buffer)


@QUICK
@given(damaged())
def test_what_is_accepted_of_a_damaged_buffer_is_what_the_record_reader_reads(buffer):
    check(buffer)
    check(LINE + buffer + b"\n" + LINE)


# -- structs -----------------------------------------------------------------------------------------

PAIR = "struct<a: int64, b: string>"


def test_fields_are_read_in_the_order_of_the_line():
    assert values(PAIR, ['{"b": "x", "a": 1}', '{"b": "", "a": null}']) == [
        {"a": 1, "b": "x"},
        {"a": None, "b": ""},
    ]


@pytest.mark.parametrize("first", ['{"a": 1, "b": "x"}', "null", '{"a": 1}', "{}"])
def test_a_null_struct_is_no_struct_of_nulls(first):
    texts = [first, "null", '{"a": null, "b": null}', '{"b": "y"}', "{}", '{"a": 2, "b": "z"}']
    assert values(PAIR, texts)[1:] == [
        None,
        {"a": None, "b": None},
        {"a": None, "b": "y"},
        {"a": None, "b": None},
        {"a": 2, "b": "z"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": 1, "b": "x", "c": 1}',
        '{"a": 1, "b": "x",}',
        '{"a": 1 "b": "x"}',
        '{"a": 1, "b": "x"',
        '{"a": 1, "b": "x"}}',
        '{"a": 1.5, "b": "x"}',
        '{"a": {}, "b": "x"}',
        '{"a": 1, "b": "\\u0041"}',
        '{"\\u0061": 1}',
        '[{"a": 1}]',
        "[]",
        "1",
        "nul",
        "nullx",
        '"null"',
    ],
)
def test_what_is_no_plain_struct_leaves_the_lane(text):
    assert left(PAIR, '{"a": 1, "b": "x"}', text)


def test_a_struct_that_must_be_there_is():
    schema = Schema((Field("v", PAIR, nullable=False),))
    result = check(b'{"v": {"a": 1, "b": "x"}}\n{"v": null}\n{}\n{"v": {}}\n', schema)
    assert result.columns[0].to_pylist() == [{"a": 1, "b": "x"}, {"a": None, "b": None}]


# -- lists -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["[1.5]", "[]", "null", "[null]", "[1, 2, 3]"])
def test_lists_of_any_length_by_one_template(first):
    texts = [first, "[]", "null", "[0.5]", "[1,2]", "[ ]", "[ 1 , 2\t]", "[null, 1e3, null]", "[NaN]"]
    assert repr(values("list<float64>", texts)[1:]) == repr(
        [[], None, [0.5], [1.0, 2.0], [], [1.0, 2.0], [None, 1000.0, None], [float("nan")]]
    )


@pytest.mark.parametrize(
    "text",
    [
        *("[1,]", "[,1]", "[1,,2]", "[1 2]", "[1", "1]", "[1]]", "[[1]]", "[1}", "[1;2]", "[", "[1null]"),
        *("[null1]", "[nul]", "[nullnull]", '["1"]', "[1.5]", "[true]", "{}", '[{"a": 1}]', "1", "[1], [2]"),
        *("[1,\v2]", "[1,\r2]", "[99999999999999999999]"),
    ],
)
def test_what_is_no_plain_list_leaves_the_lane(text):
    assert left("list<int64>", "[1, 2]", text)


@pytest.mark.parametrize("word", ["int8", "uint64", "bool", "date", "string", "timestamp[ms]", "float32"])
def test_lists_of_every_scalar(word):
    one = {"bool": "true", "date": '"2024-01-01"', "string": '"x"', "timestamp[ms]": '"2024-01-01T00:00"'}
    text = one.get(word, "1")
    assert len(values(f"list<{word}>", [f"[{text}, null, {text}]", "[]", f"[{text}]"])[0]) == 3


def test_elements_grow_beyond_what_the_first_lines_promised():
    rng = random.Random(1)
    lists = [[], [1], *([rng.randint(0, 9) for _ in range(rng.randint(0, 9))] for _ in range(3_000))]
    lists += [list(range(200_000)), [7]]
    assert values("list<int64>", [json.dumps(v) for v in lists]) == lists


def test_texts_inside_grow_too():
    rng = random.Random(2)
    rows = [
        {"a": [rng.choice(("", "x", None, "y" * rng.randint(0, 50))) for _ in range(rng.randint(0, 4))]}
        for _ in range(5_000)
    ] + [{"a": ["z" * 1_000_000]}, {"a": ["end"]}]
    assert values("struct<a: list<string>>", [json.dumps(row) for row in rows]) == rows


def test_several_lists_count_their_elements_apart():
    schema = Schema(tuple(Field(name, "list<int64>") for name in "abc"))
    rows = [{"a": [n] * (n % 3), "b": None if n % 5 == 0 else [n], "c": [1] * (n % 7)} for n in range(2_000)]
    result = check("".join(json.dumps(row) + "\n" for row in rows).encode(), schema)
    assert [c.to_pylist() for c in result.columns] == [[row[name] for row in rows] for name in "abc"]


def test_lists_of_structs_and_structs_of_lists():
    word = "list<struct<a: int64, b: string, c: struct<d: bool>>>"
    one = '{"a": 1, "b": "x", "c": {"d": true}}'
    texts = [f"[{one}]", "[]", "null", f"[{one}, null, {one}]", '[{"a": null, "b": null, "c": null}]']
    whole = {"a": 1, "b": "x", "c": {"d": True}}
    assert values(word, texts) == [
        [whole],
        [],
        None,
        [whole, None, whole],
        [{"a": None, "b": None, "c": None}],
    ]


def test_elements_of_a_list_that_are_not_alike_are_left():
    word = "list<struct<a: int64, b: int64>>"
    good = '[{"a": 1, "b": 2}]'
    assert left(word, good, '[{"a": 1, "b": 2}, {"b": 2, "a": 1}]')
    assert left(word, good, '[{"a": 1, "b": 2}, {"a": 1}]')


def test_a_line_that_leaves_the_lane_leaves_no_element_and_no_null():
    lines = [
        b'{"symbol": "a", "sizes": [1, 2], "after": 1}\n',
        b'{"symbol": "b", "sizes": [null, null, 5], "after": 1.5}\n',
        b'{"symbol": "c", "sizes": [null, "x"], "after": 1}\n',
        b'{"symbol": "d", "sizes": [3, 4, 5], "after": 2}\n',
    ]
    result = check(b"".join(lines))
    assert result.columns[1].to_pylist() == [[1.0, 2.0], [3.0, 4.0, 5.0]]
    assert result.columns[1].values.null_count == 0
    assert len(result.columns[1].values) == 5


# -- what is declined --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["list<list<int64>>", "list<json>", "struct<a: decimal(9, 2)>", "list<struct<a: list<bool>>>"]
)
def test_types_that_need_the_other_lanes_are_declined(word):
    assert scan.scan_json_lines(b'{"v": null}\n', Schema((Field("v", word),))) is None


@pytest.mark.parametrize("word", ["list<int64>", PAIR])
def test_cells_of_csv_that_hold_json_are_declined(word):
    assert scan.scan_csv_rows(b"1\n", Schema((Field("v", word),)), ("v",), b",") is None


# -- several buffers ---------------------------------------------------------------------------------


@settings(QUICK, max_examples=40)
@given(st.lists(buffers(odd=0.02, full_first=True), min_size=1, max_size=4), st.booleans())
def test_several_buffers_are_read_like_one(parts, ends):
    parts = [part if ends else part.rstrip(b"\r\n") for part in parts]
    one = scan.scan_json_lines(b"\n".join(parts), SCHEMA, max_deviating_ratio=1.0)
    several = scan.scan_json_lines(parts, SCHEMA, max_deviating_ratio=1.0)
    assert repr([c.to_pylist() for c in several.columns]) == repr([c.to_pylist() for c in one.columns])
    assert several.row_starts.tolist() == one.row_starts.tolist()
    assert several.deviating.tolist() == one.deviating.tolist()


# -- the compiled kernel -----------------------------------------------------------------------------


@pytest.mark.slow
def test_no_access_leaves_its_memory():
    """The same kernel compiled with every access checked reads damaged buffers without one error."""
    program = f"""
import random, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.unit import test_scan_nested
print(*test_scan_nested.scan_damaged_buffers(random.Random(11), 3000))
"""
    accepted, rows, caught = _python(program, BRIQUETTE_SCAN_CHECKED="1").split()
    assert int(accepted) > 1000
    assert (rows, caught) == ("5000", "True")


def scan_damaged_buffers(rng: random.Random, count: int) -> tuple[int, int, bool]:
    """Rows accepted of damaged buffers, rows of a whole one, and whether a broken promise is caught."""
    accepted = 0
    for _ in range(count):
        data = bytearray(LINE * rng.randint(1, 4))
        for _ in range(rng.randint(0, 4)):
            place = rng.randrange(len(data))
            data[place : place + rng.randint(0, 2)] = rng.choice(MARKS)
        result = check(bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.5 else data))
        accepted += 0 if result is None else result.rows
    records = (
        {"symbol": str(n), "sizes": [n] * (n % 11), "quote": {"venue": "x" * (n % 40)}, "days": None}
        for n in range(5_000)
    )
    rows = check("".join(json.dumps(record) + "\n" for record in records).encode()).rows
    # No newline at the end of the region, nothing readable behind it: the checks must bite.
    cut = np.frombuffer(LINE + LINE[:30], np.uint8)
    try:
        LinesRun(native.entry(), cut.size, columns_of(SCHEMA), 1.0).scan(cut, cut.size, 0)
    except IndexError:
        return accepted, rows, True
    return accepted, rows, False
