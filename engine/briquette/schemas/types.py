"""The column types of a schema as a small tree: parse, print, and the lattice that joins two of them.

Nothing here needs pyarrow, so a plan, a Lambda or ``--help`` can check a schema cheaply. One name per type:
a synonym such as ``double`` is an error with a hint, never a second spelling of the same schema.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import lru_cache

from briquette.errors import SchemaError

MAX_NESTING = 64  # a bound for the recursive parser, far beyond what readers of Parquet accept
MAX_PRECISION = 38  # of a decimal: what 16 bytes hold, and the most that Spark and Athena read

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
FLOATS = ("float32", "float64")
UNITS = ("s", "ms", "us", "ns")
PLAIN = ("string", "bool", *INTEGERS, *FLOATS, "date", "json", "binary")

_SYNONYMS = {
    "str": "string", "text": "string", "varchar": "string", "utf8": "string", "object": "json",
    "int": "int64", "integer": "int64", "long": "int64", "bigint": "int64", "smallint": "int16",
    "tinyint": "int8", "float": "float64", "double": "float64", "real": "float32", "number": "float64",
    "boolean": "bool", "datetime": "timestamp[us, UTC]", "timestamp": "timestamp[us, UTC]",
    "timestamptz": "timestamp[us, UTC]", "date32": "date", "numeric": "decimal(38, 9)",
    "decimal": "decimal(38, 9)", "bytes": "binary", "array": "list<T>", "list": "list<T>",
    "map": "json", "variant": "json", "struct": "struct<name: T>", "null": "string",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plain:
    """A type without parameters, such as ``int64``; ``null`` exists only as the bottom of the lattice."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Timestamp:
    """An instant (``utc``) or a wall-clock time, counted in ``unit`` since 1970."""

    unit: str
    utc: bool

    def __str__(self) -> str:
        return f"timestamp[{self.unit}, UTC]" if self.utc else f"timestamp[{self.unit}]"


