"""A column of text into its type, vectorised: equal to ``values.converter`` on every value, or handed back.

pyarrow's casts are fast but not strict: they take ``.5``, ``+1``, ``0x1F``, ``2025-09-09T10`` or ``nan(1)``,
and may lose digits. So each cast here stands behind checks of the text itself, and whatever these do not
prove goes, once per distinct text, through the converter that defines the meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from briquette.decoding.rows.values import UNIT_DIGITS, Convert, Unfit
from briquette.schemas.types import INTEGERS, ColumnType, Decimal, Plain, Timestamp

Mask = np.ndarray[Any, np.dtype[np.bool_]]

_PLAIN_DIGITS = 15  # decimals of so many characters and doubles map one to one
_EXACT = float(2**53)
_GRAMMAR = r"\A-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\z"
_CLOCK_AT = 13  # where HH:MM has its colon in an ISO text
_DATE_CHARS = 10
_SECOND_DAY = -62_135_510_400  # 0001-01-02 in seconds: earlier may come from the year 0000


@dataclass(frozen=True, slots=True)
class Converted:
    """A column of the wanted type; ``unfit`` marks the rows whose text does not fit, None where all do."""

    column: pa.Array
    unfit: Mask | None = None


def convert_text(
    column: pa.Array, column_type: ColumnType, kind: pa.DataType, convert: Convert, max_digits: int
) -> Converted:
    """A string array (one chunk) as an array of ``kind``; nulls stay null."""
    match column_type:
        case Plain("string"):
            return Converted(column)
        case _ if column.null_count == len(column):
            return Converted(pa.nulls(len(column), kind))
        case Plain("float64"):
            return _floats(column, kind, convert, max_digits)
        case Plain("float32"):
            return narrowed(_floats(column, pa.float64(), convert, max_digits))
        case Plain(name) if name in INTEGERS:
            return _integers(column, kind, convert, max_digits)
        case Timestamp(unit, _):
            return _timestamps(column, unit, kind, convert)
        case Decimal(_, scale):
            return _decimals(column, scale, kind, convert, max_digits)
        case _:
            return _each_text(column, kind, convert)


class _Chars:
    """The bytes of a string array, with the first and last byte of each value."""

    def __init__(self, column: pa.Array) -> None:
        _, offsets, data = column.buffers()
        window = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        self.data = np.frombuffer(data, np.uint8)[: window[-1]] if data is not None else np.empty(0, np.uint8)
        self.starts, self.stops = window[:-1], window[1:]
        self.lengths = self.stops - self.starts
        self.used = self.data[window[0] :]

    def at(self, index: int, *, where: Mask) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The byte at ``index`` (from the end if negative) of each value, 0 where the mask is false."""
        out = np.zeros(len(self.lengths), np.uint8)
        places = (self.starts if index >= 0 else self.stops)[where] + index
        out[where] = self.data[places]
        return out


def _is_digit(chars: np.ndarray[Any, np.dtype[np.uint8]]) -> Mask:
    return (chars - np.uint8(48)) < 10


def _plainly_numeric(chars: _Chars, max_digits: int) -> Mask:
    """Which values begin with an optional "-" and a digit, end with a digit and are not overlong."""
    some = chars.lengths > 0
    first = chars.at(0, where=some)
    begins = _is_digit(first)
    minus = first == ord("-")
    if minus.any():
        minus &= chars.lengths > 1
        begins |= minus & _is_digit(chars.at(1, where=minus))
    fine: Mask = begins & _is_digit(chars.at(-1, where=some)) & (chars.lengths <= max_digits)
    return fine


def _points_are_inside(chars: _Chars) -> bool:
    """That no "." stands before an exponent; its neighbours are digits otherwise if the value is a number."""
    points = np.flatnonzero(chars.used == ord(".")) + 1
    points = points[points < len(chars.used)]
    return not bool((chars.used[points] > ord("9")).any())


# -- floats ------------------------------------------------------------------------------------


def _floats(column: pa.Array, kind: pa.DataType, convert: Convert, max_digits: int) -> Converted:
    chars = _Chars(column)
    numeric = _plainly_numeric(chars, max_digits)
    try:
        out = pc.cast(column, kind) if _points_are_inside(chars) else None
    except pa.ArrowInvalid:
        out = None
    if out is None:
        numeric = _matching(column) & (chars.lengths <= max_digits)
        out = pc.cast(_only(column, numeric), kind)
    finite = np.isfinite(out.fill_null(0.0).to_numpy(zero_copy_only=False))
    return _patched(column, out, ~(numeric & finite), convert)


def narrowed(doubles: Converted) -> Converted:
    """Doubles as float32; what overflows does not fit."""
    wide = doubles.column.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        beyond = np.isinf(wide.astype(np.float32)) & np.isfinite(wide)
    unfit = doubles.unfit
    if beyond.any():
        unfit = beyond if unfit is None else unfit | beyond
    return Converted(pc.cast(doubles.column, pa.float32(), safe=False), unfit)


def _matching(column: pa.Array) -> Mask:
    found = pc.match_substring_regex(column, _GRAMMAR).fill_null(False)
    mask: Mask = found.to_numpy(zero_copy_only=False)
    return mask


def _only(column: pa.Array, mask: Mask) -> pa.Array:
    return pc.if_else(pa.array(mask), column, pa.scalar(None, column.type))


# -- integers ----------------------------------------------------------------------------------


