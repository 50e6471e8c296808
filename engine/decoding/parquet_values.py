"""What Arrow's values are to C5: each as the JSON value, or the text, that says it exactly.

Nothing is asked of Arrow's own conversion to Python objects: it fails for far and fine times, makes pairs
of maps and rounds to microseconds.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from engine.decoding.values import (
    UNIT_DIGITS,
    NotFinite,
    Number,
    Unfit,
    Unsayable,
    compact,
    parsed_json,
    quoted,
)
from engine.typewords import ListOf, Plain, Struct, TypeWord
from engine.value import Value

types = pa.types
T = TypeVar("T")
Numbers = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

BINARY = Plain("binary")
_TEXT = Plain("string")
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_DAY = 86_400
_ERA_DAYS, _ERA_YEARS = 146_097, 400  # after which the calendar repeats
_SHOWN_BYTES = 64  # of bytes that are no text
_DIGITS = 1_000  # of a number in JSON text that stands in a Parquet value
_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)
_VIEWS = (types.is_list_view, types.is_large_list_view)
_TEXTS = (types.is_string, types.is_large_string, types.is_string_view)
_BYTES = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Form(Value):
    """What Parquet says of a column beyond Arrow's type, for each leaf of a nested one.

    ``mark`` is ``int96`` (a time whose twin in milliseconds tells where its count has wrapped), ``interval``,
    ``opaque`` (bytes whose logical type is none of text), or "".
    """

    mark: str = ""
    children: tuple[Form, ...] = ()

    def marks(self) -> Iterator[str]:
        """The marks of all leaves."""
        yield self.mark
        for child in self.children:
            yield from child.marks()


def form_of(kind: pa.DataType, marks: Iterator[str]) -> Form:
    """The form of a type; ``marks`` gives one for each leaf, in the order of the file's columns."""
    if isinstance(kind, pa.BaseExtensionType):
        return form_of(kind.storage_type, marks)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return form_of(kind.value_type, marks)
    if kind.num_fields:
        return Form(children=tuple(form_of(child, marks) for child in _child_types(kind)))
    return Form(next(marks, ""))


def _child_types(kind: pa.DataType) -> list[pa.DataType]:
    if types.is_map(kind):
        return [kind.key_type, kind.item_type]
    return [kind.field(i).type for i in range(kind.num_fields)]


def first_of(kinds: pa.DataType, tests: tuple[Callable[[pa.DataType], bool], ...]) -> bool:
    """Whether one of the tests holds for a type."""
    return any(test(kinds) for test in tests)


class Doubled(dict[str, object]):
    """An object made of a map in which a key occurs more than once: the last value counts."""


