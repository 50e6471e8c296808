"""Objects and records that are not of the declared table at all, and the likely reason, in words.

An object none of whose columns is declared would become rows that are all null: it is refused instead, and
what is said of it names the mistake that is behind it most often.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from briquette.model import CompactionSpec, ExtraFields

SHOWN_BYTES = 4_096  # of a refused object's text, as its reject's raw text
_MOST_NAMES = 5
_NAME_CHARS = 40
_DELIMITERS = {
    "\t": "a tab",
    ";": "a semicolon",
    "|": "a pipe",
    "\x01": "the character U+0001",
    ",": "a comma",
}
_SEP_LINE = re.compile(r"sep=.?\Z", re.IGNORECASE)
_DATUM = re.compile(r"[+-]?[0-9][0-9.,:/eE+-]*(?:[T ][0-9:.+Z-]*)?\Z|\Z|true\Z|false\Z|null\Z", re.IGNORECASE)


def refuses_strangers(spec: CompactionSpec) -> bool:
    """Whether what has no declared column is refused: rescued, all of it is kept in ``_rescued``."""
    return bool(spec.schema.fields) and spec.extra_fields is not ExtraFields.RESCUE


def csv_refusal(names: Sequence[str], delimiter: str, spec: CompactionSpec) -> str:
    """Why a CSV object with this header is refused; "" where a column of it is declared."""
    declared = [f.name for f in spec.schema.fields]
    if not refuses_strangers(spec) or not set(declared).isdisjoint(names):
        return ""
    return _none_declared("column", names) + _csv_cause(names, delimiter, declared)


def column_refusal(names: Sequence[str], spec: CompactionSpec) -> str:
    """Why a Parquet object with these columns is refused; "" where one of them is declared."""
    declared = [f.name for f in spec.schema.fields]
    if not refuses_strangers(spec) or not names or not set(declared).isdisjoint(names):
        return ""
    return _none_declared("column", names) + _case_cause(names, declared)


def record_refusal(record: Mapping[str, Any], declared: Sequence[str]) -> str:
    """Why a record none of whose fields is declared is refused."""
    cause = _case_cause(record, declared)
    if not cause:
        known = set(declared)
        lists = (
            n for n, v in record.items() if isinstance(v, list) and any(map(known.intersection, _dicts(v)))
        )
        cause = next((f"; the records may be the elements of {shown(name)}" for name in lists), "")
    return _none_declared("field", record) + cause


def _dicts(values: list[Any]) -> Iterable[dict[str, Any]]:
    return (v for v in values[:1] if isinstance(v, dict))


def encoding_refusal(text: bytes) -> str:
    """Why a CSV object is refused whose header is not UTF-8, with the encoding that it likely has."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "its CSV header is not UTF-8; by its byte order mark it is UTF-16"
    if b"\x00" in text[:SHOWN_BYTES]:
        return "its CSV header is not UTF-8; it may be UTF-16 or no text"
    return "its CSV header is not UTF-8; it may be Latin-1 or Windows-1252"


def beginning(text: bytes) -> bytes:
    """The first line of a refused object, cut where it is long: the raw text of its reject."""
    return text[:SHOWN_BYTES].partition(b"\n")[0].rstrip(b"\r")


def shown(name: str) -> str:
    """A name as a message shows it: quoted, and not too long."""
    return repr(name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…")


def _none_declared(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    some = ", ".join(map(shown, listed[:_MOST_NAMES])) + (", …" if len(listed) > _MOST_NAMES else "")
    return f"no {what} of it is in the schema: {some}"


def _csv_cause(names: Sequence[str], delimiter: str, declared: Sequence[str]) -> str:
    first = names[0]
    if _SEP_LINE.match(first) and len(names) <= 2 and not any(names[1:]):  # "sep=," is cut at its comma
        return "; its first line says which delimiter is used, the header comes after it"
    if cause := _case_cause(names, declared):
        return cause
    if len(names) == 1:
        for other, word in _DELIMITERS.items():
            if other != delimiter and other in first:
                return f"; its delimiter may be {word}"
    if any(_DATUM.match(name) for name in names):
        return "; its first record looks like data: it may have no header"
    return ""


def _case_cause(names: Iterable[str], declared: Sequence[str]) -> str:
    by_folded = {name.strip().casefold(): name for name in declared}
    for name in names:
        if meant := by_folded.get(name.strip().casefold()):
            return f"; did you mean {shown(meant)} by {shown(name)}?"
    return ""
