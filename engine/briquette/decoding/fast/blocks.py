"""Many lines at once through a fast lane, and a bounded search for the few that spoil a block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from briquette.decoding.text.lines import Lines, Offsets, runs

if TYPE_CHECKING:
    from briquette.decoding.rows.columns import Mask

BLOCK_BYTES = 4 << 20  # parsed at once: what a bad record can spoil
_FEW_LINES = 64  # go to the record reader together rather than be searched for the bad one
_WASTE = 4  # blocks' worth of failed parsing before the rest of a block goes to the record reader
Ranges = list[tuple[int, int]]  # of lines, in order
_ATTEMPT_BYTES = 8_192  # what an attempt costs at least, as bytes parsed in that time


@dataclass(frozen=True, slots=True)
class Run:
    """Lines ``[start, stop)``: a row each in ``table``, or all for the record reader where it is None.

    The rows begin at ``row``: runs may share a table, rather than be cut out of it by the thousand.
    """

    start: int
    stop: int
    table: pa.Table | None = None
    extra_fields: Counter[str] = field(default_factory=Counter)
    row: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """One row per line; ``unfit`` marks rows for the record reader, ``extra`` holds the unknown columns."""

    table: pa.Table
    unfit: Mask | None = None
    extra: tuple[tuple[str, pa.Array], ...] = ()


class Doubt(Exception):
    """A block could not be proved equal to the record reader's answer; ``row`` is the culprit, if known."""

    def __init__(self, row: int | None = None) -> None:
        super().__init__()
        self.row = row


class Lane(Protocol):
    """A parser of many lines that either equals the record reader or raises Doubt."""

    @property
    def able(self) -> bool: ...

    def parse(self, text: pa.Buffer, longest: int, rows: int) -> Parsed:
        """The rows of ``rows`` non-blank lines, the longest of which has ``longest`` bytes."""


def decode_blocks(lines: Lines, start: int, stop: int, lane: Lane) -> Iterator[Run]:
    """Runs that cover the lines ``[start, stop)`` in order."""
    if not lane.able:
        yield Run(start, stop)
        return
    while start < stop:
        limit = int(np.searchsorted(lines.starts, lines.starts[start] + BLOCK_BYTES))
        end = min(max(limit, start + 1), stop)
        yield from _Block(lines, lane).decode(start, end)
        start = end


class _Block:
    def __init__(self, lines: Lines, lane: Lane) -> None:
        self._lines = lines
        self._lane = lane
        self._wasted = 0
        self._found: list[tuple[Offsets, Parsed]] = []

    def decode(self, start: int, stop: int) -> Iterator[Run]:
        budget = _WASTE * self._bytes(start, stop) + _ATTEMPT_BYTES
        waiting: list[Ranges] = [[(start, stop)]]
        while waiting:
            todo = waiting.pop()
            step = _count(todo)
            before: Ranges = []  # sound lines before the culprits: parsed again together
            while todo:
                part, rest = _cut(todo, step)
                try:
                    self._found.append((_numbers(part), self._parse(part)))
                    todo, step = rest, step * 4
                    continue
                except Doubt as doubt:
                    row = doubt.row
                count = _count(part)
                if row is None or row >= count:
                    self._wasted += sum(self._bytes(a, b) for a, b in part) + _ATTEMPT_BYTES
                    if count > _FEW_LINES and self._wasted <= budget:
                        waiting += reversed(_cut(part, count // 2))
                    todo = rest
                    continue
                # The parser stopped at the culprit; look a little further only, as its like may follow soon.
                head, tail = _cut(part, row)
                self._wasted += sum(self._bytes(a, b) for a, b in head) + _ATTEMPT_BYTES
                before += head
                todo = _cut(tail, 1)[1] + rest if self._wasted <= budget else []
                step = max(_FEW_LINES, 4 * (row + 1))
            if before:
                waiting.append(before)
        yield from self._runs(start, stop)

    def _parse(self, ranges: Ranges) -> Parsed:
        lines = self._lines
        starts, stops = lines.starts, lines.stops
        longest = max(int((stops[a:b] - starts[a:b]).max()) for a, b in ranges)
        spans = [(int(starts[a]), self._behind(b - 1)) for a, b in ranges]
        if len(spans) == 1:
            text = pa.py_buffer(lines.buffer).slice(spans[0][0], spans[0][1] - spans[0][0])
        else:
            text = pa.py_buffer(b"".join(lines.buffer[a:b] for a, b in spans))
        return self._lane.parse(text, longest, _count(ranges))

    def _behind(self, line: int) -> int:
        """Behind a line and its line end."""
        at = int(self._lines.stops[line])
        end = self._lines.buffer.find(b"\n", at)
        return end + 1 if end >= 0 else len(self._lines.buffer)

    def _runs(self, first: int, behind: int) -> Iterator[Run]:
        """What was found, in order of lines; all other lines are for the record reader."""
        if not self._found:
            yield Run(first, behind)
            return
        numbers = np.concatenate([n for n, _ in self._found])
        table = pa.concat_tables([p.table for _, p in self._found])
        fine = np.zeros(behind - first, np.bool_)
        fine[numbers - first] = True
        for n, p in self._found:
            if p.unfit is not None:
                fine[n[p.unfit] - first] = False
        kept = fine[numbers - first]
        if not kept.all():  # a refused row may hold a null where none may be
            table, numbers = table.filter(pa.array(kept)), numbers[kept]
        if len(self._found) > 1:
            table = table.take(pa.array(np.argsort(numbers)))
        row_of = np.cumsum(np.bincount(numbers - first, minlength=behind - first)) - 1
        for a, b, sound in [(0, len(fine), True)] if fine.all() else runs(fine):
            start, stop = first + a, first + b
            if sound:
                yield Run(start, stop, table, self._extra(start, stop), int(row_of[a]))
            else:
                yield Run(start, stop)

    def _extra(self, start: int, stop: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        for numbers, parsed in self._found:
            first, last = np.searchsorted(numbers, (start, stop)).tolist()
            for name, array in parsed.extra:
                counts[name] += last - first - array.slice(first, last - first).null_count
        return counts

    def _bytes(self, start: int, stop: int) -> int:
        return int(self._lines.stops[stop - 1] - self._lines.starts[start])


def _count(ranges: Ranges) -> int:
    return sum(b - a for a, b in ranges)


def _numbers(ranges: Ranges) -> Offsets:
    return np.concatenate([np.arange(a, b) for a, b in ranges])


def _cut(ranges: Ranges, at: int) -> tuple[Ranges, Ranges]:
    """Ranges before and from the ``at``-th line on."""
    before: Ranges = []
    after: Ranges = []
    for a, b in ranges:
        middle = min(a + max(at, 0), b)
        at -= b - a
        if middle > a:
            before.append((a, middle))
        if b > middle:
            after.append((middle, b))
    return before, after
