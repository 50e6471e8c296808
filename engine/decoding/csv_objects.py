"""The CSV objects of a call: objects with the same header share a buffer, simple lines of it the fast lane.

A line is simple where each quote opens a field behind a delimiter or closes one before a delimiter, without
quotes inside; then it is one record, and pyarrow.csv and the record reader agree on its fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from engine.decoding.blocks import Doubt, Parsed, Run, decode_blocks
from engine.decoding.columns import Mask, convert_text
from engine.decoding.csv_records import CsvReader, Header, Splitter, read_header
from engine.decoding.gather import Gather, Text
from engine.decoding.json_fast import one_chunk
from engine.decoding.json_objects import add_records
from engine.decoding.json_records import Record
from engine.decoding.lined import LinedObjects
from engine.decoding.lines import Bools, Lines
from engine.decoding.rows import RowBuilder, output_schema, rescued_text
from engine.decoding.scanned import ScanLane, csv_scan
from engine.decoding.values import Convert, converter
from engine.model import CompactionSpec, ExtraFields, FileFormat
from engine.typewords import ListOf, Struct, TypeWord, parse_type

_ROW = re.compile(r"Row #([0-9]+)")
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
    found = read_header(text.key, text.body, splitter, spec.limits)
    if found and found[1] == end:
        seen[line] = found[0]
    return found


class _CsvLines:
    """The dialect of CSV texts that share a header."""

    def __init__(
        self, spec: CompactionSpec, header: Header, delimiter: bytes, splitter: Splitter, scan: ScanLane
    ) -> None:
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


class CsvLane:
    """pyarrow.csv with every column read as text, which is then converted without loss."""

    def __init__(self, spec: CompactionSpec, header: Header, delimiter: bytes) -> None:
        self._spec = spec
        self._names = header.names
        self._delimiter = delimiter.decode()
        self._schema = output_schema(spec)
        words = [parse_type(f.type) for f in spec.schema.fields]
        digits = spec.limits.number_digits
        self._columns: list[tuple[str, TypeWord, Convert, bool]] = [
            (f.name, word, converter(word, digits, [], f.name, text_cells=True), f.nullable)
            for f, word in zip(spec.schema.fields, words, strict=True)
        ]
        known = {f.name for f in spec.schema.fields}
        self._unknown = [name for name in self._names if name not in known]
        # A nested cell may hold unknown fields of its own, which only the record reader counts.
        nested = any(isinstance(word, ListOf | Struct) for word in words)
        self._able = not nested and not (self._unknown and spec.extra_fields is ExtraFields.REJECT)

    @property
    def able(self) -> bool:
        return self._able

    def parse(self, text: pa.Buffer, longest: int, rows: int) -> Parsed:  # noqa: ARG002 - the lanes' one form
        """The lines as one table; raises Doubt."""
        places = [str(i) for i in range(len(self._names))]
        nulls = list(self._spec.schema.null_values)
        try:
            table = pacsv.read_csv(
                pa.BufferReader(text),
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=text.size + 1, column_names=places
                ),
                parse_options=pacsv.ParseOptions(delimiter=self._delimiter),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.string()),
                    null_values=nulls,
                    strings_can_be_null=bool(nulls),
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            row = _ROW.search(str(error))
            raise Doubt(int(row[1]) - 1 if row else None) from None
        if table.num_rows != rows:
            raise Doubt
        return self._finish(dict(zip(self._names, table.columns, strict=True)), rows)

    def _finish(self, read: dict[str, pa.ChunkedArray], rows: int) -> Parsed:
        unfit: Mask | None = None
        arrays = []
        digits = self._spec.limits.number_digits
        for (name, word, convert, nullable), field in zip(self._columns, self._schema, strict=False):
            cells = one_chunk(read[name]) if name in read else pa.nulls(rows, pa.string())
            done = convert_text(cells, word, field.type, convert, digits)
            refused = done.unfit
            if not nullable and done.column.null_count:
                nulls = np.asarray(done.column.is_null())
                refused = nulls if refused is None else refused | nulls
            if refused is not None:
                unfit = refused if unfit is None else unfit | refused
            arrays.append(done.column)
        extra = tuple((name, one_chunk(read[name])) for name in self._unknown)
        if self._spec.extra_fields is ExtraFields.RESCUE:
            arrays.append(_rescued(extra, rows))
        return Parsed(pa.Table.from_arrays(arrays, schema=self._schema), unfit, extra)


def _rescued(extra: tuple[tuple[str, pa.Array], ...], rows: int) -> pa.Array:
    if not extra:
        return pa.nulls(rows, pa.string())
    names = [name for name, _ in extra]
    cells = zip(*(a.to_pylist() for _, a in extra), strict=True)
    return pa.array([rescued_text(list(zip(names, row, strict=True))) for row in cells], pa.string())
