"""Schemas: type words, their lattice, table files, and what Arrow makes of them."""

import hashlib
import subprocess
import sys
from itertools import product

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.errors import SchemaError
from briquette.model import ExtraFields, Field, Limits, Schema
from briquette.schemas.declared import (
    TableSpec,
    arrow_schema,
    arrow_type,
    check_schema,
    column_type_of,
    dump_schema,
    load_schema,
    load_table,
    parse_table,
    schema_fingerprint,
    table_names,
)
from briquette.schemas.types import (
    JSON,
    MAX_NESTING,
    NULL,
    PLAIN,
    STRING,
    UNITS,
    ColumnType,
    Decimal,
    ListOf,
    Plain,
    Struct,
    Timestamp,
    parse_type,
    promote,
)

# -- material ----------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
scalars = st.one_of(
    st.sampled_from([Plain(name) for name in PLAIN]),
    st.builds(Timestamp, st.sampled_from(UNITS), st.booleans()),
    st.integers(1, 38).flatmap(lambda p: st.builds(Decimal, st.just(p), st.integers(0, p))),
)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(ListOf, inner),
            st.dictionaries(names, inner, min_size=1, max_size=3).map(lambda d: Struct(tuple(d.items()))),
        ),
        max_leaves=5,
    )


words = nested(scalars)
schemas = st.builds(
    Schema,
    fields=st.lists(
        st.builds(Field, names.filter(lambda n: n != "_rescued"), words.map(str), st.booleans()),
        min_size=1,
        max_size=5,
        unique_by=lambda f: f.name,
    ).map(tuple),
    null_values=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=3).map(
        tuple
    ),
    name=st.sampled_from(["", "market.prices", "a"]),
)


def sorted_fields(word: ColumnType) -> ColumnType:
    match word:
        case ListOf(element):
            return ListOf(sorted_fields(element))
        case Struct(fields):
            return Struct(tuple(sorted((name, sorted_fields(kind)) for name, kind in fields)))
    return word


# -- type words --------------------------------------------------------------------------------


@settings(deadline=None)
@given(words)
def test_a_printed_type_parses_back_to_itself(word):
    assert parse_type(str(word)) == word


@settings(deadline=None)
@given(words)
def test_spaces_do_not_change_a_type(word):
    spelled = str(word)
    if '"' not in spelled:
        dense = spelled.replace(" ", "")
        assert parse_type(dense) == word
        assert str(parse_type(f"  {dense} ")) == spelled


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("double", "float64"),
        ("INT64", "int64"),
        ("strng", "string"),
        ("timestamp", "timestamp[us, UTC]"),
        ("timestamp[us, Europe/Berlin]", "UTC"),
        ("timestamp[min]", "us"),
        ("decimal(39, 2)", "38"),
        ("decimal(4, 5)", "scale"),
        ("list<bigint>", "int64"),
        ("null", "string"),
    ],
)
def test_a_wrong_type_word_says_what_was_meant(word, hint):
    with pytest.raises(SchemaError) as error:
        parse_type(word)
    assert word in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    "word",
    [
        "", "int64 int64", "list<", "list<int64", "list<int64>>", "list int64", "struct<>", "struct<a>",
        "struct<a: int64,>", "struct<a: int64, a: int8>", 'struct<"\\ud800": int64>', 'struct<"\\x": int64>',
        "decimal(2)", "decimal(,)", "decimal(-1, 0)", "timestamp[us", "timestamp[us,]", "int64;", "ряд", "1",
    ],
)  # fmt: skip
def test_a_malformed_type_word_is_an_error(word):
    with pytest.raises(SchemaError):
        parse_type(word)


def test_nesting_without_bound_is_an_error_not_a_crash():
    assert parse_type("list<" * MAX_NESTING + "int8" + ">" * MAX_NESTING)
    with pytest.raises(SchemaError, match="nests deeper"):
        parse_type("list<" * 100_000 + "int8" + ">" * 100_000)


# -- the lattice -------------------------------------------------------------------------------

EVERY_SCALAR = [
    NULL,
    *map(Plain, PLAIN),
    *(Timestamp(unit, utc) for unit in UNITS for utc in (False, True)),
    *(Decimal(*digits) for digits in [(3, 0), (20, 0), (10, 2), (38, 2), (38, 38)]),
    ListOf(Plain("int8")),
    Struct((("a", Plain("int8")),)),
]


def test_promotion_of_every_three_types_does_not_depend_on_their_order():
    joins = {(a, b): promote(a, b) for a, b in product(EVERY_SCALAR, repeat=2)}
    for a, b, c in product(EVERY_SCALAR, repeat=3):
        assert promote(joins[a, b], c) == promote(a, joins[b, c]), (a, b, c)


@settings(deadline=None)
@given(words, words, words)
def test_promotion_is_a_join(a, b, c):
    assert promote(a, a) == a
    assert promote(a, promote(a, b)) == promote(a, b)
    assert sorted_fields(promote(a, b)) == sorted_fields(promote(b, a))
    assert promote(promote(a, b), c) == promote(a, promote(b, c))
    assert promote(a, NULL) == promote(NULL, a) == a
    assert promote(a, JSON) == JSON


