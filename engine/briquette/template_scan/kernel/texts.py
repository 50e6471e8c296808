"""Strings of the compiled scan: where they end, whether they are UTF-8, and dictionaries of repeated ones."""

from __future__ import annotations

from typing import Any

from briquette.template_scan import abi as at
from briquette.template_scan.kernel.intrinsics import (
    HIGHS,
    ONE,
    ONES,
    ZERO,
    Int,
    U,
    aside,
    byte,
    inline,
    low_zeros,
    put_word,
    word,
)

QUOTES = U(0x2222222222222222)
BACKSLASHES = U(0x5C5C5C5C5C5C5C5C)
SPACES = U(0x2020202020202020)
MIX = U(0x9E3779B97F4A7C15)


@aside
def well_formed(memory: Any, p: Any, end: Any) -> Any:
    """Whether the bytes are UTF-8: shortest forms, no surrogates, nothing above U+10FFFF."""
    while p < end:
        c = byte(memory, p)
        if c < 0x80:
            p += 1
            continue
        if c < 0xC2 or c > 0xF4:
            return False
        size = 2 if c < 0xE0 else 3 if c < 0xF0 else 4
        if p + size > end:
            return False
        d = byte(memory, p + 1)
        if d < 0x80 or d > 0xBF:
            return False
        if (c == 0xE0 and d < 0xA0) or (c == 0xED and d > 0x9F):
            return False
        if (c == 0xF0 and d < 0x90) or (c == 0xF4 and d > 0x8F):
            return False
        for k in range(2, size):
            d = byte(memory, p + k)
            if d < 0x80 or d > 0xBF:
                return False
        p += size
    return True


@inline
def special_bytes(w: Any) -> Any:
    """The high bits of the bytes that are a quote, a backslash or a control character.

    Each term may flag wrongly only above a byte that it flags rightly, so the lowest flag is right.
    """
    quote = w ^ QUOTES
    escape = w ^ BACKSLASHES
    return (((quote - ONES) & ~quote) | ((escape - ONES) & ~escape) | ((w - SPACES) & ~w)) & HIGHS


@inline
def text_end(memory: Any, p: Any) -> Any:
    """End of a string whose characters start at ``p``: (position of its quote or -1, high bits met in it)."""
    w = word(memory, p)
    stop = special_bytes(w)
    high = ZERO
    while stop == ZERO:
        high = high | (w & HIGHS)
        p += 8
        w = word(memory, p)
        stop = special_bytes(w)
    high = high | (w & HIGHS & (stop ^ (stop - ONE)))
    p += low_zeros(stop) >> 3
    if byte(memory, p) != 34:
        p = -1
    return p, high


@inline
def cell_edges(w: Any, delimiters: Any) -> Any:
    """Like ``special_bytes``, of the bytes that are a delimiter, a quote or a control character."""
    quote = w ^ QUOTES
    edge = w ^ delimiters
    return (((quote - ONES) & ~quote) | ((edge - ONES) & ~edge) | ((w - SPACES) & ~w)) & HIGHS


@inline
def cell_end(memory: Any, p: Any, delimiters: Any) -> Any:
    """End of a bare CSV cell: (position of what ends it, high bits met in it)."""
    w = word(memory, p)
    stop = cell_edges(w, delimiters)
    high = ZERO
    while stop == ZERO:
        high = high | (w & HIGHS)
        p += 8
        w = word(memory, p)
        stop = cell_edges(w, delimiters)
    high = high | (w & HIGHS & (stop ^ (stop - ONE)))
    return p + (low_zeros(stop) >> 3), high


@inline
def same_text(memory: Any, p: Any, other: Any, q: Any, size: Any) -> Any:
    """Whether two runs of bytes are equal, compared eight at a time."""
    while size >= 8:
        if word(memory, p) != word(other, q):
            return False
        p += 8
        q += 8
        size -= 8
    if size > 0:
        return (word(memory, p) ^ word(other, q)) << U(64 - 8 * size) == ZERO
    return True


