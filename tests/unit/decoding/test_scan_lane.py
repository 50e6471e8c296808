"""With the template scan in front, every answer is still that of the record readers."""

from __future__ import annotations

import dataclasses
import json
import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette.decoding.csv_lines import CsvObjects
from briquette.decoding.decode import decode_in_turn, decode_objects, decode_records_only
from briquette.decoding.fast import scanned
from briquette.decoding.fast.csv_arrow import CsvLane
from briquette.decoding.rows.result import Decoded
from briquette.decoding.stream import decode_stream
from briquette.model import CompactionSpec, ExtraFields, Field, Limits, Schema
from briquette.template_scan import scan

from . import generators as g
from .test_lanes_agree import PROPERTY, facts, together

pytestmark = pytest.mark.skipif(not scan.available(), reason="numba is not installed (the [fast] extra)")
PRICES = Schema(
    (
        Field("symbol", "string", nullable=False),
        Field("timestamp", "timestamp[us, UTC]", nullable=False),
        Field("close", "float64"),
        Field("volume", "int64"),
        Field("halted", "bool"),
    )
)
DEVIANTS = (
    b'{"symbol": "A"',
    b'{"symbol": "\\u00c4", "timestamp": "2025-09-09T00:00:00Z", "close": 1, "volume": 2, "halted": true}',
    b'{"symbol": null, "timestamp": "2025-09-09T00:00:00Z", "close": 1.0, "volume": 2, "halted": true}',
    b'{"timestamp": "2025-09-09T00:00:00Z", "symbol": "B"}',
    b'{"symbol": "C", "timestamp": "2025-09-09T00:00:00Z", "close": NaN, "volume": 3.7, "halted": null}',
    b'{"symbol": "C", "symbol": "D", "timestamp": "2025-09-09 00:00", "close": 1e400}',
    b'{"symbol": "E", "timestamp": "2025-09-09T00:00:00Z", "close": 0.1, "volume": 2, "more": [1]}',
    b"null",
    b"[1, 2]",
    b'{"symbol": "\xff", "timestamp": "2025-09-09T00:00:00Z", "close": 1.0, "volume": 2, "halted": true}',
    b'{"symbol": "F",\n "timestamp": "2025-09-09T00:00:00Z"}',
    b'{"symbol": "G", "timestamp": "2025-09-09T00:00:00Z"} {"symbol": "H", "timestamp": "2025-09-10"}',
    b"",
    b"   ",
)


@pytest.fixture(autouse=True)
def always_scan(monkeypatch):
    monkeypatch.setenv("BRIQUETTE_SCAN", "on")
    monkeypatch.setattr(scanned, "_LARGE_BYTES", 1_500)
    monkeypatch.setattr(scanned, "_SMALL_BYTES", 400)
    monkeypatch.setattr(scanned, "_JOINED_BYTES", 1_500)
    monkeypatch.setattr(scanned, "_MOST_DEVIATING_CSV", 0.6)
    monkeypatch.setattr(scanned, "_FEW_LINES", 3)


def plain(decoded: Decoded) -> Decoded:
    kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in decoded.table.schema]
    fields = [f.with_type(k) for f, k in zip(decoded.table.schema, kinds, strict=True)]
    return dataclasses.replace(decoded, table=decoded.table.cast(pa.schema(fields)))


def clean_line(rng: random.Random) -> bytes:
    record = {
        "symbol": rng.choice(("AAPL", "BRK.B", "ÄÖ")),
        "timestamp": f"2025-09-{rng.randint(1, 30):02d}T{rng.randint(0, 23):02d}:30:00"
        + rng.choice(("", "Z")),
        "close": rng.choice((None, round(rng.uniform(-5, 500), 4), rng.random(), float("nan"))),
        "volume": rng.choice((None, rng.randint(0, 2**62), 7.0)),
        "halted": rng.choice((True, False, None)),
    }
    return json.dumps(record, ensure_ascii=False).encode()


