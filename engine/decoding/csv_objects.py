"""The CSV objects of a call: objects with the same header share a buffer, simple lines of it the fast lane.

A line is simple where each quote opens a field behind a delimiter or closes one before a delimiter, without
quotes inside; then it is one record, and pyarrow.csv and the record reader agree on its fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from engine.decoding.blocks import Run, decode_blocks
from engine.decoding.csv_records import CsvReader, Header, Splitter, read_header
from engine.decoding.gather import Gather, Text
from engine.decoding.json_objects import add_records
from engine.decoding.json_records import Record
from engine.decoding.lined import LinedObjects
from engine.decoding.lines import Bools, Lines
from engine.decoding.refusals import beginning, csv_refusal
from engine.decoding.rows import RowBuilder
from engine.decoding.scanned import ScanLane, csv_scan
from engine.model import CompactionSpec, FileFormat

_LONE_CR = re.compile(rb"\r(?!\n)")
_QUOTE = ord('"')


def splitter_of(kind: FileFormat) -> tuple[bytes, Splitter]:
    """The delimiter of a format, and what splits its text."""
    delimiter = b"\t" if kind is FileFormat.TSV else b","
    return delimiter, Splitter(delimiter)


def decode_csv(
    texts: Sequence[Text],
    kind: FileFormat,
    gather: Gather,
    *,
    header: Header | None = None,
    base_offset: int = 0,
    strict: bool = False,
) -> None:
    """Decode CSV or TSV texts into ``gather``.

    ``header`` is given for a text from the midst of an object, which begins at ``base_offset``.
    """
    delimiter, splitter = splitter_of(kind)
    spec = gather.spec
    groups: dict[Header, list[tuple[Text, int]]] = {}
    seen: dict[bytes, Header] = {}
    for text in texts:
        found = (header, 0) if header else _header(text, splitter, spec, seen)
        if found is None:
            continue
        if found[0].refused:
            gather.refuse_object(text.place, text.key, found[0].refused, beginning(text.body), len(text.body))
            continue
        if strict or (b"\r" in text.body and _LONE_CR.search(text.body)):
            reader = CsvReader(text.key, found[0], splitter, spec.schema.null_values, spec.limits)
            records = reader.read(text.body, base_offset, found[1])
            add_records(text, records, gather, RowBuilder(spec, text_cells=True), base_offset)
        else:
            groups.setdefault(found[0], []).append((text, found[1]))
    for shared, members in groups.items():
        scan = csv_scan(spec, shared, delimiter)
        texts, begins = [t for t, _ in members], [begin for _, begin in members]
        clean = scan.take_clean(texts, begins, gather, spec.limits.record_bytes)
        rest = [(t, begin) for t, begin in members if t.place not in clean]
        if rest:
            objects = LinedObjects(
                [t for t, _ in rest],
                [begin for _, begin in rest],
                gather,
                RowBuilder(spec, text_cells=True),
                base_offset=base_offset,
                json=False,
            )
            objects.decode(_CsvLines(spec, shared, delimiter, splitter, scan))


def _header(
    text: Text, splitter: Splitter, spec: CompactionSpec, seen: dict[bytes, Header]
) -> tuple[Header, int] | None:
    """An object's header; most objects of a day have the same first line, which is parsed once."""
    end = text.body.find(b"\n") + 1
    line = text.body[:end]
    if line in seen:
        return seen[line], end
    found = header_of(text.key, text.body, splitter, spec)
    if found and found[1] == end:
        seen[line] = found[0]
    return found


def header_of(key: str, text: bytes, splitter: Splitter, spec: CompactionSpec) -> tuple[Header, int] | None:
    """As ``read_header``; a header that names no declared column refuses its object."""
    found = read_header(key, text, splitter, spec.limits)
    if found is None or found[0].refused:
        return found
    header, behind = found
    return replace(header, refused=csv_refusal(header.names, splitter.delimiter.decode(), spec)), behind


class _CsvLines:
    """The dialect of CSV texts that share a header."""

    def __init__(
        self, spec: CompactionSpec, header: Header, delimiter: bytes, splitter: Splitter, scan: ScanLane
    ) -> None:
        from engine.decoding.csv_fast import CsvLane

        self._spec = spec
        self._scan = scan
        self._header = header
        self._delimiter = delimiter
        self._splitter = splitter
        self._lane = CsvLane(spec, header, delimiter)

    def sound(self, lines: Lines) -> Bools | None:
        short = lines.stops - lines.starts <= self._spec.limits.record_bytes
        if b'"' not in lines.buffer:
            return None if short.all() else short
        simple = short & _simply_quoted(lines, self._delimiter)
        if simple.all():
            return None
        self._spread(lines, simple)
        return simple

    def _spread(self, lines: Lines, simple: Bools) -> None:
        """Mark the lines that a record with a quoted line end goes on to."""
        done = 0
        for line in np.flatnonzero(~simple).tolist():
            if line < done:
                continue
            last = int(lines.objects[lines.owner(line) + 1])
            begin, end = int(lines.starts[line]), int(lines.stops[last - 1])
            record = self._splitter.record(lines.buffer[begin:end], 0)
            done = int(np.searchsorted(lines.starts, begin + record.next))
            simple[line : min(done, last)] = False

    def decode(self, lines: Lines, start: int, stop: int) -> Iterator[Run]:
        found = self._scan.decode(lines, start, stop, self._lane)
        return decode_blocks(lines, start, stop, self._lane) if found is None else found

    def read(self, key: str, text: bytes, base_offset: int) -> Iterator[Record]:
        spec = self._spec
        reader = CsvReader(key, self._header, self._splitter, spec.schema.null_values, spec.limits)
        return reader.read(text, base_offset)


def _simply_quoted(lines: Lines, delimiter: bytes) -> Bools:
    """Which lines have only quotes that open a field behind a delimiter and close it before the next one."""
    quotes = np.flatnonzero(lines.data == _QUOTE)
    line = np.searchsorted(lines.starts, quotes, side="right") - 1
    counts = np.bincount(line, minlength=len(lines))
    nth = np.arange(len(quotes)) - (np.cumsum(counts) - counts)[line]
    opens = nth % 2 == 0
    at_edge = np.where(opens, quotes == lines.starts[line], quotes + 1 == lines.stops[line])
    neighbour = np.where(opens, quotes - 1, np.minimum(quotes + 1, len(lines.data) - 1))
    fine = at_edge | (lines.data[neighbour] == delimiter[0])
    simple: Bools = counts % 2 == 0
    simple[line[~fine]] = False
    return simple
