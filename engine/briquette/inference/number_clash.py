"""A column that Parquet files declare with different number or time types: the type that loses nothing.

The lattice of types joins an integer or a decimal with a float to float64, which may not hold their digits.
So the values decide: integers where all floats are whole, a decimal that holds both, or float64 where it is
exact.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING

from briquette.errors import SchemaError
from briquette.inference import column_profile as seen
from briquette.inference.column_profile import ColumnProfile
from briquette.schemas.types import (
    FLOAT64,
    INTEGERS,
    MAX_PRECISION,
    NULL,
    STRING,
    ColumnType,
    Decimal,
    ListOf,
    Plain,
    Struct,
    Timestamp,
    promote,
)

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Callable[[], Iterable["pa.Array"]]  # a column's values, file by file

DIGITS_PASSED = 15  # of an integer in a line that was passed over (engine/briquette/inference/known_lines.py)
_EXACT = 1 << 53  # the integers up to here are doubles
_NANOS_OF_A_DAY = 86_400 * 10**9
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def without_loss(
    name: str, profile: ColumnProfile, joined: ColumnType, values: Columns
) -> tuple[ColumnType, str]:
    """``joined``, the join of all types of a column, replaced where it would lose digits; and a remark.

    Raises SchemaError where no type holds the values of all files.
    """
    types = profile.types()
    column = _Column(name, profile, values)
    return column.without_loss(joined, types, profile, ()), "; ".join(column.remarks)


class _Column:
    def __init__(self, name: str, profile: ColumnProfile, values: Columns) -> None:
        self.name, self.profile, self.values = name, profile, values
        self.remarks: list[str] = []

    def without_loss(
        self,
        joined: ColumnType,
        types: Sequence[ColumnType],
        of_json: ColumnProfile | None,
        path: tuple[str, ...],
    ) -> ColumnType:
        """The type at a path inside of the column; an empty name stands for a list's elements."""
        match joined:
            case ListOf(element):
                inner = [column_type.element for column_type in types if isinstance(column_type, ListOf)]
                return ListOf(
                    self.without_loss(element, inner, of_json.element if of_json else None, (*path, ""))
                )
            case Struct(fields):
                structs = [
                    dict(column_type.fields) for column_type in types if isinstance(column_type, Struct)
                ]
                return Struct(
                    tuple(
                        (
                            field,
                            self.without_loss(
                                kind,
                                [struct[field] for struct in structs if field in struct],
                                of_json.fields.get(field) if of_json else None,
                                (*path, field),
                            ),
                        )
                        for field, kind in fields
                    )
                )
            case Timestamp("ns", _) if any(_unit(column_type) not in ("ns", "") for column_type in types):
                return self._of_times(joined, of_json, path)
        different = {column_type for column_type in types if column_type != NULL}
        if joined == FLOAT64 and len(different) > 1 and any(map(_has_exact_numbers, different)):
            return self._of_numbers(sorted(different, key=str), of_json, path)
        return joined

    def _arrays(self, path: tuple[str, ...]) -> Iterable[pa.Array]:
        import pyarrow as pa
        import pyarrow.compute as pc

        for array in self.values():
            for name in path:
                if name == "" and _is_list(array.type):
                    array = pc.list_flatten(array)
                elif pa.types.is_struct(array.type) and array.type.get_field_index(name) >= 0:
                    array = pc.struct_field(array, name)
                else:
                    break
            else:
                array = array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array
                if len(array := array.drop_null()):
                    yield array

    # -- numbers -------------------------------------------------------------------------------

    def _of_numbers(
        self, types: list[ColumnType], of_json: ColumnProfile | None, path: tuple[str, ...]
    ) -> ColumnType:
        facts = _Numbers()
        for array in self._arrays(path):
            facts.add(array)
        if of_json and of_json.kinds:
            facts.add_json(of_json)
        integers = [
            column_type
            for column_type in types
            if isinstance(column_type, Plain) and column_type.name in INTEGERS
        ]
        decimals = [column_type for column_type in types if isinstance(column_type, Decimal)]
        if facts.whole and integers and not decimals and (found := _integer(integers, facts)):
            return found
        if (decimals or facts.inexact) and facts.countable and (held := _decimal(decimals, facts)):
            return held
        if not facts.inexact:
            return FLOAT64
        if facts.unknown:
            self.remarks.append(f"numbers that float64 cannot hold, such as {facts.inexact}")
            return STRING
        raise self._refused(facts, path)

    def _refused(self, facts: _Numbers, path: tuple[str, ...]) -> SchemaError:
        inner = "".join("[]" if name == "" else f".{name}" for name in path)
        declared = ", ".join(f"{column_type} in {key}" for column_type, key in self.profile.declared.items())
        digits = f"{facts.digits} digits before the point and {facts.scale} behind it are too many"
        where = f"{self.name!r}{inner and f' ({inner})'}"
        why = f"a decimal has no {facts.not_decimal}" if facts.not_decimal else f"for a decimal, {digits}"
        return SchemaError(
            f"No type holds the values of column {where} in all files: {declared}. "
            f"float64 loses digits of {facts.inexact}, and {why}.",
            hint="Declare the column: string keeps every digit, float64 rounds.",
        )

    # -- times ---------------------------------------------------------------------------------

    def _of_times(
        self, joined: Timestamp, of_json: ColumnProfile | None, path: tuple[str, ...]
    ) -> ColumnType:
        far, fine = bool(of_json and of_json.kinds & seen.FAR), bool(of_json and of_json.kinds & seen.NANOS)
        for array in self._arrays(path):
            low, high, fraction = _nanoseconds(array)
            far |= not -(1 << 63) < low <= high < 1 << 63
            fine |= fraction
        if not far:
            return joined
        if not fine:
            return Timestamp("us", joined.utc)
        self.remarks.append("nanoseconds, and times that nanoseconds do not reach")
        return STRING


