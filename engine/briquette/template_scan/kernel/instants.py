"""Dates and times of the compiled scan: ISO 8601 text to days and to units of a timestamp, fully checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from briquette.template_scan.kernel.intrinsics import (
    BYTE,
    EIGHT,
    HIGHS,
    LOWS,
    TEN,
    ZERO,
    Int,
    U,
    aside,
    byte,
    inline,
    word,
    word_of,
)
from briquette.template_scan.kernel.numbers import WHOLE_POWERS, ZEROS, digit_count, digits_value

FIVE_BYTES = U(0xFFFFFFFFFF)
CLOCK, DATE_HEAD = word_of(b"00:00:00"), word_of(b"0000-00-")
# Added to ``text ^ CLOCK``: sets the high bit of a byte that is no digit, or not the mark that belongs there.
CLOCK_OVER = word_of(bytes([0x76, 0x76, 0x7F, 0x76, 0x76, 0x7F, 0x76, 0x76]))
DATE_OVER = word_of(bytes([0x76, 0x76, 0x76, 0x76, 0x7F, 0x76, 0x76, 0x7F]))
MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
NO_DAY = -(1 << 40)


@aside
def day_number(head: Any, tail: Any) -> Any:
    """Days since 1970-01-01 of ``YYYY-MM-`` and ``DD``, or ``NO_DAY``."""
    x = head ^ DATE_HEAD
    if (((x & LOWS) + DATE_OVER) | x) & HIGHS != ZERO:
        return NO_DAY
    d1, d2 = (tail & 255) - 48, (tail >> 8) - 48
    if d1 < 0 or d1 > 9 or d2 < 0 or d2 > 9:
        return NO_DAY
    pairs = x * TEN + (x >> EIGHT)
    year = Int(pairs & BYTE) * 100 + Int((pairs >> U(16)) & BYTE)
    month = Int((pairs >> U(40)) & BYTE)
    day = d1 * 10 + d2
    if year < 1 or month < 1 or month > 12 or day < 1:
        return NO_DAY
    last = MONTH_DAYS[month]
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        last = 29
    if day > last:
        return NO_DAY
    # Years that begin in March: the leap day comes last, and month lengths follow one line.
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


@inline
def clock(memory: Any, p: Any, units: Any) -> Any:
    """Time of day and zone behind a date: (end, UTC units), or (-1, 0)."""
    x = word(memory, p) ^ CLOCK
    bad = (((x & LOWS) + CLOCK_OVER) | x) & HIGHS
    seconds_given = bad == ZERO
    if seconds_given:
        p += 8
    elif bad & FIVE_BYTES == ZERO:
        x = x & FIVE_BYTES
        p += 5
    else:
        return -1, 0
    pairs = x * TEN + (x >> EIGHT)
    hour = Int(pairs & BYTE)
    minute = Int((pairs >> U(24)) & BYTE)
    second = Int((pairs >> U(48)) & BYTE)
    if hour > 23 or minute > 59 or second > 59:
        return -1, 0
    fraction = 0
    c = byte(memory, p)
    if c == 46 and seconds_given:
        p += 1
        x = word(memory, p) ^ ZEROS
        n = digit_count(x)
        if n == 0:
            return -1, 0
        fraction = Int(digits_value(x, n) * WHOLE_POWERS[9 - n])
        p += n
        c = byte(memory, p)
        if n == 8 and c >= 48 and c <= 57:
            fraction += c - 48
            p += 1
            c = byte(memory, p)
        unit = 1_000_000_000 // units
        if fraction % unit != 0:
            return -1, 0
        fraction = fraction // unit
    offset = 0
    if c == 90:
        p += 1
    elif c in (43, 45):
        x = word(memory, p + 1) ^ ZEROS
        n = digit_count(x)
        if n == 4:  # +HHMM
            pairs = x * TEN + (x >> EIGHT)
            hours, minutes = Int(pairs & BYTE), Int((pairs >> U(16)) & BYTE)
            p += 5
        elif n == 2:  # +HH or +HH:MM
            pairs = x * TEN + (x >> EIGHT)
            hours, minutes = Int(pairs & BYTE), 0
            p += 3
            if byte(memory, p) == 58:
                x = word(memory, p + 1) ^ ZEROS
                if digit_count(x) != 2:
                    return -1, 0
                minutes = Int((x * TEN + (x >> EIGHT)) & BYTE)
                p += 3
        else:
            return -1, 0
        if hours > 14 or minutes > 59:  # no zone is further away; the strict path says what else means
            return -1, 0
        offset = hours * 3600 + minutes * 60
        if c == 45:
            offset = -offset
    return p, (hour * 3600 + minute * 60 + second - offset) * units + fraction
