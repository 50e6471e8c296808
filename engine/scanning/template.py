"""What the scan predicts: the literal bytes between the values of a line, learnt from one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.model import Schema
from engine.scanning import layout as at
from engine.schema import arrow_type
from engine.typewords import Plain, Timestamp, parse_type

LINE_BYTES: Final = 65_536  # a longer line is not learnt from

_MEMBER = re.compile(
    rb'[ \t]*"(?P<key>[^"\\\x00-\x1f]*)"[ \t]*:[ \t]*'
    rb'(?P<value>"(?:[^"\\\x00-\x1f]|\\.)*"|-?[0-9][-+.eE0-9]*|true|false|null|NaN|-?Infinity)[ \t]*'
)
_INTEGER_BITS = {f"{sign}int{bits}": (sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Days that stay inside years 0001..9999, or inside int64 nanoseconds, whatever the zone does to them.
_ALL_DAYS = (-719_161, 2_932_895)
_NANOSECOND_DAYS = (-106_750, 106_750)


@dataclass(frozen=True, slots=True)
class Column:
    """One schema column as the kernel sees it; ``slot`` counts columns of the same kind of storage."""

    name: str
    kind: int  # an operation of ``layout``
    slot: int
    nullable: bool
    low: int
    high: int
    units: int  # in a second, for timestamps; -1 marks a string
    narrow: bool
    arrow: Any  # pyarrow.DataType


@dataclass(frozen=True, slots=True)
class Template:
    """Columns in the order of the line, the literal in front of each, and the one that ends the line."""

    literals: tuple[bytes, ...]  # one more than columns
    columns: tuple[int, ...]
    absent: tuple[int, ...]


def columns_of(schema: Schema) -> tuple[Column, ...] | None:
    """The columns, or None when one has a type that the scan does not do."""
    columns: list[Column] = []
    texts = values = 0
    for field in schema.fields:
        word = parse_type(field.type)
        low, high, units, narrow = 0, 0, 0, False
        match word:
            case Plain("string"):
                kind, units = at.STRING, -1
            case Plain("bool"):
                kind = at.BOOL
            case Plain("date"):
                kind = at.DATE
            case Plain("float32" | "float64" as name):
                kind, narrow = at.FLOAT, name == "float32"
            case Plain(name) if name in _INTEGER_BITS:
                sign, bits = _INTEGER_BITS[name]
                kind = at.INT
                low = 0 if sign else -(1 << (bits - 1))
                high = min((1 << (bits if sign else bits - 1)) - 1, (1 << 63) - 1)
            case Timestamp(unit, _):
                kind, units = at.TIMESTAMP, _UNITS[unit]
                low, high = _NANOSECOND_DAYS if unit == "ns" else _ALL_DAYS
            case _:
                return None
        slot = texts if kind == at.STRING else values
        if kind == at.STRING:
            texts += 1
        else:
            values += 1
        arrow = arrow_type(field.type)
        columns.append(Column(field.name, kind, slot, field.nullable, low, high, units, narrow, arrow))
    return tuple(columns)


def learn(line: bytes, columns: tuple[Column, ...]) -> Template | None:
    r"""The template of a line (with its line end), or None when it is no flat object of declared fields.

    >>> from engine.model import Field
    >>> columns = columns_of(Schema((Field("a", "int64"), Field("b", "string"))))
    >>> learn(b'{"b": "x", "a": 1}\n', columns).literals
    (b'{"b": ', b', "a": ', b'}\n')
    """
    if not line.startswith(b"{") or len(line) > LINE_BYTES:
        return None
    places = {column.name: index for index, column in enumerate(columns)}
    literals: list[bytes] = []
    order: list[int] = []
    position, written = 1, 0
    while match := _MEMBER.match(line, position):
        try:
            index = places.pop(match["key"].decode("utf-8"))
        except (KeyError, UnicodeDecodeError):
            return None  # unknown, or there twice
        literals.append(line[written : match.start("value")])
        order.append(index)
        written, position = match.end("value"), match.end()
        if line[position : position + 1] != b",":
            break
        position += 1
    tail = line[written:]
    if re.fullmatch(rb"[ \t]*\}\r?\n" if order else rb"\{[ \t]*\}\r?\n", tail) is None:
        return None
    absent = tuple(places.values())
    if not all(columns[index].nullable for index in absent):
        return None
    return Template((*literals, tail), tuple(order), absent)


@dataclass(frozen=True, slots=True)
class Program:
    """Templates as the arrays that the kernel reads."""

    ops: Any  # int64, OP_WIDTH for each operation
    words: Any  # uint64
    masks: Any  # uint64
    starts: Any  # int64, first operation of each template


def assemble(templates: list[Template], columns: tuple[Column, ...]) -> Program:
    """The templates as one program for the kernel."""
    ops: list[list[int]] = []
    words = bytearray()
    masks = bytearray()
    starts: list[int] = []
    for template in templates:
        starts.append(len(ops))
        steps = [
            (literal, columns[c].kind, c)
            for literal, c in zip(template.literals, template.columns, strict=False)
        ]
        steps += [(b"", at.ABSENT, c) for c in template.absent]
        steps.append((template.literals[-1], at.END, -1))
        for literal, kind, index in steps:
            first, width = len(words) // 8, -(-len(literal) // 8) * 8
            words += literal.ljust(width, b"\0")
            masks += (b"\xff" * len(literal)).ljust(width, b"\0")
            op = _operation(kind, len(literal), index, columns)
            op[at.OP_WORD], op[at.OP_WORDS] = first, width // 8
            ops.append(op)
    return Program(
        np.array(ops, np.int64).ravel(),
        np.frombuffer(bytes(words), "<u8"),
        np.frombuffer(bytes(masks), "<u8"),
        np.array(starts, np.int64),
    )


def program_of_header(names: tuple[str, ...], columns: tuple[Column, ...]) -> Program | None:
    """The program for rows of CSV below a header of different names; None where the scan cannot do them."""
    places = {column.name: index for index, column in enumerate(columns)}
    ops: list[list[int]] = []
    for place, name in enumerate(names):
        index = places.pop(name, None)
        if index is None:
            return None
        ops.append(_operation(columns[index].kind, int(place > 0), index, columns))
    if not all(columns[index].nullable for index in places.values()):
        return None
    ops += [_operation(at.ABSENT, 0, index, columns) for index in places.values()]
    ops.append(_operation(at.END, 0, -1, columns))
    nothing = np.empty(0, np.uint64)
    return Program(np.array(ops, np.int64).ravel(), nothing, nothing, np.zeros(1, np.int64))


def _operation(kind: int, literal_bytes: int, index: int, columns: tuple[Column, ...]) -> list[int]:
    op = [0] * at.OP_WIDTH
    op[at.OP_KIND], op[at.OP_BYTES] = kind, literal_bytes
    if index >= 0:
        column = columns[index]
        op[at.OP_COLUMN], op[at.OP_SLOT], op[at.OP_NULLABLE] = index, column.slot, column.nullable
        op[at.OP_LOW], op[at.OP_HIGH] = column.low, column.high
        op[at.OP_UNITS], op[at.OP_NARROW] = column.units, column.narrow
    return op
