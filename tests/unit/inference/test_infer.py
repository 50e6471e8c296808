"""Inference: what the values say, that every order says the same, and that the schema then fits its data."""

import gzip
import io
import json
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from briquette.decoding.decode import decode_objects
from briquette.errors import CorruptObject, EmptyInput, RejectLimitExceeded, SchemaError
from briquette.inference import column_profile, infer
from briquette.inference.infer import infer_schema
from briquette.model import CompactionSpec, Limits
from briquette.schemas.declared import arrow_type

# -- material ----------------------------------------------------------------------------------


def lines(*records):
    """JSON Lines; a ``bytes`` record is put in as it is."""
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


def column_type(*tokens):
    """The type of a column that holds these JSON tokens, and the remark on it."""
    text = b"".join(b'{"a": %s}\n' % token.encode() for token in tokens)
    inferred = infer_schema([("x.json", text)])
    return inferred.schema.fields[0].type, dict(inferred.remarks).get("a", "")


json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
stamps = st.builds(
    "{}{}{}{}".format,
    st.dates().map(str),
    st.sampled_from(["T", " "]),
    st.times().map(str),
    st.sampled_from(["", "Z", "+09:00", "-0430", "+14"]),
)
AWKWARD = r"""
null true false NaN Infinity -Infinity 0 -0 -1 1.0 1e3 -1.5E-7 1e999 [] {} [[]] "NaN" ""
"a\u0000\n" "\ud83d\ude00" 9007199254740993 9223372036854775807 9223372036854775808 18446744073709551616
-9223372036854775809 111111111111111111111111111111111111111 "2025-02-29" "1500-01-01" "0001-01-01T00:00+01"
"2025-01-01T00:00:00.1234567" "2025-01-01T24:00"
"""
literals = st.one_of(
    st.sampled_from(AWKWARD.split()),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    stamps.map(json.dumps),
    st.dates().map(lambda d: json.dumps(str(d))),
    json_text.map(json.dumps),
    json_text.map(lambda t: json.dumps(t, ensure_ascii=False)),
)
values = st.recursive(
    literals,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: "[" + ", ".join(v) + "]"),
        st.dictionaries(st.sampled_from(["x", "y", "ü", "a b", ""]), inner, max_size=3).map(
            lambda d: "{" + ", ".join(f"{json.dumps(k)}: {v}" for k, v in d.items()) + "}"
        ),
    ),
    max_leaves=4,
)
records = st.dictionaries(st.sampled_from(["a", "b", "c"]), values, min_size=1, max_size=3).map(
    lambda d: "{" + ", ".join(f'"{k}": {v}' for k, v in d.items()) + "}"
)
broken = st.sampled_from(
    ['{"a": 1', "7", '{"a": nul}', '{"a": "\\ud800"}', "[1]", "", "  ", '{"a": 1}{"a": 2.5}']
)
CELLS = "1 -1 -0 007 1.5 1e3 1e999 +1 .5 1_0 NaN nan inf -inf NAN true False TRUE 2025-09-09 2025-02-29 0x1"
cells = st.one_of(
    st.sampled_from(
        CELLS.split(),
    ),
    st.sampled_from(
        ["", "", '""', " ", '"a,b"', '"a""b"', '"12"', '"2025-09-09T10:00Z"', 'a"b', '"a\nb"', '"x"y']
    ),
    st.sampled_from(["9007199254740993", "9223372036854775808", "ü", "2025-09-09 10:00:00.123456-04:00"]),
    st.integers().map(str),
    st.floats().map(str),
    stamps,
)
texts = st.lists(st.one_of(records, records, records, broken), min_size=1, max_size=8)


# -- what the values say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "word"),
    [
        (["1", "-2"], "int64"),
        (["1", "2.0"], "float64"),
        (["1.0", "2.0"], "float64"),
        (["1", "NaN"], "float64"),
        (["-0", "1"], "float64"),
        (["1.5", '"NaN"'], "float64"),
        (['"NaN"'], "string"),
        (["true", "false"], "bool"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "uint64"),
        (["9223372036854775808", "-1"], "decimal(19, 0)"),
        (["18446744073709551616"], "decimal(20, 0)"),
        (["1" * 39], "string"),
        (["9007199254740992", "0.5"], "float64"),
        (["9007199254740993", "0.5"], "string"),
        (["1e999", "0.5"], "string"),
        (['"12"', '"7"'], "string"),
        (["12", '"7"'], "string"),
        (['"2025-09-09"', '"2024-02-29"'], "date"),
        (['"2025-09-09"', '"2025-02-29"'], "string"),
        (['"2025-09-09T00:00:00"', '"2025-09-09 04:00:00.5-04:00"'], "timestamp[us, UTC]"),
        (['"2025-09-09"', '"2025-09-09T10:00Z"'], "timestamp[us, UTC]"),
        (['"2025-09-09T10:00:00.1234567Z"', '"2025-09-09"'], "timestamp[ns, UTC]"),
        (['"2025-09-09T10:00:00.1234567Z"', '"1500-01-01"'], "string"),
        (['"2025-09-09T10:00Z"', '"soon"'], "string"),
        (['"2025-09-09T10:00Z"', "5"], "string"),
        (["[1, 2]", "[]", "[null, 3.5]"], "list<float64>"),
        (["[]"], "list<string>"),
        (['{"x": 1, "y": null}', '{"z": true, "x": 2.5}'], "struct<x: float64, y: string, z: bool>"),
        (["{}"], "json"),
        (['{"": 1}'], "json"),
        (["[1]", "1"], "json"),
        (["true", "1"], "json"),
        (["true", '"x"'], "json"),
        (['{"x": 1}', "[1]"], "json"),
    ],
)
def test_a_column_gets_the_narrowest_type_that_holds_its_values(tokens, word):
    assert column_type(*tokens)[0] == word
    assert column_type("null", *tokens, *tokens)[0] == word


