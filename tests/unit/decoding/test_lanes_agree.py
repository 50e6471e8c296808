"""The fast lanes, the stream and the byte ranges answer exactly as the record readers do."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.rows.result import Decoded
from briquette.decoding.stream import decode_range, decode_stream
from briquette.decoding.strict.json_records import JsonReader
from briquette.model import CompactionSpec, Field, Limits, Schema

from . import generators as g

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def facts(decoded: Decoded) -> Any:
    """All of an answer in a form that compares: NaN equals NaN, -0.0 differs from 0.0."""
    # A lane may hand out texts as a dictionary: the rows are the same.
    table = pa.table([_plain(c) for c in decoded.table.columns], names=decoded.table.column_names)
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return (
        table.schema,
        repr([c.to_pylist() for c in columns]),
        decoded.rejects,
        decoded.object_records,
        decoded.extra_fields,
        decoded.duplicate_json_keys,
        decoded.decoded_bytes,
        decoded.reject_bytes,
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def together(blocks: Iterable[Decoded], *, relative: bool = False) -> Decoded:
    """The blocks of one object as one answer; ``relative`` where positions count from each block's start."""
    parts = list(blocks)
    extra: Counter[str] = Counter()
    rejects, records = [], 0
    for part in parts:
        extra.update(dict(part.extra_fields))
        rejects += [replace(r, position=r.position + (records if relative else 0)) for r in part.rejects]
        records += part.object_records[0]
    return Decoded(
        pa.concat_tables([pa.table({n: _plain(p.table[n]) for n in p.table.column_names}) for p in parts]),
        tuple(rejects),
        (records,),
        tuple(sorted(extra.items())),
        sum(p.duplicate_json_keys for p in parts),
        sum(p.decoded_bytes for p in parts),
        sum(p.reject_bytes for p in parts),
    )


@PROPERTY
@given(st.data())
def test_the_fast_lanes_equal_the_record_readers(data: st.DataObject) -> None:
    spec = data.draw(g.specs())
    objects = data.draw(g.objects(spec.schema))
    fast = g.outcome(lambda: facts(decode_objects(objects, spec)))
    assert fast == g.outcome(lambda: facts(decode_records_only(objects, spec)))


@PROPERTY
@given(st.data())
def test_a_stream_of_blocks_equals_the_whole_object(data: st.DataObject) -> None:
    spec = data.draw(g.specs())
    ((key, raw), *_) = data.draw(g.objects(spec.schema))
    size, block = data.draw(st.sampled_from([1, 5, 64, 1_000])), data.draw(st.sampled_from([1, 30, 200]))
    chunks = [raw[i : i + size] for i in range(0, len(raw), size)]
    whole = g.outcome(lambda: facts(decode_objects([(key, raw)], spec)))
    streamed = g.outcome(lambda: facts(together(decode_stream(key, chunks, spec, block_bytes=block))))
    assert streamed == whole


@PROPERTY
@given(st.data())
def test_byte_ranges_that_touch_equal_the_whole_object(data: st.DataObject) -> None:
    spec = data.draw(g.specs())
    text = b"{}\n" + data.draw(g.json_text(spec.schema)).removeprefix(b"\xef\xbb\xbf")
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=4))})
    tail = data.draw(st.sampled_from([1, 17, 500]))

    def ranges() -> Iterable[Decoded]:
        for cut in itertools.pairwise(cuts):
            blocks = decode_range("k.json", lambda a, b: text[a:b], cut, len(text), spec, tail_bytes=tail)
            yield together(blocks)

    whole = g.outcome(lambda: facts(decode_objects([("k.json", text)], spec)))
    assert g.outcome(lambda: facts(together(ranges(), relative=True))) == whole


@PROPERTY
@given(st.data())
def test_the_record_reader_does_not_see_its_window(data: st.DataObject) -> None:
    text = data.draw(g.json_text(g.PRICES))
    window = data.draw(st.integers(4, 200))
    limits = Limits(depth=100)
    whole = list(JsonReader(limits).read(text))
    assert list(JsonReader(limits).read(text, window_bytes=window)) == whole