@dataclass(frozen=True, slots=True)
class Decimal:
    """``precision`` digits in all, ``scale`` of them after the point."""

    precision: int
    scale: int

    def __str__(self) -> str:
        return f"decimal({self.precision}, {self.scale})"


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; its elements are nullable."""

    element: ColumnType

    def __str__(self) -> str:
        return f"list<{self.element}>"


@dataclass(frozen=True, slots=True)
class Struct:
    """Named, ordered, nullable fields: ``((name, type), ...)``, at least one."""

    fields: tuple[tuple[str, ColumnType], ...]

    def __str__(self) -> str:
        return "struct<" + ", ".join(f"{_print_name(name)}: {kind}" for name, kind in self.fields) + ">"


ColumnType = Plain | Timestamp | Decimal | ListOf | Struct

NULL = Plain("null")
STRING = Plain("string")
JSON = Plain("json")
FLOAT64 = Plain("float64")


def _print_name(name: str) -> str:
    return name if name.isascii() and name.isidentifier() else json.dumps(name, ensure_ascii=False)


# -- parse -------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r'\s*(?:([A-Za-z_]+/[A-Za-z_+/-]+)|([A-Za-z_][A-Za-z0-9_]*)|([0-9]+)|("(?:[^"\\]|\\.)*")|([][()<>:,]))'
)
_ZONE, _WORD, _NUMBER, _QUOTED = 1, 2, 3, 4


@lru_cache(maxsize=1024)
def parse_type(text: str) -> ColumnType:
    """The tree of a declared type; ``str()`` of it is the canonical spelling.

    >>> str(parse_type("struct<a:int64,b:list<timestamp[us,UTC]>>"))
    'struct<a: int64, b: list<timestamp[us, UTC]>>'

    Raises SchemaError, with what was probably meant.
    """
    parser = _Parser(text)
    parsed = parser.type(0)
    parser.end()
    return parsed


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[int, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if not found:
                raise self.error(f"unexpected {text[at:].strip()[0]!r}")
            self.tokens.append((found.lastindex or 0, found.group(found.lastindex or 0)))
            at = found.end()
        self.at = 0

    def error(self, what: str, hint: str = "") -> SchemaError:
        known = ", ".join(PLAIN) + ", timestamp[us, UTC], decimal(p, s), list<T>, struct<name: T>"
        return SchemaError(f"Type {self.text!r} is not understood: {what}.", hint=hint or f"Types: {known}.")

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, *kinds: int) -> str:
        if self.at == len(self.tokens):
            raise self.error("it ends too early")
        kind, text = self.tokens[self.at]
        if kind not in kinds:
            raise self.error(f"unexpected {text!r}")
        self.at += 1
        return text

    def expect(self, sign: str) -> None:
        if self.peek() != sign:
            raise self.error(f"{sign!r} is missing" + (f" before {self.peek()!r}" if self.peek() else ""))
        self.at += 1

    def end(self) -> None:
        if self.at < len(self.tokens):
            raise self.error(f"unexpected {self.peek()!r}")

    def type(self, depth: int) -> ColumnType:
        if depth > MAX_NESTING:
            raise self.error(f"it nests deeper than {MAX_NESTING}", "Declare the inner part as json.")
        name = self.take(_WORD)
        if name == "timestamp" and self.peek() == "[":
            return self.timestamp()
        if name == "decimal" and self.peek() == "(":
            return self.decimal()
        if name == "list" and self.peek() == "<":
            self.expect("<")
            element = self.type(depth + 1)
            self.expect(">")
            return ListOf(element)
        if name == "struct" and self.peek() == "<":
            return self.struct(depth)
        if name in PLAIN:
            return Plain(name)
        close = difflib.get_close_matches(name.lower(), PLAIN, 1)
        meant = _SYNONYMS.get(name.lower()) or (close[0] if close else "")
        raise self.error(f"there is no type {name!r}", f"Did you mean {meant}?" if meant else "")

    def timestamp(self) -> Timestamp:
        self.expect("[")
        unit = self.take(_WORD)
        if unit not in UNITS:
            raise self.error(f"there is no unit {unit!r}", "Units: s, ms, us, ns.")
        utc = self.peek() == ","
        if utc:
            self.expect(",")
            zone = self.take(_WORD, _ZONE, _QUOTED)
            if zone != "UTC":
                hint = "Instants are stored in UTC; offsets in the data are converted."
                raise self.error(f"zone {zone!r} is not UTC", hint)
        self.expect("]")
        return Timestamp(unit, utc)

    def decimal(self) -> Decimal:
        self.expect("(")
        precision = int(self.take(_NUMBER)[:9])
        self.expect(",")
        scale = int(self.take(_NUMBER)[:9])
        self.expect(")")
        if not (1 <= precision <= MAX_PRECISION and scale <= precision):
            hint = f"Precision is 1 to {MAX_PRECISION} digits, scale 0 to precision."
            raise self.error("its digits are out of range", hint)
        return Decimal(precision, scale)

    def struct(self, depth: int) -> Struct:
        self.expect("<")
        fields: dict[str, ColumnType] = {}
        while True:
            text = self.take(_WORD, _QUOTED)
            name = self.unquote(text) if text.startswith('"') else text
            if name in fields:
                raise self.error(f"field {name!r} is there twice")
            self.expect(":")
            fields[name] = self.type(depth + 1)
            if self.peek() != ",":
                break
            self.expect(",")
        self.expect(">")
        return Struct(tuple(fields.items()))

    def unquote(self, text: str) -> str:
        try:
            name = json.loads(text)
            name.encode()
        except ValueError as error:
            raise self.error(f"name {text} is not a JSON string") from error
        return str(name)


# -- the lattice -------------------------------------------------------------------------------


def promote(a: ColumnType, b: ColumnType) -> ColumnType:
    """The narrowest type that holds the values of both: a join, so the order of merging does not matter.

    null < everything; date < timestamp (coarser < finer, without zone < UTC) < string;
    narrower < wider integer < decimal < float64 < string; lists join by element, structs by field
    (a's fields first); everything < json, where all that JSON can say meets.
    """
    if b in (a, NULL):
        return a
    if a == NULL:
        return b
    match a, b:
        case ListOf(), ListOf():
            return ListOf(promote(a.element, b.element))
        case Struct(), Struct():
            fields = dict(a.fields)
            for name, kind in b.fields:
                fields[name] = promote(fields[name], kind) if name in fields else kind
            return Struct(tuple(fields.items()))
    families = {_family(a), _family(b)}
    if families == {"number"}:
        return _promote_numbers(a, b)
    if families == {"time"}:
        return _promote_times(a, b)
    return STRING if families <= {"number", "time", "text"} else JSON


def _family(column_type: ColumnType) -> str:
    match column_type:
        case Decimal():
            return "number"
        case Timestamp():
            return "time"
        case Plain(name):
            if name in INTEGERS or name in FLOATS:
                return "number"
            return {"date": "time", "string": "text", "binary": "text"}.get(name, name)
    return "nested"


def _promote_times(a: ColumnType, b: ColumnType) -> ColumnType:
    stamps = [one for one in (a, b) if isinstance(one, Timestamp)]
    unit = max((stamp.unit for stamp in stamps), key=UNITS.index)
    return Timestamp(unit, any(stamp.utc for stamp in stamps))


def _promote_numbers(a: ColumnType, b: ColumnType) -> ColumnType:
    if isinstance(a, Plain) and isinstance(b, Plain):
        if a.name in INTEGERS and b.name in INTEGERS:
            return _promote_integers(a.name, b.name)
        return FLOAT64
    if any(isinstance(one, Plain) and one.name in FLOATS for one in (a, b)):
        return FLOAT64
    # Every integer type counts as 20 digits beside a decimal: with each width's own digit count the
    # least upper bound of (int8, uint8, decimal(3, 0)) would depend on the order of merging.
    whole = max(one.precision - one.scale if isinstance(one, Decimal) else 20 for one in (a, b))
    scale = max(one.scale if isinstance(one, Decimal) else 0 for one in (a, b))
    return Decimal(whole + scale, scale) if whole + scale <= MAX_PRECISION else FLOAT64


def _promote_integers(a: str, b: str) -> ColumnType:
    for chain in (SIGNED, UNSIGNED):
        if a in chain and b in chain:
            return Plain(max(a, b, key=chain.index))
    signed, unsigned = (a, b) if a in SIGNED else (b, a)
    wider = UNSIGNED.index(unsigned) + 1  # the first signed type that holds all of it
    if wider == len(SIGNED):
        return Decimal(20, 0)
    return Plain(SIGNED[max(SIGNED.index(signed), wider)])
