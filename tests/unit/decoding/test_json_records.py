"""What a JSON object's text means, record by record."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.strict.json_records import JsonReader
from briquette.model import CompactionSpec, ExtraFields, Field, Limits, Schema

SPEC = CompactionSpec(Schema((Field("a", "int64"), Field("s", "string"))))
BOTH = pytest.mark.parametrize("decode", [decode_objects, decode_records_only])


def read(text: bytes, limits: Limits = Limits()) -> list[Any]:  # noqa: B008 - frozen
    """(offset, raw, value or reason) of each record."""
    return [
        (r.offset, text[r.offset : r.offset + r.size], r.reason if r.value is None else r.value)
        for r in JsonReader(limits).read(text)
    ]


def reasons(text: bytes) -> list[tuple[bytes, str]]:
    return [(raw, what) for _, raw, what in read(text) if isinstance(what, str)]


@pytest.mark.parametrize("text", [b"", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n", b"[]", b"[ ]\n"])
def test_a_text_of_nothing_has_no_records(text: bytes) -> None:
    assert read(text) == []


def test_values_follow_one_another_with_or_without_whitespace() -> None:
    assert read(b'{"a":1}{"a":2} \n {"a"\n:3}\r\n') == [
        (0, b'{"a":1}', {"a": "1"}),
        (7, b'{"a":2}', {"a": "2"}),
        (17, b'{"a"\n:3}', {"a": "3"}),
    ]


def test_an_array_is_read_as_its_elements() -> None:
    found = read(b'\xef\xbb\xbf[{"a":1}, {"a":2},\n{"a":3}]')
    assert [(o, v) for o, _, v in found] == [(4, {"a": "1"}), (13, {"a": "2"}), (22, {"a": "3"})]


@pytest.mark.parametrize("value", [b"null", b"1", b'"x"', b"[1]", b"true", b"NaN"])
def test_what_is_no_object_is_a_reject(value: bytes) -> None:
    assert reasons(b'{"a":1}\n' + value + b"\n") == [(value, "not a JSON object")]
    assert reasons(b"[" + value + b"]") == [(value, "not a JSON object")]


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (b'{"a": }\n{"a":2}', b'{"a": }'),  # to the matching brace
        (b'{"a": } x\n{"a":2}', b'{"a": }'),
        (b'{"a": "}"" }\n{"a":2}', b'{"a": "}"" }'),  # a brace in a string does not match
        (b'{"a": "\n{"a":2}', b'{"a": "'),  # never past a line that begins with a brace
        (b'{"a": {"b":\n\n{"a":2}', b'{"a": {"b":'),
        (b'{"a": 1', b'{"a": 1'),  # to the end of the text
        (b'{"a": "x\x01"}\n', b'{"a": "x\x01"}'),
        (b'{"a": 01}\n', b'{"a": 01}'),
        (b'{"a": 1,}\n', b'{"a": 1,}'),
        (b'hello {"a":1}\n{"a":2}', b'hello {"a":1}'),  # to the end of the line
    ],
)
def test_a_malformed_record_ends_by_the_lexical_rule(text: bytes, raw: bytes) -> None:
    assert reasons(text)[0] == (raw, "not valid JSON")


def test_the_record_behind_a_malformed_one_is_kept() -> None:
    assert [v for _, _, v in read(b'{"a": "\n{"a":2}\n')] == ["not valid JSON", {"a": "2"}]


def test_a_pretty_value_may_have_lines_that_begin_with_a_brace() -> None:
    text = b'{"a": [\n{"b": 1},\n{"b": 2}\n]}'
    assert read(text) == [(0, text, {"a": [{"b": "1"}, {"b": "2"}]})]


def test_bytes_that_are_not_utf8_are_a_reject_of_their_record_alone() -> None:
    text = b'{"a":1}\n{"a":"\xff"}\n{"a":"\xc3\xa9"}'
    assert read(text)[1:] == [(8, b'{"a":"\xff"}', "not valid UTF-8"), (18, b'{"a":"\xc3\xa9"}', {"a": "é"})]


def test_utf16_text_is_rejects() -> None:
    found = read('{"a":1}\n'.encode("utf-16"))
    assert found
    assert all(isinstance(what, str) for _, _, what in found)


def test_half_a_surrogate_pair_is_a_reject_and_a_whole_pair_is_a_character() -> None:
    assert reasons(b'{"a":"\\ud800"}') == [(b'{"a":"\\ud800"}', "a string holds half of a surrogate pair")]
    assert read(b'{"a":"\\ud83d\\ude00"}')[0][2] == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'[{"a":1}', [(b"", "array is not closed")]),
        (b'[{"a":1},', [(b"", "array is not closed")]),
        (b'[{"a":1},{"a"', [(b'{"a"', "not valid JSON")]),
        (b'[{"a":1},]', [(b"", "an array element is missing")]),
        (b'[{"a":1}] more\n{"a":2}\n', [(b'more\n{"a":2}', "text after the array")]),
        (b'[{"a":1}, x, {"a":2}]', [(b"x", "not valid JSON")]),
        (b'[{"a":1 b}, {"a":2}]', [(b'{"a":1 b}', "not valid JSON")]),
        (b'[{"a":1,\n{"a":2}]', [(b'{"a":1,', "not valid JSON")]),
    ],
)
def test_a_damaged_array_loses_only_what_is_damaged(text: bytes, expected: list[tuple[bytes, str]]) -> None:
    assert reasons(text) == expected


@BOTH
def test_the_last_of_doubled_keys_wins_and_is_counted_once_per_record(decode: Any) -> None:
    text = b'{"a":1,"a":2,"s":"x","s":"y"}\n{"a":3,"j":{"k":1,"k":2}}\n{"a":4}'
    done = decode([("k.json", text)], SPEC)
    assert done.table.column("a").to_pylist() == [2, 3, 4]
    assert done.duplicate_json_keys == 2


@BOTH
def test_keys_are_exact(decode: Any) -> None:
    done = decode([("k.json", b'{"A":1," a":2,"a":3,"\\u0073":"x"}')], SPEC)
    assert done.table.to_pylist() == [{"a": 3, "s": "x"}]
    assert done.extra_fields == ((" a", 1), ("A", 1))


@BOTH
def test_positions_and_offsets_count_all_records_of_an_object(decode: Any) -> None:
    text = b'\xef\xbb\xbf{"a":1}\r\n\r\n{"a":"x"}\r\n{"a":2}{"a":"y"}\r\nzzz\r\n'
    done = decode([("0.json", b'{"a":9}'), ("1.json", text)], SPEC)
    assert [(r.key, r.position, r.byte_offset, r.raw) for r in done.rejects] == [
        ("1.json", 1, 14, b'{"a":"x"}'),
        ("1.json", 3, 32, b'{"a":"y"}'),
        ("1.json", 4, 43, b"zzz"),
    ]
    assert done.object_records == (1, 5)
    assert done.table.column("a").to_pylist() == [9, 1, 2]


# -- unknown fields ----------------------------------------------------------------------------


def policy(extra: ExtraFields) -> CompactionSpec:
    return CompactionSpec(SPEC.schema, extra_fields=extra)


LINES = b'{"a":1,"x":null,"y":{"k": 1.50}}\n{"a":2}\n{"z":NaN,"a":3}\n{"a":4.5,"y":1}\n'


@BOTH
def test_ignored_fields_are_counted_in_rows_where_they_are_not_null(decode: Any) -> None:
    done = decode([("k.json", LINES)], policy(ExtraFields.IGNORE))
    assert done.table.column_names == ["a", "s"]
    assert done.extra_fields == (("y", 1), ("z", 1))


@BOTH
def test_rescued_fields_stay_as_json_in_source_order(decode: Any) -> None:
    done = decode([("k.json", LINES)], policy(ExtraFields.RESCUE))
    assert done.table.column_names == ["a", "s", "_rescued"]
    assert done.table.column("_rescued").to_pylist() == ['{"x":null,"y":{"k":1.50}}', None, '{"z":"NaN"}']


@BOTH
def test_rejected_fields_reject_their_record_even_when_null(decode: Any) -> None:
    done = decode([("k.json", LINES)], policy(ExtraFields.REJECT))
    assert done.table.column("a").to_pylist() == [2]
    assert [r.reason for r in done.rejects][:2] == ["unknown field x", "unknown field z"]


@BOTH
def test_unknown_fields_inside_structs_are_named_by_their_path(decode: Any) -> None:
    schema = Schema((Field("q", "struct<bid: float64>"), Field("legs", "list<struct<n: int64>>")))
    text = b'{"q":{"bid":1,"ask":2},"legs":[{"n":1,"m":"x"},{"n":2,"m":null},{"m":7}]}'
    done = decode([("k.json", text)], CompactionSpec(schema, extra_fields=ExtraFields.RESCUE))
    assert done.extra_fields == (("legs[].m", 1), ("q.ask", 1))
    assert done.table.column("_rescued").to_pylist() == ['{"q.ask":2,"legs[].m":["x",7]}']


@BOTH
def test_a_missing_or_null_value_of_a_column_declared_not_null_is_a_reject(decode: Any) -> None:
    spec = CompactionSpec(Schema((Field("a", "int64", nullable=False),)))
    done = decode([("k.json", b'{"a":null}\n{}\n{"a":1}')], spec)
    assert [r.reason for r in done.rejects] == ["field a is null but declared not null"] * 2


# -- limits ------------------------------------------------------------------------------------

HOSTILE = {
    "arrays": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "in a field": b'{"a":1}\n{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "in an unknown field": b'{"a":1,"x":1}\n' * 300 + b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "never closed": b'{"a":' * 100_000,
}


def limit_rejects(decode: Any, text: bytes, limits: Limits = Limits()) -> tuple[int, list[str]]:  # noqa: B008
    """How many rows there are, and the reasons of the rejects, whose texts are found in the object."""
    done = decode([("k.json", text)], CompactionSpec(SPEC.schema, limits=limits))
    for reject in done.rejects:
        assert text[reject.byte_offset :].startswith(reject.raw)
    return done.table.num_rows, [r.reason for r in done.rejects]


@BOTH
@pytest.mark.parametrize("name", HOSTILE)
def test_a_record_of_depth_100_000_is_a_reject_and_no_crash(decode: Any, name: str) -> None:
    rows = HOSTILE[name].count(b"\n{")
    assert limit_rejects(decode, HOSTILE[name]) == (
        rows,
        ["JSON nested deeper than 128 levels (limits.depth)"],
    )


@BOTH
def test_depth_counts_levels_exactly(decode: Any) -> None:
    limits = Limits(depth=4)
    assert limit_rejects(decode, b'{"a":1,"x":[[[]]],"y":"[[[[[["}', limits) == (1, [])
    assert limit_rejects(decode, b'{"a":1,"x":[[[]]],"x":[[[]]]}', limits) == (1, [])
    deep = "JSON nested deeper than 4 levels (limits.depth)"
    assert limit_rejects(decode, b'{"x":[[[{}]]]}{"a":1}', limits) == (1, [deep])
    assert limit_rejects(decode, b'{"x":[[[{}]]],"x":1}{"a":1}', limits) == (1, [deep])  # none is hidden


def test_nesting_below_the_limit_is_read_even_near_the_recursion_limit() -> None:
    def nested(frames: int) -> int:
        return nested(frames - 1) if frames else len(read(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"))

    assert nested(min(300, sys.getrecursionlimit() // 3)) == 1


@BOTH
@pytest.mark.parametrize("column", ["a", "unknown"])
def test_too_many_keys_or_too_many_digits_are_rejects_of_their_record_alone(decode: Any, column: str) -> None:
    keys = b"{" + b",".join(b'"k%d":1' % i for i in range(10_001)) + b"}"
    digits = b'{"%s": %s}' % (column.encode(), b"7" * 1_001)
    good = b'{"a":1,"unknown": %s}\n' % (b"7" * 1_000)
    assert limit_rejects(decode, good + keys + b"\n" + good + digits + b"\n" + good) == (
        3,
        [
            "a JSON object of more than 10000 keys (limits.columns)",
            "a number of more than 1000 digits (limits.number_digits)",
        ],
    )


@BOTH
@pytest.mark.parametrize("keys", [11, 12])
def test_no_lane_takes_an_object_of_too_many_unknown_keys(decode: Any, keys: int) -> None:
    line = b'{"a":1,"s":"x"}\n'
    wide = b'{"a":1,' + b",".join(b'"k%d":1' % i for i in range(1, keys)) + b"}"
    limits = Limits(columns=11)
    for text in (
        line * 200 + wide + b"\n" + line * 200,
        line * 200 + b'{"a":1,"q":' + wide + b"}\n" + line * 200,
    ):
        rows, reasons = limit_rejects(decode, text, limits)
        assert (rows, len(reasons)) == ((401, 0) if keys == 11 else (400, 1))


@BOTH
@pytest.mark.parametrize("shape", ["lines", "array", "concatenated"])
@pytest.mark.parametrize(
    "long", [b'{"s":"%s"}', b'{"s":{"}":["%s"]}}', b'{"s": %s }', b'{"s":"%s\\"}', b"%s"]
)
def test_a_record_longer_than_the_limit_is_a_reject_with_its_beginning(
    decode: Any, long: bytes, shape: str
) -> None:
    wide = long % (b"x" * 9_001)
    lost = 1 if shape == "concatenated" and not long.startswith(b"{") else 0  # it ends with its line
    good = b'{"a":1}'
    before, between, behind = {
        "lines": (b"", b"\n", b"\n"),
        "array": (b"[", b",", b"]"),
        "concatenated": (b"", b"", b""),
    }[shape]
    if shape != "lines" and long.endswith(b'\\"}'):
        return  # a string without an end ends with its line
    text = before + between.join([good, wide, good]) + behind
    size = len(wide) + lost * len(good)
    done = decode([("k.json", text)], CompactionSpec(SPEC.schema, limits=Limits(record_bytes=8_000)))
    assert done.table.num_rows == 2 - lost
    (reject,) = done.rejects
    assert reject.raw == wide[:4_096]
    assert reject.reason == f"a record of {size} bytes, more than 8000 (limits.record_bytes)"
    assert done.object_records == (3 - lost,)
