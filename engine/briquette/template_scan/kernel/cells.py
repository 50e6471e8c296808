"""The scan of CSV: rows whose cells are known by their place, with the readers that lines of JSON have.

A cell is bare, or in quotes without a quote inside; a row is so many cells as the header has names. Anything
else is reported. A record that goes on behind a line end in quotes reports the line on which it begins.
"""

from __future__ import annotations

from typing import Any

from briquette.template_scan import abi as at
from briquette.template_scan.kernel.fields import ENTERED, STORED, integer_at, put_float, put_null, put_text
from briquette.template_scan.kernel.instants import FIVE_BYTES, NO_DAY, clock, day_number
from briquette.template_scan.kernel.intrinsics import HALF, ONES, ZERO, U, aside, byte, pair, word, word_of
from briquette.template_scan.kernel.nested import forget_nulls
from briquette.template_scan.kernel.texts import cell_end, forget_fresh, keep_fresh, text_end, well_formed

TRUE_WORD, FALSE_WORD = word_of(b"true"), word_of(b"false")
PYTHON_TRUE_WORD, PYTHON_FALSE_WORD = word_of(b"True"), word_of(b"False")
DAY_SECONDS = 86_400
LINE_FEED, RETURN, QUOTE = 10, 13, 34


@aside
def scan_cells(
    memory: Any, ops: Any, values: Any, floats: Any, valid: Any, codes: Any, chars: Any, texts: Any,
    dict_chars: Any, dict_offsets: Any, dict_table: Any, row_starts: Any, deviating: Any, lists: Any,
    block: Any,
) -> Any:  # fmt: skip
    """Consume rows until the region ends or the driver is needed; returns a status of ``layout``."""
    capacity, end = block[at.B_CAPACITY], block[at.B_END]
    origin, deviating_capacity = block[at.B_ORIGIN], block[at.B_DEVIATING_CAPACITY]
    text_count, delimiter = block[at.B_TEXT_COUNT], block[at.B_DELIMITER]
    delimiters = U(delimiter) * ONES
    p, row, strays = block[at.S_POSITION], block[at.S_ROWS], block[at.S_DEVIATING]
    lines = block[at.S_LINES]
    status = at.DONE
    day_head, day_tail, day = ZERO, 0, NO_DAY
    fresh = False  # a dictionary grew with this row
    nulls = False  # this row cleared a validity byte
    while p < end:
        line = p
        c = byte(memory, p)
        if c == LINE_FEED:
            p += 1
            continue
        if c == RETURN and byte(memory, p + 1) == LINE_FEED:
            p += 2
            continue
        if row >= capacity:
            status = at.ROWS_FULL
            break
        fits = False
        op = 0
        while True:
            kind = ops[op + at.OP_KIND]
            if kind == at.END:
                c = byte(memory, p)
                if c == RETURN:
                    p += 1
                    c = byte(memory, p)
                fits = c == LINE_FEED
                break
            if ops[op + at.OP_BYTES] == 1:
                if byte(memory, p) != delimiter:
                    break
                p += 1
            c = byte(memory, p)
            if kind == at.ABSENT or c == delimiter or c in (LINE_FEED, RETURN):
                if ops[op + at.OP_NULLABLE] == 0:
                    break
                put_null(op, ops, row, values, valid, codes, texts)
                nulls = True
                op += at.OP_WIDTH
                continue
            here = ops[op + at.OP_PLACE] + row
            quoted = c == QUOTE
            if quoted:
                p += 1
            if kind == at.STRING:
                if quoted:
                    stop, high = text_end(memory, p)
                    if stop < 0:
                        break
                else:
                    stop, high = cell_end(memory, p, delimiters)
                if high != ZERO and not well_formed(memory, p, stop):
                    break
                slot = ops[op + at.OP_SLOT]
                stored = put_text(
                    memory, p, stop - p, slot, row, here, codes, chars, texts,
                    dict_chars, dict_offsets, dict_table,
                )  # fmt: skip
                if stored > STORED:
                    status = stored
                    block[at.S_DETAIL] = slot
                    break
                if stored == ENTERED:
                    fresh = True
                p = stop
            elif kind == at.FLOAT:
                p = put_float(memory, p, here, ops[op + at.OP_NARROW], True, values, floats)
                if p < 0:
                    break
            elif kind == at.TIMESTAMP:
                # Rows that follow each other mostly share the day.
                head, tail = word(memory, p), pair(memory, p + 8)
                if head != day_head or tail != day_tail:
                    day = day_number(head, tail)
                    day_head, day_tail = head, tail
                if day < ops[op + at.OP_LOW] or day > ops[op + at.OP_HIGH]:
                    break
                p += 10
                within = 0
                if byte(memory, p) in (84, 32):
                    p, within = clock(memory, p + 1, ops[op + at.OP_UNITS])
                    if p < 0:
                        break
                values[here] = day * DAY_SECONDS * ops[op + at.OP_UNITS] + within
            elif kind == at.INT:
                p, integer = integer_at(memory, p, ops[op + at.OP_LOW], ops[op + at.OP_HIGH], True)
                if p < 0:
                    break
                values[here] = integer
            elif kind == at.BOOL:
                w = word(memory, p)
                if w & HALF == TRUE_WORD or w & HALF == PYTHON_TRUE_WORD:
                    values[here] = 1
                    p += 4
                elif w & FIVE_BYTES == FALSE_WORD or w & FIVE_BYTES == PYTHON_FALSE_WORD:
                    values[here] = 0
                    p += 5
                else:
                    break
            else:
                day_of_date = day_number(word(memory, p), pair(memory, p + 8))
                if day_of_date == NO_DAY:
                    break
                values[here] = day_of_date
                p += 10
            if quoted:
                if byte(memory, p) != QUOTE:
                    break
                p += 1
            op += at.OP_WIDTH
        if fits:
            p += 1
            row_starts[row] = origin + line
            row += 1
            lines += 1
            if fresh:
                keep_fresh(text_count, texts)
                fresh = False
            nulls = False
            continue
        if fresh:
            forget_fresh(text_count, texts, dict_chars, dict_offsets, dict_table)
            fresh = False
        if nulls:
            forget_nulls(0, ops, row, valid, lists)
            nulls = False
        p = line
        if status != at.DONE:
            break
        if strays >= deviating_capacity:
            status = at.DEVIATING_FULL
            break
        while byte(memory, p) != LINE_FEED:
            p += 1
        deviating[3 * strays] = origin + line
        deviating[3 * strays + 1] = origin + p
        deviating[3 * strays + 2] = row
        strays += 1
        lines += 1
        p += 1
    block[at.S_POSITION], block[at.S_ROWS], block[at.S_DEVIATING] = p, row, strays
    block[at.S_LINES] = lines
    return status
