"""What looks wrong in raw objects before a schema is made of them, in sentences for a person.

Each says what was seen, where, and what can be done about it today. None of them changes a type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from briquette.errors import CorruptObject
from briquette.inference import column_profile as seen
from briquette.inference.column_profile import DAY_IN_WORDS, ColumnProfile, Place
from briquette.schemas.types import JSON, STRING, ColumnType, ListOf, Struct

FIRST_ROWS = 50  # of a CSV object, which its header is compared with
MOST_NAMED = 8  # columns in a sentence

_SEPARATORS = {b";": "';'", b"|": "'|'", b"\t": "a tab", b",": "','"}
_SEP_LINE = re.compile(r"sep=.?\Z", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(rb"-?[0-9]{1,12},[0-9]+")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_TIME = """at created date datetime day epoch expires micros millis modified ms nanos ns t time timestamp ts
updated us when"""
_WORDS_OF_TIME = frozenset(_TIME.split())
_EPOCHS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800


class Hints:
    """What was found in objects, told once for each kind, with the first object and how many more."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, str, int]] = {}

    def add(self, key: str, what: str, then: str) -> None:
        """``what`` was found in an object; ``then`` is what it means, the same for all such objects."""
        first, said, count = self._told.get(then, (key, what, 0))
        self._told[then] = (first, said, count + 1)

    def sentences(self) -> list[str]:
        """All of them, in the order in which their kinds were found."""
        return [
            f"{key}: {what}{f' (and {count - 1:,} more objects like it)' if count > 1 else ''}. {then}"
            for then, (key, what, count) in self._told.items()
        ]


# -- CSV -----------------------------------------------------------------------------------------


def check_header(key: str, names: Sequence[str]) -> None:
    """Refuse a first line that is no header but a note to a spreadsheet; raises CorruptObject."""
    if _SEP_LINE.match(names[0]) and not any(names[1:]):
        raise CorruptObject(
            f"{key} begins with a sep= line, which is a note to a spreadsheet and no header.",
            hint="Remove that line: the next one names the columns.",
        )


def of_csv(
    hints: Hints,
    key: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    head: bytes,
    own: bytes,
) -> None:
    """Look at a header, the first rows below it and the object's first bytes; ``own`` is its separator."""
    if names[0].startswith("#") and len(names) == 1 != max(map(len, rows), default=2):
        hints.add(
            key,
            f"its first line, {_quoted(names)}, looks like a comment and was taken as the header",
            "Take such lines out: the first line of a CSV object names its columns.",
        )
        return
    if other := _other_separator(names, own):
        decimal = own == b"," and _DECIMAL_COMMA.search(head.partition(b"\n")[2])
        hints.add(
            key,
            f"its header {_quoted(names)} seems to be separated by {_SEPARATORS[other]}, "
            f"not {_SEPARATORS[own]}"
            + (f", with ',' as the decimal mark ({decimal[0].decode()})" if decimal else ""),
            "Columns are separated by ',' in .csv and by tabs in .tsv: convert the objects.",
        )
        return
    if looks := _like_data(names, rows):
        hints.add(
            key,
            f"its first record looks like data, not like a header: {looks}",
            "Each first record was taken as names and is not a row. If the objects have no header, put a "
            "line with the columns' names in front of each.",
        )


def unlike_headers(headers: Iterable[tuple[str, ...]], objects: int) -> str:
    """A sentence where several CSV objects have as many columns, and no name in common; else ""."""
    different = list(headers)
    names = [name.lower() for header in different for name in header]
    if len(different) < 2 or len(set(names)) < len(names) or len({len(h) for h in different}) > 1:
        return ""
    shown = " and ".join(map(_quoted, different[:2]))
    return (
        f"The headers of {objects:,} CSV objects have no name in common, such as {shown}. "
        "If the objects have no header, put a line with the columns' names in front of each."
    )


def _quoted(names: Sequence[str]) -> str:
    text = ",".join(names)
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _other_separator(names: Sequence[str], own: bytes) -> bytes | None:
    """The sign that parts the header better than the object's own separator."""
    text = "\n".join(names)
    best = max((sign for sign in _SEPARATORS if sign != own), key=lambda sign: text.count(sign.decode()))
    return best if text.count(best.decode()) >= len(names) else None


