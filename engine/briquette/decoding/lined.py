"""Objects as the lines of one buffer: sound lines take a fast lane, the rest the record reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from briquette.decoding.fast.blocks import Run
from briquette.decoding.rows.result import Counts, Gather, Text, concatenated
from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.json_records import Record
from briquette.decoding.text.lines import Bools, Lines, Offsets, find_lines, runs
from briquette.model import Reject


class Dialect(Protocol):
    """What the lines of one family of objects mean."""

    def sound(self, lines: Lines) -> Bools | None:
        """Which lines are whole records between sure seams; None if all are."""

    def decode(self, lines: Lines, start: int, stop: int) -> Iterator[Run]:
        """Sound lines through the fast lanes."""

    def read(self, key: str, text: bytes, base_offset: int) -> Iterable[Record]:
        """A run of lines of one object through the record reader."""


def read_all(
    records: Iterable[Record],
    text: bytes,
    base: int,
    builder: RowBuilder,
    refused: list[Reject],
    key: str = "",
) -> tuple[int, int, int]:
    """Fill ``builder`` from a record reader; how many records there were, and how many with duplicate keys.

    The third number is that of the rejects' bytes that their raw texts leave out. Rejects are appended with
    positions that count from 0; ``base`` is the offset of ``text`` in its object.
    """
    count = duplicates = left_out = 0
    for record in records:
        duplicates += record.duplicate_keys
        reason = record.reason if record.value is None else builder.add(record.value)
        if reason:
            at = record.offset - base
            raw = text[at : at + record.size] if record.raw is None else record.raw
            refused.append(Reject(key, count, record.offset, reason, raw))
            left_out += record.size - len(raw)
        count += 1
    return count, duplicates, left_out


class LinedObjects:
    """Decodes texts of one dialect into a ``Gather``.

    ``begins`` says where the lines of each text begin (behind a BOM or a header), ``base_offset`` where the
    (only) text begins in its object.
    """

    def __init__(
        self,
        texts: Sequence[Text],
        begins: Sequence[int],
        gather: Gather,
        builder: RowBuilder,
        *,
        base_offset: int,
    ) -> None:
        self._texts = texts
        self._begins = begins
        self._gather = gather
        self._base_offset = base_offset
        self._builder = builder
        self._parts: list[tuple[pa.Table | None, int, int]] = []  # rows [start, stop); None: the builder's
        self._refused: list[tuple[int, Reject]] = []  # by line of the run
        self._line_records: Counts | None = None  # None: one of each per line
        self._line_rows: Counts | None = None
        buffer, self._starts = _joined(texts, begins)
        self._lines = find_lines(buffer, self._starts, json=True)

    def decode(self, dialect: Dialect) -> None:
        lines = self._lines
        sound = dialect.sound(lines) if len(lines) else None
        whole = [(0, len(lines), True)] if len(lines) else []
        for start, stop, fine in whole if sound is None else runs(sound):
            for run in dialect.decode(lines, start, stop) if fine else (Run(start, stop),):
                if run.table is None:
                    self._read_strictly(run.start, run.stop, dialect)
                else:
                    self._parts.append((run.table, run.row, run.row + run.stop - run.start))
                    self._gather.extra_fields.update(run.extra_fields)
        self._hand_in()

    def _read_strictly(self, start: int, stop: int, dialect: Dialect) -> None:
        """Lines through the record reader, one object at a time."""
        if self._line_records is None or self._line_rows is None:
            self._line_records = np.ones(len(self._lines), np.int64)
            self._line_rows = np.ones(len(self._lines), np.int64)
        while start < stop:
            owner = self._lines.owner(start)
            end = min(stop, int(self._lines.objects[owner + 1]))
            before = self._builder.rows
            self._line_records[start:end] = self._line_rows[start:end] = 0
            self._line_records[start] = self._read_object(owner, start, end, dialect)
            self._line_rows[start] = self._builder.rows - before
            if self._builder.rows > before:
                self._parts.append((None, before, self._builder.rows))
            start = end

    def _read_object(self, owner: int, start: int, stop: int, dialect: Dialect) -> int:
        begin, end = int(self._lines.starts[start]), int(self._lines.stops[stop - 1])
        text = self._lines.buffer[begin:end]
        base = begin - int(self._starts[owner]) + self._begins[owner] + self._base_offset
        refused: list[Reject] = []
        records = dialect.read(self._texts[owner].key, text, base)
        count, duplicates, left_out = read_all(records, text, base, self._builder, refused)
        self._gather.reject_bytes += left_out
        self._gather.duplicate_json_keys += duplicates
        self._refused += [(start, r) for r in refused]
        return count

    def _table(self) -> pa.Table:
        """The parts' rows in order, picked at once out of the tables that hold them."""
        strict = self._builder.table()
        tables = [strict if table is None else table for table, _, _ in self._parts]
        distinct = list({id(table): table for table in tables}.values())
        begins = dict(zip(map(id, distinct), _begins([t.num_rows for t in distinct]), strict=True))
        firsts = [begins[id(t)] + start for t, (_, start, _) in zip(tables, self._parts, strict=True)]
        counts = [stop - start for _, start, stop in self._parts]
        whole = concatenated(distinct)
        picked = np.repeat(np.array(firsts) - _begins(counts), counts) + np.arange(sum(counts))
        if len(picked) == whole.num_rows and np.array_equal(picked, np.arange(len(picked))):
            return whole
        return whole.take(pa.array(picked))

    def _hand_in(self) -> None:
        gather, objects = self._gather, self._lines.objects
        places = [t.place for t in self._texts]
        rows = np.zeros_like(gather.records)
        rows[places] = np.diff(_cumulated(self._line_rows, len(self._lines))[objects])
        if self._parts:
            gather.add_rows(self._table(), rows)
        records = _cumulated(self._line_records, len(self._lines))
        gather.records[places] += np.diff(records[objects])
        gather.extra_fields.update(self._builder.extra_fields)
        lines = np.fromiter((line for line, _ in self._refused), np.int64, len(self._refused))
        owners = np.searchsorted(objects, lines, side="right") - 1
        before = records[lines] - records[objects[owners]]
        for (_, r), owner, count in zip(self._refused, owners.tolist(), before.tolist(), strict=True):
            text = self._texts[owner]
            gather.add_reject(
                text.place, Reject(text.key, count + r.position, r.byte_offset, r.reason, r.raw)
            )


def _begins(counts: Sequence[int]) -> Offsets:
    """Where each of some runs of so many begins when they follow each other."""
    return np.cumsum([0, *counts])[:-1]


def _cumulated(per_line: Counts | None, lines: int) -> Counts:
    """How many come before each line, and in all."""
    if per_line is None:
        return np.arange(lines + 1)
    out = np.zeros(lines + 1, np.int64)
    np.cumsum(per_line, out=out[1:])
    return out


def _joined(texts: Sequence[Text], begins: Sequence[int]) -> tuple[bytes, Offsets]:
    """One buffer of all texts, and where each begins.

    A second line end after one that is there already is only a blank line.
    """
    bodies = [t.body[begin:] if begin else t.body for t, begin in zip(texts, begins, strict=True)]
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies)) + 1
    return b"\n".join(bodies), np.cumsum(lengths) - lengths
