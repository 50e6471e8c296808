"""Where a CSV record ends, above all a broken one: SPEC C2.6, C2.7 and C6.4 once more in plain words."""

from __future__ import annotations

import random
from typing import Any

import pytest

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.stream import decode_stream
from briquette.errors import BriquetteError, CorruptObject
from briquette.model import CompactionSpec, Field, Limits, Schema
from tests.unit.decoding.generators import outcome
from tests.unit.decoding.test_lanes_agree import facts, together

BOTH = pytest.mark.parametrize("decode", [decode_objects, decode_records_only])
Found = tuple[int, bytes, list[str] | None]  # offset, raw text, fields or None for a reject


def plain_line_ends(text: str) -> str:
    """A text without its last line end."""
    return text.removesuffix("\n").removesuffix("\r")


def plain_record(text: str, at: int) -> tuple[list[str], int, bool]:
    """The fields at ``at``, where the next record begins, and whether the quotes are right; one by one."""
    fields, field, state = [], "", "begin"
    while at < len(text):
        c, rest = text[at], text[at : at + 2]
        line_end = 1 if c == "\n" else 2 if rest == "\r\n" else 1 if rest == "\r" else 0
        if state == "quoted":
            if rest == '""':
                field, at = field + '"', at + 2
            else:
                state = "closed" if c == '"' else state
                field, at = field + ("" if c == '"' else c), at + 1
        elif line_end:
            return [*fields, field], at + line_end, True
        elif c == ",":
            fields, field, state, at = [*fields, field], "", "begin", at + 1
        elif c == '"' and state == "begin":
            state, at = "quoted", at + 1
        elif c == '"' or state == "closed":
            return fields, text.find("\n", at) + 1 or len(text), False
        else:
            field, state, at = field + c, "bare", at + 1
    return [*fields, field], at, state != "quoted"


def plain_sequence(
    text: str, at: int, before: int, width: int, *, digit: bool, to_the_end: bool
) -> int | None:
    """Where records in sequence begin, looked for in ``text[at:before]``."""
    begin, held = None, 0
    while at < len(text) and (begin is not None or at < before):
        line = text.find("\n", at) + 1 or len(text)
        if not plain_line_ends(text[at:line]):
            at = line
            continue
        fields, behind, right = plain_record(text, at)
        if right and len(fields) == width and (not digit or fields[0][:1] in tuple("0123456789")):
            begin, held, at = at if begin is None else begin, held + width - 1, behind
            if held >= 8:
                return begin
        else:
            begin, held, at = None, 0, line
    return begin if to_the_end and text.endswith("\n") else None


def plain_records(text: str, width: int) -> list[Found]:
    """All records of a text below its header, as SPEC C6.4 says it."""
    found: list[Found] = []
    at = 0
    while at < len(text):
        first = text.find("\n", at) + 1 or len(text)
        fields, behind, right = plain_record(text, at)
        fits, sooner = right and len(fields) == width, None
        if behind > first and width > 1:
            whole = plain_record(text[: first - 1] + '"\n', at)[0][:-1]  # those whole on the first line
            digit = bool(whole) and whole[0][:1] in tuple("0123456789")
            if not fits:
                sooner = plain_sequence(text, first, behind, width, digit=digit, to_the_end=True)
                behind = behind if sooner is None else sooner
            else:
                last = text.rfind("\n", at, len(plain_line_ends(text[:behind]))) + 1
                edges = text[at:first].count(","), text[last:behind].count(",")
                inner = plain_sequence(text[:last], first, last, width, digit=digit, to_the_end=False)
                swallows = sum("\n" in field for field in fields) == 1 and inner is not None
                fits = not (swallows and edges == (width - 1, width - 1))
        closed = right and sooner is None and (fits or len(fields) != width)
        raw = plain_line_ends(text[at:behind]) if closed else text[at:behind].rstrip("\r\n")
        if plain_line_ends(text[at:behind]):
            found.append((at, raw.encode(), fields if fits else None))
        at = behind
    return found


