"""The strict reader of CSV records: the one meaning of a CSV object's text (SPEC C2.6, C2.7, C6.4).

Records end at a line end (LF or CR LF) outside of quotes; an empty line is no record. A field that begins
with a quote ends at the next quote that is not doubled; a quote anywhere else is a fault, and the record ends
with its line. A broken record of several lines ends sooner, before lines that look like records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from briquette.decoding.rows.refusals import encoding_refusal
from briquette.decoding.rows.result import record_too_long
from briquette.decoding.strict.json_records import BAD_UTF8, Record
from briquette.decoding.text.object_text import BOM
from briquette.errors import CorruptObject, LimitExceeded
from briquette.model import Limits
from briquette.schemas.limits import limit_hint

OPEN_QUOTE = "a quoted field is not closed"
AFTER_QUOTE = "text after the closing quote of a field"
BARE_QUOTE = "a quote inside an unquoted field"
SWALLOWED = "a quoted field holds lines that look like records: its quotes may be those of two broken records"
LONE_CR = "carriage returns without line feeds: its lines may end in CR alone"

_EVIDENCE = 8  # so many delimiters in lines of the right width prove that they are records
_QUOTE = ord('"')
_LONE_CR = re.compile(rb"\r(?!\n)")


class RawRecord(NamedTuple):
    """One record's fields as bytes; which unquoted texts mean null is for the caller to decide."""

    start: int
    end: int  # without the line end
    next: int  # where the next record begins
    fields: list[tuple[bytes, bool]]  # (text, was quoted); where there is a problem, the fields before it
    problem: str = ""


class Undecided(Exception):
    """What a record is depends on text that is not there yet."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Which text is there, and what is known of its records.

    ``end``: of the text. ``width``: fields of a whole record; 0: not known. ``reach``: a quote that is not
    closed so many bytes behind the beginning of its record counts as one that never closes. ``final``: the
    object ends with the text.
    """

    end: int
    width: int = 0
    reach: int = 1 << 62
    final: bool = True