@settings(deadline=None)
@given(words, words)
def test_a_promoted_type_can_be_declared(a, b):
    joined = promote(a, b)
    assert parse_type(str(joined)) == joined
    assert arrow_type(str(joined)) is not None


@pytest.mark.parametrize(
    ("a", "b", "joined"),
    [
        ("int64", "float64", "float64"),
        ("int8", "uint8", "int16"),
        ("int64", "uint64", "decimal(20, 0)"),
        ("float32", "int8", "float64"),
        ("decimal(10, 2)", "decimal(6, 4)", "decimal(12, 4)"),
        ("decimal(38, 2)", "decimal(38, 10)", "float64"),
        ("date", "timestamp[us, UTC]", "timestamp[us, UTC]"),
        ("timestamp[ms]", "timestamp[s, UTC]", "timestamp[ms, UTC]"),
        ("timestamp[us, UTC]", "string", "string"),
        ("date", "int64", "string"),
        ("bool", "int64", "json"),
        ("bool", "string", "json"),
        ("list<int64>", "list<float64>", "list<float64>"),
        ("list<int64>", "int64", "json"),
        ("struct<b: int64, a: int8>", "struct<a: int16, c: bool>", "struct<b: int64, a: int16, c: bool>"),
    ],
)
def test_promotion_by_example(a, b, joined):
    assert str(promote(parse_type(a), parse_type(b))) == joined


