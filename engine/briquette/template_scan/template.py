"""What the scan predicts: the literal bytes between the values of a line, learnt from one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from briquette.template_scan import abi as at
from briquette.template_scan.columns import Column

LINE_BYTES: Final = 65_536  # a longer line is not learnt from

_KEY = re.compile(rb'[ \t]*"([^"\\\x00-\x1f]*)"[ \t]*:[ \t]*')
_SCALAR = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"|-?[0-9][-+.eE0-9]*|true|false|null|NaN|-?Infinity')
_SPACE = re.compile(rb"[ \t]*")
_NO_MEMBERS = re.compile(rb"[ \t]*\}")
_LINE_END = re.compile(rb"\r?\n")


class Step(NamedTuple):
    """A literal, what is read behind it, for which column, and how many steps belong to that."""

    literal: bytes
    kind: int
    column: int
    inner: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """The steps that read a line; the last one's literal ends it."""

    steps: tuple[Step, ...]


def learn(line: bytes, columns: tuple[Column, ...]) -> Template | None:
    r"""The template of a line (with its line end), or None when it is no plain object of declared fields.

    >>> from briquette.model import Field, Schema
    >>> from briquette.template_scan.columns import columns_of
    >>> columns = columns_of(Schema((Field("a", "int64"), Field("b", "string"))))
    >>> [step.literal for step in learn(b'{"b": "x", "a": 1}\n', columns).steps]
    [b'{"b": ', b', "a": ', b'}\n']
    """
    if not line.startswith(b"{") or len(line) > LINE_BYTES:
        return None
    lesson = _Lesson(line, columns)
    roots = (index for index, column in enumerate(columns) if column.parent < 0)
    end = _LINE_END.fullmatch(line, lesson.at) if lesson.members(roots) else None
    if end is None:
        return None
    lesson.at = end.end()
    lesson.step(at.END, -1)
    return Template(tuple(lesson.steps))


class _Lesson:
    """Reads one line; its methods answer whether what they read can be predicted."""

    def __init__(self, line: bytes, columns: tuple[Column, ...]) -> None:
        self.line = line
        self.columns = columns
        self.steps: list[Step] = []
        self.at = 0
        self._written = 0  # up to here the line is in steps

    def step(self, kind: int, index: int) -> None:
        """What is read at ``at``, behind a literal of all that no step has yet."""
        self.steps.append(Step(self.line[self._written : self.at], kind, index))
        self._written = self.at

    def members(self, indices: Iterable[int]) -> bool:
        """An object, from its brace to behind the other, with the columns ``indices`` as its members."""
        places = {self.columns[index].name: index for index in indices}
        self.at += 1
        found = _NO_MEMBERS.match(self.line, self.at)
        if found:
            self.at = found.end()
        while not found:
            key = _KEY.match(self.line, self.at)
            if key is None:
                return False
            self.at = key.end()
            try:
                index = places.pop(key[1].decode("utf-8"))
            except (KeyError, UnicodeDecodeError):
                return False  # unknown, or there twice
            if not self._value(index):
                return False
            behind = self._skip_space()
            if behind not in (b",", b"}"):
                return False
            self.at += 1
            if behind == b"}":
                break
        for index in places.values():
            if not self.columns[index].nullable:
                return False
            self._absent(index)
        return True

    def _skip_space(self) -> bytes:
        """What stands behind the spaces."""
        space = _SPACE.match(self.line, self.at)
        self.at = space.end() if space else self.at
        return self.line[self.at : self.at + 1]

    def _value(self, index: int) -> bool:
        column = self.columns[index]
        if column.kind not in (at.STRUCT, at.LIST):
            return self._scalar(index)
        if self.line.startswith(b"null", self.at):
            self.at += 4  # stays in the literal: what it would hold is not known from here
            self._absent(index)
            return column.nullable
        opening = self.line[self.at : self.at + 1]
        if opening != (b"{" if column.kind == at.STRUCT else b"["):
            return False
        first = len(self.steps)
        self.step(column.kind, index)
        if not (self._fields(column) if column.kind == at.STRUCT else self._elements(index)):
            return False
        self.steps[first] = self.steps[first]._replace(inner=len(self.steps) - first - 1)
        return True

    def _scalar(self, index: int) -> bool:
        value = _SCALAR.match(self.line, self.at)
        if value is None:
            return False
        self.step(self.columns[index].kind, index)
        self.at = self._written = value.end()
        return True

    def _fields(self, column: Column) -> bool:
        if not self.members(column.children):
            return False
        self.step(at.CLOSE, -1)
        return True

    def _elements(self, index: int) -> bool:
        """The elements of a list, which must all be alike; the kernel itself reads brackets and commas."""
        (element,) = self.columns[index].children
        scalar = self.columns[element].kind != at.STRUCT
        alike = [Step(b"", self.columns[element].kind, element)] if scalar else []
        before = self.steps
        self.at += 1
        behind = self._skip_space()
        while behind != b"]":
            self._written = self.at
            self.steps = []
            if not scalar and self.line.startswith(b"null", self.at):
                self.at += 4
            elif not self._value(element) or (alike and self.steps != alike):
                return False
            else:
                alike = self.steps
            behind = self._skip_space()
            if behind == b",":
                self.at += 1
                if self._skip_space() == b"]":
                    return False
            elif behind != b"]":
                return False
        self.at += 1
        self._written = self.at
        self.steps = [*before, *alike, Step(b"", at.NEXT, index, len(alike))]
        return bool(alike)  # of structs that are not there nothing is known

    def _absent(self, index: int) -> None:
        """Nulls without a literal of their own."""
        self.steps.append(Step(b"", at.ABSENT, index))
        if self.columns[index].kind == at.STRUCT:
            for child in self.columns[index].children:
                self._absent(child)


