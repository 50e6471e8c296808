"""The expressions that pass over lines match whole lines that say nothing new, on every Python."""

import ast
import random
import re
from pathlib import Path

import pytest

from briquette.decoding.strict.json_records import JsonReader
from briquette.inference import column_profile, known_lines
from briquette.inference.column_profile import ColumnProfile
from briquette.inference.infer import infer_schema
from briquette.model import Limits

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("config", "engine", "glue_wrappers", "orchestration", "scripts")
OVER_A_GROUP = re.compile(rb"\)(?:[*+?]|\{[0-9,%d]+\})\+")

TOKENS = r"""
null true false NaN -Infinity 0 -0 -1 12 007 1.0 1.5e3 1e3 1e999 12345678901234567 9007199254740993
18446744073709551616 "2025-02-28" "2025-02-29" "2025-01-01T10:00" "2025-01-01T10:00:00.123Z"
"2025-01-01T10:00:00.1234567+09:00" "" "x" "\u0041" "ü" [] [[]] [1,2] [1,2.5] [1,"x"] {} {"x":1}
{"x":[1,{"y":"q"}]} {"x":1,"y":[true,null]} [{"x":1},{"x":2,"y":"z"}]
"""
CELLS = """
1 -1 -0 007 1.5 1e3 1.2e+05 1e999 NaN nan inf true False 2025-09-09 2025-02-29 2025-09-09T10:00Z "12" "a,b"
"a""b" "" a"b ü 2025-09-09T10:00:00.5-04:00
"""


def without_possession(pattern):
    """The expression for one line, written so that the plainest of engines gets it right."""
    begin, end = b"(?>(?:", b")*)"
    assert pattern.pattern.startswith(begin)
    assert pattern.pattern.endswith(end)
    one = pattern.pattern[len(begin) : -len(end)].replace(b"(?>", b"(?:")
    return re.compile(re.sub(rb"([*+?]|\{[0-9,]+\})\+", rb"\1", one))


def lines_in_turn(pattern, text):
    """Where the run ends, line by line."""
    one, at = without_possession(pattern), 0
    for line in text.splitlines(keepends=True):
        if not (line.endswith(b"\n") and one.fullmatch(line)):
            break
        at += len(line)
    return at


def damaged(draw, text):
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.choice('0 "]},-:') + text[at:] if draw.random() < 0.05 else text


def json_case(draw):
    keys = tuple(draw.sample("abc", draw.randint(1, 3)))

    def line():
        members = (
            f'"{k}":{draw.choice(["", " "])}{damaged(draw, draw.choice(TOKENS.split()))}' for k in keys
        )
        return "{" + draw.choice([",", ", "]).join(members) + "}" + draw.choice(["\n", "\n", "\r\n"])

    columns = {key: ColumnProfile() for key in keys}
    pool = [line() for _ in range(draw.randint(1, 4))]
    text = "".join(draw.choice(pool) if draw.random() < 0.8 else line() for _ in range(draw.randint(1, 12)))
    seen = "".join(draw.choice(pool) for _ in range(draw.randint(0, 3))).encode()
    for record in JsonReader(Limits(), base_offset=0, sequence=True).read_piece(seen, final=True):
        for name, value in (record.value or {}).items():
            if name in columns and value is not None:
                columns[name].add(value)
    return (
        known_lines.lines_like(
            columns, keys, ascii_only=text.isascii(), text_bytes=draw.choice([None, None, 3, 40])
        ),
        text.encode(),
    )


def csv_case(draw):
    names = tuple("abc"[: draw.randint(1, 3)])
    columns = {name: ColumnProfile() for name in names}
    for _ in range(draw.randint(0, 4)):
        for column in columns.values():
            column.add_cell(draw.choice(CELLS.split()).strip('"').replace('""', '"') or "x")

    def line():
        row = ",".join(damaged(draw, draw.choice(CELLS.split())) for _ in names)
        return row + draw.choice(["\n", "\n", "\r\n"])

    pool = [line() for _ in range(4)]
    text = "".join(draw.choice(pool) if draw.random() < 0.8 else line() for _ in range(draw.randint(1, 12)))
    pattern = known_lines.rows_like(
        columns, names, delimiter=b",", ascii_only=text.isascii(), text_bytes=draw.choice([None, 3, 40])
    )
    return pattern, text.encode()


@pytest.mark.parametrize("case", [json_case, csv_case])
def test_a_run_is_the_lines_that_match_one_by_one(case, monkeypatch):
    monkeypatch.setattr(column_profile, "MOST_COUNTED", 1)
    draw = random.Random(7)
    passed = 0
    for _ in range(600):
        pattern, text = case(draw)
        if pattern is not None:
            end = pattern.match(text).end()
            assert end == lines_in_turn(pattern, text), (pattern.pattern, text)
            passed += end > 0
    assert passed > 60  # the cases are not all trivial


def test_no_possessive_quantifier_stands_over_a_group():
    """Python 3.11.0 to 3.11.4 match too much there, without an error (cpython issue 106052)."""
    found = []
    for file in sorted(f for package in PACKAGES for f in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            text = node.value if isinstance(node, ast.Constant) else None
            text = text.encode("utf-8", "replace") if isinstance(text, str) else text
            if isinstance(text, bytes) and OVER_A_GROUP.search(text):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert found == []
    assert OVER_A_GROUP.search(rb"(?:a|b)*+")
    assert OVER_A_GROUP.search(b"(?:a|b){0,9}+")


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ('{"a": 1}\n' * 3 + '{"a": 9223372036854775808}\n', {"a": "uint64"}),
        ('{"a": 1}\n' * 3 + '{"a": 1, "b": "late"}\n' + '{"a": 1}\n', {"a": "int64", "b": "string"}),
        ('{"r": {"a": 1}}\n' * 3 + '{"r": {"a": 1, "b": "x"}}\n', {"r": "struct<a: int64, b: string>"}),
        ('{"r": {"s": {"t": "1"}}}\n' * 4, {"r": "struct<s: struct<t: string>>"}),
    ],
)
def test_what_comes_late_is_not_passed_over(text, types, monkeypatch):
    monkeypatch.setattr(column_profile, "MOST_COUNTED", 1)
    inferred = infer_schema([("x.json", text.encode())])
    assert {f.name: f.type for f in inferred.schema.fields} == types
    assert (inferred.records, inferred.rejects) == (text.count("\n"), 0)