@pytest.mark.parametrize(
    ("tokens", "remark"),
    [
        (["null"], "every value is null"),
        (["NaN", '"x"'], "rejects"),
        (["1", '"x"'], "numbers as well as text"),
        (["true", "1"], "several types"),
        (['{"x": null}'], "x: every value is null"),
        (["[true, NaN]"], "rejects"),
        (["1", "2"], ""),
    ],
)
def test_what_a_reader_of_the_schema_should_know_is_remarked(tokens, remark):
    found = column_type(*tokens)[1]
    assert remark in found if remark else not found


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        (["1", "-2", ""], "int64"),
        (["1", "2.5"], "float64"),
        (["1", "nan"], "float64"),
        (["1.23457e+06", "-0"], "float64"),
        (["007", "12"], "string"),
        (["+1"], "string"),
        (["true", "False"], "bool"),
        (["true", "1"], "string"),
        (["true", "x"], "string"),
        (["nan"], "string"),
        (["2025-09-09"], "date"),
        (["2025-09-09", "2025-09-09T10:00:00-04:00"], "timestamp[us, UTC]"),
        (['"12"', "13"], "int64"),
        (["12", '""'], "string"),
        (['{"x": 1}'.replace('"', "")], "string"),
        (["", ""], "string"),
    ],
)
def test_a_csv_column_gets_the_narrowest_type_that_keeps_its_texts(cells, word):
    text = "a\tb\n" + "".join(f"{cell}\t1\n" for cell in cells)
    assert infer_schema([("x.tsv", text.encode())]).schema.fields[0].type == word


def test_csv_and_json_of_one_day_share_their_columns():
    objects = [
        ("a.csv", b"symbol,timestamp,open,volume\nAAPL,2025-09-09T00:00:00,1.5,1.23457e+06\n"),
        ("b.json", b'{"symbol": "MSFT", "timestamp": "2025-09-09T00:00:00-04:00", "volume": NaN}\n'),
    ]
    assert [(f.name, f.type) for f in infer_schema(objects).schema.fields] == [
        ("symbol", "string"),
        ("timestamp", "timestamp[us, UTC]"),
        ("open", "float64"),
        ("volume", "float64"),
    ]
    clash = infer_schema([("a.csv", b"a\nx\n"), ("b.json", b'{"a": true}')])
    assert "rejects" in clash.comments["a"]


def test_columns_stand_in_the_order_of_first_appearance_and_in_the_file_with_remarks():
    inferred = infer_schema([("x.json", lines({"b": 1}, {"c": None, "b": 2}, {"a": "x"}))], "some.table")
    assert inferred.to_toml() == (
        'name = "some.table"\n\n[columns]  # in file order\n'
        'b = "int64"\nc = "string"  # every value is null\na = "string"\n'
    )


# -- properties --------------------------------------------------------------------------------


def sorted_columns(inferred):
    """Columns without their order, which is that of first appearance."""

    def plain(kind):
        if pa.types.is_struct(kind):
            return sorted((field.name, plain(field.type)) for field in kind)
        return ["list", plain(kind.value_type)] if pa.types.is_list(kind) else str(kind)

    return sorted((f.name, plain(arrow_type(f.type))) for f in inferred.schema.fields)


def read_everything_one_by_one(objects):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer, "lines_like", lambda *_, **__: None)
        patch.setattr(infer, "rows_like", lambda *_, **__: None)
        return infer_schema(objects)


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except (EmptyInput, RejectLimitExceeded, SchemaError) as error:
        return str(error)