@pytest.mark.parametrize("window", range(4, 70))
def test_a_window_that_ends_inside_of_a_token_waits_for_the_rest(window: int) -> None:
    text = b'12 345 true{"a":null,"b":[1,"\\u00e9\xc3\xa9"]}-7\n{"c":-1.5e10}fals\nnull "x" NaN {"d":tru'
    whole = list(JsonReader(Limits()).read(text))
    assert len(whole) == 11
    assert list(JsonReader(Limits()).read(text, window_bytes=window)) == whole


# -- many lines: blocks, culprits and their neighbourhoods -------------------------------------

WIDE = CompactionSpec(Schema((Field("a", "int64"), Field("s", "string"), Field("f", "float64"))))
CULPRITS = [
    b'{"a": }',
    b'{"a": 3.7}',
    b'{"a": "x"}',
    b"hello",
    b'{"a": 1, "a": 2}',
    b'{"extra": 1}',
    b'{"s": 12}',
    b'{"f": "1.5"}',
    b'{"f": 1e999}',
    b'{"f": NaN}',
    b'{"f": Inf}',
    b'{"s": "\xff"}',
    b'{"a": 1}{"a": 2}',
    b'{"s":\n"two lines"}',
    b'{"a": NaN}',
    b'{"a": 9223372036854775808}',
]


