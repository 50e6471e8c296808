"""The schema as the scan sees it: a tree of columns in one sequence, each with memory of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from briquette.model import Schema
from briquette.schemas.declared import arrow_type
from briquette.schemas.types import ColumnType, ListOf, Plain, Struct, Timestamp, parse_type
from briquette.template_scan import abi as at

_INTEGER_BITS = {f"{sign}int{bits}": (sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Days that stay inside years 0001..9999, or inside int64 nanoseconds, whatever the zone does to them.
_ALL_DAYS = (-719_161, 2_932_895)
_NANOSECOND_DAYS = (-106_750, 106_750)
_STORES = {at.STRING: at.STORE_TEXT, at.LIST: at.STORE_ENDS, at.STRUCT: at.STORE_NOTHING}
ROWS: Final = -1  # instead of the number of a list


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the schema, a field of a struct or the elements of a list."""

    name: str
    kind: int  # an operation of ``layout``
    arrow: Any  # pyarrow.DataType
    nullable: bool
    parent: int  # index of the struct or list that it belongs to; -1: a column of the schema
    counts: int  # the list whose elements it counts, or ``ROWS``
    slot: int = 0  # number of the text or of the list
    low: int = 0
    high: int = 0
    units: int = 0  # in a second, for timestamps
    narrow: bool = False
    children: tuple[int, ...] = ()  # of a struct its fields, of a list its elements

    @property
    def store(self) -> int:
        return _STORES.get(self.kind, at.STORE_VALUES)


@lru_cache(maxsize=16)
def columns_of(schema: Schema) -> tuple[Column, ...] | None:
    """All columns, each behind what it belongs to, or None when one has a type that the scan does not do."""
    tree = _Tree()
    for field in schema.fields:
        kind = arrow_type(field.type)
        if tree.add(field.name, parse_type(field.type), kind, -1, ROWS, nullable=field.nullable) is None:
            return None
    return tuple(tree.columns)


class _Tree:
    def __init__(self) -> None:
        self.columns: list[Any] = []
        self.texts = self.lists = 0

    def add(
        self,
        name: str,
        column_type: ColumnType,
        arrow: Any,
        parent: int,
        counts: int,
        *,
        nullable: bool = True,
    ) -> int | None:
        """The index of a column that is now there, with all that belongs to it."""
        slot = low = high = units = 0
        narrow = False
        match column_type:
            case Plain("string"):
                kind, slot = at.STRING, self.texts
                self.texts += 1
            case Plain("bool"):
                kind = at.BOOL
            case Plain("date"):
                kind = at.DATE
            case Plain("float32" | "float64" as number):
                kind, narrow = at.FLOAT, number == "float32"
            case Plain(number) if number in _INTEGER_BITS:
                sign, bits = _INTEGER_BITS[number]
                kind = at.INT
                low = 0 if sign else -(1 << (bits - 1))
                high = min((1 << (bits if sign else bits - 1)) - 1, (1 << 63) - 1)
            case Timestamp(unit, _):
                kind, units = at.TIMESTAMP, _UNITS[unit]
                low, high = _NANOSECOND_DAYS if unit == "ns" else _ALL_DAYS
            case ListOf(_) if counts == ROWS:  # the kernel counts the elements of one list at a time
                kind, slot = at.LIST, self.lists
                self.lists += 1
            case Struct(_):
                kind = at.STRUCT
            case _:
                return None
        index = len(self.columns)
        self.columns.append(None)
        children = self._inner(column_type, arrow, index, slot if kind == at.LIST else counts)
        if children is None:
            return None
        self.columns[index] = Column(
            name, kind, arrow, nullable, parent, counts, slot, low, high, units, narrow, children
        )
        return index

    def _inner(self, column_type: ColumnType, arrow: Any, parent: int, counts: int) -> tuple[int, ...] | None:
        found: list[int | None] = []
        if isinstance(column_type, ListOf):
            found.append(self.add("element", column_type.element, arrow.value_type, parent, counts))
        elif isinstance(column_type, Struct):
            for place, (name, kind) in enumerate(column_type.fields):
                found.append(self.add(name, kind, arrow.field(place).type, parent, counts))
        return None if None in found else tuple(index for index in found if index is not None)
