"""The rows' digest: equal for equal rows however they are held, different as soon as one value differs."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.encoding.row_digest import combine_digests, rows_digest
from briquette.errors import SchemaError


def of(values, kind=None, name="x"):
    return rows_digest(pa.table({name: pa.array(values, kind)}))


COLUMNS = {
    "string": (pa.string(), st.text(max_size=5)),
    "binary": (pa.binary(), st.binary(max_size=5)),
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float32": (pa.float32(), st.floats(width=32)),
    "float64": (pa.float64(), st.floats()),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us", "UTC"), st.integers(0, 2**50)),
    "decimal": (pa.decimal128(20, 3), st.integers(-(10**16), 10**16).map(lambda n: Decimal(n) / 1000)),
    "list": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=3)),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.list_(pa.bool_()))]),
        st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": st.none() | st.lists(st.booleans())}),
    ),
}


@st.composite
def columns(draw):
    kind, values = COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))]
    return pa.array(draw(st.lists(st.none() | values, max_size=40)), kind)


@settings(max_examples=200)
@given(columns(), st.data())
def test_chunks_offsets_and_a_parquet_file_between_do_not_change_it(column, data):
    table = pa.table({"x": column})
    expected = rows_digest(table)
    at = data.draw(st.integers(0, len(column)))
    assert rows_digest(pa.concat_tables([table.slice(0, at), table.slice(at)])) == expected
    surrounded = pa.concat_arrays([column, column, column]).slice(len(column), len(column))
    assert rows_digest(pa.table({"x": surrounded})) == expected
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    assert rows_digest(pq.read_table(pa.BufferReader(sink.getvalue()))) == expected


@settings(max_examples=200)
@given(columns(), columns())
def test_it_is_equal_exactly_when_the_rows_are(left, right):
    def told(column):  # the type, and values in a form in which NaN equals itself and -0.0 is not 0.0
        return str(column.type), repr(column.to_pylist())

    same = told(left) == told(right)
    assert (rows_digest(pa.table({"x": left})) == rows_digest(pa.table({"x": right}))) is same


@given(columns(), st.data())
def test_one_changed_or_moved_value_changes_it(column, data):
    values = [repr(v) for v in column.to_pylist()]
    if len(set(values)) < 2:
        return
    i = data.draw(st.integers(0, len(values) - 2))
    if values[i] == values[i + 1]:
        return
    swapped = [*range(i), i + 1, i, *range(i + 2, len(values))]
    assert rows_digest(pa.table({"x": column.take(pa.array(swapped))})) != rows_digest(
        pa.table({"x": column})
    )


def test_dictionaries_and_wide_or_view_texts_are_the_same_rows():
    plain = pa.array(["a", None, "b", "a", ""])
    forms = [
        plain.dictionary_encode(),
        plain.cast(pa.large_string()),
        plain.cast(pa.string_view()),
        pa.DictionaryArray.from_arrays(pa.array([2, 1, 0, 2, 3], pa.int8()), pa.array(["b", None, "a", ""])),
    ]
    for form in forms:
        assert rows_digest(pa.table({"x": form})) == of(plain)


def test_what_lies_under_a_null_does_not_count():
    mask = pa.py_buffer(bytes([0b101]))
    numbers = pa.py_buffer(np.array([1, 77, 3], np.int64))
    assert rows_digest(pa.table({"x": pa.Array.from_buffers(pa.int64(), 3, [mask, numbers])})) == of(
        [1, None, 3]
    )
    offsets = pa.py_buffer(np.array([0, 1, 4, 5], np.int32))
    text = pa.Array.from_buffers(pa.string(), 3, [mask, offsets, pa.py_buffer(b"axyzc")])
    assert rows_digest(pa.table({"x": text})) == of(["a", None, "c"])
    elements = pa.array([1, 7, 8, 9, 3])
    lists = pa.Array.from_buffers(pa.list_(pa.int64()), 3, [mask, offsets], children=[elements])
    assert rows_digest(pa.table({"x": lists})) == of([[1], None, [3]])
    struct = pa.Array.from_buffers(
        pa.struct([("a", pa.int64())]), 3, [mask], children=[pa.array([1, 77, 3], pa.int64())]
    )
    assert rows_digest(pa.table({"x": struct})) == of([{"a": 1}, None, {"a": 3}])
    floats = pa.Array.from_buffers(pa.float64(), 3, [mask, pa.py_buffer(np.array([1, np.nan, 3.0]))])
    assert rows_digest(pa.table({"x": floats})) == of([1.0, None, 3.0])


def test_every_nan_is_the_same_and_the_sign_of_zero_is_not():
    payloads = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001], np.uint64).view(
        np.float64
    )
    assert of(payloads) == of([float("nan")] * 3)
    assert of([0.0]) != of([-0.0])
    assert of([float("inf"), float("-inf")]) != of([float("-inf"), float("inf")])


def test_names_types_and_counts_are_part_of_the_rows():
    assert of([1], name="x") != of([1], name="y")
    assert of([1], pa.int32()) != of([1], pa.int64())
    assert of([1], pa.timestamp("us")) != of([1], pa.timestamp("us", "UTC"))
    assert of([], pa.int64()) != of([], pa.string())
    assert of([None]) != of([None, None])
    assert of([[], [1]]) != of([[1], []])
    assert of(["ab", "c"]) != of(["a", "bc"])
    both = pa.table({"a": [1], "b": [2]})
    assert rows_digest(both) != rows_digest(both.select(["b", "a"]))


def test_metadata_and_nullability_are_not():
    table = pa.table({"x": [1]})
    declared = table.cast(pa.schema([pa.field("x", pa.int64(), nullable=False, metadata={"a": "b"})]))
    assert rows_digest(declared) == rows_digest(table)


def test_its_value_is_pinned():
    # A change here is a change of every content_digest ever published: raise the number in the form's name.
    table = pa.table(
        {
            "symbol": ["AAPL", None, "MSFT"],
            "at": pa.array([dt.datetime(2025, 9, 9, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
            "close": [0.1, float("nan"), None],
            "tags": [["a"], [], None],
            "quote": [{"bid": Decimal("1.25")}, None, {"bid": None}],
            "open": [True, None, False],
        }
    )
    assert rows_digest(table) == "26bcf866dd4239e124997e162129e11131d4d4a3c910ed92191636ba18074d7e"
    assert combine_digests([rows_digest(table)] * 2) == (
        "9225c6ae56fc2de00ac02558c9a6610d5a5a6d01dfab63832992bf0b31e309d3"
    )


def test_combined_digests_depend_on_their_order_and_number():
    a, b = of([1]), of([2])
    assert len({combine_digests(d) for d in ([], [a], [a, a], [a, b], [b, a])}) == 5


def test_a_type_without_a_word_is_refused_by_name():
    with pytest.raises(SchemaError, match="column odd has type"):
        rows_digest(pa.table({"odd": pa.array([dt.time(1)])}))