@pytest.mark.parametrize("culprit", CULPRITS)
@pytest.mark.parametrize("every", [1, 3, 50, 700])
def test_a_culprit_among_many_lines_changes_only_its_own_record(culprit: bytes, every: int) -> None:
    clean = [b'{"a": %d, "s": "x%d", "f": %d.25}' % (i, i % 7, i) for i in range(1_400)]
    lines = [culprit if i % every == every // 2 else line for i, line in enumerate(clean)]
    objects = [("0.json", b"\n".join(lines[:500])), ("1.json", b"\n".join(lines[500:]) + b"\n")]
    assert facts(decode_objects(objects, WIDE)) == facts(decode_records_only(objects, WIDE))


@pytest.mark.parametrize(
    "cell",
    [
        b"x",
        b"3.7",
        b"nan",
        b'"q"',
        b'"q"x',
        b'"1"2',
        b'"1"x',
        b'a"b"',
        b'"a,b"',
        b'"a""b"',
        b'"two\nlines"',
        b"1,2",
        b"\xff",
        b"",
    ],
)
@pytest.mark.parametrize("every", [1, 3, 700])
def test_a_culprit_among_many_csv_lines_changes_only_its_own_record(cell: bytes, every: int) -> None:
    lines = [b"a,s,f"]
    lines += [
        cell + b",x,1" if i % every == every // 2 else b"%d,x%d,%d.5" % (i, i % 7, i) for i in range(1_400)
    ]
    objects = [("0.csv", b"\n".join(lines)), ("1.csv", b"\r\n".join(lines) + b"\r\n")]
    assert facts(decode_objects(objects, WIDE)) == facts(decode_records_only(objects, WIDE))


@pytest.mark.parametrize(
    "literal", [b"1234567890123.4e6", b"3.0000000000000000001", b"1e-400", b"0", b"-0.0"]
)
def test_integers_beside_a_nan_are_still_exact(literal: bytes) -> None:
    lines = b'{"a": NaN}\n' * 70 + b'{"a": 1.0}\n' * 200 + b'{"a": %s}\n' % literal
    objects = [("0.json", lines)]
    assert facts(decode_objects(objects, WIDE)) == facts(decode_records_only(objects, WIDE))


@pytest.mark.parametrize("block", [1, 8, 20])
def test_a_bracket_in_the_midst_of_a_stream_opens_no_array_of_records(block: int) -> None:
    text = b'{"a": 1} [{"a": 2}] \xef\xbb\xbf\n[{"a": 3}]\n{"a": 4}'
    whole = decode_objects([("k.json", text)], WIDE)
    assert len(whole.rejects) == 3
    assert facts(together(decode_stream("k.json", [text], WIDE, block_bytes=block))) == facts(whole)


def test_a_stream_needs_little_more_than_its_block() -> None:
    line = b'{"a": 1, "s": "x", "f": 2.5}\n'
    longest = 0

    def chunks() -> Iterable[bytes]:
        for _ in range(200):
            yield line * 1_000

    for block in decode_stream("k.json", chunks(), WIDE, block_bytes=100_000):
        longest = max(longest, block.decoded_bytes)
    assert longest < 100_000 + 2 * len(line) * 1_000


def test_a_csv_record_that_never_ends_stops_a_stream_at_the_limit() -> None:
    spec = replace(WIDE, limits=Limits(record_bytes=10_000))
    read = 0

    def chunks() -> Iterable[bytes]:
        nonlocal read
        yield b'a,s\n1,"'
        while True:
            read += 1_000
            yield b"x" * 1_000

    assert g.outcome(lambda: list(decode_stream("k.csv", chunks(), spec, block_bytes=500))) == "LimitExceeded"
    assert read < 100_000


LONG = [
    b'{"s": "%s"}' % (b"x" * 30_000),
    b'{"s": "%s' % (b"x" * 30_000),
    b'{"s": [%s' % (b"[1]," * 8_000),
    b'{"s":\n"%s"}' % (b'\\u0020\\"' * 3_000),
    b'{"s": {"}": "%s"}} {"a": 7}' % ("\u00e9" * 15_000).encode(),
    b'[1, {"a": "%s"}]' % (b"x" * 30_000),
    b"x" * 30_000,
]


@pytest.mark.parametrize("long", LONG)
@pytest.mark.parametrize("join", ["lines", "array"])
def test_a_record_too_long_to_hold_is_passed_over_by_any_block_and_range(long: bytes, join: str) -> None:
    spec = replace(WIDE, limits=Limits(record_bytes=8_000))
    good = b'{"a": 1}' if join == "lines" else b'  {\n    "a": 1\n  }'
    if join == "array":
        long = b"  " + long
    parts = [good, good, long, good, good]
    text = b"\n".join(parts) if join == "lines" else b"[\n" + b",\n".join(parts) + b"\n]\n"
    whole = decode_objects([("k.json", text)], spec)
    assert whole.table.num_rows >= 4
    assert facts(decode_records_only([("k.json", text)], spec)) == facts(whole)
    assert sum(len(r.raw) for r in whole.rejects) < 20_000
    most = 0
    for size in (1, 700, 9_000, 40_000):
        blocks = list(decode_stream("k.json", _chunks(text, 1_000), spec, block_bytes=size))
        assert facts(together(blocks)) == facts(whole)
        most = max(most, *(b.decoded_bytes for b in blocks))
    if join == "lines":
        for cuts in ((0, 10, 20, len(text)), (0, 5_000, 30_015, len(text)), range(0, len(text) + 999, 1_000)):
            ranges = [(a, min(b, len(text))) for a, b in itertools.pairwise(cuts)]
            found = [
                decode_range("k.json", lambda a, b: text[a:b], r, len(text), spec, tail_bytes=64)
                for r in ranges
            ]
            assert facts(together(map(together, found), relative=True)) == facts(whole)


def _chunks(text: bytes, size: int) -> Iterable[bytes]:
    return (text[i : i + size] for i in range(0, len(text), size))


def test_a_record_too_long_to_hold_is_not_held() -> None:
    spec = replace(WIDE, limits=Limits(record_bytes=10_000))
    held = 0

    def chunks() -> Iterable[bytes]:
        yield b'{"a": 1}\n{"s": "'
        for _ in range(20_000):
            yield b"x" * 1_000
        yield b'"}\n{"a": 2}\n'

    for block in decode_stream("k.json", chunks(), spec, block_bytes=500):
        held = max(held, block.decoded_bytes)
        for reject in block.rejects:
            assert reject.reason.startswith("a record of 20000009 bytes")
    assert held < 40_000
