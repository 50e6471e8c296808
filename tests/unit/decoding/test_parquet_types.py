"""Every type that Parquet has, into every type that a schema has: exact, or a reject that says why.

The oracle is the JSON reader: beside each Parquet value stands the JSON text that says it exactly, and the
cell must be what that text gives. So a table of values, not of cells, is written by hand.
"""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.parquet.file import InMemory
from briquette.decoding.parquet.rows import parquet_blocks
from briquette.model import CompactionSpec, ExtraFields, Field, Schema
from briquette.schemas.declared import column_type_of
from briquette.schemas.types import INTEGERS, PLAIN, UNITS

from .test_lanes_agree import facts, together

NOTHING = None  # no text of C5 says the value: every column refuses it
UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
UUID_BYTES = bytes.fromhex(UUID.replace("-", ""))


@dataclass(frozen=True)
class Case:
    """Values of one Parquet type, and the JSON text that says each; ``also`` for certain type words."""

    array: pa.Array
    said: list[str | None]
    also: dict[str, list[str | None]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # of the writer

    def text(self, word: str, row: int) -> str | None:
        return self.also.get(word, self.said)[row]


def times(unit: str, zone: str | None) -> Case:
    """Noon of a day of this century, the least and the greatest of the years 1 to 9999, and beyond."""
    second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    digits = {"s": ".000", "ms": ".001", "us": ".000001", "ns": ".000000001"}[unit]  # Parquet has no seconds
    mark = "Z" if zone else ""
    counts = [1_757_073_600 * second, 1_757_073_600 * second + (unit != "s"), -1]
    before = {"s": ".000", "ms": ".999", "us": ".999999", "ns": ".999999999"}[unit]
    said: list[str | None] = [
        f'"2025-09-05T12:00:00{digits.replace("1", "0")}{mark}"',
        f'"2025-09-05T12:00:00{digits}{mark}"',
        f'"1969-12-31T23:59:59{before}{mark}"',
    ]
    if unit != "ns":
        counts += [-62_135_596_800 * second, 253_402_300_800 * second - 1, 253_402_300_800 * second]
        counts += [-62_135_596_800 * second - 1, (2**63 - 1) // (1_000 if unit == "s" else 1)]
        said += [
            f'"0001-01-01T00:00:00{digits.replace("1", "0")}{mark}"',
            f'"9999-12-31T23:59:59{before}{mark}"',
            *[NOTHING] * 3,
        ]
    else:
        counts += [2**63 - 1, -(2**63)]
        said += [
            f'"2262-04-11T23:47:16.854775807{mark}"',
            f'"1677-09-21T00:12:43.145224192{mark}"',
        ]
    return Case(pa.array(counts, pa.timestamp(unit, zone)), said)


def integers(name: str) -> Case:
    bits = int(name.removeprefix("u").removeprefix("int"))
    low, high = (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Case(pa.array([low, high, 1], getattr(pa, name)()), [str(low), str(high), "1"])


def texts(kind: pa.DataType) -> Case:
    values = ["hello", "", "12", "1.50", "2025-09-05", "aGVsbG8=", "true", 'é"\n', '{"a":1}']
    return Case(pa.array(values, kind), [json.dumps(v) for v in values])


def raw_bytes(kind: pa.DataType) -> Case:
    """Bytes are text where they are UTF-8, and base64 only where they were bytes before and after."""
    return Case(
        pa.array([b"hello", b"", b"12", b"\xff\x00", b"aGVsbG8="], kind),
        ['"hello"', '""', '"12"', NOTHING, '"aGVsbG8="'],
        {"binary": ['"aGVsbG8="', '""', '"MTI="', '"/wA="', '"YUdWc2JHOD0="']},
    )


def extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


def days(*counts: int) -> pa.Array:
    return pa.array(counts, pa.int32()).cast(pa.date32())


JSON_TEXTS = ['{"a": [1.50, null]}', "5", '"x"', "{bad"]
FLOATS = ["1.5", "-0.0", "0.1", "NaN", "Infinity", "-Infinity", "3.0"]
MAPS: list[tuple[str, pa.DataType, list[Any], list[str | None]]] = [
    ("string", pa.string(), [[("k", 2), ("z", None)], []], ['{"k":2,"z":null}', "{}"]),
    ("int", pa.int64(), [[(1, 2), (-3, 4)]], ['{"1":2,"-3":4}']),
    ("bool", pa.bool_(), [[(True, 1), (False, 2)]], ['{"true":1,"false":2}']),
    ("date", pa.date32(), [[(dt.date(2025, 9, 5), 1)]], ['{"2025-09-05":1}']),
    ("decimal", pa.decimal128(5, 2), [[(Decimal("1.50"), 1)]], ['{"1.50":1}']),
    ("float", pa.float64(), [[(1.5, 1)], [(float("nan"), 1)]], ['{"1.5":1}', NOTHING]),
    ("binary", pa.binary(), [[(b"k", 1)], [(b"\xff", 1)]], ['{"k":1}', NOTHING]),
    ("nested", pa.list_(pa.int8()), [[([1], 1)]], [NOTHING]),
    ("twice", pa.string(), [[("k", 1), ("x", 2), ("k", 3)]], ['{"k":3,"x":2}']),
]

CASES: dict[str, Case] = {
    "bool": Case(pa.array([True, False]), ["true", "false"]),
    **{name: integers(name) for name in INTEGERS},
    "float16": Case(pa.array([1.5, float("nan")], pa.float16()), ["1.5", "NaN"]),
    "float32": Case(
        pa.array([1.5, 0.1, float("inf"), 3.0], pa.float32()),
        ["1.5", "0.10000000149011612", "Infinity", "3.0"],
    ),
    "float64": Case(pa.array([float(f) for f in FLOATS]), list(FLOATS)),
    "decimal128": Case(
        pa.array(
            [Decimal("1.50"), Decimal("-12345678901234567890.12"), Decimal("3.00")], pa.decimal128(38, 2)
        ),
        ["1.50", "-12345678901234567890.12", "3.00"],
    ),
    "decimal32": Case(pa.array([Decimal("1.5")], pa.decimal32(5, 1)), ["1.5"]),
    "decimal of small digits": Case(
        pa.array([Decimal("0.0000000001"), Decimal(0)], pa.decimal128(20, 10)),
        ["0.0000000001", "0.0000000000"],
    ),
    "decimal256": Case(
        pa.array([Decimal("1" + "0" * 50 + ".125")], pa.decimal256(60, 3)), ["1" + "0" * 50 + ".125"]
    ),
    "date32": Case(
        days(0, -719_162, 2_932_896, 2_932_897, -719_163),
        ['"1970-01-01"', '"0001-01-01"', '"9999-12-31"', NOTHING, NOTHING],
    ),
    "date64": Case(pa.array([dt.date(2025, 9, 5)], pa.date64()), ['"2025-09-05"']),
    "time32[s]": Case(pa.array([3_723], pa.time32("s")), ['"01:02:03"'], options={"version": "2.6"}),
    "time32[ms]": Case(pa.array([3_723_000, 3_723_005], pa.time32("ms")), ['"01:02:03"', '"01:02:03.005"']),
    "time64[us]": Case(pa.array([3_723_000_005, -1], pa.time64("us")), ['"01:02:03.000005"', NOTHING]),
    "time64[ns]": Case(
        pa.array([3_723_000_000_005, 86_400 * 10**9], pa.time64("ns")), ['"01:02:03.000000005"', NOTHING]
    ),
    **{
        f"timestamp[{unit}, {zone}]": times(unit, zone)
        for unit in UNITS
        for zone in (None, "UTC", "Europe/Berlin", "+05:30")
    },
    "int96": Case(
        pa.array([1_757_073_600_000_000_001, -1], pa.timestamp("ns")),
        ['"2025-09-05T12:00:00.000000001"', '"1969-12-31T23:59:59.999999999"'],
        options={"use_deprecated_int96_timestamps": True},
    ),
    "duration": Case(
        pa.array([1_500, -1, 86_400_000], pa.duration("ms")), ['"PT1.5S"', '"PT-0.001S"', '"PT86400S"']
    ),
    **{str(kind): texts(kind) for kind in (pa.string(), pa.large_string(), pa.string_view())},
    **{str(kind): raw_bytes(kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())},
    "fixed_size_binary": Case(
        pa.array([b"abcd", b"\xff\x00\x00\x00"], pa.binary(4)),
        ['"abcd"', NOTHING],
        {"binary": ['"YWJjZA=="', '"/wAAAA=="']},
    ),
    "uuid": Case(
        extension(pa.uuid(), pa.array([UUID_BYTES], pa.binary(16))),
        [f'"{UUID}"'],
        {"binary": ['"+B1Prn3sEdCnZQCgyR5r9g=="']},
    ),
    "json extension": Case(
        extension(pa.json_(), pa.array(JSON_TEXTS)),
        ['{"a":[1.50,null]}', "5", '"x"', NOTHING],
        {word: [json.dumps(t) for t in JSON_TEXTS] for word in ("string", "binary")},
    ),
    "bool8": Case(extension(pa.bool8(), pa.array([0, 1, 2], pa.int8())), ["false", "true", "true"]),
    "null": Case(pa.nulls(2), ["null", "null"]),
    "list": Case(pa.array([[1, None], []], pa.list_(pa.int8())), ["[1,null]", "[]"]),
    "large_list": Case(pa.array([[1, None], []], pa.large_list(pa.int8())), ["[1,null]", "[]"]),
    "list_view": Case(pa.array([[1, None], []], pa.list_view(pa.int8())), ["[1,null]", "[]"]),
    "fixed_size_list": Case(pa.array([[1, 2], [3, None]], pa.list_(pa.int8(), 2)), ["[1,2]", "[3,null]"]),
    "struct": Case(
        pa.array(
            [{"x": 1, "y": "a"}, {"x": None, "y": None}], pa.struct([("x", pa.int8()), ("y", pa.string())])
        ),
        ['{"x":1,"y":"a"}', '{"x":null,"y":null}'],
    ),
    "list of far times": Case(
        pa.array([[2**62, 0], [None]], pa.list_(pa.timestamp("us"))), [NOTHING, "[null]"]
    ),
    **{
        f"map of {name} keys": Case(
            pa.array(values, pa.map_(kind, pa.int64())),
            said,
            {"string": [s if s is None else json.dumps(s) for s in said]},
        )
        for name, kind, values, said in MAPS
    },
    "map of maps": Case(
        pa.array([[("a", [("b", None)])]], pa.map_(pa.string(), pa.map_(pa.string(), pa.int8()))),
        ['{"a":{"b":null}}'],
        {"string": ['"{\\"a\\":{\\"b\\":null}}"']},
    ),
}

WORDS = [
    *PLAIN,
    *(f"timestamp[{unit}{zone}]" for unit in UNITS for zone in ("", ", UTC")),
    "decimal(38, 10)",
    "decimal(4, 2)",
    "list<int64>",
    "list<string>",
    "struct<x: int64, y: string>",
    "struct<k: int64>",
    "struct<a: json>",
]


def parquet(columns: dict[str, pa.Array], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def spec_of(**columns: str) -> CompactionSpec:
    return CompactionSpec(Schema(tuple(Field(name, word) for name, word in columns.items())))


def check(array: pa.Array, said: list[str | None], word: str, **options: Any) -> None:
    """Each row of a file is what its JSON text gives, alone and among the others, in every lane."""
    try:
        _check(array, said, word, options)
    except Exception as error:
        error.add_note(f"{array.type} read as {word}")
        raise


def _check(array: pa.Array, said: list[str | None], word: str, options: dict[str, Any]) -> None:
    spec = spec_of(i="int64", v=word)
    numbers = pa.array(range(len(array)))
    body = parquet({"i": numbers, "v": array}, **options)
    done = decode_objects([("a.parquet", body)], spec)
    assert facts(done) == facts(decode_records_only([("a.parquet", body)], spec))
    blocks = list(parquet_blocks("a.parquet", InMemory(body), spec, 1))
    assert len(blocks) == max(len(array), 1)
    assert facts(together(blocks)) == facts(done)
    lines = [f'{{"i":{i},"v":{text}}}' for i, text in enumerate(said) if text is not None]
    expected = decode_records_only([("a.json", "\n".join(lines).encode())], spec)
    assert facts(done)[:2] == facts(expected)[:2]
    kept = done.table.column("i").to_pylist()
    assert [r.position for r in done.rejects] == [i for i in range(len(array)) if i not in kept]
    assert all(r.reason.startswith("field v: ") for r in done.rejects)
    assert done.extra_fields == expected.extra_fields
    for reject in done.rejects:
        text = said[reject.position]
        if text is not None:  # what a reject shows is what C5 reads; it has quotes where JSON has no word
            assert literally(reject.raw.decode()) == {"i": str(reject.position), "v": literally(text)}


def literally(text: str) -> Any:
    """JSON as a value in which numbers are their literal text."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)


@pytest.mark.parametrize("name", CASES)
def test_every_parquet_type_into_every_schema_type(name: str) -> None:
    case = CASES[name]
    for word in WORDS:
        check(case.array, case.also.get(word, case.said), word, **case.options)


def nested(array: pa.Array, how: str) -> pa.Array:
    count = len(array)
    match how:
        case "list":
            return pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), array)
        case "struct":
            return pa.StructArray.from_arrays([array], ["x"])
        case "map":
            keys = pa.array(["x"] * count)
            return pa.MapArray.from_arrays(pa.array(range(count + 1), pa.int32()), keys, array)
    return pa.FixedSizeListArray.from_arrays(array, 1)


WRAPPED = {"list": "[{}]", "fixed": "[{}]", "struct": '{{"x":{}}}', "map": '{{"x":{}}}'}
INNER = ("json", "string", "binary", "int64", "float64", "timestamp[us, UTC]", "date", "decimal(38, 10)")


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("name", CASES)
def test_every_parquet_type_inside_of_lists_structs_and_maps(name: str, how: str) -> None:
    case = CASES[name]
    if case.array.type == pa.list_view(pa.int8()) and how in {"map", "fixed"}:
        pytest.skip("pyarrow does not write that")
    array = nested(case.array, how)
    for inner in INNER:
        word = f"list<{inner}>" if how in {"list", "fixed"} else f"struct<x: {inner}>"
        said = [None if t is None else WRAPPED[how].format(t) for t in case.also.get(inner, case.said)]
        check(array, said, word, **case.options)
    said = [None if t is None else WRAPPED[how].format(t) for t in case.said]
    check(array, said, "json", **case.options)


@pytest.mark.parametrize("name", [n for n in CASES if "list_view" not in n and "view" not in n])
def test_a_dictionary_and_a_schema_that_is_not_stored_change_nothing(name: str) -> None:
    case = CASES[name]
    for word in INNER:
        said = case.also.get(word, case.said)
        if name not in {"duration", "bool8"}:  # which Parquet has no type for
            check(case.array, said, word, store_schema=False, **case.options)
        kind = case.array.type
        if name != "duration" and not pa.types.is_nested(kind) and not isinstance(kind, pa.BaseExtensionType):
            try:
                encoded = case.array.dictionary_encode()
                parquet({"v": encoded}, **case.options)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
                continue
            check(encoded, said, word, **case.options)


def rows_of(array: pa.Array, at: list[int | None]) -> pa.Array:
    """Rows of an array in another order, some of them null."""
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    taken = storage.take(pa.array(at, pa.int64()))
    return extension(array.type, taken) if isinstance(array, pa.ExtensionArray) else taken


MIXED = [n for n in CASES if "view" not in n and n != "int96"]  # of views Arrow takes no rows


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whole_columns_and_single_rows_say_the_same_of_any_table(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    columns, fields = {}, []
    for i, name in enumerate(data.draw(st.lists(st.sampled_from(MIXED), min_size=1, max_size=4))):
        array = CASES[name].array
        one = st.one_of(st.none(), st.integers(0, min(len(array), 2) - 1), st.integers(0, len(array) - 1))
        columns[f"c{i}"] = rows_of(array, data.draw(st.lists(one, min_size=count, max_size=count)))
        if data.draw(st.integers(0, 5)):  # else it is unknown
            likely = column_type_of(array.type)
            word = data.draw(st.sampled_from(WORDS if likely is None else [*WORDS, *[str(likely)] * 40]))
            fields.append(Field(f"c{i}", "string" if word == "null" else word, data.draw(st.booleans())))
    extra = data.draw(st.sampled_from(ExtraFields))
    spec = CompactionSpec(Schema((*fields, Field("missing", "date"))), extra_fields=extra)
    int96 = data.draw(st.booleans())
    body = parquet(
        columns, row_group_size=data.draw(st.integers(1, 6)), use_deprecated_int96_timestamps=int96
    )
    done = decode_objects([("k", body)], spec)
    assert facts(done) == facts(decode_records_only([("k", body)], spec))
    assert facts(
        together(parquet_blocks("k", InMemory(body), spec, data.draw(st.integers(1, 200))))
    ) == facts(done)
