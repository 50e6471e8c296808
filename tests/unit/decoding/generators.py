"""Clean and dirty raw objects for the properties of the decoders, and the schemas they are read with."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from briquette.model import CompactionSpec, ExtraFields, Field, Limits, Schema

PRICES = Schema(
    (
        Field("symbol", "string", nullable=False),
        Field("timestamp", "timestamp[us, UTC]"),
        Field("close", "float64"),
        Field("volume", "int64"),
    )
)
MIXED = Schema(
    (
        Field("i8", "int8"),
        Field("u64", "uint64"),
        Field("f32", "float32"),
        Field("flag", "bool"),
        Field("day", "date"),
        Field("price", "decimal(10, 2)"),
        Field("seconds", "timestamp[s]"),
        Field("nanos", "timestamp[ns, UTC]"),
        Field("blob", "binary"),
    )
)
NESTED = Schema(
    (
        Field("tags", "list<string>"),
        Field("quote", "struct<bid: float64, size: int64, at: timestamp[us, UTC]>"),
        Field("legs", "list<struct<px: float64, n: int32>>"),
    )
)
JSON_TEXT = Schema((Field("symbol", "string"), Field("doc", "json")))
SCHEMAS = (PRICES, MIXED, NESTED, JSON_TEXT)

SMALL_LIMITS = Limits(object_bytes=1 << 20, record_bytes=1 << 16, depth=20, columns=50, number_digits=40)

NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "3",
        "3.0",
        "3.7",
        "-1",
        "127",
        "128",
        "-128",
        "-129",
        "1e2",
        "1E+2",
        "1.5e-3",
        "1.23457e+06",
        "255",
        "-0.0",
        "0.1",
        "1e308",
        "1e309",
        "-1e309",
        "1e-400",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "3.00000000000000000001",
        "12345678.12",
        "123456789.12",
        "1.005",
        "1.50",
        "16777217",
        "3.5e38",
        "3.4028235e38",
        "0.30000000000000004",
        "1e23",
        "8.41e21",
        "5e-324",
        "2.2250738585072011e-308",
        "NaN",
        "Infinity",
        "-Infinity",
        "0e500",
        "100e-2",
        "1234567.0",
        "189.11000061035156",
        "12345678901234567890123456789012345678901234567890",
    ]
)
TEXT_NUMBERS = st.one_of(
    NUMBERS,
    st.sampled_from(
        [
            "007",
            "+3",
            ".5",
            "5.",
            "1.e5",
            "0x1F",
            "1_000",
            " 3",
            "3 ",
            "",
            "nan",
            "inf",
            "-inf",
            "-nan",
            "INF",
        ]
    ),
    st.sampled_from(["nan(1)", "-", "e5", "1e", "--1", "١", "00", "-007", "1,5", "true", "NULL", "-Inf"]),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
TIMES = st.one_of(
    st.sampled_from(
        [
            "2025-09-05",
            "2025-09-05T00:00:00",
            "2025-09-05T10:11",
            "2025-09-05T10",
            "2025-09-05T10Z",
            "2025-09-05T10:11:12Z",
            "2025-09-05T10:11:12.5Z",
            "2025-09-05T10:11:12.123456789Z",
            "2025-09-05T10:11:12.1234560Z",
            "2025-09-05T10:11+04",
            "2025-09-05T10:11:12-04:00",
            "2025-09-05T10:11:12+0430",
            "2025-09-05T10:11:60Z",
            "2025-09-05T24:00:00Z",
            "20250905",
            "2025-02-29",
            "2024-02-29",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2025-9-5",
            "9999-12-31T23:59:59Z",
            "1677-09-21T00:12:43Z",
            "1677-09-22",
            "2262-04-11T23:47:16Z",
            "2262-04-12T00:00:00Z",
            "2025-09-05T10:11:12+24:00",
            "2025-09-05T10:11:12,5Z",
            "2025-09-05T10:11:12.000Z",
            "2025-09-05t10:11:12z",
            "2025-09-05T10:11:12.Z",
            "2025-09-05T00:00Z",
            "2025-09-05T10:11:12.120",
            "1969-12-31T23:59:59.9Z",
        ]
    ),
    st.sampled_from(["2025-09-05 10:11:12", "2025-09-05 10:11:12.123456", "", "x", "２０25-09-05"]),
    st.datetimes().map(lambda d: d.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda d: d.isoformat()),
)
WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["AAPL", "é", "\u2028", 'say "hi"', "a\\b", "\x00", "}\n{", "QUFB", "QQ==", "Inf", "-NaN"]
    ),
)


def _weighted(clean: st.SearchStrategy[str], dirty: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 9).flatmap(lambda n: dirty if n == 0 else clean)


_QUOTED = st.one_of(WORDS, TEXT_NUMBERS, TIMES).map(json.dumps)
_ANY = st.recursive(
    st.one_of(NUMBERS, _QUOTED, st.sampled_from(["null", "true", "false", '"\\ud800"', '"\\u00e9"'])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: "[" + ",".join(v) + "]"),
        st.lists(st.tuples(st.sampled_from(["a", "b", "bid", "px", "n"]), inner), max_size=3).map(
            lambda v: "{" + ",".join(f'"{k}":{x}' for k, x in v) + "}"
        ),
    ),
    max_leaves=5,
)


def json_value(word: str) -> st.SearchStrategy[str]:
    """JSON text that mostly suits a type word."""
    if word.startswith("list<"):
        clean = st.lists(json_value(word[5:-1]), max_size=3).map(lambda v: "[" + ", ".join(v) + "]")
    elif word.startswith("struct<"):
        parts = [p.partition(": ") for p in word[7:-1].split(", ") if ": " in p]
        pairs = [(k, v if v != "timestamp[us" else "timestamp[us, UTC]") for k, _, v in parts]
        clean = st.tuples(*(json_value(v) for _, v in pairs)).map(
            lambda vs: "{" + ", ".join(f'"{k}": {v}' for (k, _), v in zip(pairs, vs, strict=True)) + "}"
        )
    elif word == "string":
        clean = WORDS.map(json.dumps)
    elif word == "bool":
        clean = st.sampled_from(["true", "false", '"true"', '"False"'])
    elif word.startswith(("timestamp", "date")):
        clean = TIMES.map(json.dumps)
    elif word == "binary":
        clean = st.sampled_from(['"QUFB"', '"QQ=="', '""', '"Q"', '"é"'])
    elif word == "json":
        clean = _ANY
    else:
        clean = st.one_of(st.sampled_from(["1", "2.5", "100", "7.0"]), NUMBERS, TEXT_NUMBERS.map(json.dumps))
    return _weighted(st.one_of(clean, st.just("null")), _ANY)


@st.composite
def json_record(draw: st.DrawFn, schema: Schema) -> str:
    pairs = [(f.name, draw(json_value(f.type))) for f in schema.fields if draw(st.integers(0, 9))]
    if not draw(st.integers(0, 3)):
        pairs.append((draw(st.sampled_from(["extra", "other", "Symbol", ""])), draw(_ANY)))
    if pairs and not draw(st.integers(0, 15)):
        pairs.append((pairs[0][0], draw(_ANY)))
    colon, comma = draw(
        st.sampled_from([(": ", ", "), (":", ","), (":\n", ",\n")])
        if not draw(st.integers(0, 7))
        else st.just((": ", ", "))
    )
    return "{" + comma.join(f"{json.dumps(k)}{colon}{v}" for k, v in pairs) + "}"


_NOISE = st.sampled_from(
    [
        b"hello",
        b"null",
        b"[1, 2]",
        b"}",
        b"{",
        b'{"symbol": ',
        b'"',
        b"[",
        b"]",
        b",",
        b"\xff\xfe",
        b"\x00",
        b"12",
        b"{}",
        b"  ",
        b"\t",
        b'{"symbol": "\xc3"}',
        b'{"symbol": "a\nb"}',
        b"{}{}",
        b'{"symbol": "a"} x',
        b"\\",
        b"Inf",
        b'{"volume": Inf}',
        b'{"close": -NaN}',
        b'{"a": [\n{}\n]}',
        b"\xef\xbb\xbf{}",
        b'{"x": "\\ud800"}',
        b"NaN",
        b'{"a":1,"a":2}',
        b'{"close":01}',
        b"\r",
        b'{"a":[[[[]]]]}',
        b'{"symbol": "a", "volume": 1234567.0}',
    ]
)


@st.composite
def json_text(draw: st.DrawFn, schema: Schema) -> bytes:
    """A JSON Lines text, an array, or something between, with and without damage."""
    records = [r.encode("utf-8", "surrogatepass") for r in draw(st.lists(json_record(schema), max_size=8))]
    shape = draw(st.sampled_from(["lines"] * 8 + ["array", "joined", "crlf"]))
    if not draw(st.integers(0, 2)):
        for noise in draw(st.lists(_NOISE, max_size=3)):
            records.insert(draw(st.integers(0, len(records))), noise)
    text = {"lines": b"\n", "array": b",\n", "joined": b"", "crlf": b"\r\n"}[shape].join(records)
    if shape == "array":
        text = b"[" + text + b"]"
    elif draw(st.booleans()):
        text += draw(st.sampled_from([b"\n", b"\r\n", b" \n\n", b"\n \n"]))
    if not draw(st.integers(0, 9)):
        text = b"\xef\xbb\xbf" + text
    return _damaged(draw, text)


def _damaged(draw: st.DrawFn, text: bytes) -> bytes:
    if text and not draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(text) - 1))
        kind = draw(st.sampled_from(["cut", "drop", "insert", "swap"]))
        if kind == "cut":
            return text[:at]
        if kind == "drop":
            return text[:at] + text[at + 1 :]
        piece = draw(_NOISE)
        return text[:at] + piece + text[at + (kind == "swap") :]
    return text


CELLS = st.one_of(
    TEXT_NUMBERS,
    TIMES,
    st.sampled_from(
        ["", "NA", "true", "False", "QUFB", '""', '"a,b"', '"NA"', '"x""y"', '"line\nend"', 'a"b', '"1"']
    ),
    st.text(alphabet=st.characters(exclude_characters=',"\r\n\t', codec="utf-8"), max_size=5),
    _ANY.map(lambda t: '"' + t.replace('"', '""') + '"'),
)
_CSV_NOISE = st.sampled_from(
    [
        b"",
        b"a",
        b'"',
        b'"a"b,1',
        b",,,,,,,,,,,",
        b"\xff",
        b"\r",
        b"1\r2",
        b'"open',
        b" ",
        b'""',
        b'a,"b',
        b"NA,NA",
    ]
)


@st.composite
def csv_text(draw: st.DrawFn, schema: Schema, delimiter: str = ",") -> bytes:
    """A CSV text whose cells mostly suit the schema."""
    names = [f.name for f in draw(st.permutations(schema.fields)) if draw(st.integers(0, 9))]
    types = {f.name: f.type for f in schema.fields}
    if not draw(st.integers(0, 3)):
        names.insert(draw(st.integers(0, len(names))), "extra")
    if not names:
        return b""
    lines = [delimiter.join(names).encode()]
    for _ in range(draw(st.integers(0, 6))):
        cells = [draw(csv_cell(types.get(n, "string"))) for n in names]
        lines += [delimiter.join(cells).encode("utf-8", "surrogatepass")]
    if not draw(st.integers(0, 3)):
        lines.insert(draw(st.integers(1, len(lines))), draw(_CSV_NOISE))
    text = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"])).join(lines)
    text += draw(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]))
    if not draw(st.integers(0, 9)):
        text = b"\xef\xbb\xbf" + text
    return text


def csv_cell(word: str) -> st.SearchStrategy[str]:
    if word == "string":
        clean: st.SearchStrategy[str] = st.sampled_from(
            ["AAPL", "000", "null", "NaN", "é", "", " a ", "true"]
        )
    elif word == "bool":
        clean = st.sampled_from(["true", "False", ""])
    elif word.startswith(("timestamp", "date")):
        clean = TIMES
    elif word.startswith(("list", "struct", "json")):
        clean = json_value(word).map(lambda t: '"' + t.replace('"', '""') + '"')
    else:
        clean = st.one_of(st.sampled_from(["1", "2.5", "", "nan", "1.23457e+06"]), TEXT_NUMBERS)
    safe = clean.map(lambda t: t if '"' in t or not set(t) & set(",\t\r\n") else "")
    return _weighted(safe, CELLS)


def compress(text: bytes, how: str) -> bytes:
    if how == "zstd":
        return bytes(pa.Codec("zstd").compress(text, asbytes=True)) if text else b""
    match how:
        case "gzip":
            return gzip.compress(text)
        case "bz2":
            return bz2.compress(text)
        case "xz":
            return lzma.compress(text)
    return text


@st.composite
def objects(draw: st.DrawFn, schema: Schema) -> list[tuple[str, bytes]]:
    """Some objects of mixed formats and compressions."""
    out = []
    for i in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["json", "json", "json", "csv", "tsv"]))
        body = draw(json_text(schema) if kind == "json" else csv_text(schema, "\t" if kind == "tsv" else ","))
        how = draw(st.sampled_from(["", "", "", "gzip", "bz2", "xz", "zstd"]))
        out.append((f"day/{i}.{kind}", compress(body, how)))
    return out


@st.composite
def specs(draw: st.DrawFn, schemas: tuple[Schema, ...] = SCHEMAS) -> CompactionSpec:
    schema = draw(st.sampled_from(schemas))
    nulls = draw(st.sampled_from([("",), ("",), ("", "NA"), ()]))
    return CompactionSpec(
        Schema(schema.fields, null_values=nulls),
        extra_fields=draw(st.sampled_from(list(ExtraFields))),
        limits=SMALL_LIMITS,
    )


def outcome(function: Any) -> Any:
    """What a call answers: its value, or the name of the error it raises on purpose."""
    from briquette.errors import BriquetteError

    try:
        return function()
    except BriquetteError as error:
        return error.name
