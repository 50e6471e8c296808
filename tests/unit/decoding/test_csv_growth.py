"""No shape of CSV costs more than its length: valid ones, broken ones, such as only an attacker writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.stream import decode_stream
from briquette.errors import CorruptObject
from briquette.inference.infer import infer_schema
from briquette.model import CompactionSpec, Field, Schema
from tests.unit.decoding.growth import FULL, KIB, MIDDLE, QUICK, SHORT, assert_in_proportion, repeated

SPEC = CompactionSpec(Schema((Field("id", "int64"), Field("t", "string"), Field("x", "float64"))))
HEAD = b"id,t,x\n"


def _lines(line: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda size: repeated(line, size, HEAD)


def _field(piece: bytes) -> Callable[[int], bytes]:
    """One record with a field of so many pieces."""
    return lambda size: HEAD + b'1,"' + piece * (size // len(piece)) + b'",2\n'


def _every(nth: int, bad: bytes) -> Callable[[int], bytes]:
    return _lines(lambda n: b"%d," % n + bad if n % nth == 0 else b"%d,t%d,%d.5\n" % (n, n, n))


RECORDS = {
    "plain": _every(1 << 40, b""),
    "quoted": _lines(lambda n: b'%d,"a, %d",1\n' % (n, n)),
    "doubled quotes": _lines(lambda n: b'%d,"say ""no"" %d",1\n' % (n, n)),
    "quoted line breaks": _lines(lambda n: b'%d,"two\nlines",1\n' % n),
    "lone CRs": _lines(lambda n: b"%d,a\rb,1\n" % n),
}
REJECTS = {
    "ragged": _lines(lambda n: b"%d,a\n" % n),
    "bare quotes": _lines(lambda n: b'%d,a "b" c,1\n' % n),
    "text behind quotes": _lines(lambda n: b'%d,"a"b,1\n' % n),
    "wrong types": _lines(lambda n: b"x%d,a,1\n" % n),
    "bad UTF-8": _lines(lambda n: b"%d,\xff,1\n" % n),
    "an open quote in each": _lines(lambda n: b'%d,"abc,1\n' % n),
    "an open quote in some": _every(20, b'"abc,1\n'),
    "ragged among good ones": _every(10, b"a\n"),
    "wrong types among good ones": _every(10, b"a,x\n"),
}
ATTACKS = {
    "a bare and an open quote in each": _lines(lambda n: b'%d,y" z,"w\n' % n),
    "doubled quotes that stay open": _lines(lambda n: b'%d,"x""\n' % n),
    "an open quote before lines that are no records": lambda size: HEAD + b'1,"x\n' + b"y\n" * (size // 2),
    "records broken by pairs": _lines(lambda n: b'%d,"20,1\n' % n + b"5,a,1\n" * 9 + b'7,20",1\n'),
    "seven good lines again and again": _lines(lambda n: b'%d,"u,1\n' % n + b"5,a,1\n" * 3 + b"z\n"),
    "one field of doubled quotes": _field(b'""'),
    "one field of line breaks": _field(b"\n"),
    "one field of records": _field(b"1,a,2\n"),
    "quotes only": lambda size: HEAD + b'"' * size,
    "delimiters only": lambda size: HEAD + b"," * size,
    "empty lines only": lambda size: HEAD + b"\r\n" * (size // 2),
    "a quote in each line": _lines(lambda _: b'"\n'),
    "an opening quote in each line": _lines(lambda _: b',"\n'),
    "one line of CRs": lambda size: HEAD + b"1,a\r" * (size // 4),
}
SHAPES = RECORDS | REJECTS | ATTACKS
DENSE = ("a quote in each line", "an opening quote in each line")  # a record of two bytes: seconds for a MiB


def _whole(text: bytes) -> None:
    decode_objects([("a.csv", text)], SPEC)


def _strict(text: bytes) -> None:
    decode_records_only([("a.csv", text)], SPEC)


def _stream(text: bytes) -> None:
    chunks = [text[at : at + (1 << 16)] for at in range(0, len(text), 1 << 16)]
    for _ in decode_stream("a.csv", chunks, SPEC, block_bytes=1 << 17):
        pass


def _inferred(text: bytes) -> None:
    infer_schema([("a.csv", text)])


READERS = {"strict": _strict, "stream": _stream, "infer": _inferred}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_with_the_text(shape: str) -> None:
    assert_in_proportion(_whole, SHAPES[shape], SHORT if shape in DENSE else QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_the_work_of_every_reader_grows_with_the_text(shape: str, reader: str) -> None:
    assert_in_proportion(READERS[reader], SHAPES[shape], MIDDLE)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_with_a_long_text(shape: str) -> None:
    assert_in_proportion(_whole, SHAPES[shape], FULL)


def test_the_work_grows_with_tabs_too() -> None:
    def read(text: bytes) -> None:
        decode_objects([("a.tsv", text.replace(b",", b"\t"))], SPEC)

    for shape in ("quoted line breaks", "an open quote in some", "bare quotes"):
        assert_in_proportion(read, SHAPES[shape], QUICK)


def test_the_work_grows_with_a_text_that_is_refused() -> None:
    def read(text: bytes) -> None:
        for end in (b"", b"\n"):
            with suppress(CorruptObject):
                decode_objects([("a.csv", text + end)], SPEC)

    assert_in_proportion(read, lambda size: b"id,t,x\r" + b"1,a,2\r" * (size // 6), QUICK)


@pytest.mark.parametrize("shape", REJECTS)
def test_a_reject_costs_little_more_than_reading_its_record(shape: str) -> None:
    """Twenty times as much, before: each took an attempt of a parser, and tables of its own."""
    text = REJECTS[shape](200 * KIB)
    good = RECORDS["lone CRs"](200 * KIB)  # which all go to the record reader
    found = decode_objects([("a.csv", text)], SPEC)
    assert len(found.rejects) > 200
    for _ in range(3):
        begin = time.process_time()
        decode_objects([("a.csv", text)], SPEC)
        rejected = (time.process_time() - begin) / len(found.rejects)
        begin = time.process_time()
        read = sum(decode_objects([("a.csv", good)], SPEC).object_records)
        if rejected < 12 * (time.process_time() - begin) / read:
            return
    pytest.fail(f"a reject takes {rejected * 1e6:.0f} µs")
