"""The strict reader of CSV records (RFC 4180): the one meaning of a CSV object's text.

A field that begins with a quote ends at the next quote that is not doubled; a quote elsewhere is a character.
Records end at a line end outside of quotes; an empty line is no record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.decoding.gather import record_too_long
from engine.decoding.json_records import BAD_UTF8, Record
from engine.decoding.text import BOM
from engine.errors import CorruptObject, LimitExceeded
from engine.limits import limit_hint
from engine.model import Limits
from engine.value import Value

OPEN_QUOTE = "a quoted field is not closed"
AFTER_QUOTE = "text after the closing quote of a field"

_QUOTED = re.compile(rb'"([^"]*(?:""[^"]*)*)"')
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RawRecord(Value):
    """One record's fields as bytes; which unquoted texts mean null is for the caller to decide."""

    start: int
    end: int  # without the line end
    next: int  # where the next record begins
    fields: list[tuple[bytes, bool]]  # (text, was quoted)
    problem: str = ""


class Splitter:
    """Cuts CSV text into records and fields."""

    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter
        self._unquoted = re.compile(rb"[^\r\n" + re.escape(delimiter) + rb"]*")

    def records(self, text: bytes, at: int = 0) -> Iterator[RawRecord]:
        """All records from ``at`` on, empty lines left out."""
        while at < len(text):
            record = self.record(text, at)
            at = record.next
            if record.end > record.start:
                yield record

    def record(self, text: bytes, at: int) -> RawRecord:
        """The record (or empty line) at ``at``."""
        newline = text.find(b"\n", at)
        line = text[at:] if newline < 0 else text[at:newline]
        if b'"' not in line and b"\r" not in line[:-1]:
            plain = line.removesuffix(b"\r")
            fields = [(f, False) for f in plain.split(self._delimiter)]
            return RawRecord(at, at + len(plain), len(text) if newline < 0 else newline + 1, fields)
        return self._careful(text, at)

    def _careful(self, text: bytes, start: int) -> RawRecord:
        at = start
        fields: list[tuple[bytes, bool]] = []
        problem = ""
        while True:
            if text[at : at + 1] == b'"':
                found = _QUOTED.match(text, at)
                if not found:
                    end = start + len(text[start:].rstrip(b"\r\n"))
                    return RawRecord(start, end, len(text), fields, OPEN_QUOTE)
                fields.append((found[1].replace(b'""', b'"'), True))
                at = found.end()
                rest = self._match_unquoted(text, at)
                if rest > at:
                    problem, at = AFTER_QUOTE, rest
            else:
                stop = self._match_unquoted(text, at)
                fields.append((text[at:stop], False))
                at = stop
            if text[at : at + 1] == self._delimiter:
                at += 1
                continue
            line_end = _LINE_END.match(text, at)
            return RawRecord(start, at, line_end.end() if line_end else at, fields, problem)

    def _match_unquoted(self, text: bytes, at: int) -> int:
        found = self._unquoted.match(text, at)
        return found.end() if found else at


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Header(Value):
    """The names of an object's columns in its order."""

    names: tuple[str, ...]


def read_header(key: str, text: bytes, splitter: Splitter, limits: Limits) -> tuple[Header, int] | None:
    """The header and where the records begin; None where there is nothing but whitespace.

    Raises CorruptObject where no header can be read, LimitExceeded where it has too many columns.
    """
    begin = len(BOM) if text.startswith(BOM) else 0
    if not text[begin:].strip(b" \t\r\n"):
        return None
    raw = next(splitter.records(text, begin))
    hint = "The first record must name each column once; repair the object or move it away."
    if raw.problem:
        raise CorruptObject(f"{key}: in its CSV header, {raw.problem}.", hint=hint)
    if len(raw.fields) > limits.columns:
        raise LimitExceeded(
            f"{key} has {len(raw.fields)} CSV columns, more than {limits.columns}.",
            hint=limit_hint("columns"),
        )
    try:
        names = tuple(field.decode().strip(" ") for field, _ in raw.fields)
    except UnicodeDecodeError:
        raise CorruptObject(f"{key}: its CSV header is {BAD_UTF8}.", hint=hint) from None
    doubled = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise CorruptObject(f"{key}: its CSV header names {doubled[0]!r} more than once.", hint=hint)
    return Header(names), raw.next


class CsvReader:
    """Reads the records of one CSV object behind its header."""

    def __init__(
        self, key: str, header: Header, splitter: Splitter, null_values: tuple[str, ...], limits: Limits
    ) -> None:
        self._key = key
        self._names = header.names
        self._splitter = splitter
        self._nulls = frozenset(v.encode() for v in null_values)
        self._limits = limits

    def read(self, text: bytes, base_offset: int, at: int = 0) -> Iterator[Record]:
        """All records of ``text`` from ``at`` on; offsets count from ``base_offset``."""
        for raw in self._splitter.records(text, at):
            size = raw.end - raw.start
            if size > self._limits.record_bytes:
                raise record_too_long(self._key, self._limits.record_bytes)
            yield self._record(raw, base_offset + raw.start, size)

    def _record(self, raw: RawRecord, offset: int, size: int) -> Record:
        problem = raw.problem
        if not problem and len(raw.fields) != len(self._names):
            problem = f"{len(raw.fields)} fields where the header has {len(self._names)}"
        if not problem:
            try:
                values = [None if not q and f in self._nulls else f.decode() for f, q in raw.fields]
            except UnicodeDecodeError:
                problem = BAD_UTF8
            else:
                return Record(offset, size, dict(zip(self._names, values, strict=True)), "", False)
        return Record(offset, size, None, problem, False)