class Tokens:
    """Columns as lists of tokens; ``doubled`` says that some map had a key twice."""

    def __init__(self) -> None:
        self.doubled = False

    def of(
        self, array: pa.Array, form: Form, word: TypeWord | None = None, twin: pa.Array | None = None
    ) -> list[Any]:
        """The values of one column, or one level of it, for a place that is declared as ``word``.

        A token is what the JSON reader gives: str, Number, NotFinite, bool, None, list, dict; or Unsayable.
        """
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            return self._extension(array, form, word, twin)
        if types.is_dictionary(kind):
            return self._dictionary(array, form, word)
        if types.is_run_end_encoded(kind):
            return self.of(array.dictionary_decode(), form, word, twin)
        if types.is_map(kind):
            return self._maps(array, form, word, twin)
        if first_of(kind, _VIEWS):
            return self._views(array, form, word, twin)
        if first_of(kind, _LISTS):
            return self._lists(array, form, word, twin)
        if types.is_struct(kind):
            return self._structs(array, form, word, twin)
        return _scalars(array, form.mark, word, twin)

    # -- nested --------------------------------------------------------------------------------

    def _lists(
        self, array: pa.Array, form: Form, word: TypeWord | None, twin: pa.Array | None
    ) -> list[Any]:
        offsets, elements = elements_of(array, array.values)
        twins = elements_of(twin, twin.values)[1] if twin is not None else None
        inner = word.element if isinstance(word, ListOf) else None
        return _per_row(array, offsets, self.of(elements, form.children[0], inner, twins), list)

    def _views(
        self, array: pa.Array, form: Form, word: TypeWord | None, twin: pa.Array | None
    ) -> list[Any]:
        inner = word.element if isinstance(word, ListOf) else None
        elements = self.of(array.values, form.children[0], inner, twin.values if twin is not None else None)
        begins, sizes = array.offsets.to_pylist(), array.sizes.to_pylist()
        return [
            elements[begin : begin + size] if fine else None
            for fine, begin, size in zip(_valid(array), begins, sizes, strict=True)
        ]

    def _structs(
        self, array: pa.Array, form: Form, word: TypeWord | None, twin: pa.Array | None
    ) -> list[Any]:
        words = dict(word.fields) if isinstance(word, Struct) else {}
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        columns = [
            self.of(
                array.field(i),
                form.children[i],
                words.get(name),
                twin.field(i) if twin is not None else None,
            )
            for i, name in enumerate(names)
        ]
        valid = _valid(array)
        rows = zip(*columns, strict=True) if columns else (() for _ in valid)
        return [
            dict(zip(names, row, strict=True)) if fine else None
            for fine, row in zip(valid, rows, strict=True)
        ]

    def _maps(
        self, array: pa.Array, form: Form, word: TypeWord | None, twin: pa.Array | None
    ) -> list[Any]:
        offsets, keys = elements_of(array, array.keys)
        items = elements_of(array, array.items)[1]
        key_twins, item_twins = (None, None) if twin is None else (
            elements_of(twin, twin.keys)[1],
            elements_of(twin, twin.items)[1],
        )
        names = [_name(key) for key in self.of(keys, form.children[0], None, key_twins)]
        words = dict(word.fields) if isinstance(word, Struct) else {}
        values = self.of(items, form.children[1], None, item_twins)
        # Where a member is declared, its value is read for that: bytes may be binary in one, text in another.
        declared = {w: self.of(items, form.children[1], w, item_twins) for w in set(words.values())}
        for at, name in enumerate(names):
            if isinstance(name, str) and name in words:
                values[at] = declared[words[name]][at]
        made = _per_row(array, offsets, list(zip(names, values, strict=True)), self._object)
        return [None if m is None else _as_text(m) for m in made] if word == _TEXT else made

    def _object(self, entries: list[tuple[str | None, object]]) -> object:
        """A map's entries as an object."""
        if any(name is None or isinstance(name, Unsayable) for name, _ in entries):
            shown = compact([[name, value] for name, value in entries], non_finite=quoted)
            return Unsayable(shown, "a key of the map is null, NaN, nested or no text")
        made: dict[str, object] = dict(entries)  # type: ignore[arg-type]
        if len(made) == len(entries):
            return made
        self.doubled = True
        return Doubled(made)

    def _dictionary(self, array: pa.Array, form: Form, word: TypeWord | None) -> list[Any]:
        if len(array.dictionary) > len(array):
            return self.of(array.dictionary_decode(), form, word)
        inner = self.of(array.dictionary, form, word)
        return [None if i is None else inner[i] for i in array.indices.to_pylist()]

    def _extension(
        self, array: pa.Array, form: Form, word: TypeWord | None, twin: pa.Array | None
    ) -> list[Any]:
        name, storage = array.type.extension_name, array.storage
        tokens = self.of(storage, form, BINARY if name == "arrow.uuid" else word, twin)
        if name == "arrow.uuid" and word != BINARY:
            return [None if t is None else _uuid_text(base64.b64decode(t)) for t in tokens]
        if name == "arrow.json" and word not in (_TEXT, BINARY):
            return [None if t is None else _parsed(t) for t in tokens]
        if name == "arrow.bool8":
            return [None if t is None else t != "0" for t in tokens]
        return tokens


def holds_doubled(token: object) -> bool:
    """Whether a map with a key twice lies in a token."""
    if isinstance(token, Doubled | _DoubledText):
        return True
    inner = token.values() if isinstance(token, dict) else token if isinstance(token, list) else ()
    return any(map(holds_doubled, inner))


class _DoubledText(str):
    """The text of an object made of a map in which a key occurs more than once."""

    __slots__ = ()


def _as_text(made: object) -> str:
    """A map's object as JSON text."""
    if isinstance(made, Unsayable):
        return made
    try:
        text = compact(made)
    except Unfit as unfit:
        return Unsayable(compact(made, non_finite=quoted), str(unfit))
    return _DoubledText(text) if holds_doubled(made) else text