@st.composite
def price_objects(draw) -> list[tuple[str, bytes]]:
    rng = random.Random(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from((0, 0, 0.03, 0.15, 0.5)))
    end = draw(st.sampled_from((b"\n", b"\r\n", b"\n\n")))
    objects = []
    for i in range(draw(st.integers(1, 5))):
        count = draw(st.sampled_from((0, 1, 8, 40)))
        lines = [rng.choice(DEVIANTS) if rng.random() < share else clean_line(rng) for _ in range(count)]
        body = end.join(lines) + draw(st.sampled_from((b"", end)))
        start = draw(st.sampled_from((b"", b"", b"\xef\xbb\xbf", b"\n")))
        objects.append((f"k{i}.json", start + body))
    return objects


@PROPERTY
@given(price_objects(), st.sampled_from(tuple(ExtraFields)))
def test_scanned_prices_equal_the_record_readers(objects, extra_fields):
    spec = CompactionSpec(PRICES, extra_fields=extra_fields)
    assert facts(plain(decode_objects(objects, spec))) == facts(decode_records_only(objects, spec))


QUOTES = Schema(
    (
        Field("symbol", "string", nullable=False),
        Field("sizes", "list<float64>"),
        Field("quote", "struct<venue: string, bid: float64, at: timestamp[us, UTC]>"),
        Field("legs", "list<struct<px: float64, n: int32>>"),
    )
)
QUOTE_DEVIANTS = (
    b'{"symbol": "A", "sizes": [1, "2"], "quote": {"venue": "x", "bid": "3", "at": "2025-09-09"}}',
    b'{"symbol": "A", "sizes": [1, 2], "quote": {"venue": "x", "bid": 1, "new": [2], "at": null}}',
    b'{"symbol": "A", "sizes": [], "quote": {"venue": "x", "venue": "y", "bid": 1}, "legs": []}',
    b'{"symbol": "A", "sizes": [1, [2]], "quote": null, "legs": null}',
    b'{"symbol": "A", "sizes": [1e400], "quote": null, "legs": null}',
    b'{"symbol": "A", "sizes": [1, 2,], "quote": null, "legs": null}',
    b'{"symbol": "A", "sizes": [1, 2, "quote": null, "legs": null}',
    b'{"symbol": "A", "sizes": [null], "quote": {"venue": "\\u00c4"}, "legs": [{"px": 1, "n": 3.5}]}',
    b'{"symbol": "A", "sizes": {}, "quote": [], "legs": [{"n": 1, "px": 2}, {"px": 1}]}',
    b'{"symbol": "A"}',
    b'{"symbol": null, "sizes": [1]}',
    b"[",
    b"",
)


def quote_line(rng: random.Random) -> bytes:
    quote = {"venue": rng.choice(("XNAS", "ÄÖ", None)), "bid": rng.random(), "at": "2025-09-09T12:30:00Z"}
    legs = [rng.choice((None, {"px": rng.choice((1.5, None)), "n": 7})) for _ in range(rng.randint(0, 3))]
    record = {
        "symbol": rng.choice(("AAPL", "BRK.B")),
        "sizes": rng.choice((None, [rng.choice((1, 0.5, None)) for _ in range(rng.randint(0, 6))])),
        "quote": rng.choice((quote, quote, None)),
        "legs": rng.choice((None, legs)),
    }
    return json.dumps(record, ensure_ascii=False).encode()


@PROPERTY
@given(st.integers(0, 2**32), st.sampled_from((0, 0.03, 0.2)), st.sampled_from(tuple(ExtraFields)))
def test_scanned_lists_and_structs_equal_the_record_readers(seed, share, extra_fields):
    rng = random.Random(seed)
    objects = []
    for i in range(rng.randint(1, 5)):
        count = rng.choice((0, 1, 8, 40))
        lines = [
            rng.choice(QUOTE_DEVIANTS) if rng.random() < share else quote_line(rng) for _ in range(count)
        ]
        objects.append((f"k{i}.json", b"\n".join(lines) + rng.choice((b"", b"\n"))))
    spec = CompactionSpec(QUOTES, extra_fields=extra_fields)
    assert facts(plain(decode_objects(objects, spec))) == facts(decode_records_only(objects, spec))