def _unit(column_type: ColumnType) -> str:
    return (
        column_type.unit
        if isinstance(column_type, Timestamp)
        else "d"
        if column_type == Plain("date")
        else ""
    )


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _has_exact_numbers(column_type: ColumnType) -> bool:
    return isinstance(column_type, Decimal) or (
        isinstance(column_type, Plain) and column_type.name in INTEGERS
    )


def _integer(integers: list[Plain], facts: _Numbers) -> ColumnType | None:
    nothing: ColumnType = NULL
    joined = reduce(promote, integers, nothing)
    for column_type in (joined, Plain("int64"), Plain("uint64")):
        if isinstance(column_type, Plain):
            bits = int(column_type.name.removeprefix("u").removeprefix("int"))
            low, high = (
                (0, 2**bits) if column_type.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
            )
            if low <= facts.low and facts.high < high:
                return column_type
    return Decimal(max(facts.digits, 20), 0) if facts.digits <= MAX_PRECISION else None


def _decimal(decimals: list[Decimal], facts: _Numbers) -> Decimal | None:
    """The declared digits where there is room for them, else those of the values."""
    whole = max([facts.digits, *(column_type.precision - column_type.scale for column_type in decimals)])
    scale = max([facts.scale, *(column_type.scale for column_type in decimals)])
    for before, behind in ((whole, scale), (facts.digits, facts.scale)):
        if before + behind <= MAX_PRECISION:
            return Decimal(max(before + behind, 1), behind)
    return None


def _nanoseconds(array: pa.Array) -> tuple[int, int, bool]:
    """The first and last instant of dates or timestamps, and whether one is finer than microseconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_date(array.type):
        factor, counts = _NANOS_OF_A_DAY, array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    elif pa.types.is_timestamp(array.type):
        factor, counts = 10**9 // _PER_SECOND[array.type.unit], array.cast(pa.int64())
    else:
        return 0, 0, False
    bounds = pc.min_max(counts).as_py()
    fine = factor == 1 and any(count % 1000 for count in pc.unique(counts).to_pylist())
    return bounds["min"] * factor, bounds["max"] * factor, fine


class _Numbers:
    """What the numbers of a column are, whatever file they are in."""

    def __init__(self) -> None:
        self.low = self.high = 0
        self.digits = self.scale = 0  # before and behind the point, of all finite numbers
        self.whole = True
        self.unknown = False  # floats in JSON or CSV, whose digits were not counted
        self.inexact = ""  # an integer or a decimal that is no double
        self.not_decimal = ""  # NaN or an infinity

    @property
    def countable(self) -> bool:
        """Whether a decimal may hold all of the numbers."""
        return not (self.unknown or self.not_decimal)

    def add_json(self, profile: ColumnProfile) -> None:
        """Take in what the records of JSON and CSV objects hold."""
        self._integers(profile.low, profile.high)
        if profile.passed & seen.INTEGER:
            self.digits = max(self.digits, DIGITS_PASSED)
        if profile.kinds & (seen.INEXACT | seen.HUGE):
            noted = profile.noted.get(seen.INEXACT | seen.HUGE)
            self.inexact = self.inexact or (noted.example if noted else "a number")
        if profile.kinds & (seen.FLOAT | seen.HUGE | seen.NAN | seen.NAN_TEXT):
            self.whole, self.unknown = False, True

    def add(self, array: pa.Array) -> None:
        """Take in the values of one Parquet file."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_integer(array.type):
            bounds = pc.min_max(array).as_py()
            self._integers(bounds["min"], bounds["max"])
            if not self.inexact and max(-bounds["min"], bounds["max"]) > _EXACT:
                lost = (v for v in pc.unique(array).to_pylist() if abs(v) > _EXACT and int(float(v)) != v)
                self.inexact = str(next(lost, ""))
        elif pa.types.is_floating(array.type):
            self._floats(pc.unique(array).to_pylist())
        elif pa.types.is_decimal(array.type):
            for value in pc.unique(array).to_pylist():
                self._literal(value)
                if not self.inexact and decimal.Decimal(repr(float(value))) != value:
                    self.inexact = str(value)

    def _integers(self, low: int, high: int) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.digits = max(self.digits, len(str(abs(low))), len(str(abs(high))))

    def _floats(self, values: list[float]) -> None:
        for value in values:
            if not math.isfinite(value):
                self.not_decimal, self.whole = self.not_decimal or str(value), False
            elif value.is_integer():
                self._integers(int(value), int(value))
            else:
                self.whole = False
                self._literal(decimal.Decimal(repr(value)))

    def _literal(self, value: decimal.Decimal) -> None:
        sign_digits = value.normalize(_PRECISE).as_tuple()
        exponent = int(sign_digits.exponent)
        self.scale = max(self.scale, -exponent)
        self.digits = max(self.digits, len(sign_digits.digits) + exponent)
        if exponent < 0:
            self.whole = False
        else:
            self._integers(int(value), int(value))


_PRECISE = decimal.Context(prec=80)
