"""What inference tells a person: first records that look like rows, what decided a type, what is left out."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.errors import CorruptObject
from briquette.inference.infer import infer_schema
from briquette.model import Status
from briquette.schemas.declared import parse_table


def warnings(*objects):
    """What is told about (key, text) objects."""
    return infer_schema([(key, text.encode()) for key, text in objects]).warnings


def rows(*lines):
    return "".join(f"{line}\n" for line in lines)


# -- CSV of another kind ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (rows('"bkt","k/1","10"', '"bkt","k/2","20"'), "'bkt' is also a value below it"),
        (rows("ann,10", "bob,20"), "'10' is a number, as '20' below it"),
        (rows("ann,2024-01-01", "bob,2024-01-02", "cy,"), "'2024-01-01' is a day or time, as '2024-01-02'"),
        (rows("2024-01-01T10:00:00Z,x", "2024-01-02T10:00:00Z,y"), "'2024-01-01T10:00:00Z' is a day"),
        (rows("1.5,x"), "'1.5' is a number"),
        (rows("x,1,7", "y,2,8"), "'1' is a number"),
    ],
)
def test_a_first_record_that_looks_like_a_row_is_told(text, why):
    [told] = warnings(("a.csv", text))
    assert told.startswith(f"a.csv: its first record looks like data, not like a header: {why}")
    assert "is not a row" in told
    assert "put a line with the columns' names in front of each" in told


@pytest.mark.parametrize(
    "text",
    [
        rows("id,name", "1,x", "2,y"),
        rows("country,2019,2020,2021", "IT,5,6,7", "FR,8,9,10"),
        rows("0,1,2", "5.5,6,7"),
        rows("name,value", "a,b", "value,c"),
        rows("2fa,x1", "yes,no"),
        rows("a"),
        rows("q1,q2", "1,2"),
    ],
)
def test_a_header_is_not_suspected(text):
    assert warnings(("a.csv", text)) == ()


def test_objects_of_one_kind_are_told_once():
    [told] = warnings(*((f"{n}.csv", rows(f"x,{n}", f"y,{n + 10}")) for n in range(1, 6)))
    assert told.startswith("1.csv: ")
    assert "(and 4 more objects like it)" in told


def test_headers_that_have_nothing_in_common_are_told():
    [told] = warnings(("a.csv", rows("ann,rome", "bob,pisa")), ("b.csv", rows("cy,bari", "dan,como")))
    assert "The headers of 2 CSV objects have no name in common, such as 'ann,rome' and 'cy,bari'" in told
    assert warnings(("a.csv", rows("id,x", "a,b")), ("b.csv", rows("id,y", "a,b"))) == ()


@pytest.mark.parametrize(
    ("key", "text", "sign"),
    [
        ("a.csv", rows("id;city;n", "1;Roma;5"), "';'"),
        ("a.csv", rows("A|B|C|", "1|2|3|"), "'|'"),
        ("a.csv", rows("A\tB", "1\t2"), "a tab"),
        ("a.tsv", rows("A,B", "1,2"), "','"),
        (
            "a.csv",
            rows("Country;Count", "China;97100,7"),
            "';', not ',', with ',' as the decimal mark (97100,7)",
        ),
    ],
)
def test_another_separator_is_named(key, text, sign):
    told = [warning for warning in warnings((key, text)) if "separated by" in warning]
    assert len(told) == 1
    assert told[0].startswith(f"{key}: its header")
    assert f"separated by {sign}" in told[0]


def test_a_note_to_a_spreadsheet_is_refused_by_name():
    for text in ("sep=,\nid,name\n1,x\n", "sep=;\nid;name\n", "SEP=\t\nid\n", "\ufeffsep=,\nid\n1\n"):
        with pytest.raises(CorruptObject, match=r"^a\.csv begins with a sep= line") as error:
            warnings(("a.csv", text))
        assert "Remove that line" in error.value.hint
    assert warnings(("a.csv", rows("sep,sep=", "a,b"))) == ()


def test_a_comment_in_the_first_line_is_told():
    told = warnings(("a.csv", rows("# exported", "name,age", "x,1")))
    assert any("looks like a comment" in warning for warning in told)
    assert warnings(("a.tsv", rows("#chrom\tstart", "chr1\t5"))) == ()


# -- JSON of another kind --------------------------------------------------------------------------


def test_one_list_of_objects_in_each_object_is_told():
    page = {"data": [{"id": 1}, {"id": 2}], "next": "p2"}
    [told] = warnings(("p1.json", json.dumps(page)), ("p2.json", json.dumps({"data": [], "next": None})))
    assert "a list of objects under data" in told
    assert "jq -c '.data[]'" in told
    assert warnings(("a.json", rows(json.dumps(page), json.dumps(page)))) == ()
    assert warnings(("a.json", json.dumps({**page, "also": [{"x": 1}]}))) == ()


def test_names_that_differ_in_case_only_are_told_where_no_record_has_both():
    told = warnings(("a.csv", rows("ID,Name", "1,x")), ("b.csv", rows("id,name", "3,z")))
    assert [w.partition(" never")[0] for w in told] == ["id and ID", "name and Name"]
    assert "did you mean one column?" in told[0]
    assert warnings(("a.json", rows('{"a": 1, "A": 2}', '{"A": 2}'))) == ()
    [told_of_json] = warnings(("a.json", rows('{"a": 1}', '{"A": 2}')))
    assert told_of_json.startswith("A and a never")


# -- what decided ----------------------------------------------------------------------------------


def numbers_and(exceptions, count=5_000):
    return rows("id,a", *(f"{i},{exceptions.get(i, i / 8)}" for i in range(count)))


@pytest.mark.parametrize(
    ("exceptions", "count", "first"),
    [
        ({17: "null", 1_000: "null", 4_999: "null"}, "3 values", '"null" in d/x.csv, record 17'),
        ({0: "NA"}, "1 value", '"NA" in d/x.csv, record 0'),
        (dict.fromkeys(range(200), "n/a"), "200 values", '"n/a" in d/x.csv, record 0'),
        ({3: "-", 4: "?", 4_000: "-"}, "3 values", '"-" in d/x.csv, record 3'),
    ],
)
def test_the_few_texts_that_make_a_column_of_numbers_text_are_told(exceptions, count, first):
    inferred = infer_schema([("d/x.csv", numbers_and(exceptions).encode())])
    assert [f.type for f in inferred.schema.fields] == ["int64", "string"]
    what, proposal = inferred.warnings
    assert what == f"a: string because of {count} among 5,000 records of numbers: text, the first is {first}."
    assert what[3:-1] in inferred.comments["a"]
    texts = ", ".join(f'"{text}"' for text in dict.fromkeys(["", *exceptions.values()]))
    assert proposal.startswith(f"null_values = [{texts}] in the table's file would make a float64:")
    table = parse_table(f"null_values = [{texts}]\n[columns]\na = 'float64'\n")
    assert table.schema.null_values == tuple(dict.fromkeys(["", *exceptions.values()]))


def test_texts_that_stand_for_null_in_many_records_are_told_too():
    text = rows("id,a", *(f"{i},{'NA' if i % 1_000 < 199 else i / 8}" for i in range(20_000)))
    [told] = warnings(("x.csv", text))
    assert told == (
        'a: string because of many values such as ["NA"]: if these are all its texts and mean null, '
        'null_values = ["", "NA"] in the table\'s file makes it float64.'
    )


def test_texts_that_would_not_be_null_are_not_proposed():
    quoted = rows("a", *["1.5"] * 50, '"null"')
    assert not any("null_values" in warning for warning in warnings(("x.csv", quoted)))
    of_json = rows(*['{"a": 1.5}'] * 50, '{"a": "null"}')
    [told] = warnings(("x.json", of_json))
    assert told.startswith("a: string because of 1 value among 51 records of numbers: text, the first is")
    assert told.endswith('"null" in x.json, record 50.')


@pytest.mark.parametrize(
    ("common", "rare", "said"),
    [
        ("2024-01-01", "soon", "1 value among 601 records of days or times: text"),
        ("true", "maybe", "1 value among 601 records of true or false: text"),
        ("2024-01-01", "7", "1 value among 601 records of days or times: numbers"),
        ("1.5", "9007199254740993", "1 value among 601 records of numbers: numbers that float64 cannot hold"),
    ],
)
def test_other_exceptions_are_told_too(common, rare, said):
    told = warnings(("x.csv", rows("a", *[common] * 300, rare, *[common] * 300)))
    assert said in told[0]
    assert "record 300" in told[0]


def test_exceptions_inside_of_objects_and_lists_are_told():
    good = json.dumps({"r": {"x": 1}, "l": [{"y": 1.5}], "o": {"k": 1}})
    bad = json.dumps({"r": {"x": "n/a"}, "l": [{"y": 2.5}, {"y": "z"}], "o": 5})
    told = warnings(("x.json", rows(*[good] * 700, bad, *[good] * 700)))
    assert [w.partition(" because")[0] for w in told] == ["r: x: string", "l: y: string", "o: json"]
    assert all("x.json, record 700" in warning for warning in told)


def test_text_is_text_and_says_nothing():
    assert warnings(("x.csv", rows("a,b", *(f"name {i % 20},{i}" for i in range(900)), "7,7"))) == ()
    assert warnings(("x.csv", rows("a", "x", "1", "y", "2"))) == ()  # nothing outvotes


def test_many_remarks_are_cut_and_counted():
    names = [f"c{i}" for i in range(30)]
    text = rows(",".join(names), *[",".join("1" for _ in names)] * 20, ",".join("?" for _ in names))
    told = warnings(("x.csv", text))
    assert sum("because of" in warning for warning in told) == 20
    assert "10 more remarks on columns are comments in the schema." in told
    assert "c7 int64 and 22 more" in told[-1]


# -- times that are not ISO 8601 -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["01/31/2024", "02/01/2024"], "month/day/year, as 31 can only be a day"),
        (["31.01.2024", "01.02.2024"], "day.month.year, as 31 can only be a day"),
        (["04/07/20", "05/07/20"], "day/month or month/day: nothing tells which"),
    ],
)
def test_days_in_another_order_are_told(texts, order):
    [told] = warnings(("x.csv", rows("d", *texts)))
    assert f'days such as "{texts[0]}" ({order}) stay text' in told


@pytest.mark.parametrize(
    ("name", "number", "unit"),
    [
        ("ts", 1704067200000, "milliseconds"),
        ("createdAt", 1704067200, "seconds"),
        ("event_time", 1704067200000000, "microseconds"),
        ("t", 1704067200000000000, "nanoseconds"),
        ("ts", 1704067200.25, "seconds"),
    ],
)
def test_numbers_that_count_from_1970_are_told(name, number, unit):
    [told] = warnings(("x.json", json.dumps({name: number})))
    assert f"{name}: numbers such as {number} look like {unit} since 1970" in told
    assert warnings(("x.json", json.dumps({"total": number}))) == ()
    assert warnings(("x.json", json.dumps({name: 5}))) == ()


# -- rejects and names -----------------------------------------------------------------------------


def test_rejects_are_counted_and_the_first_is_named():
    [told] = warnings(("x.csv", rows("a,b", "1,2", "3", "4", "5,6")))
    assert told.startswith(
        "2 of 4 records are rejects whatever the schema is (the first: 'x.csv', record 1: 1 fields"
    )


def test_an_unnamed_column_is_named_in_a_warning():
    [told] = warnings(("a.csv", rows("x,y", "1,2")), ("b.csv", rows(",x,y", "0,1,2")))
    assert told.startswith("The field '' is left out")
    assert "first in b.csv, record 0" in told


def test_objects_that_are_refused_are_rejects():
    inferred = infer_schema(
        [("a.json", b'{"a": 1}')], refused=[("x\ny.json", "its key has a control character")]
    )
    assert (inferred.objects, inferred.records, inferred.rejects) == (2, 2, 1)
    assert "'x\\ny.json', record 0: its key has a control character" in inferred.warnings[0]


# -- what infer writes, compact takes --------------------------------------------------------------

names = st.one_of(
    st.sampled_from(
        ["", "_rescued", "a.b", "a/b", "q\"u'o", "n\nl", "\x00", "\x7f", "#", "é", "e\u0301", " x"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)


def as_csv(records):
    out = io.StringIO(newline="")
    columns = list(dict.fromkeys(name.strip(" ") for record in records for name in record))
    csv.writer(out).writerows([columns, *([f"{r.get(c)}" for c in columns] for r in records)])
    return out.getvalue().encode()


def as_parquet(records):
    columns = list(dict.fromkeys(name for record in records for name in record))
    out = io.BytesIO()
    pq.write_table(
        pa.table(
            {c: pa.array([json.dumps(r.get(c)) for r in records]) for c in columns}
            | {"l": [[None]] * len(records)}
        ),
        out,
    )
    return out.getvalue()


def as_json(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.dictionaries(names, trees, max_size=3).map(lambda d: {"id": 1, **d}), min_size=1, max_size=3),
    st.sampled_from([("x.json", as_json), ("x.csv", as_csv), ("x.parquet", as_parquet)]),
)
def test_compact_takes_what_infer_writes(tmp_path_factory, records, form):
    import briquette

    place = tmp_path_factory.mktemp("day")
    (place / "raw").mkdir()
    key, write = form
    body = write(records)
    (place / "raw" / key).write_bytes(body)
    toml = infer_schema([(key, body)]).to_toml()
    assert parse_table(toml).schema == infer_schema([(key, body)]).schema
    (place / "table.toml").write_text(toml, encoding="utf-8")
    made = briquette.compact(
        input=str(place / "raw"), output=str(place / "out"), schema=place / "table.toml", max_reject_ratio=0.0
    )
    assert made.status is Status.PUBLISHED
    assert made.manifest.rejects == 0
    assert made.manifest.rows == len(records)