@dataclass(frozen=True, slots=True)
class Program:
    """Templates as the arrays that the kernel reads."""

    ops: Any  # int64 (operations, OP_WIDTH); the driver fills in where columns lie
    columns: Any  # int64, the column of each operation; -1: none
    words: Any  # uint64
    masks: Any  # uint64
    starts: Any  # int64, first operation of each template


def assemble(templates: list[Template], columns: tuple[Column, ...]) -> Program:
    """The templates as one program for the kernel."""
    ops: list[list[int]] = []
    words = bytearray()
    masks = bytearray()
    starts: list[int] = []
    steps: list[Step] = []
    for template in templates:
        starts.append(len(steps))
        steps += template.steps
    for step in steps:
        first, size = len(words) // 8, len(step.literal)
        width = -(-size // 8) * 8
        words += step.literal.ljust(width, b"\0")
        masks += (b"\xff" * size).ljust(width, b"\0")
        op = _operation(step.kind, size, step.column, columns)
        op[at.OP_WORD], op[at.OP_WORDS], op[at.OP_JUMP] = first, width // 8, step.inner
        ops.append(op)
    return Program(
        np.array(ops, np.int64).reshape(-1, at.OP_WIDTH),
        np.array([step.column for step in steps], np.int64),
        np.frombuffer(bytes(words), "<u8"),
        np.frombuffer(bytes(masks), "<u8"),
        np.array(starts, np.int64),
    )


def program_of_header(names: tuple[str, ...], columns: tuple[Column, ...]) -> Program | None:
    """The program for rows of CSV below a header of different names; None where the scan cannot do them."""
    if any(column.parent >= 0 for column in columns):
        return None  # their text is JSON inside of a cell
    places = {column.name: index for index, column in enumerate(columns)}
    order: list[int] = []
    ops: list[list[int]] = []
    for place, name in enumerate(names):
        index = places.pop(name, None)
        if index is None:
            return None
        order.append(index)
        ops.append(_operation(columns[index].kind, int(place > 0), index, columns))
    if not all(columns[index].nullable for index in places.values()):
        return None
    ops += [_operation(at.ABSENT, 0, index, columns) for index in places.values()]
    ops.append(_operation(at.END, 0, -1, columns))
    nothing = np.empty(0, np.uint64)
    order += [*places.values(), -1]
    return Program(
        np.array(ops, np.int64), np.array(order, np.int64), nothing, nothing, np.zeros(1, np.int64)
    )


def _operation(kind: int, literal_bytes: int, index: int, columns: tuple[Column, ...]) -> list[int]:
    op = [0] * at.OP_WIDTH
    op[at.OP_KIND], op[at.OP_BYTES] = kind, literal_bytes
    if index >= 0:
        column = columns[index]
        op[at.OP_SLOT], op[at.OP_NULLABLE] = column.slot, column.nullable
        op[at.OP_LOW], op[at.OP_HIGH] = column.low, column.high
        op[at.OP_UNITS], op[at.OP_NARROW] = column.units, column.narrow
        op[at.OP_STORE], op[at.OP_LIST] = column.store, column.counts
    return op
