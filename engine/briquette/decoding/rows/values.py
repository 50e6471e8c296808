"""One value into one column, only without loss: the meaning that every faster lane must equal.

A JSON value arrives as ``str``, ``Number`` (the literal text of a number), ``NotFinite``, ``bool``, ``list``
or ``dict``; a CSV cell arrives as ``str``. What comes out is what ``pyarrow.array`` takes for the column's
type: timestamps as a count of their unit since 1970, dates as days.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import json
import re
import struct
from collections.abc import Callable
from typing import Self

from briquette.schemas.types import INTEGERS, ColumnType, Decimal, ListOf, Plain, Struct, Timestamp

Convert = Callable[[object], object]
Extras = list[tuple[str, object]]  # unknown fields inside structs, as (path, value), met while converting

MAX_SHOWN = 60  # characters of a value that a reason quotes
NUMERIC = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?\Z")
NON_FINITE = {
    "NaN": float("nan"),
    "nan": float("nan"),
    "Infinity": float("inf"),
    "inf": float("inf"),
    "-Infinity": float("-inf"),
    "-inf": float("-inf"),
}
_INFINITE = (float("inf"), float("-inf"))
_SHORT = 18  # digits that surely fit 64 bits
BOOLS = {"true": True, "True": True, "false": False, "False": False}
UNIT_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_FIRST_SECOND = (1 - _EPOCH_DAY) * 86_400
_LAST_SECOND = (dt.date.max.toordinal() - _EPOCH_DAY + 1) * 86_400 - 1
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"(?:(Z)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?\Z"
)
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]00:00(?::00(?:\.0{1,9})?)?Z?)?\Z")


class Number(str):
    """The literal text of a JSON number."""

    __slots__ = ()


class NotFinite(str):
    """One of the tokens NaN, Infinity, -Infinity, which JSON does not have but writers of JSON do."""

    __slots__ = ()


class Unsayable(NotFinite):
    """A value of a typed source that no form of C5 says, as a reject shows it; no column takes it."""

    __slots__ = ("why",)
    why: str

    def __new__(cls, text: str, why: str) -> Self:
        """``why`` is the reason of the record's reject."""
        token = super().__new__(cls, text)
        token.why = why
        return token


class Unfit(Exception):
    """A value that its column cannot hold without loss."""


def shown(value: object) -> str:
    """A value as a reason quotes it: JSON, cut at a length that keeps a reject file readable."""
    text = compact(value, non_finite=str)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


# -- JSON text ---------------------------------------------------------------------------------


def _no_non_finite(token: str) -> str:
    raise Unfit(token.why if isinstance(token, Unsayable) else f"{token} is not JSON")


def quoted(token: str) -> str:
    """A token that JSON lacks as a JSON string."""
    return json.dumps(str(token), ensure_ascii=False)


