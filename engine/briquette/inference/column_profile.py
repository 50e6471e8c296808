"""What the values of a column say about its type: a profile is gathered first and judged once, at the end.

A profile is a set of kinds of values and only grows, so the order of the records cannot change the answer.
A column's type is the narrowest that the decoder fills from all of the values without a reject and without
losing digits: an integer beside a float that a double cannot hold exactly makes the column a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from briquette.decoding.rows.values import BOOLS, NON_FINITE, NotFinite, Number, Unfit, converter, shown
from briquette.schemas.types import (
    FLOAT64,
    JSON,
    MAX_PRECISION,
    NULL,
    STRING,
    ColumnType,
    Decimal,
    ListOf,
    Plain,
    Struct,
    Timestamp,
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

CLASSES = {  # of which a column should have one; the text says what its values are
    INEXACT | HUGE: "numbers that float64 cannot hold",
    INTEGER | FLOAT: "numbers",
    DATE | INSTANT | NANOS | FAR: "days or times",
    BOOL | BOOL_TEXT: "true or false",
    NAN: "bare NaN",
    NAN_TEXT: "NaN as text",
    TEXT: "text",
    OBJECT: "objects",
    ARRAY: "lists",
}
# Classes that need no common type wider than that of the first.
_COMPATIBLE = {"numbers": ("bare NaN", "NaN as text"), "bare NaN": ("numbers", "NaN as text")}
MOST_COUNTED = 500  # values of one class; then it is no exception, and lines that hold one may be passed over
MOST_TEXTS = 8  # different texts that may stand for a missing value; a column with more holds text

_NUMBERS = INTEGER | INEXACT | FLOAT | HUGE | NAN
_TIMES = DATE | INSTANT | NANOS | FAR
_NESTED = OBJECT | ARRAY

# A cell that is a number to everybody: leading zeros mean a code, as in 007, and stay text.
_CELL_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DIGITS = 1_000
_MICROSECONDS = converter(Timestamp("us", utc=True), _DIGITS, [])
_NANOSECONDS = converter(Timestamp("ns", utc=True), _DIGITS, [])


# A day as people write it: two numbers before or behind a year.
DAY_IN_WORDS = re.compile(r"([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})(?![0-9])")


class Place:
    """The record that is being read: where a value was seen."""

    __slots__ = ("key", "position")

    def __init__(self, key: str = "", position: int = 0) -> None:
        self.key, self.position = key, position


class Noted:
    """The values of one class in a column, while they are few: the first of them, and how many there are."""

    __slots__ = ("count", "example", "key", "position", "texts")

    def __init__(self, place: Place, example: str) -> None:
        self.key, self.position, self.example = place.key, place.position, example
        self.count = 0
        self.texts: dict[str, None] = {}  # different ones, in order, of a class that is text

    def __str__(self) -> str:
        return f"the first is {self.example} in {self.key}, record {self.position}"


class Shape(NamedTuple):
    """A profile at one instant, as a value: what a further record may add to."""

    kinds: int
    negative: bool  # whether an integer was below zero
    fields: tuple[tuple[str, Shape], ...]
    element: Shape | None


class ColumnProfile:
    """What was seen in one column, struct field or list element. ``add`` and ``add_cell`` make it grow."""

    __slots__ = (
        "declared", "element", "fields", "high", "kinds", "low", "noted", "passed", "place", "quoted"
    )  # fmt: skip

    def __init__(self, place: Place | None = None) -> None:
        self.kinds = 0
        self.passed = 0  # the kinds that are counted no more: a line that holds them may be passed over
        self.noted: dict[int, Noted] = {}  # by class
        self.place = place or Place()
        self.quoted = False  # a text that may stand for null is quoted in CSV, where it never does
        self.low = self.high = 0  # of the integers
        self.fields: dict[str, ColumnProfile] = {}
        self.element: ColumnProfile | None = None
        self.declared: dict[ColumnType, str] = {}  # what Parquet files say, in order, and the first of each

    def add(self, value: object, depth: int = 0) -> None:
        """Take note of a JSON value as the record reader gives it; None says nothing."""
        if isinstance(value, str):
            if type(value) is Number:
                self._take(self._number(value), value)
            elif type(value) is NotFinite:
                self._take(NAN, value)
            elif not self.passed & TEXT:  # beside which no other kind of text matters
                self._take(text_kinds(value), value)
        elif isinstance(value, bool):
            self._take(BOOL, value)
        elif isinstance(value, dict):
            self._take(OBJECT, value)
            for name, inner in value.items():
                if inner is None and name in self.fields:
                    continue
                found = self.fields.get(name)
                if found is None:
                    if len(self.fields) > MAX_STRUCT_FIELDS or depth > MAX_DEPTH:
                        continue
                    found = self.fields[name] = ColumnProfile(self.place)
                found.add(inner, depth + 1)
        elif isinstance(value, list):
            self._take(ARRAY, value)
            if self.element is None:
                self.element = ColumnProfile(self.place)
            if depth <= MAX_DEPTH:
                for inner in value:
                    self.element.add(inner, depth + 1)

    def add_cell(self, text: str) -> None:
        """Take note of a CSV cell that is not null."""
        self.kinds |= CELL
        if self.passed & TEXT:
            return
        if text in BOOLS:
            self._take(BOOL_TEXT, text)
        elif len(text) <= _DIGITS and _CELL_NUMBER.fullmatch(text):
            self._take(self._number(text), text)
        else:
            self._take(text_kinds(text), text)

    def _take(self, kinds: int, value: object) -> None:
        self.kinds |= kinds
        if kinds & ~self.passed:
            self._note(kinds, value)

    def _note(self, kinds: int, value: object) -> None:
        mask = next(mask for mask in CLASSES if kinds & mask)
        noted = self.noted.get(mask)
        if noted is None:
            noted = self.noted[mask] = Noted(self.place, shown(value) if value != "" else '""')
        noted.count += 1
        if mask & (TEXT | NAN_TEXT) and len(noted.texts) <= MOST_TEXTS:
            noted.texts[str(value)] = None
        many = len(noted.texts) > MOST_TEXTS and not all(map(DAY_IN_WORDS.search, noted.texts))
        if many or noted.count >= MOST_COUNTED:
            self.passed |= mask

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

    def known(self) -> int:
        """The kinds that were seen so often that one more says nothing new."""
        return self.kinds & (self.passed | CELL)

    def shape(self) -> Shape:
        """What is known so far."""
        fields = tuple((name, inner.shape()) for name, inner in self.fields.items()) if self.fields else ()
        return Shape(self.known(), self.low < 0, fields, self.element.shape() if self.element else None)

    # -- what decided --------------------------------------------------------------------------

    def outvoted(self) -> tuple[str, tuple[Noted, ...]]:
        """What nearly all values are, and the few that made the column something else; ("", ()) if none did.

        The few are counted exactly, each class of them, and are fewer than half of the others.
        """
        few = {mask: noted for mask, noted in self.noted.items() if not mask & self.passed}
        most = max(self.noted, key=lambda mask: (bool(mask & self.passed), self.noted[mask].count), default=0)
        few.pop(most, None)
        compatible = _COMPATIBLE.get(CLASSES.get(most, ""), ())
        exceptions = tuple(noted for mask, noted in few.items() if CLASSES[mask] not in compatible)
        if not exceptions or self.passed & TEXT or len(few) + 1 < len(self.noted):
            return "", ()
        if 2 * sum(noted.count for noted in exceptions) >= self.noted[most].count:
            return "", ()
        return CLASSES[most], exceptions

    def texts(self) -> tuple[str, ...]:
        """The different texts so far, in order; a few more than ``MOST_TEXTS`` at most."""
        return tuple(
            text for mask, noted in self.noted.items() if mask & (TEXT | NAN_TEXT) for text in noted.texts
        )

    def as_if_null(self) -> tuple[tuple[str, ...], ColumnType] | None:
        """The few texts of CSV cells that, were they null, would leave another type than text; that type."""
        return self._without_texts() if self.outvoted()[1] else None

    def placeholders(self) -> tuple[tuple[str, ...], ColumnType] | None:
        """Likewise where such texts are many, as the other values are; no other text was among the first."""
        many = [mask for mask, noted in self.noted.items() if noted.count >= MOST_COUNTED]
        return self._without_texts() if TEXT in many and len(many) > 1 else None

    def _without_texts(self) -> tuple[tuple[str, ...], ColumnType] | None:
        texts = self.texts()
        rest = self.kinds & ~(TEXT | NAN_TEXT)
        if self.quoted or self.declared or not (texts and self.kinds & CELL and rest & ~CELL):
            return None
        without = ColumnProfile()
        without.kinds, without.low, without.high = rest, self.low, self.high
        column_type, _ = without.verdict()
        return (
            (texts, column_type) if column_type not in (STRING, JSON) and len(texts) <= MOST_TEXTS else None
        )

    # -- the verdict ---------------------------------------------------------------------------

    def types(self) -> list[ColumnType]:
        """The types that Parquet files declare, then that of the values elsewhere."""
        return [*self.declared, *([self._of_values()[0]] if self.kinds else [])]

    def verdict(
        self, repair: Callable[[ColumnType], tuple[ColumnType, str]] | None = None
    ) -> tuple[ColumnType, str]:
        """The column's type, and a remark for the person who reads the schema ("" if there is none).

        ``repair`` may replace the join of different types by another one, with a remark of its own.
        """
        joined, remark = self.joined(repair)
        column_type, nulls = _without_null(joined)
        return column_type, "; ".join(filter(None, [remark, *nulls]))

    def joined(
        self, repair: Callable[[ColumnType], tuple[ColumnType, str]] | None = None
    ) -> tuple[ColumnType, str]:
        """The join of all types, with ``null`` where nothing but nulls was seen, and a remark."""
        own, remark = self._of_values() if self.kinds else (NULL, "")
        types = [*self.declared, *([own] if self.kinds else [])]
        nothing: ColumnType = NULL
        joined = reduce(promote, types, nothing)
        if len({w for w in types if w != NULL}) > 1:
            if isinstance(joined, Timestamp) and joined.unit == "ns" and self.kinds & FAR:
                joined = STRING
            clash = "objects differ: " + ", ".join(
                f"{column_type} ({key})" if (key := self.declared.get(column_type)) else str(column_type)
                for column_type in types
            )
            # NaN has no text there, bytes need not be text, and a cell's text is not the JSON of it.
            unfit = self.has_nan() or any(re.search("float|binary", str(w)) for w in self.declared)
            if re.search("string|json", str(joined)) and (unfit or self.kinds & CELL):
                clash += "; some records may be rejects"
            joined, repaired = repair(joined) if repair else (joined, "")
            remark = "; ".join(filter(None, [clash, remark, repaired]))
        return joined, remark

    def _of_values(self) -> tuple[ColumnType, str]:
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
            return STRING, "bare NaN as well as text: those records will be rejects"
        # In CSV everything is text: that some of it looks like numbers is no news.
        return STRING, "numbers as well as text" if kinds & _NUMBERS and not self.kinds & CELL else ""

    def _of_structure(self, kinds: int) -> tuple[ColumnType, str]:
        if not kinds & ~(BOOL | BOOL_TEXT):
            return Plain("bool"), ""
        if kinds == OBJECT and not self.kinds & CELL and 0 < len(self.fields) <= MAX_STRUCT_FIELDS:
            inner = {name: field.joined() for name, field in self.fields.items()}
            remarks = [f"{name}: {remark}" for name, (_, remark) in inner.items() if remark]
            if all(inner):  # an empty name cannot be a field
                return Struct(
                    tuple((name, column_type) for name, (column_type, _) in inner.items())
                ), "; ".join(remarks)
        if kinds == ARRAY and not self.kinds & CELL and self.element is not None:
            column_type, remark = self.element.joined()
            return ListOf(column_type), remark
        if self.kinds & CELL or self.has_nan():
            return JSON, "no type holds all of its values: some records will be rejects"
        return JSON, "" if kinds == OBJECT else "values of several types"

    def has_nan(self) -> bool:
        """Whether a bare NaN was seen here or further in."""
        inner = [*self.fields.values(), *([self.element] if self.element else [])]
        return bool(self.kinds & NAN) or any(profile.has_nan() for profile in inner)

    def _of_numbers(self, kinds: int) -> tuple[ColumnType, str]:
        if kinds & ~(INTEGER | INEXACT):
            if not kinds & (HUGE | INEXACT):
                return FLOAT64, ""
            reason = "numbers that float64 cannot hold"
            return (
                STRING,
                f"{reason} as well as bare NaN: those records will be rejects" if kinds & NAN else reason,
            )
        if self.low >= -(1 << 63) and self.high < 1 << 63:
            return Plain("int64"), ""
        if self.low >= 0 and self.high < 1 << 64:
            return Plain("uint64"), ""
        digits = max(len(str(abs(self.low))), len(str(self.high)))
        if digits <= MAX_PRECISION:
            return Decimal(digits, 0), ""
        return STRING, f"integers of {digits} digits"

    def _of_times(self, kinds: int) -> tuple[ColumnType, str]:
        if not kinds & (INSTANT | NANOS):
            return Plain("date"), ""
        if not kinds & NANOS:
            return Timestamp("us", utc=True), ""
        if kinds & FAR:
            return STRING, "nanoseconds, and times that nanoseconds do not reach"
        return Timestamp("ns", utc=True), ""


def _without_null(column_type: ColumnType) -> tuple[ColumnType, list[str]]:
    """The type with ``string`` where only nulls were seen, and a remark on each such place."""
    if column_type == NULL:
        return STRING, ["every value is null"]
    match column_type:
        case ListOf(element):
            found, remarks = _without_null(element)
            return ListOf(found), remarks
        case Struct(fields):
            inner = {name: _without_null(kind) for name, kind in fields}
            told = [f"{name}: {remark}" for name, (_, remarks) in inner.items() for remark in remarks]
            return Struct(tuple((name, kind) for name, (kind, _) in inner.items())), told
    return column_type, []


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