def _name(key: object) -> str | None:
    """A map's key as the key of an object; None where it has no text."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, Unsayable):
        return key
    return None if isinstance(key, NotFinite) or not isinstance(key, str) else str(key)


def _valid(array: pa.Array) -> list[bool]:
    return array.is_valid().to_pylist() if array.null_count else [True] * len(array)


def elements_of(array: pa.Array, values: pa.Array) -> tuple[list[int], pa.Array]:
    """Where each list or map begins and ends in those of ``values`` that belong to the array; and these."""
    if types.is_fixed_size_list(array.type):
        size = array.type.list_size
        at = [i * size for i in range(len(array) + 1)]
        return at, values.slice(array.offset * size, len(array) * size)
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    first, last = int(offsets[0]), int(offsets[-1])
    return (offsets - first).tolist(), values.slice(first, last - first)


def _per_row(
    array: pa.Array, offsets: list[int], elements: list[T], make: Callable[[list[T]], object]
) -> list[Any]:
    return [
        make(elements[offsets[i] : offsets[i + 1]]) if fine else None for i, fine in enumerate(_valid(array))
    ]


# -- scalars -----------------------------------------------------------------------------------


def _scalars(array: pa.Array, mark: str, word: TypeWord | None, twin: pa.Array | None) -> list[Any]:
    kind = array.type
    if types.is_timestamp(kind):
        counts = array.cast(pa.int64()).to_pylist()
        zone, digits = "Z" if kind.tz else "", UNIT_DIGITS[kind.unit]
        if mark == "int96" and twin is not None:
            counts = exact_nanoseconds(array, twin)
        return [None if c is None else _moment(c, digits, zone) for c in counts]
    if types.is_date32(kind):
        return [None if d is None else _date(d) for d in array.cast(pa.int32()).to_pylist()]
    if types.is_date64(kind):
        counts = array.cast(pa.int64()).to_pylist()
        return [c if c is None else _date64(c) for c in counts]
    if types.is_time(kind):
        digits = UNIT_DIGITS[kind.unit]
        counts = array.view(pa.int32() if types.is_time32(kind) else pa.int64()).to_pylist()
        return [None if c is None else _clock(c, digits) for c in counts]
    if types.is_duration(kind):
        digits = UNIT_DIGITS[kind.unit]
        return [None if c is None else _duration(c, digits) for c in array.cast(pa.int64()).to_pylist()]
    if first_of(kind, _TEXTS):
        return [None if b is None else _text(b, "") for b in _as_bytes(array)]
    if first_of(kind, _BYTES):
        if word == BINARY:
            return [None if b is None else base64.b64encode(b).decode() for b in _as_bytes(array)]
        said: Callable[[bytes], str] = _interval if mark == "interval" else lambda b: _text(b, mark)
        return [None if b is None else said(b) for b in _as_bytes(array)]
    if types.is_float16(kind):
        array = array.cast(pa.float32())
    if types.is_null(kind) or types.is_boolean(kind):
        return array.to_pylist()
    if types.is_floating(array.type):
        return [None if v is None else _float(v) for v in array.to_pylist()]
    if types.is_integer(kind):
        return [None if v is None else Number(v) for v in array.to_pylist()]
    if types.is_decimal(kind):
        return [None if v is None else Number(format(v, "f")) for v in array.to_pylist()]
    return [None if v is None else Unsayable(f"a {kind}", f"{kind} has no form here") for v in _valid(array)]


def _as_bytes(array: pa.Array) -> list[bytes | None]:
    if types.is_fixed_size_binary(array.type):
        values: list[bytes | None] = array.to_pylist()
        return values
    wide = types.is_large_string(array.type) or types.is_large_binary(array.type)
    values = array.cast(pa.large_binary() if wide else pa.binary()).to_pylist()
    return values


def _text(value: bytes, mark: str) -> str:
    """Bytes as the text that they are; a token that no column takes where they are none."""
    if mark != "opaque":
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    shown = "0x" + value[:_SHOWN_BYTES].hex() + ("..." if len(value) > _SHOWN_BYTES else "")
    return Unsayable("0x" + value.hex(), f"the bytes {shown} are not UTF-8 text")


def _parsed(text: str) -> object:
    try:
        return parsed_json(text, _DIGITS)
    except Unfit as unfit:
        return Unsayable(text, str(unfit))


def _uuid_text(value: bytes) -> str:
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _float(value: float) -> str:
    if math.isfinite(value):
        return Number(repr(value))
    return NotFinite("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")


# -- times -------------------------------------------------------------------------------------


def _day(days: int) -> tuple[str, bool]:
    """A day since 1970 as ISO 8601 text, and whether it is in the years 1 to 9999."""
    ordinal = days + _EPOCH_DAY
    if 1 <= ordinal <= dt.date.max.toordinal():
        return dt.date.fromordinal(ordinal).isoformat(), True
    eras, within = divmod(ordinal - 1, _ERA_DAYS)
    date = dt.date.fromordinal(within + 1)
    year = date.year + eras * _ERA_YEARS
    return f"{'-' if year < 0 else '+'}{abs(year):04d}-{date.month:02d}-{date.day:02d}", False


def _date(days: int) -> str:
    text, near = _day(days)
    return text if near else Unsayable(text, f"{text} is outside of the years 1 to 9999")


def _date64(count: int) -> str:
    days, rest = divmod(count, _DAY * 1_000)
    return _moment(count, 3, "") if rest else _date(days)


def _fraction(count: int, digits: int) -> str:
    return f".{count:0{digits}d}" if digits else ""


def _moment(count: int, digits: int, zone: str) -> str:
    seconds, fraction = divmod(count, 10**digits)
    days, second = divmod(seconds, _DAY)
    date, near = _day(days)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    text = f"{date}T{clock}{_fraction(fraction, digits)}{zone}"
    return text if near else Unsayable(text, f"{text} is outside of the years 1 to 9999")


def _clock(count: int, digits: int) -> str:
    """A time of day; its fraction stands where it is not zero."""
    second, fraction = divmod(count, 10**digits)
    if not 0 <= second < _DAY:
        shown = f"{count}/{10**digits} seconds after midnight"
        return Unsayable(shown, f"{shown} is no time of a day")
    text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return text + (_fraction(fraction, digits) if fraction else "")


def _seconds_text(count: int, digits: int) -> str:
    sign, whole, fraction = "-" if count < 0 else "", *divmod(abs(count), 10**digits)
    return f"{sign}{whole}" + (_fraction(fraction, digits).rstrip("0") if fraction else "")


def _duration(count: int, digits: int) -> str:
    return f"PT{_seconds_text(count, digits)}S"


def _interval(value: bytes) -> str:
    """Parquet's INTERVAL: months, days and milliseconds, which nothing makes one number of."""
    months, days, millis = np.frombuffer(value, "<u4").tolist()
    return f"P{months}M{days}DT{_seconds_text(millis, 3)}S"