PIECES = ['"', '"', '""', ",", ",", "\n", "\n", "\n", "\r", "\r\n", "1", "2", "ab", " ", "é", ',"x', 'y",']
LINES = [
    "1,a",
    "2,b",
    "30,c c",
    '4,"q"',
    '"5","r"',
    '6,"s\nt"',
    '7,"u',
    '8,v"',
    "d,e",
    "",
    "9",
    '10,""',
    "\r",
]


def texts(rng: random.Random, kind: str) -> str:
    if kind == "pieces":
        return "".join(rng.choices(PIECES, k=rng.randrange(40)))
    lines = rng.choices(LINES, k=rng.randrange(30))
    if kind == "long":
        lines[:0] = [f"{n},t{n}" for n in range(rng.randrange(12))]
        lines += [f"{n},{rng.choice(['t', '', 'x y', '3'])}" for n in range(rng.randrange(14))]
    if rng.random() < 0.3 and lines:
        lines.insert(
            rng.randrange(len(lines)), rng.choice(["1,2,3", '1,"2\n3",4', '"a" b,c', 'a "b",c', '"'])
        )
    return rng.choice(["\n", "\n", "\r\n"]).join(lines) + rng.choice(["", "\n", "\r\n", "\r", "\n\n"])


def spec_of(width: int, **limits: Any) -> CompactionSpec:
    fields = tuple(Field(f"c{n}", "string") for n in range(width))
    return CompactionSpec(Schema(fields, null_values=()), limits=Limits(**limits))


def told(decoded: Any) -> tuple[list[list[str]], list[tuple[int, bytes]], int]:
    rows = [list(row.values()) for row in decoded.table.to_pylist()]
    return rows, [(r.byte_offset, r.raw) for r in decoded.rejects], decoded.object_records[0]


@pytest.mark.parametrize("kind", ["pieces", "lines", "long"])
@pytest.mark.parametrize("width", [1, 2, 3, 9])
def test_every_lane_and_every_block_says_what_the_plain_words_say(kind: str, width: int) -> None:
    rng = random.Random(f"{kind} {width}")
    head = ",".join(f"c{n}" for n in range(width)) + "\n"
    spec = spec_of(width)
    for _ in range(120):
        text = texts(rng, kind)
        if width > 2:  # the same lines, wider
            text = text.replace("a", "a" + ",x" * (width - 2)).replace("t", "t" + ",y" * (width - 2))
        found = plain_records(text, width)
        shift = len(head)
        expected = (
            [fields for _, _, fields in found if fields is not None],
            [(shift + len(text[:at].encode()), raw) for at, raw, fields in found if fields is None],
            len(found),
        )
        raw = (head + text).encode()
        strict = decode_records_only([("k.csv", raw)], spec)
        assert told(strict) == expected, text
        assert facts(decode_objects([("k.csv", raw)], spec)) == facts(strict), text
        for block in (1, rng.randrange(2, 100)):
            chunks = [raw[i : i + 7] for i in range(0, len(raw), 7)]
            blocks = decode_stream("k.csv", chunks, spec, block_bytes=block)
            assert facts(together(blocks)) == facts(strict), (block, text)


def test_objects_that_share_a_buffer_do_not_look_at_each_other() -> None:
    rng = random.Random(3)
    spec = spec_of(2)
    for _ in range(60):
        objects = [(f"{n}.csv", b"c0,c1\n" + texts(rng, "lines").encode()) for n in range(5)]
        assert facts(decode_objects(objects, spec)) == facts(decode_records_only(objects, spec))


# -- the kinds, one by one ---------------------------------------------------------------------


def broken(good: int, bad: dict[int, str], width: int = 2, quote: str = "") -> bytes:
    def line(n: int) -> str:
        return ",".join([f"{quote}{n}{quote}"] + [f"{quote}t{n}{quote}"] * (width - 1))

    lines = [bad.get(n, line(n)) for n in range(good)]
    return ("\n".join([",".join(f"c{n}" for n in range(width)), *lines]) + "\n").encode()


