"""Where a malformed JSON record ends: by a plain reading of SPEC.md C6.3, by any window, block and lane."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.stream import decode_range, decode_stream
from briquette.decoding.strict.json_extents import malformed_end
from briquette.decoding.strict.json_records import JsonReader
from briquette.model import CompactionSpec, Field, Limits, Schema

from .test_lanes_agree import facts, together

SPACE = " \t\r\n"
KEYS = re.compile(r'\{\s*("[^"\\\n]*")(?:\s*:\s*(?:"[^"\\\n]*"|[^][{}",\n]*),\s*("[^"\\\n]*"))?', re.ASCII)


class Plain:
    """C6.3 for a record that begins with a brace, character by character."""

    def __init__(self, text: str, indent: str) -> None:
        self.text, self.indent = text, indent
        self.open: list[str] = []

    def end(self) -> int:
        text, at = self.text, 0
        while at < len(text):
            if text[at] == '"':
                stop, closed = self.string(at)
                if closed and (stop == len(text) or text[stop] in SPACE + ',:]}"[{'):
                    at = stop
                    continue
                stop -= closed  # the quote begins a string
                inside = text[at + 1 : stop]
                first = len(inside.rstrip(SPACE + ",:{}[]"))
                for i in range(at + 1 + first, stop):
                    end = self.bracket(i)
                    if end is not None:
                        return end
                at = stop
                continue
            end = self.line(at) if text[at] == "\n" else None
            end = self.bracket(at) if end is None else end
            if end is not None:
                return end
            at += 1
        return len(text)

    def string(self, at: int) -> tuple[int, bool]:
        text, i = self.text, at + 1
        while i < len(text):
            if text[i] == "\\":
                i += 1 if text[i + 1 : i + 2] == "\n" else 2
            elif text[i] == '"':
                return i + 1, True
            elif text[i] == "\n" and text[i:].lstrip(SPACE)[:1] in tuple('"{}[]'):
                return i, False
            else:
                i += 1
        return len(text), False

    def line(self, at: int) -> int | None:
        found = re.compile(r"\n([ \t]*)(\}[ \t]*(?:,[ \t]*)?)?\{").match(self.text, at)
        if found and (found[0] == "\n{" or found[1] == self.indent):
            return at + 1 + len(found[1]) + 1 if found[2] else at
        return None

    def bracket(self, at: int) -> int | None:
        char = self.text[at]
        if char == "{" and self.open[-1:] == ["{"] and self.text[:at].rstrip(SPACE)[-1] != ":":
            own, here = KEYS.match(self.text, 0, 256), KEYS.match(self.text, at, at + 256)
            if own and here and own[1] == here[1] and own[2] in (None, here[2]):
                return at
        if char in "{[":
            self.open.append(char)
        elif char in "}]":
            opener = {"}": "{", "]": "["}[char]
            if opener in self.open:
                while self.open.pop() != opener:
                    pass
                return None if self.open else at + 1
        return None


PIECES = [
    '"',
    '"a"',
    '{"a":1',
    '{"a":1,"b":2',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\n",
    "\n  ",
    " ",
    "\\",
    "x",
    "\r",
]
PIECES += ['"a":', "1", '{"b":', "},\n  {", "\n}, {", '"a b"', '\\"', "\t"]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(["", "  "]))
def test_the_end_of_a_record_is_that_of_a_plain_reading_of_the_rules(pieces: list[str], indent: str) -> None:
    text = "{" + "".join(pieces)
    assert malformed_end(text, 0, indent, array=False, final=True) == Plain(text, indent).end()


# -- texts of real shapes, damaged --------------------------------------------------------------

RECORDS = [
    {"id": i, "name": f"n{i}", "o": {"x": i}, "of": [{"id": 7, "a": 1}, {"id": 8}], "z": "e"}
    for i in range(7)
]
SHAPES: dict[str, Callable[[], str]] = {
    "lines": lambda: "\n".join(map(json.dumps, RECORDS)),
    "indented lines": lambda: "\n".join("  " + json.dumps(r) for r in RECORDS),
    "one line": lambda: "".join(map(json.dumps, RECORDS)),
    "array": lambda: json.dumps(RECORDS, separators=(",", ":")),
    "a line each": lambda: "[\n" + ",\n".join("  " + json.dumps(r) for r in RECORDS) + "\n]\n",
    "pretty array": lambda: json.dumps(RECORDS, indent=2),
    "pretty array with CR": lambda: json.dumps(RECORDS, indent=2).replace("\n", "\r\n"),
    "hugging array": lambda: "[" + ", ".join(json.dumps(r, indent=2) for r in RECORDS) + "]",
    "pretty": lambda: "\n".join(json.dumps(r, indent="\t") for r in RECORDS),
    "hugging": lambda: "".join(json.dumps(r, indent=2) for r in RECORDS),
}
SCHEMA = CompactionSpec(
    Schema((Field("id", "int64"), Field("name", "string"), Field("o", "struct<x: int64>")))
)
DAMAGE = {
    "no closing quote": ('"n3"', '"n3'),
    "no opening quote": ('"n3"', 'n3"'),
    "a quote inside": ('"n3"', '"n"3"'),
    "quotes inside": ('"n3"', '"n "3" 4"'),
    "a backslash before the quote": ('"n3"', '"n3\\"'),
    "a line end": ('"n3"', '"n\n3"'),
    "a control character": ('"n3"', '"n\x01"'),
    "half a surrogate": ('"n3"', '"\\ud800"'),
    "no value": ('"n3"', ""),
    "another quote": ('"n3"', "'n3'"),
    "a bad number": ('"n3"', "01"),
    "a word": ('"n3"', "None"),
}


def ids(text: bytes) -> list[int]:
    return [int(r.value["id"]) for r in JsonReader(Limits()).read(text) if r.value is not None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_value_costs_its_own_record_and_no_other(shape: str, damage: str) -> None:
    text = SHAPES[shape]()
    assert ids(text.encode()) == list(range(7))
    found, put = DAMAGE[damage]
    broken = text.replace(found, put).encode()
    records = list(JsonReader(Limits()).read(broken))
    assert [r.value and int(r.value["id"]) for r in records] == [0, 1, 2, None, 4, 5, 6]
    lost = broken[records[3].offset : records[3].offset + records[3].size].decode()
    assert lost.startswith("{")
    assert lost.endswith("}")
    assert records[3].offset + records[3].size <= records[4].offset


def variants(text: str, drawn: random.Random) -> bytes:
    """The text with a few characters that matter lost, doubled, or put somewhere else."""
    for _ in range(drawn.randint(1, 3)):
        at = drawn.choice([m.start() for m in re.finditer(r'["{}\[\],:\n\\]', text)] or [0])
        match drawn.randrange(4):
            case 0:
                text = text[:at] + text[at + 1 :]
            case 1:
                text = text[:at] + text[at : at + 1] + text[at:]
            case 2:
                text = text[:at] + text[at + drawn.randint(1, 60) :]
            case _:
                put = drawn.choice(['"', "{", "}", "[", "]", ",", "\n", "\\", "}\n{", "é", "\ufeff", "x"])
                text = text[:at] + put + text[at:]
    return text.encode()


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_blocks_ranges_and_lanes_agree_on_damaged_texts(shape: str) -> None:
    drawn = random.Random(shape)
    for turn in range(60):
        text = variants(SHAPES[shape](), drawn)
        spec = SCHEMA if turn % 3 else replace(SCHEMA, limits=Limits(record_bytes=150, depth=3))
        whole = decode_records_only([("k.json", text)], spec)
        assert facts(decode_objects([("k.json", text)], spec)) == facts(whole), text
        records = list(JsonReader(spec.limits).read(text))
        for window in (5, 40, 300):
            assert list(JsonReader(spec.limits).read(text, window_bytes=window)) == records, (window, text)
        chunks = [text[i : i + 50] for i in range(0, len(text), 50)]
        for block in (1, 60, 200):
            found = together(decode_stream("k.json", chunks, spec, block_bytes=block))
            assert facts(found) == facts(whole), (block, text)
        if text.startswith(b"{"):
            cuts = sorted({0, len(text), *(drawn.randrange(len(text)) for _ in range(3))})
            parts = [
                together(
                    decode_range("k.json", lambda a, b: text[a:b], c, len(text), spec, tail_bytes=20)  # noqa: B023
                )
                for c in itertools.pairwise(cuts)
            ]
            assert facts(together(parts, relative=True)) == facts(whole), (cuts, text)


@pytest.mark.parametrize("indent", ["", "  ", " " * 9])
@pytest.mark.parametrize("end", ['"', '",', '"}', '\\"', "\\", "}", ""])
def test_no_window_changes_where_a_record_that_is_too_long_ends(indent: str, end: str) -> None:
    after = "".join(f'\n{indent}{{"a": {i}}}' for i in range(30))
    text = (f'[\n{indent}{{"a": "' + "x" * 3_000 + end + after + "\n]").encode()
    limits = Limits(record_bytes=100)
    whole = list(JsonReader(limits).read(text))
    assert len(whole) > 25
    for window in range(4, 40):
        assert list(JsonReader(limits).read(text, window_bytes=window)) == whole


@pytest.mark.parametrize("shape", SHAPES)
def test_every_byte_that_is_no_record_is_in_a_reject(shape: str) -> None:
    """But white space, commas, and the brackets of the array."""
    drawn = random.Random(shape)
    for _ in range(150):
        text, at = variants(SHAPES[shape](), drawn), 0
        for record in JsonReader(Limits()).read(text):
            assert not text[at : record.offset].strip(b" \t\r\n,[]"), text
            assert record.offset >= at
            at = record.offset + record.size
        assert not text[at:].strip(b" \t\r\n,[]"), text