@pytest.mark.parametrize("signed", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("other", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"])
def test_promoted_integers_hold_the_extremes_of_both(signed, other):
    joined = arrow_type(str(promote(Plain(signed), Plain(other))))
    for word in (signed, other):
        bits = int(word.lstrip("uint"))
        low, high = (0, 2**bits - 1) if word[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert pa.array([low, high], joined).to_pylist() == [low, high]


# -- Arrow -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(words)
def test_arrow_types_turn_back_into_their_words(word):
    def without_json(w: ColumnType) -> ColumnType:
        match w:
            case ListOf(element):
                return ListOf(without_json(element))
            case Struct(fields):
                return Struct(tuple((name, without_json(kind)) for name, kind in fields))
        return STRING if w == JSON else w

    assert column_type_of(arrow_type(str(word))) == without_json(word)


def test_arrow_schema_keeps_order_nullability_and_puts_rescued_last():
    schema = Schema((Field("b", "timestamp[us, UTC]", nullable=False), Field("a", "json")))
    expected = pa.schema(
        [
            pa.field("b", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("a", pa.string()),
            pa.field("_rescued", pa.string()),
        ]
    )
    assert arrow_schema(schema, rescued=True).equals(expected)
    assert arrow_schema(schema).equals(expected.remove(2))


@settings(deadline=None)
@given(schemas.filter(lambda schema: not any("timestamp[s" in f.type for f in schema.fields)))
def test_parquet_gives_the_arrow_schema_back_but_for_seconds_which_it_lacks(schema):
    arrow = arrow_schema(schema)
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(out, arrow):
        pass
    assert pq.read_schema(pa.BufferReader(out.getvalue())).equals(arrow)


def test_types_without_a_word_are_none():
    assert column_type_of(pa.map_(pa.string(), pa.int8())) is None
    assert str(column_type_of(pa.list_(pa.duration("s")))) == "list<json>"
    assert (
        str(column_type_of(pa.struct([("a", pa.int8()), ("b", pa.time32("s"))])))
        == "struct<a: int8, b: json>"
    )
    assert column_type_of(pa.struct([])) is None
    assert column_type_of(pa.dictionary(pa.int32(), pa.string())) == STRING


# -- table files -------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    schemas,
    st.sampled_from(ExtraFields),
    st.floats(0, 1),
    st.sampled_from([Limits(), Limits(depth=200, record_bytes=1 << 20)]),
    st.data(),
)
def test_a_table_file_reads_back_equal(schema, extra_fields, ratio, limits, data):
    key = data.draw(st.lists(st.sampled_from([f.name for f in schema.fields]), unique=True, max_size=2))
    table = TableSpec(schema, tuple(key), extra_fields, ratio, limits)
    comments = {schema.fields[0].name: 'every value\nwas "null" # \x00\x7f\u2028'}
    assert parse_table(dump_schema(table)) == table
    assert parse_table(dump_schema(table, comments=comments)) == table
    assert parse_table(dump_schema(schema)).schema == schema


@settings(deadline=None)
@given(schemas)
def test_the_fingerprint_ignores_spelling_and_name_but_not_columns(schema):
    fingerprint = schema_fingerprint(schema)
    spaced = Schema(
        tuple(Field(f.name, f" {f.type} ", f.nullable) for f in schema.fields), schema.null_values, "other"
    )
    assert schema_fingerprint(spaced) == fingerprint
    first, *rest = schema.fields
    flipped = Schema((Field(first.name, first.type, not first.nullable), *rest), schema.null_values)
    assert schema_fingerprint(flipped) != fingerprint
    longer = Schema((*schema.fields, Field("one more name", "int8")), schema.null_values)
    assert schema_fingerprint(longer) != fingerprint
    if len(schema.fields) > 1:
        turned = Schema(schema.fields[::-1], schema.null_values)
        assert schema_fingerprint(turned) != fingerprint


def test_the_fingerprint_is_that_of_its_canonical_json():
    schema = Schema((Field("symbol", "string", nullable=False), Field("close", "float64")))
    text = (
        '{"columns":[{"name":"symbol","nullable":false,"type":"string"},'
        '{"name":"close","nullable":true,"type":"float64"}],"null_values":[""]}'
    )
    assert schema_fingerprint(schema) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('colums = {}\n[columns]\na = "int8"', "'colums'", "columns"),
        ("", "no columns", "[columns]"),
        ("columns = 3", "columns must be a table", ""),
        ("[columns]\na = 3", "'a'", ""),
        ('[columns]\na.b = "int8"', "'a'", "quote"),
        ('[columns]\na = "double"', "'a'", "float64"),
        ('[columns]\n_rescued = "string"', "_rescued", "extra_fields"),
        ('[columns]\n"" = "string"', "empty", ""),
        ('[columns]\na = "int8"\na = "int8"', "not TOML", ""),
        ('unique_key = ["b"]\n[columns]\na = "int8"', "'b'", ""),
        ('unique_key = "a"\n[columns]\na = "int8"', "unique_key must be a list", ""),
        ('null_values = [1]\n[columns]\na = "int8"', "null_values must be a list", ""),
        ('extra_fields = "drop"\n[columns]\na = "int8"', "'drop'", "ignore, rescue, reject"),
        ('max_reject_ratio = 5\n[columns]\na = "int8"', "between 0 and 1", "5 %"),
        ('max_reject_ratio = nan\n[columns]\na = "int8"', "between 0 and 1", "5 %"),
        ('max_reject_ratio = true\n[columns]\na = "int8"', "a number", ""),
        ("a = " + "[" * 100_000, "not TOML", ""),
    ],
)
def test_a_wrong_table_file_says_what_and_where(text, message, hint):
    with pytest.raises(SchemaError) as error:
        parse_table(text, where="prices.toml")
    assert "prices.toml" in error.value.message
    assert message in error.value.message
    assert hint in error.value.hint


def test_null_texts_and_not_null_are_read():
    table = parse_table('null_values = ["", "NA"]\n[columns]\nid = "int64  not  null"\nx = "string"')
    assert table.schema.fields == (Field("id", "int64", nullable=False), Field("x", "string"))
    assert table.schema.null_values == ("", "NA")


def test_a_table_is_found_by_name_by_path_and_in_the_users_directory_first(tmp_path):
    ours = load_table("market.prices")
    assert [f.name for f in ours.schema.fields] == [
        "symbol", "timestamp", "adjusted_close", "open", "high", "low", "close", "volume",
    ]  # fmt: skip
    assert "market.prices" in table_names()

    file = tmp_path / "market.prices.toml"
    file.write_text('\ufeff[columns]\nx = "int8"')
    assert load_schema(file) == Schema((Field("x", "int8"),))
    assert load_schema(str(file)) == Schema((Field("x", "int8"),))
    assert load_schema("market.prices", tables=tmp_path) == Schema(
        (Field("x", "int8"),), name="market.prices"
    )
    assert load_schema("market.prices") == ours.schema


@pytest.mark.parametrize(
    "name", ["../market.prices", "/etc/passwd", "market/prices", "", ".", "Market.Prices"]
)
def test_a_name_never_leaves_the_tables_directory(name):
    with pytest.raises(SchemaError, match="not a table's name"):
        load_table(name)


def test_an_unknown_table_offers_the_nearest_one(tmp_path):
    with pytest.raises(SchemaError) as error:
        load_table("market.price")
    assert "market.prices" in error.value.hint
    with pytest.raises(SchemaError, match="cannot be read"):
        load_table(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text('name = "b"\n[columns]\nx = "int8"')
    with pytest.raises(SchemaError, match="declares name = 'b'"):
        load_table("a", tables=tmp_path)
    (tmp_path / "c.toml").write_bytes(b"[columns]\nx = '\xff'")
    with pytest.raises(SchemaError, match="cannot be read"):
        load_table("c", tables=tmp_path)


def test_a_schema_that_cannot_be_used_is_refused():
    for fields in [
        (),
        (Field("a", "int8"), Field("a", "int8")),
        (Field("\ud800", "int8"),),
        (Field("a", "no"),),
    ]:
        with pytest.raises(SchemaError):
            check_schema(Schema(fields))
    checked = check_schema(Schema((Field("a", "list<timestamp[us,UTC]>"),)))
    assert checked.fields[0].type == "list<timestamp[us, UTC]>"


def test_a_schema_is_read_without_loading_pyarrow():
    code = (
        "import sys; from briquette.schemas.declared import load_table, schema_fingerprint;"
        "schema_fingerprint(load_table('market.prices').schema); print('pyarrow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
