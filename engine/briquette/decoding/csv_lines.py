"""CSV objects as the lines of one buffer: lines that are surely records take fast lanes, the rest the reader.

A line is sound where it is a whole record by itself; it is one unless a record before it goes on over it. So
the records that begin on other lines are read first, which tells what they cover. The sound lines that are
left are parsed together, wherever they lie: what is broken costs the others nothing but its own reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from briquette.decoding.fast.blocks import BLOCK_BYTES, Doubt, Lane, Parsed
from briquette.decoding.fast.scanned import ScanLane
from briquette.decoding.rows.result import Gather, Text, concatenated
from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.csv_records import CsvReader, Header, RawRecord, Splitter, Undecided
from briquette.decoding.text.csv_sound import sound_lines
from briquette.decoding.text.lines import Bools, Lines, Offsets, find_lines
from briquette.model import Limits, Reject

_FEW_LINES = 64  # the record reader is quicker than a parser's attempt
_CR = ord("\r")


class CsvObjects:
    """Decodes texts below one header into a ``Gather``.

    ``members``: the texts and where their records begin. ``base_offset``: where the (only) text begins in its
    object. ``following``: what follows it there, which is looked at but not read.
    """

    def __init__(
        self,
        members: Sequence[tuple[Text, int]],
        gather: Gather,
        header: Header,
        splitter: Splitter,
        *,
        base_offset: int = 0,
        following: bytes = b"",
    ) -> None:
        self._texts = [text for text, _ in members]
        self._begins = [begin + base_offset for _, begin in members]
        self._gather = gather
        bodies = [text.body[begin:] if begin else text.body for text, begin in members]
        own = len(bodies[-1])
        if following:
            bodies[-1] += following
        buffer, self._starts = _joined(bodies)
        self._lines = find_lines(buffer, self._starts, json=False)
        if following:
            self._lines = _lines_before(self._lines, own)
        spec = gather.spec
        readers = [
            CsvReader(t.key, header, splitter, spec.schema.null_values, spec.limits) for t in self._texts
        ]
        ends = (
            np.append(self._starts[1:], len(buffer)) - 1
        ).tolist()  # without the line ends that were added
        self._width = len(header.names)
        self._splitter = splitter
        self._readers = [(reader, reader.extent(end)) for reader, end in zip(readers, ends, strict=True)]
        self._builder = RowBuilder(spec, text_cells=True)
        self._read_rows: list[int] = []  # the lines on which the builder's rows begin
        self._refused: list[tuple[int, int, int, str]] = []  # line, begin and end in the buffer, reason
        self._tables: list[pa.Table] = []
        self._table_rows: list[Offsets] = []  # the lines of their rows

    def decode(self, scan: ScanLane, lane: Lane, delimiter: bytes) -> None:
        """All records: the sound lines through the lanes, the others through the record reader."""
        lines = self._lines
        limit = self._gather.spec.limits.record_bytes
        sound = sound_lines(lines, delimiter[0], self._width, limit)
        begins = np.ones(len(lines), np.bool_)  # a record begins on this line
        self._read_broken(sound, begins)
        rest = self._scan(scan, sound)
        if lane.able and len(rest) >= _FEW_LINES:
            for numbers in _blocks(lines, rest):
                self._parse(lane, numbers)
        else:
            self._read_lines(rest)
        self._hand_in(begins)

    # -- the record reader ---------------------------------------------------------------------

    def _read_broken(self, sound: Bools, begins: Bools) -> None:
        """Read the records that begin on lines that are not sound, and mark all the lines that they cover."""
        lines = self._lines
        done = 0
        for line, owner, start in self._places(np.flatnonzero(~sound)):
            if line < done:
                continue
            raw = self._read(line, owner, start)
            if line + 1 < len(lines) and raw.next > lines.starts[line + 1]:
                done = int(np.searchsorted(lines.starts, raw.next))
                sound[line:done] = False
                begins[line + 1 : done] = False

    def _read_lines(self, numbers: Offsets) -> None:
        for line, owner, start in self._places(numbers):
            self._read(line, owner, start)

    def _read(self, line: int, owner: int, start: int) -> RawRecord:
        reader, extent = self._readers[owner]
        raw = self._splitter.record(self._lines.buffer, start, extent)
        value, problem = reader.fields(self._lines.buffer, raw)
        if value is not None:
            problem = self._builder.add(value)
        if problem:
            self._refused.append((line, start, raw.end, problem))
        else:
            self._read_rows.append(line)
        return raw

    def _places(self, numbers: Offsets) -> Iterator[tuple[int, int, int]]:
        """The lines, each with its object and where it starts."""
        owners = np.searchsorted(self._lines.objects, numbers, side="right") - 1
        columns = numbers, owners, self._lines.starts[numbers]
        return zip(*(column.tolist() for column in columns), strict=True)

    # -- the lanes -----------------------------------------------------------------------------

    def _scan(self, scan: ScanLane, sound: Bools) -> Offsets:
        """Take the sound rows that the scan accepts; returns the sound lines that are left."""
        scanned = scan.scan_lines(self._lines) if sound.any() else None
        if scanned is None:
            return np.flatnonzero(sound)
        found, table = scanned
        accepted = np.searchsorted(self._lines.starts, found.row_starts + self._lines.starts[0])
        self._take(table, accepted, sound[accepted], scan.extra_columns(found))
        rest = sound.copy()
        rest[accepted] = False
        return np.flatnonzero(rest)

    def _parse(self, lane: Lane, numbers: Offsets) -> None:
        """Sound lines through the lane; what it doubts is halved until it is few, and read."""
        waiting = [numbers]
        while waiting:
            part = waiting.pop()
            try:
                parsed = self._parsed(lane, part)
            except Doubt:
                if len(part) > _FEW_LINES:
                    waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
                else:
                    self._read_lines(part)
                continue
            kept = np.ones(len(part), np.bool_) if parsed.unfit is None else ~parsed.unfit
            self._take(parsed.table, part, kept, parsed.extra)
            self._read_lines(part[~kept])

    def _parsed(self, lane: Lane, numbers: Offsets) -> Parsed:
        lines = self._lines
        ends = lines.stops[numbers] + (lines.data[lines.stops[numbers]] == _CR) + 1
        gaps = np.flatnonzero(np.diff(numbers) > 1) + 1
        firsts = lines.starts[numbers[np.concatenate(([0], gaps))]].tolist()
        lasts = ends[np.concatenate((gaps - 1, [len(numbers) - 1]))].tolist()
        if len(firsts) == 1:
            text = pa.py_buffer(lines.buffer).slice(firsts[0], lasts[0] - firsts[0])
        else:
            text = pa.py_buffer(b"".join(lines.buffer[a:b] for a, b in zip(firsts, lasts, strict=True)))
        longest = int((lines.stops[numbers] - lines.starts[numbers]).max())
        return lane.parse(text, longest, len(numbers))

    def _take(
        self, table: pa.Table, numbers: Offsets, kept: Bools, extra: Sequence[tuple[str, pa.Array]]
    ) -> None:
        """The kept rows of a table, whose lines these are; ``extra`` holds their unknown fields."""
        mask = None if kept.all() else pa.array(kept)
        if mask is not None:
            table, numbers = table.filter(mask), numbers[kept]
        for name, column in extra:
            some = column if mask is None else column.filter(mask)
            self._gather.extra_fields[name] += len(some) - some.null_count
        self._tables.append(table)
        self._table_rows.append(numbers)

    # -- the answer ----------------------------------------------------------------------------

    def _hand_in(self, begins: Bools) -> None:
        gather, objects = self._gather, self._lines.objects
        places = [text.place for text in self._texts]
        numbers = np.concatenate([*self._table_rows, np.array(self._read_rows, np.int64)])
        order = np.argsort(numbers, kind="stable")
        rows = np.zeros_like(gather.records)
        rows[places] = np.diff(np.searchsorted(numbers[order], objects))
        if len(numbers):
            gather.add_rows(self._table(order), rows)
        records = np.concatenate(([0], np.cumsum(begins)))
        gather.records[places] += np.diff(records[objects])
        gather.extra_fields.update(self._builder.extra_fields)
        refused = np.array([line for line, *_ in self._refused], np.int64)
        owners = np.searchsorted(objects, refused, side="right") - 1
        positions = records[refused] - records[objects[owners]]
        for (_, start, end, reason), owner, position in zip(
            self._refused, owners.tolist(), positions.tolist(), strict=True
        ):
            text = self._texts[owner]
            offset = start - int(self._starts[owner]) + self._begins[owner]
            raw = self._lines.buffer[start:end]
            gather.add_reject(text.place, Reject(text.key, position, offset, reason, raw))

    def _table(self, order: Offsets) -> pa.Table:
        tables = [*self._tables, self._builder.table()] if self._read_rows else self._tables
        whole = concatenated(tables)
        return whole if (np.diff(order) == 1).all() else whole.take(pa.array(order))


def _joined(bodies: Sequence[bytes]) -> tuple[bytes, Offsets]:
    """One buffer of all bodies, each with a line end behind it, and where each begins."""
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies)) + 1
    return b"\n".join([*bodies, b""]), np.cumsum(lengths) - lengths


def _blocks(lines: Lines, numbers: Offsets) -> Iterator[Offsets]:
    """Lines in runs of about so many bytes as are parsed at once."""
    sizes = np.cumsum(lines.stops[numbers] - lines.starts[numbers])
    edges = np.searchsorted(sizes, np.arange(BLOCK_BYTES, sizes[-1], BLOCK_BYTES)) + 1
    return (part for part in np.split(numbers, edges) if len(part))


def _lines_before(lines: Lines, end: int) -> Lines:
    """The lines of the only object that start before ``end``."""
    count = int(np.searchsorted(lines.starts, end))
    objects = np.array([0, count])
    return Lines(lines.buffer, lines.data, lines.starts[:count], lines.stops[:count], objects)


def last_whole(text: bytes, reader: CsvReader, splitter: Splitter, delimiter: bytes, limits: Limits) -> int:
    """Behind the last record of a text that no text behind it can change, or 0.

    A record that is still open is decided once the text holds more than ``limits.record_bytes`` of it.
    """
    end = text.rfind(b"\n") + 1
    if b'"' not in text:
        return end
    lines = find_lines(text, np.zeros(1, np.int64), json=False)
    lines = _lines_before(lines, end)
    sound = sound_lines(lines, delimiter[0], len(reader.names), limits.record_bytes)
    extent = reader.extent(len(text), final=False)
    done = 0
    for start in lines.starts[~sound].tolist():
        if start >= done:
            try:
                done = splitter.record(text, start, extent).next
            except Undecided:
                return int(start)
    return max(end, done)
