"""Which lines of CSV are whole records by themselves, found for many lines at once."""

from __future__ import annotations

import numpy as np

from briquette.decoding.text.lines import Bools, Bytes, Lines, Offsets

_BLOCK_BYTES = 1 << 22  # looked at together, so that what is counted stays small
_QUOTE, _CR, _LF = ord('"'), ord("\r"), ord("\n")


def sound_lines(lines: Lines, delimiter: int, width: int, max_bytes: int) -> Bools:
    """The lines of ``width`` fields that the strict reader and pyarrow.csv surely read alike.

    They are no longer than ``max_bytes``, are UTF-8, hold no CR, and only such quotes as open a field at its
    beginning, close it at its end, or are doubled between.
    """
    sound = lines.stops - lines.starts <= max_bytes
    at = 0
    while at < len(lines):
        stop = max(int(np.searchsorted(lines.starts, lines.starts[at] + _BLOCK_BYTES)), at + 1)
        sound[at:stop] &= _of_block(lines, at, stop, delimiter, width)
        at = stop
    return sound


def _of_block(lines: Lines, first: int, behind: int, delimiter: int, width: int) -> Bools:
    begin, end = int(lines.starts[first]), int(lines.stops[behind - 1])
    data = lines.data[begin:end]
    starts, stops = lines.starts[first:behind] - begin, lines.stops[first:behind] - begin
    delimiters = np.flatnonzero(data == delimiter)
    quotes = np.flatnonzero(data == _QUOTE)
    fine = np.ones(len(starts), np.bool_)
    if len(quotes):
        nth = np.searchsorted(starts, quotes, side="right") - 1
        before = np.searchsorted(quotes, starts)
        fine = _well_quoted(data, quotes, nth, before, starts, stops, delimiter)
        line = np.searchsorted(starts, delimiters, side="right") - 1
        within = (np.searchsorted(quotes, delimiters) - before[line]) % 2 == 1
        delimiters = delimiters[~within]
    fine &= np.searchsorted(delimiters, stops) - np.searchsorted(delimiters, starts) == width - 1
    returns = np.flatnonzero(data == _CR)
    lone = returns[lines.data[begin + returns + 1] != _LF]  # a line end is behind each line
    fine[np.searchsorted(starts, lone, side="right") - 1] = False
    if len(data) and data.max() >= 0x80:
        _mark_bad_utf8(data, starts, stops, fine)
    return fine


def _well_quoted(
    data: Bytes,
    quotes: Offsets,
    line: Offsets,
    before: Offsets,
    starts: Offsets,
    stops: Offsets,
    delimiter: int,
) -> Bools:
    """Which lines have only quotes that open, close or are doubled; ``before``: quotes before each line."""
    nth = np.arange(len(quotes)) - before[line]
    opens = nth % 2 == 0
    at_edge = np.where(opens, quotes == starts[line], quotes + 1 == stops[line])
    neighbour = np.where(opens, quotes - 1, np.minimum(quotes + 1, len(data) - 1))
    adjacent = data[neighbour]
    # A closing quote with another one behind it is doubled: that one opens again.
    doubled = (adjacent == _QUOTE) & np.where(opens, nth > 0, True)
    counts = np.diff(np.append(before, len(quotes)))
    fine: Bools = counts % 2 == 0
    fine[line[~(at_edge | (adjacent == delimiter) | doubled)]] = False
    return fine


def _mark_bad_utf8(data: Bytes, starts: Offsets, stops: Offsets, fine: Bools) -> None:
    text = data.tobytes()
    try:
        text.decode()
    except UnicodeDecodeError:
        high = np.unique(np.searchsorted(starts, np.flatnonzero(data >= 0x80), side="right") - 1)
        for line in high.tolist():
            try:
                text[starts[line] : stops[line]].decode()
            except UnicodeDecodeError:
                fine[line] = False
