"""One field of a row into the columns' memory: what lines of JSON and rows of CSV have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from briquette.template_scan import abi as at
from briquette.template_scan.kernel.intrinsics import Int, U, byte, inline, word, word_of
from briquette.template_scan.kernel.numbers import INT64_MAX, number, rounded_bits, whole
from briquette.template_scan.kernel.texts import copy_text, dictionary_code, same_text

NAN_WORD, INFINITE_WORD, THREE_BYTES = word_of(b"NaN"), word_of(b"Infinity"), U(0xFFFFFF)
LOWER_NAN_WORD, SHORT_INFINITE_WORD = word_of(b"nan"), word_of(b"inf")
POWERS = 10.0 ** np.arange(23)  # all of them exact
EXACT_MANTISSA = U(1 << 53)
FLOAT32_MAX = float(np.finfo(np.float32).max)
NOT_A_NUMBER, INFINITE = float("nan"), float("inf")
STORED, ENTERED = 0, -1  # ``ENTERED``: and the text is new in its dictionary; else a status of ``layout``


@inline
def put_null(op: Any, ops: Any, index: Any, values: Any, valid: Any, codes: Any, texts: Any) -> None:
    """A null in the column of an operation."""
    place = ops[op + at.OP_PLACE] + index
    store = ops[op + at.OP_STORE]
    valid[ops[op + at.OP_VALID] + index] = 0
    if store == at.STORE_VALUES:
        values[place] = 0
    elif store == at.STORE_TEXT:
        if texts[ops[op + at.OP_SLOT] * at.TEXT_WIDTH + at.TEXT_PLAIN] == 1:
            codes[place + 1] = codes[place]
        else:
            codes[place] = 0
    elif store == at.STORE_ENDS:
        codes[place + 1] = codes[place]


@inline
def put_text(
    memory: Any, p: Any, size: Any, slot: Any, index: Any, code_at: Any, codes: Any, chars: Any,
    texts: Any, dict_chars: Any, dict_offsets: Any, dict_table: Any,
) -> Any:  # fmt: skip
    """A text in a string column: ``STORED``, ``ENTERED``, or why there is no room for it."""
    text = slot * at.TEXT_WIDTH
    if texts[text + at.TEXT_PLAIN] == 1:
        start = Int(codes[code_at])
        if start + size > texts[text + at.TEXT_CAPACITY]:
            return at.CHARS_FULL
        copy_text(memory, p, chars, texts[text + at.TEXT_BASE] + start, size)
        codes[code_at + 1] = start + size
        return STORED
    code = texts[text + at.TEXT_LAST]
    if code >= 0:
        entry = slot * (at.DICTIONARY_ENTRIES + 1) + code
        start = Int(dict_offsets[entry])
        if Int(dict_offsets[entry + 1]) - start == size:
            start += slot * (at.DICTIONARY_BYTES + 8)
            if same_text(memory, p, dict_chars, start, size):
                codes[code_at] = code
                return STORED
    code = dictionary_code(memory, p, size, slot, index, texts, dict_chars, dict_offsets, dict_table)
    if code < 0:
        return at.DICTIONARY_FULL
    texts[text + at.TEXT_LAST] = code
    codes[code_at] = code
    return ENTERED if texts[text + at.TEXT_FRESH] == 1 else STORED


@inline
def put_float(memory: Any, p: Any, here: Any, narrow: Any, as_text: Any, values: Any, floats: Any) -> Any:
    """A number or a token such as NaN as a double: its end, or -1 where it leaves the lane.

    ``as_text``: by the rules of numeric text, not of JSON.
    """
    q, negative, mantissa, power = number(memory, p, as_text)
    if q < 0:
        if byte(memory, p) == 45:
            p += 1
            negative = True
        else:
            negative = False
        w = word(memory, p)
        if w == INFINITE_WORD:
            floats[here] = -INFINITE if negative else INFINITE
            return p + 8
        if w & THREE_BYTES == NAN_WORD and not negative:
            floats[here] = NOT_A_NUMBER
            return p + 3
        if as_text:
            if w & THREE_BYTES == SHORT_INFINITE_WORD:
                floats[here] = -INFINITE if negative else INFINITE
                return p + 3
            if w & THREE_BYTES == LOWER_NAN_WORD and not negative:
                floats[here] = NOT_A_NUMBER
                return p + 3
        return -1
    if mantissa <= EXACT_MANTISSA and power <= 0 and power >= -22:
        exact = np.float64(Int(mantissa)) / POWERS[-power]
        floats[here] = -exact if negative else exact
    elif mantissa <= EXACT_MANTISSA and power > 0 and power <= 22:
        exact = np.float64(Int(mantissa)) * POWERS[power]
        floats[here] = -exact if negative else exact
    else:
        bits = rounded_bits(mantissa, power)
        if bits < 0:
            return -1
        values[here] = bits
        if negative:
            floats[here] = -floats[here]
    if narrow == 1 and abs(floats[here]) > FLOAT32_MAX:
        return -1
    return q


@inline
def integer_at(memory: Any, p: Any, low: Any, high: Any, as_text: Any) -> Any:
    """A number that is an integer within inclusive bounds: (end, integer), or (-1, 0)."""
    p, negative, mantissa, power = number(memory, p, as_text)
    if p < 0:
        return -1, 0
    integer = Int(mantissa)
    if power != 0 or mantissa > INT64_MAX:
        integer = whole(mantissa, power)
        if integer < 0:
            return -1, 0
    if negative:
        integer = -integer
    if integer < low or integer > high:
        return -1, 0
    return p, integer