CSV_DEVIANTS = (
    b"A",
    b"A,2025-09-09,1,2,true,x,y",
    b",2025-09-09,1,2,true,x",
    b"NA,2025-09-09,1,3.7,true,x",
    b'"A ""B""",2025-09-09,inf,007,True,x',
    b'"C\n",2025-09-09,1,2,true,x',
    b'"D\nAAPL,2025-09-09,1,2,true,x\n",2025-09-09,1,2,true,x',
    b"E,2025-09-09 24:00,1e400,2,true,x",
    b"\xff,2025-09-09,1,2,true,x",
    b'"F',
    b'a"b,2025-09-09,1,2,true,x',
    b"G,2025-09-09,1,2,true,x\ry",
    b"\r",
    b"",
    b" ",
)
CSV_NAMES = ("symbol", "timestamp", "close", "volume", "halted", "extra")


def csv_row(rng: random.Random) -> bytes:
    record = json.loads(clean_line(rng))
    words = ["" if v is None else str(v) for v in record.values()]
    words = [word.replace("nan", "NaN") for word in words] + [rng.choice(("", "x", "\u00e9"))]
    return ",".join(f'"{w}"' if w and rng.random() < 0.1 else w for w in words).encode()


@st.composite
def csv_price_objects(draw) -> list[tuple[str, bytes]]:
    rng = random.Random(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from((0, 0, 0.03, 0.15, 0.5)))
    end = draw(st.sampled_from((b"\n", b"\r\n", b"\n\n")))
    columns = draw(st.sampled_from((5, 5, 6)))  # without or with the unknown one
    objects = []
    for i in range(draw(st.integers(1, 5))):
        names = list(CSV_NAMES[:columns])
        order = rng.sample(range(columns), columns) if draw(st.integers(0, 4)) == 0 else range(columns)
        body = [",".join(names[n] for n in order).encode()]
        for _ in range(draw(st.sampled_from((0, 1, 8, 40)))):
            if rng.random() < share:
                body.append(rng.choice(CSV_DEVIANTS))
            else:
                cells = csv_row(rng).split(b",")
                body.append(b",".join(cells[n] for n in order))
        start = draw(st.sampled_from((b"", b"", b"\xef\xbb\xbf", b"\n")))
        objects.append((f"k{i}.csv", start + end.join(body) + draw(st.sampled_from((b"", end, b"\r")))))
    return objects


@PROPERTY
@given(csv_price_objects(), st.sampled_from(tuple(ExtraFields)))
def test_scanned_csv_prices_equal_the_record_readers(objects, extra_fields):
    spec = CompactionSpec(PRICES, extra_fields=extra_fields)
    assert facts(plain(decode_objects(objects, spec))) == facts(decode_records_only(objects, spec))


@PROPERTY
@given(csv_price_objects(), st.sampled_from((1, 100, 5_000)))
def test_scanned_csv_in_blocks_equals_the_record_readers(objects, block_bytes):
    spec, (key, raw) = CompactionSpec(PRICES), objects[0]
    streamed = together(plain(b) for b in decode_stream(key, [raw], spec, block_bytes=block_bytes))
    assert facts(streamed) == facts(decode_records_only([(key, raw)], spec))


@PROPERTY
@given(st.data())
def test_any_objects_equal_the_record_readers(data):
    spec = data.draw(g.specs())
    objects = data.draw(g.objects(spec.schema))
    fast = g.outcome(lambda: facts(plain(decode_objects(objects, spec))))
    assert fast == g.outcome(lambda: facts(decode_records_only(objects, spec)))


@pytest.mark.parametrize(("schema", "line"), [(PRICES, clean_line), (QUOTES, quote_line)])
@pytest.mark.parametrize("dirty", [False, True])
@pytest.mark.parametrize("count", [1, 300])
def test_the_scan_is_really_what_decodes(dirty, count, schema, line, monkeypatch):
    """Without this a silent None from the scan would make the properties above say nothing."""
    rng = random.Random(3)
    lines = [line(rng) for _ in range(count)] * 3
    if dirty and count > 1:
        lines[100] = b'{"symbol": "A"'
    accepted = []
    real = scan.scan_json_lines

    def watched(*args, **kwargs):
        found = real(*args, **kwargs)
        accepted.append(found.rows if found else 0)
        return found

    in_turn = scan.LinesRun.taken

    def watched_in_turn(run):
        found = in_turn(run)
        accepted.append(found.rows)
        return found

    monkeypatch.setattr(scan, "scan_json_lines", watched)
    monkeypatch.setattr(scan.LinesRun, "taken", watched_in_turn)
    decoded = decode_objects([("a.json", b"\n".join(lines))], CompactionSpec(schema))
    assert decoded.table.num_rows + len(decoded.rejects) == len(lines)
    assert max(accepted) > 0.8 * len(lines) - 1