@BOTH
@pytest.mark.parametrize("width", [2, 3, 12])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("at", [0, 1, 500, 990, 998, 999])
def test_a_missing_closing_quote_costs_its_own_record_only(
    decode: Any, width: int, quote: str, at: int
) -> None:
    bad = f'{quote}{at}{quote},"20 inch' + f",{quote}t{quote}" * (width - 2)
    done = decode([("a.csv", broken(1_000, {at: bad}, width, quote))], spec_of(width))
    assert [(r.position, r.raw) for r in done.rejects] == [(at, bad.encode())]
    assert done.table.num_rows == 999


@BOTH
def test_quotes_that_pair_over_records_cost_both_records_only(decode: Any) -> None:
    bad = {100: '100,"20 inch', 700: '700,small "3 inch"', 800: '800,"a', 820: '820,"b', 900: '"900",c"'}
    done = decode([("a.csv", broken(1_000, bad))], spec_of(2))
    assert [r.raw.decode() for r in done.rejects] == list(bad.values())
    assert done.table.num_rows == 995


@BOTH
def test_few_lines_between_two_broken_records_prove_nothing_and_are_set_aside_with_the_first(
    decode: Any,
) -> None:
    done = decode([("a.csv", broken(100, {50: '50,"a', 53: '53,"b'}))], spec_of(2))
    assert [r.raw for r in done.rejects] == [b'50,"a\n51,t51\n52,t52\n53,"b']
    text = broken(100, {50: '50,"a,b', 53: '53,"b,c'}, 6)  # eleven delimiters: enough
    done = decode([("a.csv", text)], spec_of(6))
    assert [r.raw for r in done.rejects] == [b'50,"a,b', b'53,"b,c']


@BOTH
def test_quotes_that_pair_well_over_records_are_not_believed(decode: Any) -> None:
    """RFC 4180 would make one record of them: it is set aside whole, for it may be what it seems to be."""
    text = broken(1_000, {100: '100,"20 inch', 700: '700,20"'})
    done = decode([("a.csv", text)], spec_of(2))
    [reject] = done.rejects
    assert reject.raw.startswith(b'100,"20 inch\n101,t101\n')
    assert reject.raw.endswith(b'\n700,20"')
    assert "look like records" in reject.reason
    assert (done.table.num_rows, done.object_records) == (399, (400,))


@BOTH
@pytest.mark.parametrize(
    "field",
    [
        "a\nb",
        "Dear Sir,\n\nthanks, but no\nyours, Jim",
        "k,v\n" + "\n".join(f"{n},{n}" for n in range(50)),
        "\n".join(f"{n},{n},{n}" for n in range(50)),
        "\n" * 20,
        'he said ""no"", so\nwe went',
        '""',
    ],
)
def test_what_is_rfc_4180_is_believed_whatever_it_looks_like(decode: Any, field: str) -> None:
    text = broken(30, {10: f'10,"{field}"', 20: f'"{field}",20', 29: f'"{field}","{field}"'})
    done = decode([("a.csv", text)], spec_of(2))
    assert done.rejects == ()
    meant = field.replace('""', '"')
    got = [list(r.values()) for r in done.table.to_pylist()]
    assert [got[10], got[20], got[29]] == [["10", meant], [meant, "20"], [meant, meant]]


@BOTH
@pytest.mark.parametrize("record", ['a,b"c,d"e', 'a"b,c', 'a, "b"', '"a" ,b', 'a,b"', 'a,""b"', 'a,"b"c"'])
def test_a_quote_where_rfc_4180_has_none_makes_a_reject_even_where_the_count_fits(
    decode: Any, record: str
) -> None:
    text = f"c0,c1\n1,2\n{record}\n3,4\n".encode()
    done = decode([("a.csv", text)], spec_of(2))
    assert [(r.position, r.raw.decode()) for r in done.rejects] == [(1, record)]
    assert "quote" in done.rejects[0].reason
    assert done.table.num_rows == 2


