"""Arrow's scalars as C5's tokens: numbers as literal text, times in ISO 8601, bytes by what they are."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from briquette.decoding.rows.values import UNIT_DIGITS, NotFinite, Number, Unsayable
from briquette.schemas.types import ColumnType, Plain

types = pa.types
Numbers = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

BINARY = Plain("binary")
TEXTS = (types.is_string, types.is_large_string, types.is_string_view)
BYTES = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_DAY = 86_400
_ERA_DAYS, _ERA_YEARS = 146_097, 400  # after which the calendar repeats
_SHOWN_BYTES = 64  # of bytes that are no text


def first_of(kinds: pa.DataType, tests: tuple[Callable[[pa.DataType], bool], ...]) -> bool:
    """Whether one of the tests holds for a type."""
    return any(test(kinds) for test in tests)


def scalars(array: pa.Array, mark: str, column_type: ColumnType | None, twin: pa.Array | None) -> list[Any]:
    """The tokens of an array that is not nested; ``mark`` and ``twin`` as in ``parquet_values.Form``."""
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
    if first_of(kind, TEXTS):
        return [None if b is None else _text(b, "") for b in _as_bytes(array)]
    if first_of(kind, BYTES):
        if column_type == BINARY:
            return [None if b is None else base64.b64encode(b).decode() for b in _as_bytes(array)]
        said: Callable[[bytes], str] = _interval if mark == "interval" else lambda b: _text(b, mark)
        return [None if b is None else said(b) for b in _as_bytes(array)]
    if types.is_float16(kind):
        array = array.cast(pa.float32())
    if types.is_null(kind) or types.is_boolean(kind):
        return list(array.to_pylist())
    if types.is_floating(array.type):
        return [None if v is None else _float(v) for v in array.to_pylist()]
    if types.is_integer(kind):
        return [None if v is None else Number(v) for v in array.to_pylist()]
    if types.is_decimal(kind):
        return [None if v is None else Number(format(v, "f")) for v in array.to_pylist()]
    refused = Unsayable(f"a {kind}", f"{kind} has no form here")
    return [refused if fine else None for fine in array.is_valid().to_pylist()]


def _as_bytes(array: pa.Array) -> list[bytes | None]:
    if types.is_fixed_size_binary(array.type):
        return list(array.to_pylist())
    wide = types.is_large_string(array.type) or types.is_large_binary(array.type)
    values = array.cast(pa.large_binary() if wide else pa.binary())
    return list(values.to_pylist())


def _text(value: bytes, mark: str) -> str:
    """Bytes as the text that they are; a token that no column takes where they are none."""
    if mark != "opaque":
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    shown = "0x" + value[:_SHOWN_BYTES].hex() + ("..." if len(value) > _SHOWN_BYTES else "")
    return Unsayable("0x" + value.hex(), f"the bytes {shown} are not UTF-8 text")


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
    whole, fraction = divmod(abs(count), 10**digits)
    sign = "-" if count < 0 else ""
    return f"{sign}{whole}" + (_fraction(fraction, digits).rstrip("0") if fraction else "")


def _duration(count: int, digits: int) -> str:
    return f"PT{_seconds_text(count, digits)}S"


def _interval(value: bytes) -> str:
    """Parquet's INTERVAL: months, days and milliseconds, which nothing makes one number of."""
    months, days, millis = np.frombuffer(value, "<u4").tolist()
    return f"P{months}M{days}DT{_seconds_text(millis, 3)}S"


# -- INT96 -------------------------------------------------------------------------------------


def exact_nanoseconds(array: pa.Array, twin: pa.Array) -> list[int | None]:
    """INT96 times as exact counts: Arrow's nanoseconds wrap, and its milliseconds lack digits."""
    counts, millis, fine = _parts(array, twin)
    rest = (counts.view(np.uint64) - (millis * _NANOS).view(np.uint64)).tolist()
    # A rest beyond a millisecond: the time of the day is none, and only the sum of both parts means one.
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
    counts, millis = (a.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) for a in (array, twin))
    return counts, millis, array.is_valid().to_numpy(zero_copy_only=False)
