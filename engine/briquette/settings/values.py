"""What a text means as a value: one rule for each kind, wherever text is taken.

The command line, a Glue job's arguments, the container's and environment variables are read by these. The
functions of a kind raise ``ValueError``, whose text says what the value must be; the caller says of what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from briquette.errors import UsageError

Parser = Callable[[str], Any]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_bytes(text: str) -> int:
    """Bytes of a size.

    >>> parse_bytes("1.5GiB"), parse_bytes("200 MB")
    (1610612736, 200000000)
    """
    stripped = text.strip()
    digits = stripped.rstrip("kKmMgGiIbB")
    try:
        size = int(number(digits.strip()) * _UNITS[stripped[len(digits) :].lower()])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"{text!r} is not a size.", hint="Write it like 512MB, 2GB or 1.5GiB.")
    return size


def number(text: str) -> float:
    """A finite number."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError("a number")
    return value


def positive(text: str) -> float:
    """A finite number above zero."""
    value = number(text)
    if value <= 0:
        raise ValueError("a number above 0")
    return value


def whole(text: str) -> int:
    """A whole number."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def flag(text: str) -> bool:
    """``true`` or ``false``, in any case."""
    if text.lower() not in _FLAGS:
        raise ValueError("true or false")
    return _FLAGS[text.lower()]


def one_of(kind: Callable[[str], Any], choices: Sequence[str]) -> Parser:
    """A parser for one of some words, which ``kind`` (an enumeration, ``str``) then holds."""

    def parse(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return kind(text)

    return parse