class Splitter:
    """Cuts CSV text into records and fields."""

    def __init__(self, delimiter: bytes) -> None:
        self.delimiter = delimiter
        self._unquoted = re.compile(rb"[^\n" + re.escape(delimiter) + rb"]*")

    def records(self, text: bytes, at: int, extent: Extent, stop: int | None = None) -> Iterator[RawRecord]:
        """The records that begin in ``[at, stop)``, empty lines left out."""
        stop = extent.end if stop is None else stop
        while at < stop:
            record = self.record(text, at, extent)
            at = record.next
            if record.end > record.start:
                yield record

    def record(self, text: bytes, at: int, extent: Extent) -> RawRecord:
        """The record (or empty line) at ``at``; raises Undecided where text behind the end may change it."""
        end = extent.end
        newline = text.find(b"\n", at, end)
        line = text[at : end if newline < 0 else newline]
        if _QUOTE not in line:
            if newline < 0 and not extent.final:
                raise Undecided
            plain = line.removesuffix(b"\r")
            fields = [(f, False) for f in plain.split(self.delimiter)]
            return RawRecord(at, at + len(plain), end if newline < 0 else newline + 1, fields)
        fields, stop, problem = self._fields(text, at, end, at + extent.reach)
        if stop == end and not extent.final and (problem != OPEN_QUOTE or end - at <= extent.reach):
            raise Undecided
        if 0 <= newline < stop and extent.width > 1:
            begin, problem = self._weighed(text, (at, newline, stop), fields, problem, extent)
            if begin is not None:
                return RawRecord(at, _without_line_ends(text, at, begin), begin, [], problem)
        if problem == OPEN_QUOTE and stop - at > extent.reach:
            last = stop  # longer than a record may be, wherever the text ends
        elif problem:
            last = _without_line_ends(text, at, stop)
        else:
            last = stop - text.endswith(b"\r", at, stop)
        return RawRecord(at, last, min(stop + 1, end), fields, problem)

    def _fields(
        self, text: bytes, at: int, end: int, limit: int
    ) -> tuple[list[tuple[bytes, bool]], int, str]:
        """The fields of the record at ``at``, where its last line stops, and its first fault."""
        fields: list[tuple[bytes, bool]] = []
        while True:
            if at < end and text[at] == _QUOTE:
                close = _closing_quote(text, at + 1, end, limit)
                if close < 0:
                    return fields, end, OPEN_QUOTE
                field = text[at + 1 : close].replace(b'""', b'"'), True
                at = close + 1
                if text.startswith(b"\r", at, end) and (at + 1 == end or text.startswith(b"\n", at + 1, end)):
                    at += 1
            else:
                found = self._unquoted.match(text, at, end)
                stop = found.end() if found else at
                cell = text[at:stop]
                if _QUOTE in cell:
                    return fields, _line_stop(text, stop, end), BARE_QUOTE
                at = stop
                last = at == end or text.startswith(b"\n", at, end)
                field = (cell.removesuffix(b"\r") if last else cell), False
            if text.startswith(self.delimiter, at, end):
                fields.append(field)
                at += 1
            elif at == end or text.startswith(b"\n", at, end):
                fields.append(field)
                return fields, at, ""
            else:
                return fields, _line_stop(text, at, end), AFTER_QUOTE

    def _weighed(
        self,
        text: bytes,
        places: tuple[int, int, int],
        fields: list[tuple[bytes, bool]],
        problem: str,
        extent: Extent,
    ) -> tuple[int | None, str]:
        """Of a record of several lines: where it ends sooner (None: nowhere), and what is wrong with it.

        ``places``: where it begins, where its first line stops, and where its last one does.
        """
        start, newline, stop = places
        first = self._fields(text, start, newline, newline)[0]
        digit = bool(first) and first[0][0][:1].isdigit()
        if problem or len(fields) != extent.width:
            within = min(stop, start + extent.reach)
            begin = self._like_records(text, (newline + 1, within, extent.end), extent, digit=digit)
            return begin, problem if begin is None else OPEN_QUOTE
        last = text.rfind(b"\n", start, stop) + 1
        delimiters = text.count(self.delimiter, start, newline), text.count(self.delimiter, last, stop)
        broken = sum(b"\n" in field for field, _ in fields)
        if broken == 1 and delimiters == (extent.width - 1, extent.width - 1):
            inner = self._like_records(text, (newline + 1, last, last), extent, digit=digit, closed=True)
            if inner is not None:
                return None, SWALLOWED
        return None, ""

    def _like_records(
        self,
        text: bytes,
        places: tuple[int, int, int],
        extent: Extent,
        *,
        digit: bool,
        closed: bool = False,
    ) -> int | None:
        """The line with which records begin that are surely some; None where there is none.

        ``places``: from where on and before where it begins, and where the text ends. ``digit``: their first
        fields begin with a digit. ``closed``: the end of the text proves nothing.
        """
        at, within, end = places
        begin, held = None, 0
        while at < end and (begin is not None or at < within):
            stop = _line_stop(text, at, end)
            if text[at:stop] not in (b"", b"\r"):
                stop, fine = self._alike(text, (at, stop, end), extent, digit=digit)
                if fine:
                    begin = at if begin is None else begin
                    held += extent.width - 1
                    if held >= _EVIDENCE:
                        return begin
                else:
                    begin, held = None, 0
            at = stop + 1
            if at >= end and not closed and not extent.final:
                raise Undecided
        return begin if not closed and text.endswith(b"\n", at - 1, end) else None

    def _alike(
        self, text: bytes, places: tuple[int, int, int], extent: Extent, *, digit: bool
    ) -> tuple[int, bool]:
        """Whether a record begins at a place that is like others, and where its last line stops then.

        ``places``: where it begins, where its first line stops, and where the text ends.
        """
        at, stop, end = places
        if text.find(b'"', at, stop) < 0:
            fine = text.count(self.delimiter, at, stop) == extent.width - 1
            return stop, fine and (not digit or text[at : at + 1].isdigit())
        fields, behind, problem = self._fields(text, at, end, at + extent.reach)
        if behind == end and not extent.final and (problem != OPEN_QUOTE or end - at <= extent.reach):
            raise Undecided
        fine = not problem and len(fields) == extent.width and (not digit or fields[0][0][:1].isdigit())
        return (behind if fine else stop), fine


def _closing_quote(text: bytes, at: int, end: int, limit: int) -> int:
    """Where the quoted field is closed whose content begins at ``at``; -1 where not before ``limit``."""
    limit = min(end, limit)
    while True:
        found = text.find(b'"', at, limit)
        if found < 0 or not text.startswith(b'"', found + 1, end):
            return found
        at = found + 2


