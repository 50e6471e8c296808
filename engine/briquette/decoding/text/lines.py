"""Where the lines of a buffer of objects lie, and which of them are surely whole records."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

Offsets = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_TRIMS = 4  # how much whitespace at the end of a line is trimmed here; more makes the line a doubtful one


@dataclass(frozen=True, slots=True)
class Lines:
    """The non-blank lines of a buffer: line ``i`` is ``buffer[starts[i]:stops[i]]`` without its line end.

    ``objects`` holds the first line of each object of the buffer, and the number of lines last.
    """

    buffer: bytes
    data: Bytes
    starts: Offsets
    stops: Offsets
    objects: Offsets

    def __len__(self) -> int:
        return len(self.starts)

    def owner(self, line: int) -> int:
        """The object, by its place in the buffer, that a line belongs to."""
        return int(np.searchsorted(self.objects, line, side="right")) - 1


def find_lines(buffer: bytes, object_starts: Offsets, *, json: bool) -> Lines:
    r"""The lines of a buffer; JSON is trimmed of whitespace, CSV of the "\r" of a "\r\n"."""
    data = np.frombuffer(buffer, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    if len(data) and data[-1] != ord("\n"):
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    stops = ends
    for _ in range(_TRIMS if json else 1):
        last = data[np.maximum(stops - 1, 0)] if len(data) else data
        space = (last == ord("\r")) & (stops > starts)
        if json:
            space |= ((last == ord(" ")) | (last == ord("\t"))) & (stops > starts)
        if not space.any():
            break
        stops = stops - space
    filled = stops > starts
    if not filled.all():
        starts, stops = starts[filled], stops[filled]
    objects = np.append(np.searchsorted(starts, object_starts), len(starts))
    return Lines(buffer, data, starts, stops, objects)


def sound_lines(lines: Lines, max_bytes: int) -> Bools | None:
    """Which lines begin with "{", end with "}" and have such neighbours at both seams; None if all do."""
    if not len(lines):
        return None
    opens = lines.data[lines.starts] == ord("{")
    closes = lines.data[lines.stops - 1] == ord("}")
    short = lines.stops - lines.starts <= max_bytes
    if opens.all() and closes.all() and short.all():
        return None
    inner = lines.objects[(lines.objects > 0) & (lines.objects < len(lines))]
    before = np.append(True, closes[:-1])
    before[inner] = True
    after = np.append(opens[1:], True)
    after[inner - 1] = True
    sound: Bools = opens & closes & short & before & after
    return sound


def runs(mask: Bools) -> list[tuple[int, int, bool]]:
    """Maximal runs of equal values as (start, stop, value).

    >>> runs(np.array([True, True, False]))
    [(0, 2, True), (2, 3, False)]
    """
    edges = [0, *(np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist(), len(mask)]
    return [(a, b, bool(mask[a])) for a, b in itertools.pairwise(edges) if b > a]