def compact(value: object, non_finite: Callable[[str], str] = _no_non_finite) -> str:
    """JSON text without spaces; numbers keep their literal text, keys their order."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, NotFinite):
        return non_finite(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        inner = (f"{json.dumps(k, ensure_ascii=False)}:{compact(v, non_finite)}" for k, v in value.items())
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(compact(v, non_finite) for v in value) + "]"
    return {True: "true", False: "false", None: "null"}[value]  # type: ignore[index]


# -- scalars -----------------------------------------------------------------------------------


def _string(value: object) -> str:
    if isinstance(value, NotFinite) or not isinstance(value, str):
        raise Unfit(f"{shown(value)} is not a string")
    return str(value)


def _number_text(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise Unfit(f"{shown(value)} is not {kind}")
    if type(value) is Unsayable:
        raise Unfit(value.why)
    return value


def exact_integer(text: str) -> int | None:
    """The integer that numeric text means exactly, or None; never builds a number of more than 40 digits.

    >>> exact_integer("1.23457e+06"), exact_integer("3.7"), exact_integer("1e999999999")
    (1234570, None, None)
    """
    found = NUMERIC.match(text)
    if not found:
        return None
    sign, whole, fraction, exponent = found.groups()
    digits = (whole + (fraction or "")).lstrip("0")
    if not digits:
        return 0
    significant = digits.rstrip("0")
    power = int(exponent or 0) - len(fraction or "") + len(digits) - len(significant)
    if power < 0 or power + len(significant) > 40:
        return None
    number: int = int(significant) * 10**power
    return -number if sign else number


def _integer(name: str, max_digits: int) -> Convert:
    bits = int(name.removeprefix("u").removeprefix("int"))
    low, high = (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def convert(value: object) -> int:
        text = _number_text(value, name)
        if len(text) <= _SHORT and text.isdecimal() and text.isascii():
            number: int | None = int(text)
        else:
            number = exact_integer(text) if len(text) <= max_digits or type(value) is Number else None
        if number is None or not low <= number <= high:
            raise Unfit(f"{shown(value)} is not an exact {name}")
        return number

    return convert


def _float(name: str, max_digits: int) -> Convert:
    single = name == "float32"

    def convert(value: object) -> float:
        text = _number_text(value, name)
        if type(value) is not Number:
            if text in NON_FINITE:
                return NON_FINITE[text]
            if not NUMERIC.match(text) or len(text) > max_digits:
                raise Unfit(f"{shown(value)} is not a number")
        number = float(text)
        if single:
            try:
                number = struct.unpack("<f", struct.pack("<f", number))[0]
            except OverflowError:
                number = float("inf")
        if number in _INFINITE:
            raise Unfit(f"{shown(value)} is beyond the range of {name}")
        return number

    return convert


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if type(value) is str and value in BOOLS:
        return BOOLS[value]
    raise Unfit(f"{shown(value)} is not true or false")


def _seconds_and_fraction(value: object) -> tuple[int, str]:
    """UTC seconds since 1970 and the digits of the fraction."""
    found = _TIMESTAMP.match(value) if type(value) is str else None
    if not found:
        raise Unfit(f"{shown(value)} is not an ISO 8601 date and time")
    year, month, day, hour, minute, second, fraction, _, sign, zone_hours, zone_minutes = found.groups()
    try:
        days = dt.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
        clock = dt.time(int(hour or 0), int(minute or 0), int(second or 0))
        offset = dt.time(int(zone_hours or 0), int(zone_minutes or 0))
    except ValueError:
        raise Unfit(f"{shown(value)} is not a date and time that exists") from None
    seconds = days * 86_400 + clock.hour * 3600 + clock.minute * 60 + clock.second
    shift = offset.hour * 3600 + offset.minute * 60
    seconds += shift if sign == "-" else -shift
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise Unfit(f"{shown(value)} is outside of the years 1 to 9999 in UTC")
    return seconds, fraction or ""


def _timestamp(unit: str) -> Convert:
    digits = UNIT_DIGITS[unit]

    def convert(value: object) -> int:
        seconds, fraction = _seconds_and_fraction(value)
        if fraction[digits:].strip("0"):
            raise Unfit(f"{shown(value)} is finer than timestamp[{unit}]")
        count: int = seconds * 10**digits + int(fraction[:digits].ljust(digits, "0") or 0)
        if not -(2**63) < count < 2**63:
            raise Unfit(f"{shown(value)} is beyond the range of timestamp[{unit}]")
        return count

    return convert


def _date(value: object) -> int:
    found = _DATE.match(value) if type(value) is str else None
    try:
        return dt.date.fromisoformat(found[1] if found else "").toordinal() - _EPOCH_DAY
    except ValueError:
        raise Unfit(f"{shown(value)} is not a date") from None


def _decimal(precision: int, scale: int, max_digits: int) -> Convert:
    column_type = f"decimal({precision}, {scale})"

    def convert(value: object) -> decimal.Decimal:
        text = _number_text(value, column_type)
        found = NUMERIC.match(text) if len(text) <= max_digits or type(value) is Number else None
        if not found:
            raise Unfit(f"{shown(value)} is not a number")
        sign, whole, fraction, exponent = found.groups()
        digits = (whole + (fraction or "")).lstrip("0")
        significant = digits.rstrip("0")
        power = int(exponent or 0) - len(fraction or "") + len(digits) - len(significant)
        if significant and (power < -scale or len(significant) + power > precision - scale):
            raise Unfit(f"{shown(value)} does not fit {column_type} exactly")
        unscaled = int(significant + "0" * (power + scale)) if significant else 0
        return decimal.Decimal(-unscaled if sign else unscaled).scaleb(-scale, _WIDE)

    return convert


_WIDE = decimal.Context(prec=80)


def _binary(value: object) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            pass
    raise Unfit(f"{shown(value)} is not base64 text")


# -- nested and the whole ----------------------------------------------------------------------


_PLAIN: dict[str, Convert] = {
    "string": _string,
    "bool": _bool,
    "date": _date,
    "json": compact,
    "binary": _binary,
}


def converter(
    column_type: ColumnType, max_digits: int, extras: Extras, path: str = "", *, text_cells: bool = False
) -> Convert:
    """The function that turns a value (never None) into what ``pyarrow.array`` takes; it raises Unfit.

    ``extras`` receives the unknown fields that structs hold, by dotted path. With ``text_cells`` all values
    are text, and the text of a list, a struct or json is JSON.
    """
    if text_cells and (isinstance(column_type, ListOf | Struct) or column_type == Plain("json")):
        inner = converter(column_type, max_digits, extras, path)
        return lambda value: _maybe(inner, parsed_json(value, max_digits))
    match column_type:
        case Timestamp(unit, _):
            return _timestamp(unit)
        case Decimal(precision, scale):
            return _decimal(precision, scale, max_digits)
        case ListOf(element):
            return _list(converter(element, max_digits, extras, path + "[]"))
        case Struct(fields):
            known = {name: converter(kind, max_digits, extras, f"{path}.{name}") for name, kind in fields}
            return _struct(known, extras, path)
        case Plain(name) if name in INTEGERS:
            return _integer(name, max_digits)
        case Plain("float64" | "float32" as name):
            return _float(name, max_digits)
        case Plain(name):
            return _PLAIN[name]


def _maybe(inner: Convert, value: object) -> object:
    return None if value is None else inner(value)


def parsed_json(value: object, max_digits: int) -> object:
    """JSON text that stands in a text cell, as a value; raises Unfit."""
    text = value if isinstance(value, str) else ""
    try:
        if len(text) > max_digits and re.search(rf"[0-9.]{{{max_digits + 1}}}", text):
            raise ValueError
        parsed = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=NotFinite)
        compact(parsed, non_finite=quoted).encode()
    except (ValueError, RecursionError):
        raise Unfit(f"{shown(text)} is not JSON text") from None
    return parsed


def _list(element: Convert) -> Convert:
    def convert(value: object) -> list[object]:
        if not isinstance(value, list):
            raise Unfit(f"{shown(value)} is not a list")
        return [None if v is None else element(v) for v in value]

    return convert


def _struct(known: dict[str, Convert], extras: Extras, path: str) -> Convert:
    def convert(value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise Unfit(f"{shown(value)} is not an object")
        extras.extend((f"{path}.{name}", v) for name, v in value.items() if name not in known)
        return {n: None if value.get(n) is None else c(value[n]) for n, c in known.items()}

    return convert