def _like_data(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    """Why a first record seems to be a row like those below it; "" where it does not."""
    for name, values in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        texts = [value for value in values if value is not None]
        kind = _kind(name)
        if kind and (not texts or all(_kind(text) == kind for text in texts)):
            if kind == "a number" and _counts_up(names):
                continue
            return f"{name!r} is {kind}" + (f", as {texts[0]!r} below it" if texts else "")
        if name and texts and not kind and name in texts:
            return f"{name!r} is also a value below it"
    return ""


def _kind(text: str) -> str:
    """What a text is besides text, as it is in CSV; "" where it is just that."""
    profile = ColumnProfile()
    profile.add_cell(text)
    kinds = profile.kinds & ~seen.CELL
    if kinds & (seen.INTEGER | seen.INEXACT | seen.FLOAT | seen.HUGE):
        return "a number"
    return "a day or time" if kinds and not kinds & (seen.TEXT | seen.NAN_TEXT | seen.BOOL_TEXT) else ""


def _counts_up(names: Sequence[str]) -> bool:
    """Whether the numbers among the names are years or positions, one after the other: a pivot table."""
    numbers = [int(name) for name in names if name.isdecimal() and name.isascii() and len(name) < 10]
    steps = {b - a for a, b in pairwise(numbers)}
    return len(numbers) > 2 and steps == {1}


# -- columns -------------------------------------------------------------------------------------


def of_column(name: str, column_type: ColumnType, profile: ColumnProfile, records: int) -> list[str]:
    """What decided a type where few values outvoted many, and what the values seem to be; inside it too."""
    found = []
    if column_type in (STRING, JSON):
        most, few = profile.outvoted()
        for noted in few:
            what = next(text for mask, text in seen.CLASSES.items() if profile.noted.get(mask) is noted)
            values = "1 value" if noted.count == 1 else f"{noted.count:,} values"
            found.append(
                f"{column_type} because of {values} among {records:,} records of {most}: {what}, {noted}"
            )
    if column_type == STRING and (known := profile.placeholders()):
        found.append(
            f"string because of many values such as {_json_list(known[0])}: if these are all its texts and "
            f"mean null, null_values = {_json_list(('', *known[0]))} in the table's file makes it {known[1]}"
        )
    if column_type == STRING and (day := _days(profile)):
        found.append(day)
    if str(column_type) in ("int64", "uint64", "float64") and (epoch := _epoch(name, profile)):
        found.append(epoch)
    match column_type:
        case ListOf(element) if profile.element:
            found += of_column(name, element, profile.element, records)
        case Struct(fields):
            for field, kind in fields:
                if inner := profile.fields.get(field):
                    found += [f"{field}: {said}" for said in of_column(field, kind, inner, records)]
    return found


def _days(profile: ColumnProfile) -> str:
    """Days written otherwise than ISO 8601: which number is the day, where that can be known."""
    noted = profile.noted.get(seen.TEXT)
    days = [DAY_IN_WORDS.match(text) for text in noted.texts] if noted else []
    if not noted or not days or not all(days) or len(profile.noted) > 1:
        return ""
    firsts, seconds = zip(*((int(d[1]), int(d[3])) for d in days if d), strict=True)
    sign = days[0][2] if days[0] else "/"
    if max(seconds) > 12 >= max(firsts):
        order = f"month{sign}day{sign}year, as {max(seconds)} can only be a day"
    elif max(firsts) > 12 >= max(seconds):
        order = f"day{sign}month{sign}year, as {max(firsts)} can only be a day"
    else:
        order = f"day{sign}month or month{sign}day: nothing tells which"
    return f"days such as {noted.example} ({order}) stay text; a date is read from YYYY-MM-DD"


def _epoch(name: str, profile: ColumnProfile) -> str:
    """Numbers that count time since 1970, by the column's name and their size."""
    noted = profile.noted.get(seen.INTEGER | seen.FLOAT)
    if not noted or not _WORDS_OF_TIME & {word.lower() for word in _WORDS.findall(name)}:
        return ""
    try:
        first = float(noted.example.strip('"'))
    except ValueError:
        return ""
    for unit, factor in _EPOCHS:
        if all(_YEAR_2000 <= number / factor < _YEAR_2100 for number in (first, profile.high or first)):
            return (
                f"numbers such as {noted.example} look like {unit} since 1970; they stay numbers: a "
                "timestamp is read from text (YYYY-MM-DDTHH:MM:SSZ) only"
            )
    return ""


def null_values(columns: Iterable[tuple[str, ColumnProfile]]) -> str:
    """Which texts of CSV, declared as ``null_values``, would give columns another type than string."""
    texts: dict[str, None] = {"": None}
    gained = []
    for name, profile in columns:
        if found := profile.as_if_null():
            texts.update(dict.fromkeys(found[0]))
            gained.append(f"{name} {found[1]}")
    if not gained:
        return ""
    more = f" and {len(gained) - MOST_NAMED} more of another type" if len(gained) > MOST_NAMED else ""
    return (
        f"null_values = {_json_list(texts)} in the table's file would make "
        f"{', '.join(gained[:MOST_NAMED])}{more}: these texts, unquoted, then mean null in every column."
    )


def _json_list(texts: Iterable[str]) -> str:
    """Texts as TOML and JSON write a list of them."""
    return json.dumps(list(texts), ensure_ascii=False)


# -- JSON ----------------------------------------------------------------------------------------


def of_records(columns: dict[str, ColumnProfile], records: int, objects: int) -> str:
    """A sentence where each object is one record whose list holds what are probably the records; else ""."""
    lists = [
        name
        for name, profile in columns.items()
        if profile.kinds == seen.ARRAY and profile.element and profile.element.kinds == seen.OBJECT
    ]
    if len(lists) != 1 or records > objects or any(profile.declared for profile in columns.values()):
        return ""
    return (
        f"Each object is one record with a list of objects under {lists[0]}: the schema makes one row of "
        f"each object. If the list holds the records, write each of its elements on a line of its own, for "
        f"instance with jq -c '.{lists[0]}[]'."
    )


def left_out(column: str, place: Place) -> str:
    """A sentence about a field whose name no column may have."""
    why = "a column needs a name" if not column else "that name is briquette's own"
    return (
        f"The field {column!r} is left out, as {why} (first in {place.key}, record {place.position}): "
        "rename it where it is written if its values matter."
    )


def twins(a: str, b: str) -> str:
    """A sentence about two names that differ in case only and never stand in one record."""
    return (
        f"{b} and {a} never stand in one record: did you mean one column? Names are exact, so these are two; "
        "give all objects the same name."
    )