def _integers(column: pa.Array, kind: pa.DataType, convert: Convert, max_digits: int) -> Converted:
    chars = _Chars(column)
    if len(chars.used) and chars.used.max() <= ord("9") and chars.lengths.max() <= max_digits:
        try:
            return Converted(pc.cast(column, kind))
        except pa.ArrowInvalid:
            pass
    # Texts such as 1.23457e+06 or 3.0: through doubles, where that is proved exact.
    numeric = _plainly_numeric(chars, _PLAIN_DIGITS)
    try:
        doubles = pc.cast(_only(column, numeric), pa.float64())
    except pa.ArrowInvalid:
        return _each_text(column, kind, convert)
    values = doubles.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        exact = numeric & (np.abs(values) < _EXACT) & (values == np.trunc(values))
    exact &= (values != 0) | (chars.lengths == 1)  # a zero may be an underflow: "1e-999"
    exact &= _points_are_inside(chars)
    info = np.iinfo(kind.to_pandas_dtype())
    exact &= (values >= info.min) & (values <= info.max)
    whole = np.where(exact, values, 0.0).astype(np.int64)
    out = pa.array(whole, mask=~exact).cast(kind)
    return _patched(column, out, ~exact, convert)


# -- decimals ----------------------------------------------------------------------------------


def _decimals(
    column: pa.Array, scale: int, kind: pa.DataType, convert: Convert, max_digits: int
) -> Converted:
    chars = _Chars(column)
    numeric = _plainly_numeric(chars, max_digits)
    point = pc.find_substring(column, ".").fill_null(-1).to_numpy(zero_copy_only=False)
    numeric &= (point < 0) | (chars.lengths - point - 1 <= scale)
    if len(chars.used) and chars.used.max() > ord("9"):
        numeric &= _matching(column) & ~_contains(column, "e") & ~_contains(column, "E")
    try:
        out = pc.cast(_only(column, numeric), kind)
    except pa.ArrowInvalid:
        return _each_text(column, kind, convert)
    return _patched(column, out, ~numeric, convert)


def _contains(column: pa.Array, text: str) -> Mask:
    mask: Mask = pc.match_substring(column, text).fill_null(False).to_numpy(zero_copy_only=False)
    return mask


# -- timestamps --------------------------------------------------------------------------------


def _timestamps(column: pa.Array, unit: str, kind: pa.DataType, convert: Convert) -> Converted:
    chars = _Chars(column)
    valid: Mask = np.asarray(column.is_valid())
    long = valid & (chars.lengths > _CLOCK_AT)
    proper = (long & (chars.at(_CLOCK_AT, where=long) == ord(":"))) | (valid & (chars.lengths == _DATE_CHARS))
    zoned = proper & long & _has_zone(chars, long)
    utc = pa.timestamp(unit, "UTC")
    try:
        if (proper & ~zoned).any():
            out = pc.cast(_only(column, proper & ~zoned), pa.timestamp(unit))
            if zoned.any():
                shifted = pc.cast(_only(column, zoned), utc)
                out = pc.coalesce(out, shifted.cast(pa.timestamp(unit)))
        else:
            out = pc.cast(column if proper.all() else _only(column, proper), utc)
    except pa.ArrowInvalid:
        return _each_text(column, kind, convert)
    counts = out.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    second = 10 ** UNIT_DIGITS[unit]
    early = counts < max(_SECOND_DAY * second, -(2**63))
    late = counts > min((_LAST_DAY) * second, 2**63 - 1)
    return _patched(column, out.cast(kind), ~proper | early | late, convert)


_LAST_DAY = 253_402_214_400  # 9999-12-31 in seconds: what comes after may be pushed out by an offset


def _has_zone(chars: _Chars, long: Mask) -> Mask:
    """Which ISO texts with a clock end in Z, +HH, +HHMM or +HH:MM."""
    zoned: Mask = chars.at(-1, where=long) == ord("Z")
    if (long & ~zoned).any():
        for back in (3, 5, 6):
            sign = chars.at(-back, where=long & (chars.lengths > _CLOCK_AT + back))
            zoned |= (sign == ord("+")) | (sign == ord("-"))
    return zoned


# -- by distinct text --------------------------------------------------------------------------


def _patched(column: pa.Array, out: pa.Array, doubtful: Mask, convert: Convert) -> Converted:
    """``out`` with the doubtful rows converted one distinct text at a time."""
    if column.null_count:
        doubtful = doubtful & np.asarray(column.is_valid())
    if not doubtful.any():
        return Converted(out)
    mask = pa.array(doubtful)
    some = _each_text(column.filter(mask), out.type, convert)
    out = pc.replace_with_mask(out, mask, some.column)
    if some.unfit is None:
        return Converted(out)
    unfit = np.zeros(len(column), np.bool_)
    unfit[np.flatnonzero(doubtful)[some.unfit]] = True
    return Converted(out, unfit)


def _each_text(column: pa.Array, kind: pa.DataType, convert: Convert) -> Converted:
    encoded = column.dictionary_encode()
    values: list[object] = []
    refused: list[bool] = []
    for text in encoded.dictionary.to_pylist():
        try:
            values.append(convert(text))
            refused.append(False)
        except Unfit:
            values.append(None)
            refused.append(True)
    out = pa.array(values, type=kind).take(encoded.indices)
    if not any(refused):
        return Converted(out)
    unfit = pa.array(refused).take(encoded.indices).fill_null(False)
    return Converted(out, unfit.to_numpy(zero_copy_only=False))
