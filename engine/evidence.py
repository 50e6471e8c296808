"""What the values of a column say about its type: evidence is gathered first and judged once, at the end.

Evidence is a set of kinds of values and only grows, so the order of the records cannot change the answer.
A column's type is the narrowest that the decoder fills from all of the values without a reject and without
losing digits: an integer beside a float that a double cannot hold exactly makes the column a string.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import NamedTuple

from engine.decoding.values import BOOLS, NON_FINITE, NotFinite, Number, Unfit, converter
from engine.typewords import (
    FLOAT64,
    JSON,
    MAX_PRECISION,
    NULL,
    STRING,
    Decimal,
    ListOf,
    Plain,
    Struct,
    Timestamp,
    TypeWord,
    promote,
)

MAX_STRUCT_FIELDS = 1_000  # an object with more different keys is a map: its keys are data
MAX_DEPTH = 16  # what nests deeper is kept as json

BOOL = 1 << 0  # true and false as JSON tokens
BOOL_TEXT = 1 << 1  # ... as CSV text
INTEGER = 1 << 2  # a number without point and exponent
INEXACT = 1 << 3  # ... that a double cannot hold exactly
FLOAT = 1 << 4  # a number with point or exponent, or -0
HUGE = 1 << 5  # ... that a double cannot hold at all
NAN = 1 << 6  # a bare NaN or Infinity
NAN_TEXT = 1 << 7  # ... as text
DATE = 1 << 8  # text that is a day
INSTANT = 1 << 9  # text that is a time of a day
NANOS = 1 << 10  # ... with more than six digits of a second
FAR = 1 << 11  # a day or time that 64 bits of nanoseconds do not reach
TEXT = 1 << 12  # any other text
CELL = 1 << 13  # some text came from CSV, where a json column would read it differently
OBJECT = 1 << 14
ARRAY = 1 << 15

_NUMBERS = INTEGER | INEXACT | FLOAT | HUGE | NAN
_TIMES = DATE | INSTANT | NANOS | FAR
_NESTED = OBJECT | ARRAY

# A cell that is a number to everybody: leading zeros mean a code, as in 007, and stay text.
_CELL_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DIGITS = 1_000
_MICROSECONDS = converter(Timestamp("us", utc=True), _DIGITS, [])
_NANOSECONDS = converter(Timestamp("ns", utc=True), _DIGITS, [])


class Shape(NamedTuple):
    """Evidence at one instant, as a value: what a further record may add to."""

    kinds: int
    negative: bool  # whether an integer was below zero
    fields: tuple[tuple[str, Shape], ...]
    element: Shape | None


class Evidence:
    """What was seen in one column, struct field or list element. ``add`` and ``add_cell`` make it grow."""

    __slots__ = ("declared", "element", "fields", "high", "kinds", "low")

    def __init__(self) -> None:
        self.kinds = 0
        self.low = self.high = 0  # of the integers
        self.fields: dict[str, Evidence] = {}
        self.element: Evidence | None = None
        self.declared: dict[TypeWord, None] = {}  # what Parquet files say, in order

    def add(self, value: object, depth: int = 0) -> None:
        """Take note of a JSON value as the record reader gives it; None says nothing."""
        if isinstance(value, str):
            if type(value) is Number:
                self.kinds |= self._number(value)
            elif type(value) is NotFinite:
                self.kinds |= NAN
            elif not self.kinds & TEXT:  # beside which no other kind of text matters
                self.kinds |= text_kinds(value)
        elif isinstance(value, bool):
            self.kinds |= BOOL
        elif isinstance(value, dict):
            self.kinds |= OBJECT
            for name, inner in value.items():
                found = self.fields.get(name)
                if found is None:
                    if len(self.fields) > MAX_STRUCT_FIELDS or depth > MAX_DEPTH:
                        continue
                    found = self.fields[name] = Evidence()
                found.add(inner, depth + 1)
        elif isinstance(value, list):
            self.kinds |= ARRAY
            if self.element is None:
                self.element = Evidence()
            if depth <= MAX_DEPTH:
                for inner in value:
                    self.element.add(inner, depth + 1)

    def add_cell(self, text: str) -> None:
        """Take note of a CSV cell that is not null."""
        self.kinds |= CELL
        if self.kinds & TEXT:
            return
        if text in BOOLS:
            self.kinds |= BOOL_TEXT
        elif len(text) <= _DIGITS and _CELL_NUMBER.fullmatch(text):
            self.kinds |= self._number(text)
        else:
            self.kinds |= text_kinds(text)

    def _number(self, text: str) -> int:
        digits = text.removeprefix("-")
        if not digits.isdigit() or text == "-0":
            return HUGE if float(text) in (float("inf"), float("-inf")) else FLOAT
        number = int(text)
        self.low, self.high = min(self.low, number), max(self.high, number)
        if abs(number) <= 1 << 53:
            return INTEGER
        try:
            return INTEGER if int(float(number)) == number else INTEGER | INEXACT
        except OverflowError:
            return INTEGER | INEXACT

    def shape(self) -> Shape:
        """What is known so far."""
        fields = tuple((name, inner.shape()) for name, inner in self.fields.items()) if self.fields else ()
        return Shape(self.kinds, self.low < 0, fields, self.element.shape() if self.element else None)

    # -- the verdict ---------------------------------------------------------------------------

    def verdict(self) -> tuple[TypeWord, str]:
        """The column's type, and a remark for the person who reads the schema ("" if there is none)."""
        word, remark = self._of_values() if self.kinds else (NULL, "")
        words = [*self.declared, *([word] if self.kinds else [])]
        nothing: TypeWord = NULL
        joined = reduce(promote, words, nothing)
        if joined == NULL:
            return STRING, "every value is null"
        if len({w for w in words if w != NULL}) > 1:
            if isinstance(joined, Timestamp) and joined.unit == "ns" and self.kinds & FAR:
                joined = STRING
            clash = "objects differ: " + ", ".join(map(str, words))
            # What neither text nor JSON can say: NaN, and bytes that are no text.
            unsayable = self.has_nan() or any(re.search("float|binary", str(w)) for w in self.declared)
            if re.search("string|json", str(joined)) and (unsayable or self.kinds & CELL):
                clash += "; some records may be rejects"
            remark = "; ".join(filter(None, [clash, remark]))
        return joined, remark

    def _of_values(self) -> tuple[TypeWord, str]:
        kinds = self.kinds & ~CELL
        if kinds & (_NESTED | BOOL):
            return self._of_structure(kinds)
        if kinds == BOOL_TEXT:
            return Plain("bool"), ""
        if kinds & _NUMBERS and not kinds & ~(_NUMBERS | NAN_TEXT):
            return self._of_numbers(kinds)
        if kinds and not kinds & ~_TIMES:
            return self._of_times(kinds)
        if kinds & NAN:
            return STRING, "bare NaN beside text: those records will be rejects"
        # In CSV everything is text: that some of it looks like numbers is no news.
        return STRING, "numbers beside text" if kinds & _NUMBERS and not self.kinds & CELL else ""

    def _of_structure(self, kinds: int) -> tuple[TypeWord, str]:
        if not kinds & ~(BOOL | BOOL_TEXT):
            return Plain("bool"), ""
        if kinds == OBJECT and not self.kinds & CELL and 0 < len(self.fields) <= MAX_STRUCT_FIELDS:
            inner = {name: field.verdict() for name, field in self.fields.items()}
            remarks = [f"{name}: {remark}" for name, (_, remark) in inner.items() if remark]
            if all(inner):  # an empty name cannot be a field
                return Struct(tuple((name, word) for name, (word, _) in inner.items())), "; ".join(remarks)
        if kinds == ARRAY and not self.kinds & CELL and self.element is not None:
            word, remark = self.element.verdict()
            return ListOf(word), remark
        if self.kinds & CELL or self.has_nan():
            return JSON, "no type holds all of its values: some records will be rejects"
        return JSON, "" if kinds == OBJECT else "values of several types"

    def has_nan(self) -> bool:
        """Whether a bare NaN was seen here or further in."""
        inner = [*self.fields.values(), *([self.element] if self.element else [])]
        return bool(self.kinds & NAN) or any(evidence.has_nan() for evidence in inner)

    def _of_numbers(self, kinds: int) -> tuple[TypeWord, str]:
        if kinds & ~(INTEGER | INEXACT):
            if not kinds & (HUGE | INEXACT):
                return FLOAT64, ""
            reason = "numbers that float64 cannot hold"
            return (
                STRING,
                f"{reason} beside bare NaN: those records will be rejects" if kinds & NAN else reason,
            )
        if self.low >= -(1 << 63) and self.high < 1 << 63:
            return Plain("int64"), ""
        if self.low >= 0 and self.high < 1 << 64:
            return Plain("uint64"), ""
        digits = max(len(str(abs(self.low))), len(str(self.high)))
        if digits <= MAX_PRECISION:
            return Decimal(digits, 0), ""
        return STRING, f"integers of {digits} digits"

    def _of_times(self, kinds: int) -> tuple[TypeWord, str]:
        if not kinds & (INSTANT | NANOS):
            return Plain("date"), ""
        if not kinds & NANOS:
            return Timestamp("us", utc=True), ""
        if kinds & FAR:
            return STRING, "nanoseconds beside times that nanoseconds do not reach"
        return Timestamp("ns", utc=True), ""


def text_kinds(text: str) -> int:
    """Whether a text is a day, a time, NaN or just text."""
    if text in NON_FINITE:
        return NAN_TEXT
    if len(text) < 10 or text[4] != "-" or text[7] != "-" or not text[0].isdigit():
        return TEXT
    far = 0 if "1678" <= text[:4] <= "2261" else FAR
    for converted, kinds in ((_MICROSECONDS, INSTANT), (_NANOSECONDS, NANOS)):
        try:
            converted(text)
        except Unfit:
            continue
        return far | (DATE if len(text) == 10 else kinds)
    return TEXT