def _line_stop(text: bytes, at: int, end: int) -> int:
    """Where the line at ``at`` stops: its LF, or the end."""
    newline = text.find(b"\n", at, end)
    return end if newline < 0 else newline


def _without_line_ends(text: bytes, start: int, end: int) -> int:
    while end > start and text[end - 1] in b"\r\n":
        end -= 1
    return end


@dataclass(frozen=True, slots=True)
class Header:
    """The names of an object's columns in its order, or why the object is refused."""

    names: tuple[str, ...]
    refused: str = ""


def read_header(
    key: str, text: bytes, splitter: Splitter, limits: Limits, *, final: bool = True
) -> tuple[Header, int] | None:
    """The header and where the records begin; None where there is nothing but whitespace.

    Raises CorruptObject where no header can be read, LimitExceeded where it is too long or has too many
    columns, Undecided where the text is not ``final`` and may go on with it.
    """
    begin = len(BOM) if text.startswith(BOM) else 0
    if not text[begin:].strip(b" \t\r\n"):
        return None
    raw = next(splitter.records(text, begin, Extent(len(text), final=final)))
    hint = "The first record must name each column once; repair the object or move it away."
    try:
        text[raw.start : raw.end].decode()
    except UnicodeDecodeError:
        return Header((), encoding_refusal(text)), raw.next
    if _LONE_CR.search(text, raw.start, raw.end) and (
        raw.problem or any(b"\r" in field and not quoted for field, quoted in raw.fields)
    ):
        raise CorruptObject(
            f"{key}: its CSV header holds {LONE_CR}.",
            hint="Lines end in LF or CR LF: convert the object, or move it away.",
        )
    if raw.end - raw.start > limits.record_bytes:
        raise record_too_long(key, limits.record_bytes)
    if raw.problem:
        raise CorruptObject(f"{key}: in its CSV header, {raw.problem}.", hint=hint)
    if len(raw.fields) > limits.columns:
        raise LimitExceeded(
            f"{key} has {len(raw.fields)} CSV columns, more than {limits.columns}.",
            hint=limit_hint("columns"),
        )
    names = tuple(field.decode().strip(" ") for field, _ in raw.fields)
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise CorruptObject(f"{key}: its CSV header names {min(doubled)!r} more than once.", hint=hint)
    return Header(names), raw.next


class CsvReader:
    """Reads the records of one CSV object behind its header."""

    def __init__(
        self, key: str, header: Header, splitter: Splitter, null_values: tuple[str, ...], limits: Limits
    ) -> None:
        self._key = key
        self.names = header.names
        self._splitter = splitter
        self._nulls = frozenset(v.encode() for v in null_values)
        self._limit = limits.record_bytes

    def extent(self, end: int, *, final: bool = True) -> Extent:
        """What is known of the records of a text that ends there."""
        return Extent(end, len(self.names), self._limit, final)

    def read(self, text: bytes, base_offset: int, at: int = 0, stop: int | None = None) -> Iterator[Record]:
        """The records of ``text`` that begin in ``[at, stop)``; offsets count from ``base_offset``."""
        for raw in self._splitter.records(text, at, self.extent(len(text)), stop):
            value, problem = self.fields(text, raw)
            yield Record(base_offset + raw.start, raw.end - raw.start, value, problem, False)

    def fields(self, text: bytes, raw: RawRecord) -> tuple[dict[str, str | None] | None, str]:
        """What a record of ``text`` says, or None and why it says nothing; raises LimitExceeded."""
        if raw.end - raw.start > self._limit:
            raise record_too_long(self._key, self._limit)
        if raw.problem:
            return None, raw.problem
        if len(raw.fields) != len(self.names):
            problem = f"{len(raw.fields)} fields where the header has {len(self.names)}"
            lone_cr = _LONE_CR.search(text, raw.start, raw.end)
            return None, f"{problem}; it holds {LONE_CR}" if lone_cr else problem
        nulls = self._nulls
        try:
            values = [None if not q and f in nulls else f.decode() for f, q in raw.fields]
        except UnicodeDecodeError:
            return None, BAD_UTF8
        return dict(zip(self.names, values, strict=True)), ""
