"""Prices adjusted for splits and dividends: one factor a row, pure. docs/transform.md has the rules.

``factor = adjusted_close / close`` where both are finite numbers, close is not 0 and the quotient is finite;
else 1. Open, high and low are multiplied by it, the volume is divided by it, the close becomes the adjusted
close (or stays, where there is none). What was read stays beside it under ``raw_`` names.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from briquette.errors import InputError
from briquette.model import Field, Schema

MULTIPLIED = ("open", "high", "low")
ADJUSTED = (*MULTIPLIED, "close", "volume")  # each is kept as raw_<name>
FACTOR = "adjustment_factor"
PARTITION_COLUMN = "ds"  # in the path only; readers take it from there
_NUMBERS = ("int", "uint", "float", "decimal")


def adjusted_schema(source: Schema) -> Schema:
    """The columns of the adjusted rows: those of the source in its order, then raw_*, then the factor.

    Adjusted columns are ``float64``, because a factor makes fractions; ``raw_*`` keep the source's types. A
    column ``ds`` is left out. Raises ``InputError`` for a source that cannot be adjusted.

    >>> made = adjusted_schema(Schema((Field("symbol", "string", False), Field("close", "float64"))))
    >>> [f.name for f in made.fields]
    ['symbol', 'close', 'raw_close', 'adjustment_factor']
    """
    types = {f.name: f for f in source.fields}
    taken = sorted(types.keys() & {FACTOR, *(f"raw_{name}" for name in ADJUSTED)})
    if taken:
        raise InputError(
            f"the source has a column {taken[0]}, which the adjustment adds.",
            hint="Rename it in the table's schema: adjusted rows cannot be adjusted again.",
        )
    for name in (*ADJUSTED, "adjusted_close"):
        if name in types and not types[name].type.startswith(_NUMBERS):
            raise InputError(
                f"the column {name} has the type {types[name].type}, which cannot be adjusted.",
                hint="Declare it as float64 in the table's schema and compact again.",
            )
    kept = [f for f in source.fields if f.name != PARTITION_COLUMN]
    columns = [Field(f.name, "float64") if f.name in ADJUSTED else f for f in kept]
    raw = [Field(f"raw_{name}", types[name].type, types[name].nullable) for name in ADJUSTED if name in types]
    return Schema((*columns, *raw, Field(FACTOR, "float64", nullable=False)), source.null_values, source.name)


def adjust(table: pa.Table) -> pa.Table:
    """The adjusted rows in the columns of ``adjusted_schema``; needs a column ``close``."""
    close = _floats(table, "close")
    if "adjusted_close" in table.column_names:
        target = _floats(table, "adjusted_close")
    else:
        target = pa.chunked_array([pa.nulls(table.num_rows, pa.float64())])
    factor = factors(close, target)
    changed = {"close": pc.if_else(_holds(pc.is_finite(target)), target, close)}
    for name in MULTIPLIED:
        if name in table.column_names:
            changed[name] = pc.multiply(_floats(table, name), factor)
    if "volume" in table.column_names:
        nowhere = pa.scalar(None, pa.float64())  # a volume at a price of 0 is not known
        divisor = pc.if_else(pc.equal(factor, 0.0), nowhere, factor)
        changed["volume"] = pc.divide(_floats(table, "volume"), divisor)
    fields, columns = [], []
    for field in table.schema:
        if field.name == PARTITION_COLUMN:
            continue
        new = changed.get(field.name)
        fields.append(field if new is None else pa.field(field.name, pa.float64()))
        columns.append(table.column(field.name) if new is None else new)
    for name in ADJUSTED:
        if name in table.column_names:
            field = table.schema.field(name)
            fields.append(pa.field(f"raw_{name}", field.type, field.nullable))
            columns.append(table.column(name))
    fields.append(pa.field(FACTOR, pa.float64(), nullable=False))
    columns.append(factor)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def factors(close: pa.ChunkedArray, adjusted_close: pa.ChunkedArray) -> pa.ChunkedArray:
    """The factor of each row, never null, NaN or infinite."""
    finite = pc.and_(pc.is_finite(close), pc.is_finite(adjusted_close))
    usable = pc.and_(_holds(finite), _holds(pc.not_equal(close, 0.0)))
    quotient = pc.divide(adjusted_close, close)
    usable = pc.and_(usable, _holds(pc.is_finite(quotient)))  # a huge quotient has no number
    return pc.if_else(usable, quotient, 1.0)


def _holds(condition: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(condition, False)


def _floats(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name).cast(pa.float64(), safe=False)