@BOTH
def test_a_lone_carriage_return_is_text(decode: Any) -> None:
    done = decode([("a.csv", b'c0,c1\nA,first\rsecond\r\nB,"x\ry"\n\rC,3\r\r\n')], spec_of(2))
    got = [list(r.values()) for r in done.table.to_pylist()]
    assert got == [["A", "first\rsecond"], ["B", "x\ry"], ["\rC", "3\r"]]


@BOTH
@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n"])
def test_the_last_line_may_lack_its_end_or_half_of_it(decode: Any, end: bytes) -> None:
    done = decode([("a.csv", b"c0,c1\r\nA,1\r\nB,2" + end)], spec_of(2))
    assert [list(r.values()) for r in done.table.to_pylist()] == [["A", "1"], ["B", "2"]]


@BOTH
@pytest.mark.parametrize("text", [b"c0,c1\rA,1\rB,2\r", b'"c0","c1"\r"A","1"\r', b"c0\rA", b"c0,c1\rA,1\n"])
def test_lines_that_end_in_cr_alone_are_refused_with_the_cause(decode: Any, text: bytes) -> None:
    with pytest.raises(CorruptObject, match="CR alone"):
        decode([("a.csv", text)], spec_of(2))
    with pytest.raises(CorruptObject, match="CR alone"):
        list(decode_stream("a.csv", [text], spec_of(2), block_bytes=4))


@BOTH
def test_cr_alone_below_a_good_header_is_a_reject_with_the_cause(decode: Any) -> None:
    done = decode([("a.csv", b"c0,c1\nA,1\rB,2\rC,3\r")], spec_of(2))
    [reject] = done.rejects
    assert (reject.raw, done.table.num_rows) == (b"A,1\rB,2\rC,3", 0)
    assert "CR alone" in reject.reason


@pytest.mark.parametrize("block", [50, 1_000, 100_000])
def test_a_quote_that_stays_open_for_longer_than_a_record_may_be_is_broken(block: int) -> None:
    """So a stream need not wait for the end of a huge object; the whole object is read alike."""
    spec = spec_of(2, record_bytes=200)
    raw = broken(400, {10: '10,"20 inch', 350: '350,3"'})
    whole = decode_objects([("a.csv", raw)], spec)
    assert [r.raw for r in whole.rejects] == [b'10,"20 inch', b'350,3"']
    assert facts(decode_records_only([("a.csv", raw)], spec)) == facts(whole)
    chunks = [raw[i : i + 7] for i in range(0, len(raw), 7)]
    assert facts(together(decode_stream("a.csv", chunks, spec, block_bytes=block))) == facts(whole)


def test_small_limits_mean_the_same_in_every_lane_and_block() -> None:
    rng = random.Random(5)
    for _ in range(300):
        width, limit, block = rng.choice([1, 2, 3, 9]), rng.choice([60, 90]), rng.choice([1, 5, 20, 60])
        spec = spec_of(width, record_bytes=limit)
        head = ",".join(f"c{n}" for n in range(width))[: limit + 1] + "\n"
        raw = (head + texts(rng, rng.choice(["pieces", "lines", "long"]))).encode()
        chunks = [raw[i : i + 7] for i in range(0, len(raw), 7)]
        said = [
            outcome(lambda: facts(decode_objects([("k.csv", raw)], spec))),  # noqa: B023 - called at once
            outcome(lambda: facts(decode_records_only([("k.csv", raw)], spec))),  # noqa: B023
            outcome(lambda: facts(together(decode_stream("k.csv", chunks, spec, block_bytes=block)))),  # noqa: B023
        ]
        assert said[0] == said[1] == said[2], (block, raw)


def test_a_broken_record_that_is_too_long_is_an_error_everywhere() -> None:
    spec = spec_of(2, record_bytes=200)
    raw = b'c0,c1\n1,"' + b"x" * 500 + b"\n2,3\n"
    for decode in (
        lambda: decode_objects([("a.csv", raw)], spec),
        lambda: decode_records_only([("a.csv", raw)], spec),
        lambda: list(decode_stream("a.csv", [raw], spec, block_bytes=20)),
    ):
        with pytest.raises(BriquetteError, match="more than 200 bytes"):
            decode()
