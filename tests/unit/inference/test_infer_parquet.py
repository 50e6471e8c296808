"""Parquet files that declare a column differently: the values decide, and no digit is lost."""

import datetime as dt
import io
import math
from decimal import Context, Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from briquette.decoding.decode import decode_objects
from briquette.errors import CorruptObject, LimitExceeded, SchemaError
from briquette.inference.infer import infer_schema
from briquette.model import CompactionSpec, Limits


def parquet(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def files(*columns):
    """One Parquet object for each array, all of a column ``a``; (a type, values) makes an array."""
    arrays = [c if isinstance(c, pa.Array) else pa.array(c[1], c[0]) for c in columns]
    return [(f"{i}.parquet", parquet(pa.table({"a": array}))) for i, array in enumerate(arrays)]


def read_back(objects):
    """The inferred type, and the column as it is compacted under it; no record may be a reject."""
    inferred = infer_schema(objects)
    decoded = decode_objects(objects, CompactionSpec(inferred.schema))
    assert decoded.rejects == ()
    return inferred.schema.fields[0].type, decoded.table.column("a").to_pylist()


INT64, FLOAT = pa.int64(), pa.float64()
BIG = 9007199254740993  # no double
WIDE = Context(prec=60)


@pytest.mark.parametrize(
    ("columns", "word", "values"),
    [
        ([(INT64, [BIG, 5]), (FLOAT, [7.0, None])], "int64", [BIG, 5, 7, None]),
        ([(pa.int32(), [1]), (FLOAT, [7.0, None])], "int32", [1, 7, None]),
        ([(pa.int32(), [1]), (FLOAT, [3e9])], "int64", [1, 3_000_000_000]),
        ([(INT64, [1]), (FLOAT, [None])], "int64", [1, None]),
        ([(INT64, [1, 2]), (FLOAT, [0.5])], "float64", [1.0, 2.0, 0.5]),
        ([(INT64, [1]), (FLOAT, [2.0, float("inf")])], "float64", [1.0, 2.0, math.inf]),
        ([(INT64, [BIG]), (FLOAT, [0.5])], "decimal(17, 1)", [Decimal(f"{BIG}.0"), Decimal("0.5")]),
        ([(pa.uint64(), [2**64 - 1]), (FLOAT, [1.0])], "uint64", [2**64 - 1, 1]),
        ([(pa.uint64(), [2**64 - 1]), (FLOAT, [-1.0])], "decimal(20, 0)", [Decimal(2**64 - 1), Decimal(-1)]),
        ([(INT64, [BIG]), (FLOAT, [1e22])], "decimal(23, 0)", [Decimal(BIG), Decimal(10**22)]),
        (
            [(pa.decimal128(38, 10), [Decimal("1234567890123456789.0123456789")]), (FLOAT, [0.5])],
            "decimal(38, 10)",
            [Decimal("1234567890123456789.0123456789"), Decimal("0.5")],
        ),
        (
            [(pa.decimal128(38, 0), [Decimal(BIG)]), (pa.decimal128(38, 30), [Decimal("0.125")])],
            "decimal(19, 3)",
            [Decimal(f"{BIG}.000"), Decimal("0.125")],
        ),
        ([(pa.decimal128(9, 2), [Decimal("0.25")]), (FLOAT, [1e300])], "float64", [0.25, 1e300]),
        ([(pa.decimal128(9, 2), [Decimal("0.1")]), (FLOAT, [0.1])], "decimal(9, 2)", [Decimal("0.10")] * 2),
        ([(pa.float32(), [0.5]), (INT64, [BIG])], "decimal(17, 1)", [Decimal("0.5"), Decimal(f"{BIG}.0")]),
        (
            [(pa.list_(INT64), [[BIG], None]), (pa.list_(FLOAT), [[2.0, None], []])],
            "list<int64>",
            [[BIG], None, [2, None], []],
        ),
        (
            [
                (pa.struct([("x", pa.list_(INT64))]), [{"x": [BIG]}]),
                (pa.struct([("x", pa.list_(FLOAT)), ("y", FLOAT)]), [{"x": [4.0], "y": 0.5}, None]),
            ],
            "struct<x: list<int64>, y: float64>",
            [{"x": [BIG], "y": None}, {"x": [4], "y": 0.5}, None],
        ),
    ],
)
def test_the_values_decide_between_number_types(columns, word, values):
    assert read_back(files(*columns)) == (word, values)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (
            [(pa.decimal128(38, 10), [Decimal("1234567890123456789.0123456789")]), (FLOAT, [1e300])],
            "301 digits",
        ),
        ([(pa.decimal128(38, 0), [Decimal(10**37 + 1)]), (FLOAT, [0.25])], "are too many"),
        ([(INT64, [BIG]), (FLOAT, [float("nan"), 1.0])], "a decimal has no nan"),
        ([(pa.list_(INT64), [[BIG]]), (pa.list_(FLOAT), [[1e-300]])], r"'a' \(\[\]\)"),
    ],
)
def test_where_no_type_holds_the_values_the_column_is_refused_by_name(columns, why):
    with pytest.raises(SchemaError, match=r"column 'a'.*0\.parquet.*1\.parquet") as error:
        infer_schema(files(*columns))
    error.match(why)
    assert "string keeps every digit" in error.value.hint