# -- INT96 -------------------------------------------------------------------------------------


def exact_nanoseconds(array: pa.Array, twin: pa.Array) -> list[int | None]:
    """INT96 times as exact counts: Arrow's nanoseconds wrap, its milliseconds do not reach the last digits."""
    counts, millis, fine = _parts(array, twin)
    rest = (counts.view(np.uint64) - (millis * _NANOS).view(np.uint64)).tolist()
    # A rest beyond a millisecond: the time of the day is no time of a day, and only the sum of both means one.
    return [
        None if not ok else m * _NANOS + r if r < _NANOS else c
        for c, m, r, ok in zip(counts.tolist(), millis.tolist(), rest, fine, strict=True)
    ]


def unwrapped(array: pa.Array, twin: pa.Array) -> pa.Array | None:
    """INT96 times of one column as they are, in the unit that holds all; None where neither does."""
    counts, millis, fine = _parts(array, twin)
    if np.abs(millis).max(initial=0) < _NEAR_MILLIS:
        return array
    rest = (counts.view(np.uint64) - (millis * _NANOS).view(np.uint64)).astype(np.int64)
    if (rest % 1_000).any() or rest.max() >= _NANOS or np.abs(millis).max() >= _FAR_MILLIS:
        return None
    micros = pa.array(millis * 1_000 + rest // 1_000, mask=~fine)
    return micros.cast(pa.timestamp("us"))


_NANOS = 10**6  # in a millisecond
_NEAR_MILLIS = 2**63 // _NANOS - 1  # what 64 bits of nanoseconds reach
_FAR_MILLIS = 10**15  # far beyond the year 9999, within 64 bits of microseconds


def _parts(array: pa.Array, twin: pa.Array) -> tuple[Numbers, Numbers, Flags]:
    """The counts of both units, 0 under nulls, and what is no null."""
    counts, millis = (
        a.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) for a in (array, twin)
    )
    return counts, millis, array.is_valid().to_numpy(zero_copy_only=False)
