"""Lists and structs of the compiled scan: what a line puts into several places, and how it is taken back.

A list's elements are counted for themselves, one behind the other over all rows, as Arrow keeps them. What a
line adds counts only once the line is accepted.
"""

from __future__ import annotations

from typing import Any

from briquette.template_scan import abi as at
from briquette.template_scan.kernel.fields import put_null
from briquette.template_scan.kernel.intrinsics import aside, byte, inline


@inline
def spaces_end(memory: Any, p: Any) -> Any:
    """Behind the spaces and tabs at ``p``."""
    c = byte(memory, p)
    while c in (32, 9):
        p += 1
        c = byte(memory, p)
    return p


@aside
def put_nulls(op: Any, ops: Any, index: Any, values: Any, valid: Any, codes: Any, texts: Any) -> None:
    """Nulls in all that a struct, which is null, would hold; a list without a value has no elements."""
    stop = op + (ops[op + at.OP_JUMP] + 1) * at.OP_WIDTH
    op += at.OP_WIDTH
    while op < stop:
        if ops[op + at.OP_KIND] > at.CLOSE:
            put_null(op, ops, index, values, valid, codes, texts)
        if ops[op + at.OP_KIND] == at.LIST:
            op += ops[op + at.OP_JUMP] * at.OP_WIDTH
        op += at.OP_WIDTH


@aside
def forget_nulls(op: Any, ops: Any, row: Any, valid: Any, lists: Any) -> None:
    """Take back the nulls of a line that leaves the lane, by the operations that it went through."""
    while ops[op + at.OP_KIND] != at.END:
        if ops[op + at.OP_KIND] > at.CLOSE:
            place = ops[op + at.OP_VALID]
            number = ops[op + at.OP_LIST]
            if number < 0:
                valid[place + row] = 1
            else:
                elements = number * at.LIST_WIDTH
                stop = min(lists[elements + at.LIST_AT], lists[elements + at.LIST_CAPACITY])
                for index in range(lists[elements + at.LIST_USED], stop):
                    valid[place + index] = 1
        op += at.OP_WIDTH


@aside
def keep_elements(list_count: Any, lists: Any) -> None:
    """The line at hand is accepted: so are its elements."""
    for number in range(list_count):
        lists[number * at.LIST_WIDTH + at.LIST_USED] = lists[number * at.LIST_WIDTH + at.LIST_AT]


@aside
def forget_elements(list_count: Any, lists: Any) -> None:
    """The line at hand leaves the lane: its elements do not count."""
    for number in range(list_count):
        lists[number * at.LIST_WIDTH + at.LIST_AT] = lists[number * at.LIST_WIDTH + at.LIST_USED]