def test_numbers_of_json_beside_parquet_keep_their_digits():
    number = files((INT64, [BIG]))
    assert read_back([*number, ("x.json", b'{"a": 7.0}')]) == ("string", [str(BIG), "7.0"])
    assert read_back([*number, ("x.json", b'{"a": 7}')]) == ("int64", [BIG, 7])
    assert read_back([("x.json", b'{"a": 9007199254740993}'), *files((FLOAT, [7.0]))]) == ("int64", [BIG, 7])
    assert read_back([("x.json", b'{"a": [9007199254740993]}'), *files((pa.list_(FLOAT), [[0.5]]))]) == (
        "list<decimal(17, 1)>",
        [[Decimal(f"{BIG}.0")], [Decimal("0.5")]],
    )


def test_far_times_do_not_become_nanoseconds():
    far, near = dt.datetime(9999, 12, 31), dt.datetime(2024, 1, 1)  # noqa: DTZ001
    us, ns = pa.timestamp("us"), pa.timestamp("ns")
    assert read_back(files((us, [far]), (ns, [near]))) == ("timestamp[us]", [far, near])
    assert read_back(files((pa.date32(), [far.date()]), (ns, [near])))[0] == "timestamp[us]"
    assert read_back(files((us, [near]), (ns, [near])))[0] == "timestamp[ns]"
    old = [("0.parquet", parquet(pa.table({"a": pa.array([far], us)}), use_deprecated_int96_timestamps=True))]
    old += [("1.parquet", files((us, [near]))[0][1])]
    assert infer_schema(old).schema.fields[0].type == "timestamp[us]"
    nested = files((pa.list_(us), [[far]]), (pa.list_(ns), [[near], None]))
    assert read_back(nested) == ("list<timestamp[us]>", [[far], [near], None])
    assert read_back(files((us, [far]), pa.array([1], ns)))[0] == "string"


numbers = st.one_of(
    st.tuples(st.just(INT64), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3)),
    st.tuples(st.just(INT64), st.lists(st.none() | st.integers(-9, 9), max_size=3)),
    st.tuples(st.just(pa.uint64()), st.lists(st.integers(0, 2**64 - 1), max_size=3)),
    st.tuples(st.just(FLOAT), st.lists(st.none() | st.floats(), max_size=3)),
    st.tuples(st.just(FLOAT), st.lists(st.integers(-(2**60), 2**60).map(float), max_size=3)),
    st.tuples(st.just(pa.float32()), st.lists(st.floats(width=32), max_size=3)),
    st.sampled_from([(38, 10), (9, 2), (38, 0)]).flatmap(
        lambda d: st.tuples(
            st.just(pa.decimal128(*d)),
            st.lists(st.integers(-(10 ** d[0]) + 1, 10 ** d[0] - 1), max_size=3).map(
                lambda values: [Decimal(v).scaleb(-d[1], WIDE) for v in values]
            ),
        )
    ),
)


