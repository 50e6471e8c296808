"""The compiled kernel of the template scan.

``scan_entry(address)`` takes the address of the driver's block (``layout``), works on the memory named there
without the interpreter lock, and comes back with a status. It is specialised by nothing: operations are
data, so it is compiled once for a machine, whatever the schema.

Safety: the region ends with a newline, no literal holds one but as its last byte, and no value parser steps
over one. So no load starts behind the final newline, and ``LOOKAHEAD`` readable bytes behind it suffice.
With ``BRIQUETTE_SCAN_CHECKED=1`` every access is checked instead of trusted (the tests do that).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from briquette.template_scan import abi as at
from briquette.template_scan.kernel.cells import scan_cells
from briquette.template_scan.kernel.fields import ENTERED, STORED, integer_at, put_float, put_null, put_text
from briquette.template_scan.kernel.instants import FIVE_BYTES, NO_DAY, clock, day_number
from briquette.template_scan.kernel.intrinsics import HALF, ZERO, aside, byte, pair, view, word, word_of
from briquette.template_scan.kernel.nested import (
    forget_elements,
    forget_nulls,
    keep_elements,
    put_nulls,
    spaces_end,
)
from briquette.template_scan.kernel.texts import forget_fresh, keep_fresh, text_end, well_formed

NULL_WORD, TRUE_WORD, FALSE_WORD = word_of(b"null"), word_of(b"true"), word_of(b"false")
DAY_SECONDS = 86_400


@aside
def scan_region(
    memory: Any, ops: Any, words: Any, masks: Any, templates: Any, values: Any, floats: Any, valid: Any,
    codes: Any, chars: Any, texts: Any, dict_chars: Any, dict_offsets: Any, dict_table: Any,
    row_starts: Any, deviating: Any, lists: Any, block: Any,
) -> Any:  # fmt: skip
    """Consume lines until the region ends or the driver is needed; returns a status of ``layout``."""
    capacity, end, list_count = block[at.B_CAPACITY], block[at.B_END], block[at.B_LIST_COUNT]
    origin, learn, known = block[at.B_ORIGIN], block[at.B_LEARN], block[at.B_KNOWN]
    template_count, deviating_capacity = block[at.B_TEMPLATE_COUNT], block[at.B_DEVIATING_CAPACITY]
    text_count = block[at.B_TEXT_COUNT]
    p, row, strays = block[at.S_POSITION], block[at.S_ROWS], block[at.S_DEVIATING]
    template, lines = block[at.S_TEMPLATE], block[at.S_LINES]
    status = at.DONE
    day_head, day_tail, day = ZERO, 0, NO_DAY
    fresh = False  # a dictionary grew with this line
    nulls = False  # this line cleared a validity byte
    while p < end:
        line = p
        if row >= capacity:
            status = at.ROWS_FULL
            break
        tries = 0
        fits = False
        while tries < template_count and not fits:
            p = line
            op = templates[template] * at.OP_WIDTH
            index = row  # in the columns at hand: the row, or the element of a list
            inside = -1  # which list
            while True:
                literal = ops[op + at.OP_WORD]
                literal_end = literal + ops[op + at.OP_WORDS]
                q = p
                while literal < literal_end:
                    if (word(memory, q) ^ words[literal]) & masks[literal] != ZERO:
                        break
                    literal += 1
                    q += 8
                if literal < literal_end:
                    break
                p += ops[op + at.OP_BYTES]
                kind = ops[op + at.OP_KIND]
                if kind <= at.CLOSE:
                    if kind == at.END:
                        fits = True
                        break
                    if kind == at.NEXT:
                        p = spaces_end(memory, p)
                        c = byte(memory, p)
                        p += 1
                        index += 1
                        if c == 44:
                            p = spaces_end(memory, p)
                            if index >= lists[inside * at.LIST_WIDTH + at.LIST_CAPACITY]:
                                status = at.ELEMENTS_FULL
                                block[at.S_DETAIL] = inside
                                break
                            op -= ops[op + at.OP_JUMP] * at.OP_WIDTH
                            continue
                        if c != 93:
                            break
                        codes[ops[op + at.OP_PLACE] + row + 1] = index
                        lists[inside * at.LIST_WIDTH + at.LIST_AT] = index
                        index, inside = row, -1
                    op += at.OP_WIDTH
                    continue
                here = ops[op + at.OP_PLACE] + index
                if kind == at.ABSENT or (byte(memory, p) == 110 and word(memory, p) & HALF == NULL_WORD):
                    if ops[op + at.OP_NULLABLE] == 0:
                        break
                    put_null(op, ops, index, values, valid, codes, texts)
                    nulls = True
                    if kind != at.ABSENT:
                        p += 4
                        if kind == at.STRUCT:
                            put_nulls(op, ops, index, values, valid, codes, texts)
                        op += ops[op + at.OP_JUMP] * at.OP_WIDTH
                elif kind == at.STRING:
                    if byte(memory, p) != 34:
                        break
                    p += 1
                    quote, high = text_end(memory, p)
                    if quote < 0:
                        break
                    if high != ZERO and not well_formed(memory, p, quote):
                        break
                    slot = ops[op + at.OP_SLOT]
                    stored = put_text(
                        memory, p, quote - p, slot, index, here, codes, chars, texts,
                        dict_chars, dict_offsets, dict_table,
                    )  # fmt: skip
                    if stored > STORED:
                        status = stored
                        block[at.S_DETAIL] = slot
                        break
                    if stored == ENTERED:
                        fresh = True
                    p = quote + 1
                elif kind == at.FLOAT:
                    p = put_float(memory, p, here, ops[op + at.OP_NARROW], False, values, floats)
                    if p < 0:
                        break
                elif kind == at.TIMESTAMP:
                    # "YYYY-MM-DD, then a quote or a clock; rows that follow each other mostly share the day.
                    if byte(memory, p) != 34:
                        break
                    head, tail = word(memory, p + 1), pair(memory, p + 9)
                    if head != day_head or tail != day_tail:
                        day = day_number(head, tail)
                        day_head, day_tail = head, tail
                    if day < ops[op + at.OP_LOW] or day > ops[op + at.OP_HIGH]:
                        break
                    p += 11
                    c = byte(memory, p)
                    within = 0
                    if c in (84, 32):
                        p, within = clock(memory, p + 1, ops[op + at.OP_UNITS])
                        if p < 0 or byte(memory, p) != 34:
                            break
                    elif c != 34:
                        break
                    p += 1
                    values[here] = day * DAY_SECONDS * ops[op + at.OP_UNITS] + within
                elif kind == at.INT:
                    p, integer = integer_at(memory, p, ops[op + at.OP_LOW], ops[op + at.OP_HIGH], False)
                    if p < 0:
                        break
                    values[here] = integer
                elif kind == at.BOOL:
                    w = word(memory, p)
                    if w & HALF == TRUE_WORD:
                        values[here] = 1
                        p += 4
                    elif w & FIVE_BYTES == FALSE_WORD:
                        values[here] = 0
                        p += 5
                    else:
                        break
                elif kind == at.DATE:
                    if byte(memory, p) != 34:
                        break
                    day_of_date = day_number(word(memory, p + 1), pair(memory, p + 9))
                    if day_of_date == NO_DAY or byte(memory, p + 11) != 34:
                        break
                    values[here] = day_of_date
                    p += 12
                elif kind == at.LIST:
                    if byte(memory, p) != 91:
                        break
                    p = spaces_end(memory, p + 1)
                    number = ops[op + at.OP_SLOT]
                    first = lists[number * at.LIST_WIDTH + at.LIST_AT]
                    if byte(memory, p) == 93:
                        p += 1
                        codes[here + 1] = first
                        op += ops[op + at.OP_JUMP] * at.OP_WIDTH
                    else:
                        if first >= lists[number * at.LIST_WIDTH + at.LIST_CAPACITY]:
                            status = at.ELEMENTS_FULL
                            block[at.S_DETAIL] = number
                            break
                        index, inside = first, number
                op += at.OP_WIDTH
            if fits:
                row_starts[row] = origin + line
                row += 1
                lines += 1
                if fresh:
                    keep_fresh(text_count, texts)
                    fresh = False
                if list_count > 0:
                    keep_elements(list_count, lists)
                nulls = False
            else:
                if fresh:
                    forget_fresh(text_count, texts, dict_chars, dict_offsets, dict_table)
                    fresh = False
                if inside >= 0:
                    lists[inside * at.LIST_WIDTH + at.LIST_AT] = index + 1
                if nulls:
                    forget_nulls(templates[template] * at.OP_WIDTH, ops, row, valid, lists)
                    nulls = False
                if list_count > 0:
                    forget_elements(list_count, lists)
                if status != at.DONE:
                    break
                tries += 1
                template += 1
                if template == template_count:
                    template = 0
        if fits:
            continue
        p = line
        if status != at.DONE:
            break
        c = byte(memory, p)
        while c in (32, 9, 13):
            p += 1
            c = byte(memory, p)
        if c == 10:  # blank
            p += 1
            continue
        if learn == 1 and line != known:
            p = line
            status = at.UNKNOWN_LINE
            break
        if strays >= deviating_capacity:
            p = line
            status = at.DEVIATING_FULL
            break
        while c != 10:
            p += 1
            c = byte(memory, p)
        deviating[3 * strays] = origin + line
        deviating[3 * strays + 1] = origin + p
        deviating[3 * strays + 2] = row
        strays += 1
        lines += 1
        p += 1
    block[at.S_POSITION], block[at.S_ROWS], block[at.S_DEVIATING] = p, row, strays
    block[at.S_TEMPLATE], block[at.S_LINES] = template, lines
    return status


def scan_entry(address: Any) -> Any:
    """The compiled entry: everything it reads and writes lies behind the address of one block."""
    block = view(address, at.BLOCK_LENGTH, np.int64)
    text_count = block[at.B_TEXT_COUNT]
    memory = view(block[at.B_BUFFER], block[at.B_BUFFER_LENGTH], np.uint8)
    ops = view(block[at.B_OPS], block[at.B_OPS_LENGTH], np.int64)
    lists = view(block[at.B_LISTS], block[at.B_LIST_COUNT] * at.LIST_WIDTH, np.int64)
    values = view(block[at.B_VALUES], block[at.B_VALUES_LENGTH], np.int64)
    floats = view(block[at.B_VALUES], block[at.B_VALUES_LENGTH], np.float64)
    valid = view(block[at.B_VALID], block[at.B_VALID_LENGTH], np.uint8)
    codes = view(block[at.B_CODES], block[at.B_CODES_LENGTH], np.int32)
    chars = view(block[at.B_CHARS], block[at.B_CHARS_LENGTH], np.uint8)
    texts = view(block[at.B_TEXTS], text_count * at.TEXT_WIDTH, np.int64)
    dict_chars = view(block[at.B_DICT_CHARS], text_count * (at.DICTIONARY_BYTES + 8), np.uint8)
    dict_offsets = view(block[at.B_DICT_OFFSETS], text_count * (at.DICTIONARY_ENTRIES + 1), np.int32)
    dict_table = view(block[at.B_DICT_TABLE], text_count * at.DICTIONARY_TABLE, np.int32)
    row_starts = view(block[at.B_ROW_STARTS], block[at.B_CAPACITY], np.int64)
    deviating = view(block[at.B_DEVIATING], 3 * block[at.B_DEVIATING_CAPACITY], np.int64)
    if block[at.B_DELIMITER] != 0:
        return scan_cells(
            memory, ops, values, floats, valid, codes, chars, texts, dict_chars, dict_offsets, dict_table,
            row_starts, deviating, lists, block,
        )  # fmt: skip
    words = view(block[at.B_WORDS], block[at.B_WORDS_LENGTH], np.uint64)
    masks = view(block[at.B_MASKS], block[at.B_WORDS_LENGTH], np.uint64)
    templates = view(block[at.B_TEMPLATES], block[at.B_TEMPLATE_COUNT], np.int64)
    return scan_region(
        memory, ops, words, masks, templates, values, floats, valid, codes, chars, texts, dict_chars,
        dict_offsets, dict_table, row_starts, deviating, lists, block,
    )  # fmt: skip


SIGNATURE = types.int64(types.int64)