@inline
def hash_of(memory: Any, p: Any, size: Any) -> Any:
    """A hash of a run of bytes, for the dictionary of texts."""
    h = U(size) * MIX
    while size > 0:
        w = word(memory, p)
        if size < 8:
            w = w << U(64 - 8 * size)
        h = (h ^ w) * MIX
        h = h ^ (h >> U(32))
        p += 8
        size -= 8
    return Int(h & U(at.DICTIONARY_TABLE - 1))


@aside
def dictionary_code(
    memory: Any, p: Any, size: Any, text: Any, rows: Any, texts: Any, chars: Any, offsets: Any, table: Any
) -> Any:
    """Code of the text, entered when it is new; -1 when the column holds too many different ones."""
    first_char = text * (at.DICTIONARY_BYTES + 8)
    first_offset = text * (at.DICTIONARY_ENTRIES + 1)
    first_slot = text * at.DICTIONARY_TABLE
    slot = hash_of(memory, p, size)
    while True:
        code = Int(table[first_slot + slot])
        if code < 0:
            break
        start = Int(offsets[first_offset + code])
        size_there = Int(offsets[first_offset + code + 1]) - start
        if size_there == size and same_text(memory, p, chars, first_char + start, size):
            return code
        slot = (slot + 1) & (at.DICTIONARY_TABLE - 1)
    count = texts[text * at.TEXT_WIDTH + at.TEXT_COUNT]
    if count >= at.DICTIONARY_ENTRIES:
        return -1
    if count >= at.DICTIONARY_ALWAYS and count * at.DICTIONARY_RATIO > rows:
        return -1
    start = Int(offsets[first_offset + count])
    if start + size > at.DICTIONARY_BYTES:
        return -1
    copy_text(memory, p, chars, first_char + start, size)
    offsets[first_offset + count + 1] = start + size
    table[first_slot + slot] = count
    texts[text * at.TEXT_WIDTH + at.TEXT_COUNT] = count + 1
    texts[text * at.TEXT_WIDTH + at.TEXT_FRESH] = 1
    return count


@aside
def keep_fresh(text_count: Any, texts: Any) -> None:
    """Keep what the line at hand entered into dictionaries."""
    for text in range(text_count):
        texts[text * at.TEXT_WIDTH + at.TEXT_FRESH] = 0


@aside
def forget_fresh(text_count: Any, texts: Any, chars: Any, offsets: Any, table: Any) -> None:
    """Take back what a line that leaves the lane entered into dictionaries: at most one entry in each."""
    for text in range(text_count):
        if texts[text * at.TEXT_WIDTH + at.TEXT_FRESH] == 0:
            continue
        count = texts[text * at.TEXT_WIDTH + at.TEXT_COUNT] - 1
        first_offset = text * (at.DICTIONARY_ENTRIES + 1)
        start = Int(offsets[first_offset + count])
        size = Int(offsets[first_offset + count + 1]) - start
        slot = hash_of(chars, text * (at.DICTIONARY_BYTES + 8) + start, size)
        while table[text * at.DICTIONARY_TABLE + slot] != count:
            slot = (slot + 1) & (at.DICTIONARY_TABLE - 1)
        table[text * at.DICTIONARY_TABLE + slot] = -1  # nothing was entered later, so no probe runs over it
        texts[text * at.TEXT_WIDTH + at.TEXT_COUNT] = count
        texts[text * at.TEXT_WIDTH + at.TEXT_FRESH] = 0
        texts[text * at.TEXT_WIDTH + at.TEXT_LAST] = -1


@inline
def copy_text(memory: Any, p: Any, chars: Any, q: Any, size: Any) -> None:
    """Copy a run of bytes, eight at a time; the target has room for the last word."""
    while size > 0:
        put_word(chars, q, word(memory, p))
        p += 8
        q += 8
        size -= 8