@contextmanager
def counting(values):
    """Let lines be passed over when so many values of a kind were seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_profile, "MOST_COUNTED", values)
        yield


@settings(deadline=None)
@given(texts, st.integers(1, 3), st.sampled_from(["\n", "\r\n", "\n\n"]), st.sampled_from([1, 2, 500]))
@example(['{"a": 1}', '{"a": -1}', '{"a": 9223372036854775808}'], 2, "\n", 1)
def test_passing_over_lines_that_say_nothing_new_changes_nothing(records, times, end, counted):
    """Repeated records are what the expression passes over."""
    text = "".join(record + end for record in records for _ in range(times)) * times
    objects = [("x.json", text.encode("utf-8", "surrogatepass"))]
    with counting(counted):
        assert outcome(infer_schema, objects) == outcome(read_everything_one_by_one, objects)


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=8), st.randoms(use_true_random=False), st.data())
def test_neither_order_nor_objects_nor_form_change_the_types(records, random, data):
    one = infer_schema([("x.json", "\n".join(records).encode())])
    shuffled = random.sample(records, len(records))
    cut = data.draw(st.integers(0, len(records)))
    parts = [
        ("a.jsonl.gz", gzip.compress("".join(shuffled[:cut]).encode(), mtime=0)),
        ("b.json", b"\xef\xbb\xbf[" + ",\n".join(shuffled[cut:]).encode() + b"]"),
    ]
    other = infer_schema(parts)
    assert sorted_columns(other) == sorted_columns(one)
    assert (other.records, other.rejects) == (one.records, one.rejects) == (len(records), 0)


@settings(deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=8)
    ),
    st.integers(1, 3),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from([1, 2, 500]),
)
def test_csv_rows_that_say_nothing_new_are_passed_over_and_all_rows_fit_the_schema(rows, times, end, counted):
    lines = [",".join(row) + end for row in rows for _ in range(times)] * times
    objects = [("x.csv", ("a,b,c"[: 2 * len(rows[0]) - 1] + end + "".join(lines)).encode())]
    with counting(counted):
        inferred = infer_schema(objects)
        assert inferred == read_everything_one_by_one(objects)
    decoded = decode_objects(objects, CompactionSpec(inferred.schema))
    assert decoded.object_records == (inferred.records,)
    assert len(decoded.rejects) == inferred.rejects


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=8))
def test_the_inferred_schema_takes_every_record_of_its_data(records):
    text = "\n".join(records).encode()
    inferred = infer_schema([("x.json", text)])
    decoded = decode_objects([("x.json", text)], CompactionSpec(inferred.schema))
    if not any("rejects" in remark for _, remark in inferred.remarks):
        assert decoded.rejects == ()
        assert decoded.extra_fields == ()
        assert decoded.table.num_rows == len(records)


# -- objects, forms, limits --------------------------------------------------------------------


def test_broken_records_are_counted_and_say_nothing():
    text = lines({"a": 1}, b"17", b'{"a": "x', {"a": 2}, b'{"a": "\xff"}', {"a": 3})
    inferred = infer_schema([("x.json", text), ("y.json", b'[{"a": 4}, {"a": ]')])
    assert inferred.schema.fields[0].type == "int64"
    assert (inferred.objects, inferred.records, inferred.rejects) == (2, 8, 4)


def test_pretty_printed_and_long_records_are_read_whole():
    records = [{"a": "x" * 50_000, "b": [1, 2, {"c": 1.5}]}, {"a": "y", "b": []}]
    text = "\n".join(json.dumps(r, indent=4) for r in records * 3).encode()
    inferred = infer_schema([("x.json", text)])
    assert [f.type for f in inferred.schema.fields] == ["string", "list<json>"]
    assert (inferred.records, inferred.rejects) == (6, 0)


def test_the_last_of_very_many_records_counts_as_much_as_the_first():
    text = lines(*[{"t": f"2025-09-{d:02}T10:00:00", "v": d * 1.5} for d in range(1, 31)]) * 300
    before = infer_schema([("x.json", text)])
    after = infer_schema([("x.json", text + lines({"t": "now", "v": 2.0, "w": -1}))])
    assert [f.type for f in before.schema.fields] == ["timestamp[us, UTC]", "float64"]
    assert [f.type for f in after.schema.fields] == ["string", "float64", "int64"]
    assert after.records == before.records + 1 == 9_001


def parquet(table):
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def test_parquet_says_its_types_itself_and_joins_the_other_objects():
    table = pa.table(
        {
            "i": pa.array([1], pa.int32()),
            "t": pa.array([0], pa.timestamp("ms")),
            "n": pa.nulls(1),
            "d": pa.array(["x"]).dictionary_encode(),
        }
    )
    alone = infer_schema([("x.parquet", parquet(table))])
    assert [f.type for f in alone.schema.fields] == ["int32", "timestamp[ms]", "string", "string"]
    both = infer_schema([("x.parquet", parquet(table)), ("y.json", b'{"i": 1.5, "n": 2}')])
    assert [f.type for f in both.schema.fields] == ["float64", "timestamp[ms]", "int64", "string"]
    assert "int32" in both.comments["i"]
    assert both.records == 2


PARQUET_COLUMNS = st.sampled_from(
    [
        pa.array([1, None], pa.int16()),
        pa.array([2**64 - 1, 0], pa.uint64()),
        pa.array([1.5, float("nan")], pa.float32()),
        pa.array([0.1, None]),
        pa.array([True, None]),
        pa.array(["x", "1"]),
        pa.array([b"x", b"\xff"]),
        pa.array([0, 1], pa.date32()),
        pa.array([0, 1], pa.timestamp("ns", "Asia/Seoul")),
        pa.array([0, -1], pa.timestamp("ms")),
        pa.array([0, 1], pa.time64("us")),
        pa.array([1, 2], pa.decimal128(9, 2)),
        pa.array([[1], None], pa.list_(pa.int8())),
        pa.array([{"a": 1, "b": [None]}, {}], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.date32()))])),
        pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())),
        pa.nulls(2),
    ]
)


@settings(deadline=None)
@given(st.lists(PARQUET_COLUMNS, min_size=1, max_size=3), st.lists(values, max_size=2))
def test_the_schema_of_parquet_and_json_takes_every_row_of_both(columns, tokens):
    objects = [(f"{i}.parquet", parquet(pa.table({"a": column}))) for i, column in enumerate(columns)]
    objects.append(("z.json", "".join(f'{{"a": {token}}}\n' for token in tokens).encode()))
    try:
        inferred = infer_schema(objects)
    except SchemaError as error:  # for instance the largest uint64 beside NaN
        assert "No type holds the values of column 'a'" in str(error)  # noqa: PT017
        return
    decoded = decode_objects(objects, CompactionSpec(inferred.schema))
    assert sum(decoded.object_records) == inferred.records == 2 * len(columns) + len(tokens)
    if not any("rejects" in remark for _, remark in inferred.remarks):
        assert decoded.rejects == ()


@pytest.mark.parametrize(
    ("key", "raw", "error"),
    [
        ("x.parquet", b"PAR1 and then something else", CorruptObject),
        ("x.json.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], CorruptObject),
    ],
)
def test_what_decoding_refuses_inference_refuses(key, raw, error):
    with pytest.raises(error, match=key):
        infer_schema([(key, raw)])


def test_a_record_over_a_limit_says_nothing_and_stops_nothing():
    deep = b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}"
    digits = b'{"y": ' + b"7" * 1_001 + b"}"
    inferred = infer_schema([("x.json", b'{"a": 1}\n' + deep + b"\n" + digits + b'\n{"a": 2.5}\n')])
    assert [(f.name, f.type) for f in inferred.schema.fields] == [("a", "float64")]
    assert (inferred.records, inferred.rejects) == (4, 2)


def test_nothing_to_infer_from_is_an_error_that_says_so():
    with pytest.raises(EmptyInput, match="2 raw objects hold no record"):
        infer_schema([("x.json", b""), ("y.json", b"\xef\xbb\xbf \n")])
    with pytest.raises(SchemaError, match="None of 2 records") as error:
        infer_schema([("x.json", b"1\n{}\n")])
    assert "'x.json', record 0: not a JSON object" in error.value.hint
    with pytest.raises(RejectLimitExceeded, match="All 2 records are rejects") as refused:
        infer_schema([("x.json", b"1\n[2\n")])
    assert "'x.json', record 0: not a JSON object" in refused.value.hint


def test_names_that_no_column_may_have_are_left_out_and_named():
    inferred = infer_schema([("x.json", b'{"": 1, "_rescued": "{}", "Close": 1, "close": 2}')])
    assert [f.name for f in inferred.schema.fields] == ["Close", "close"]
    assert inferred.left_out == ("", "_rescued")
    assert inferred.comments == {"close": "many readers cannot tell it from Close"}
    assert [w for w in inferred.warnings if "left out" in w and "x.json, record 0" in w] == list(
        inferred.warnings
    )
    assert len(inferred.warnings) == 2


def test_keys_that_are_data_do_not_become_thousands_of_fields():
    as_map = infer_schema([("x.json", lines(*({"m": {f"k{i}": i}} for i in range(1_001))))])
    assert as_map.schema.fields[0].type == "json"
    with pytest.raises(SchemaError, match="more than 100 different fields"):
        infer_schema([("x.json", lines(*({f"k{i}": i} for i in range(101))))], limits=Limits(columns=100))


def test_what_nests_very_deeply_stays_json():
    text = b'{"a": ' + b'{"a": ' * 30 + b"1" + b"}" * 31
    word = infer_schema([("x.json", text)]).schema.fields[0].type
    assert word.count("struct") <= 17
    assert word.endswith("json" + ">" * word.count("struct"))