def exact(value):
    """A number as what it is read as everywhere: the shortest text of a double, every digit of the others."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return str(value).lower().replace("infinity", "inf")
    return Decimal(repr(value) if isinstance(value, float) else value)


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=3), st.booleans())
@example([(INT64, [BIG]), (FLOAT, [0.5])], True)
def test_whatever_the_numbers_either_every_digit_is_kept_or_the_column_is_refused(columns, nested):
    expected = [value for _, values in columns for value in values]
    if nested:
        columns = [(pa.list_(kind), [values]) for kind, values in columns]
    try:
        word, values = read_back(files(*columns))
    except SchemaError as error:
        assert "column 'a'" in str(error)  # noqa: PT017 - one of two outcomes
        return
    values = [v for inner in values for v in inner] if nested else values
    assert list(map(exact, values)) == list(map(exact, expected)), word


# -- names, nulls, damage ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "word", "remark"),
    [
        (pa.null(), None, "string", "every value is null"),
        (pa.list_(pa.null()), [None], "list<string>", "every value is null"),
        (pa.struct([("x", pa.null())]), {"x": None}, "struct<x: string>", "x: every value is null"),
        (
            pa.struct([("x", pa.list_(pa.struct([("y", pa.null())])))]),
            {"x": [{"y": None}]},
            "struct<x: list<struct<y: string>>>",
            "x: y: every value is null",
        ),
    ],
)
def test_what_is_null_everywhere_becomes_string_at_any_depth(kind, value, word, remark):
    objects = files((kind, [value, None]))
    assert read_back(objects) == (word, [value, None])
    assert infer_schema(objects).comments["a"] == remark


def test_nulls_inside_say_nothing_about_a_type():
    nothing = files((pa.list_(pa.null()), [[None]]))
    assert read_back([*nothing, ("x.json", b'{"a": [1]}')]) == ("list<int64>", [[None], [1]])
    assert read_back(
        [("x.json", b'{"a": {"x": null}}'), *files((pa.struct([("x", INT64)]), [{"x": 5}]))]
    ) == (
        "struct<x: int64>",
        [{"x": None}, {"x": 5}],
    )


def test_what_compact_refuses_of_parquet_infer_refuses():
    doubled = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(CorruptObject, match=r"x.parquet names the Parquet column a more than once"):
        infer_schema([("x.parquet", parquet(doubled))])
    inner = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(CorruptObject, match=r"x.parquet names the Parquet column s\.x more than once"):
        infer_schema([("x.parquet", parquet(pa.table({"s": inner})))])
    wide = pa.table({f"c{i}": [1] for i in range(5)})
    with pytest.raises(LimitExceeded, match="5 columns"):
        infer_schema([("x.parquet", parquet(wide))], limits=Limits(columns=4))


def test_columns_are_read_again_only_where_types_differ():
    asked = []
    objects = [
        ("0.parquet", parquet(pa.table({"a.b": [BIG], "c": [1.5]}))),
        ("1.parquet", parquet(pa.table({"a.b": [7.0], "c": [2.5]}))),
        ("2.json", b'{"c": 1.5}'),
    ]

    def again(keys):
        asked.append(tuple(keys))
        return [pair for pair in objects if pair[0] in keys]

    inferred = infer_schema(iter(objects), again=again)
    assert [f.type for f in inferred.schema.fields] == ["int64", "float64"]
    assert asked == [("0.parquet", "1.parquet")]
