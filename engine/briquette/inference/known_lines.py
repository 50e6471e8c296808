"""Runs of JSON or CSV lines that can say nothing new about their columns, found by one regular expression.

Inference looks at every record, and nearly every record repeats what is known: the same keys with the same
kinds of values. The expression matches exactly such lines and nothing else, so that passing over them gives
the verdict that reading them would give, several times faster.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from briquette.inference import column_profile as seen
from briquette.inference.column_profile import ColumnProfile, Shape

MAX_NAMES = 200  # records with more fields are read one by one; the expression would grow with them
MOST_DIGITS = 38  # of a number that is passed over
_MAX_COUNT = 65_535  # of repetitions in an expression

# Possessive quantifiers stand over single characters only. Over a group they match too much in Python 3.11.0
# to 3.11.4 (cpython issue 106052), so a group that must not be tried again is an atomic one, (?>...).
_FLOAT = rb"-?(?!0[0-9])[0-9]{1,18}+(?:\.[0-9]{1,18}+(?>(?:[eE][+-]?[0-9]{1,2}+)?)|[eE][+-]?[0-9]{1,2}+)"
_NATURAL = rb"(?:0|[1-9][0-9]{0,14}+)"
_INTEGER = rb"(?:0|-?[1-9][0-9]{0,14}+)"
_DAY = (
    rb"(?:19|20)[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    rb"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK = rb"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?>(?::[0-5][0-9](?:\.[0-9]{1,%d}+)?)?)"
_ZONE = rb"(?>(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])?)"


def lines_like(
    columns: dict[str, ColumnProfile], keys: tuple[str, ...], *, ascii_only: bool, text_bytes: int | None
) -> re.Pattern[bytes] | None:
    """An expression that matches a run of lines, one record of exactly these ``keys`` in each; or None.

    The text it is used on must be ASCII or known to be valid UTF-8. ``text_bytes`` bounds the length of a
    record by bounding its strings; records that nest are then not matched.
    """
    if not keys or any(key not in columns for key in keys):
        return None
    known = tuple((key, columns[key].shape()) for key in keys)
    if _names(known) > MAX_NAMES:
        return None
    return _lines(known, ascii_only, text_bytes)


def _names(known: tuple[tuple[str, Shape], ...]) -> int:
    return len(known) + sum(_names(shape.fields) for _, shape in known)


@lru_cache(maxsize=256)
def _lines(
    known: tuple[tuple[str, Shape], ...],
    ascii_only: bool,  # noqa: FBT001 - lru_cache looks up positional arguments faster
    text_bytes: int | None,
) -> re.Pattern[bytes] | None:
    not_clean = rb'"\\\x00-\x1f\x80-\xff' if ascii_only else rb'"\\\x00-\x1f'
    many = b"*+" if text_bytes is None else b"{0,%d}+" % min(text_bytes, _MAX_COUNT)
    text = b'"[^' + not_clean + b"]" + many + b'"'
    return re.compile(b"(?>(?:" + _object(known, text, nest=text_bytes is None) + rb"\r?\n)*)")


def _object(known: tuple[tuple[str, Shape], ...], text: bytes, *, nest: bool) -> bytes:
    members = []
    for name, shape in known:
        key = json.dumps(name, ensure_ascii=False).encode()
        # A name that JSON escapes has more than one spelling: such records are read one by one.
        members.append(
            rb"(?!)" if b"\\" in key else re.escape(key) + rb": ?" + _value(shape, text, nest=nest)
        )
    return rb"\{" + rb", ?".join(members) + rb"\}"


def _value(shape: Shape, text: bytes, *, nest: bool) -> bytes:
    """What matches a value that adds nothing to ``shape``; integers are short of where their size matters."""
    kinds = shape.kinds
    options = [b"null"]
    if kinds & seen.TEXT:
        options.append(text)
    else:
        clock = _CLOCK % (9 if kinds & seen.NANOS else 6) + _ZONE
        options += [b'"' + _DAY + b'"'] if kinds & seen.DATE else []
        options += [b'"' + _DAY + clock + b'"'] if kinds & seen.INSTANT else []
    # Floats are tried before integers: what an atomic list took as the 2 of 2.5 it would not try again.
    options += [_INTEGER if shape.negative else _NATURAL] if kinds & seen.INTEGER else []
    options += [_FLOAT] if kinds & seen.FLOAT else []
    options += [b"true|false"] if kinds & seen.BOOL else []
    options += [b"NaN|-?Infinity"] if kinds & seen.NAN else []
    if nest and kinds & seen.OBJECT and shape.fields:
        options.append(_object(shape.fields, text, nest=nest))
    if nest and kinds & seen.ARRAY and shape.element is not None:
        element = _value(shape.element, text, nest=nest)
        options.append(rb"\[(?>(?:" + element + rb"(?:, ?" + element + rb")*)?)\]")
    return b"(?:" + b"|".join(reversed(options)) + b")"


# -- CSV ---------------------------------------------------------------------------------------


def rows_like(
    columns: dict[str, ColumnProfile],
    names: tuple[str, ...],
    *,
    delimiter: bytes,
    ascii_only: bool,
    text_bytes: int | None,
) -> re.Pattern[bytes] | None:
    """An expression that matches a run of CSV lines with one cell for each of ``names``; or None.

    An empty cell counts as null. ``ascii_only`` and ``text_bytes`` are those of ``lines_like``.
    """
    if not 0 < len(names) <= MAX_NAMES:
        return None
    known = tuple((columns[name].known(), columns[name].low < 0) for name in names)
    return _rows(known, delimiter, ascii_only, text_bytes)


@lru_cache(maxsize=256)
def _rows(
    known: tuple[tuple[int, bool], ...],
    delimiter: bytes,
    ascii_only: bool,  # noqa: FBT001 - as in _lines
    text_bytes: int | None,
) -> re.Pattern[bytes]:
    others = rb"\x80-\xff" if ascii_only else b""
    many = b"*+" if text_bytes is None else b"{0,%d}+" % min(text_bytes, _MAX_COUNT)
    quoted = rb'"[^"\r\n' + others + b"]" + many + b'"'
    unquoted = rb'[^"\r\n' + re.escape(delimiter) + others + b"]" + many
    cells = [_cell(kinds, quoted + b"|" + unquoted, negative=negative) for kinds, negative in known]
    # A line without any character is no record.
    return re.compile(rb"(?>(?:(?![\r\n])" + re.escape(delimiter).join(cells) + rb"\r?\n)*)")


def _cell(kinds: int, text: bytes, *, negative: bool) -> bytes:
    if kinds & seen.TEXT:
        return b"(?:" + (text if kinds & seen.CELL else b"") + b")"
    options: list[bytes] = []
    if kinds & seen.CELL:
        clock = _CLOCK % (9 if kinds & seen.NANOS else 6) + _ZONE
        options += [_FLOAT] if kinds & seen.FLOAT else []
        options += [_INTEGER if negative else _NATURAL] if kinds & seen.INTEGER else []
        options += [_DAY] if kinds & seen.DATE else []
        options += [_DAY + clock] if kinds & seen.INSTANT else []
        options += [b"[Tt]rue|[Ff]alse"] if kinds & seen.BOOL_TEXT else []
        options += [b"NaN|nan|-?Infinity|-?inf"] if kinds & seen.NAN_TEXT else []
    if not options:
        return b""
    some = b"|".join(options)
    return b'(?:"(?:' + some + b')"|' + some + b"|)"