@pytest.mark.parametrize("extra", [b"", b",extra"])
@pytest.mark.parametrize("dirty", [False, True])
def test_the_scan_is_really_what_decodes_csv(dirty, extra, monkeypatch):
    rng = random.Random(4)
    columns = 5 + bool(extra)
    lines = [b",".join(csv_row(rng).split(b",")[:columns]) for _ in range(900)]
    if dirty:
        lines[100] = b"A"
    accepted = []
    real = scan.scan_csv_rows

    def watched(*args, **kwargs):
        found = real(*args, **kwargs)
        accepted.append(found.rows if found else 0)
        return found

    monkeypatch.setattr(scan, "scan_csv_rows", watched)
    header = b"symbol,timestamp,close,volume,halted" + extra
    bodies = [("a.csv", b"\n".join([header, *lines[:500]])), ("b.csv", b"\n".join([header, *lines[500:]]))]
    decoded = decode_objects(bodies, CompactionSpec(PRICES))
    assert decoded.table.num_rows + len(decoded.rejects) == sum(decoded.object_records) == 900
    assert max(accepted) == 500 - dirty
    assert bool(decoded.extra_fields) == bool(extra)


def test_oddly_written_csv_rows_go_to_the_next_lane_together(monkeypatch):
    """One by one through the record reader, each took eighty times as long as by the scan."""
    rng = random.Random(6)
    lines = [b",".join(csv_row(rng).split(b",")[:5]) for _ in range(4_000)]
    for at in range(25, 4_000, 50):
        lines[at] = b"A,2025-09-09,1000000000.0000000000000000001,1,true"
    objects = [("a.csv", b"\n".join([b"symbol,timestamp,close,volume,halted", *lines]))]
    parsed = []
    real = CsvLane.parse

    def watched(self, text, longest, rows):
        parsed.append(rows)
        return real(self, text, longest, rows)

    monkeypatch.setattr(CsvLane, "parse", watched)
    monkeypatch.setattr(CsvObjects, "_read", None)
    decoded = decode_objects(objects, CompactionSpec(PRICES))
    assert parsed == [80]
    assert facts(plain(decoded)) == facts(decode_records_only(objects, CompactionSpec(PRICES)))


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("a.json", b'{"symbol": "A", "timestamp": "2025-09-09", "close": 1.%s}\n'),
        ("a.csv", b"symbol,timestamp,close\nA,2025-09-09,1.%s\n"),
    ],
)
def test_digits_over_a_low_limit_are_found_though_the_scan_would_take_them(key, body):
    spec = CompactionSpec(PRICES, limits=Limits(number_digits=12))
    for digits in (b"12345", b"123456789012"):
        objects = [(key, body % digits)]
        fast = g.outcome(lambda objects=objects: facts(plain(decode_objects(objects, spec))))
        assert fast == g.outcome(lambda objects=objects: facts(decode_records_only(objects, spec)))


@pytest.mark.parametrize(
    ("word", "text", "limits"),
    [
        ("struct<a: struct<b: int64>>", '{"a": {"b": 1}}', Limits(depth=2)),
        ("list<int64>", "[1]", Limits(depth=1)),
        ("list<struct<a: int64>>", '[{"a": 1}]', Limits(depth=2)),
        ("struct<a: int64, b: int64>", '{"a": 1, "b": 2}', Limits(columns=1)),
    ],
)
def test_depth_and_keys_over_a_low_limit_are_found_though_the_scan_would_take_them(word, text, limits):
    schema = Schema((Field("v", word),))
    objects = [("a.json", b'{"v": %s}\n' % text.encode())]
    for spec in (CompactionSpec(schema, limits=limits), CompactionSpec(schema)):
        fast = g.outcome(lambda spec=spec: facts(plain(decode_objects(objects, spec))))
        assert fast == g.outcome(lambda spec=spec: facts(decode_records_only(objects, spec)))
    (reject,) = decode_objects(objects, CompactionSpec(schema, limits=limits)).rejects
    assert "(limits." in reject.reason


def test_a_record_over_the_limit_is_found_though_the_scan_would_take_it():
    line = clean_line(random.Random(1)).replace(b"AAPL", b"A" * 300)
    spec = CompactionSpec(PRICES, limits=Limits(record_bytes=200))
    fast = g.outcome(lambda: decode_objects([("a.json", line)], spec))
    assert fast == g.outcome(lambda: decode_records_only([("a.json", line)], spec))


def test_lines_cut_off_cost_one_scan_and_not_one_for_each_stretch_between_them(monkeypatch):
    """Setting a scan up takes a millisecond: a day with one cut line in a hundred took ten times as long."""
    rng = random.Random(5)
    lines = [clean_line(rng) for _ in range(600)]
    for at in range(30, 600, 60):
        lines[at] = lines[at][: len(lines[at]) // 2]
    lengths = []
    real = scan.scan_json_lines

    def watched(buffer, *args, **kwargs):
        lengths.append(len(buffer))
        return real(buffer, *args, **kwargs)

    monkeypatch.setattr(scan, "scan_json_lines", watched)
    spec = CompactionSpec(PRICES)
    for begin in (b"", b"\n \n"):
        lengths.clear()
        objects = [("a.json", begin + b"\n".join(lines))]
        decoded = decode_objects(objects, spec)
        assert len(lengths) <= 2  # the attempt to take it whole, and one with the cut lines in it
        assert facts(plain(decoded)) == facts(decode_records_only(objects, spec))
        assert decoded.rejects


class Body(bytes):
    """A raw object that is missed when it goes."""

    alive = 0

    def __init__(self, *_: object) -> None:
        Body.alive += 1

    def __del__(self) -> None:
        Body.alive -= 1


def come(bodies, seen):
    for number, body in enumerate(bodies):
        seen.append(Body.alive)
        yield f"{number}.json", Body(body)


def test_large_objects_are_decoded_as_they_come_and_forgotten():
    rng = random.Random(8)
    bodies = [b"\n".join(clean_line(rng) for _ in range(n)) for n in (60, 80, 3, 70, 60)]
    assert [len(body) >= scanned._LARGE_BYTES for body in bodies] == [True, True, False, True, True]
    spec, seen = CompactionSpec(PRICES), []
    (decoded,) = decode_in_turn(come(bodies, seen), len(bodies), sum(map(len, bodies)), spec)
    assert seen == [0, 0, 0, 1, 0], "the small one waits for the next"
    named = [(f"{n}.json", body) for n, body in enumerate(bodies)]
    assert facts(plain(decoded)) == facts(plain(decode_records_only(named, spec)))
    assert decoded.object_records == (60, 80, 3, 70, 60)


@pytest.mark.parametrize("dirty", range(4))
@pytest.mark.parametrize("how", ["cut", "long", "other template", "blank", "array"])
def test_a_large_object_with_an_odd_line_and_those_behind_it_are_decoded_otherwise(dirty, how):
    rng = random.Random(9)
    lines = [[clean_line(rng) for _ in range(60 + n)] for n in range(4)]
    odd = {
        "cut": b'{"symbol": "A"',
        "long": b'{"symbol": "' + b"x" * 2_000 + b'", "timestamp": "2025-09-09T00:00:00Z"}',
        "other template": b'{"timestamp": "2025-09-09T00:00:00Z",  "symbol": "A"}',
        "blank": b"",
        "array": b"[1]",
    }[how]
    lines[dirty][30] = odd
    objects = [(f"{n}.json", b"\n".join(own)) for n, own in enumerate(lines)]
    for limits in (Limits(), Limits(record_bytes=1_000)):
        spec = CompactionSpec(PRICES, limits=limits)
        seen = []
        total = sum(len(body) for _, body in objects)

        def fast(spec=spec, seen=seen, total=total):
            return facts(plain(*decode_in_turn(come([b for _, b in objects], seen), 4, total, spec)))

        assert g.outcome(fast) == g.outcome(lambda spec=spec: facts(decode_records_only(objects, spec)))
        assert seen[: dirty + 1] == [0] * (dirty + 1)
