"""The Parquet objects of a call: columns by name, taken over where that loses nothing, else row by row."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine import thrift
from engine.decoding.gather import Gather, Text
from engine.decoding.refusals import SHOWN_BYTES, column_refusal
from engine.decoding.rows import RowBuilder, output_schema
from engine.decoding.values import UNIT_DIGITS, NotFinite, Number, compact, quoted
from engine.errors import CorruptObject, LimitExceeded
from engine.limits import limit_hint
from engine.model import CompactionSpec, ExtraFields, Reject

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - what has no zone in the file has none in its text
_TEXTUAL = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


_HINT = "Fetch it again from its source, or move it away and plan again."


def decode_parquet(texts: Sequence[Text], gather: Gather, *, strict: bool = False) -> None:
    """Decode Parquet files into ``gather``; a row that does not fit is a reject with its JSON as raw text."""
    for text in texts:
        table = _read(text, gather.spec)
        if refused := column_refusal(table.column_names, gather.spec):
            raw = ", ".join(table.column_names).encode("utf-8", "replace")[:SHOWN_BYTES]
            gather.refuse_object(text.place, text.key, refused, raw, len(text.body))
            continue
        taken = None if strict else _taken_over(table, gather.spec)
        gather.records[text.place] += table.num_rows
        rows = np.zeros_like(gather.records)
        if taken is not None:
            rows[text.place] = table.num_rows
            known = set(gather.schema.names)
            gather.extra_fields.update(
                {n: table.num_rows - c.null_count for n, c in _columns(table) if n not in known}
            )
            gather.add_rows(taken, rows)
            continue
        builder = RowBuilder(gather.spec)
        try:
            records = _records(table)
        except UnicodeDecodeError as error:
            raise CorruptObject(f"{text.key} holds a text that is not UTF-8: {error}.", hint=_HINT) from error
        for position, record in enumerate(records):
            if reason := builder.add(record):
                raw = compact(record, non_finite=quoted).encode()
                weight = len(text.body) // table.num_rows  # the raw text is none of the file's bytes
                gather.add_reject(text.place, Reject(text.key, position, 0, reason, raw), weight)
        rows[text.place] = builder.rows
        gather.extra_fields.update(builder.extra_fields)
        gather.add_rows(builder.table(), rows)


def _read(text: Text, spec: CompactionSpec) -> pa.Table:
    try:
        with pq.ParquetFile(pa.BufferReader(text.body)) as file:
            meta = file.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if size > spec.limits.object_bytes or meta.num_columns > spec.limits.columns:
                raise LimitExceeded(
                    f"{text.key} holds {size} bytes in {meta.num_columns} columns, more than the limits.",
                    hint=limit_hint("object_bytes" if size > spec.limits.object_bytes else "columns"),
                )
            _check_counts(text, meta, spec)
            table = file.read(use_threads=False)
            names = table.column_names  # decoded here: a damaged name is no Unicode
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptObject(f"{text.key} cannot be read as Parquet: {error}.", hint=_HINT) from error
    if len(set(names)) < len(names):
        raise CorruptObject(f"{text.key} names a Parquet column more than once.", hint=_HINT)
    return table


def _check_counts(text: Text, meta: pq.FileMetaData, spec: CompactionSpec) -> None:
    """What a footer says of rows and values is memory to its reader, and need not be true.

    Read by our own hands: asking pyarrow for a damaged column chunk ends the process.
    """
    key, stop = text.key, len(text.body) - 8
    footer = bytes(text.body[stop - int.from_bytes(text.body[stop : stop + 4], "little") : stop])
    groups = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    try:
        root = thrift.scan(
            footer, {4: {1: {3: {}}}}
        )  # row groups, their column chunks, of these the metadata
        chunks = [c.fields[3].structs[0] for g in root.fields[4].structs for c in g.fields[1].structs]
        values = [thrift.int_of(footer, chunk.fields[5]) for chunk in chunks]
    except (thrift.ThriftError, KeyError, IndexError) as error:
        raise CorruptObject(
            f"{key} has a Parquet footer that cannot be read: {error!r}.", hint=_HINT
        ) from error
    counts = [meta.num_rows, *groups, *values]
    if min(counts) < 0 or sum(groups) != meta.num_rows:
        raise CorruptObject(f"{key} counts its rows in two ways that differ.", hint=_HINT)
    most = max(meta.num_rows, sum(values))
    if most > spec.limits.object_bytes:
        raise LimitExceeded(
            f"{key} says that it holds {most} values, more than it may have bytes.",
            hint=limit_hint("object_bytes"),
        )


def _columns(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    return list(zip(table.column_names, table.columns, strict=True))


# -- whole columns -----------------------------------------------------------------------------


def _taken_over(table: pa.Table, spec: CompactionSpec) -> pa.Table | None:
    """The table in the declared types, or None where a row may have to be looked at."""
    schema = output_schema(spec)
    unknown = set(table.column_names) - set(schema.names[: len(spec.schema.fields)])
    if unknown and spec.extra_fields is not ExtraFields.IGNORE:
        return None
    columns = []
    for declared, field in zip(spec.schema.fields, schema, strict=False):
        column: pa.ChunkedArray | None
        if field.name not in table.column_names:
            column = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        else:
            column = _lossless(table.column(field.name), field.type, declared.type)
        if column is None or (not field.nullable and column.null_count):
            return None
        columns.append(column)
    if spec.extra_fields is ExtraFields.RESCUE:
        columns.append(pa.chunked_array([pa.nulls(table.num_rows, pa.string())]))
    return pa.Table.from_arrays(columns, schema=schema)


def _lossless(column: pa.ChunkedArray, kind: pa.DataType, word: str) -> pa.ChunkedArray | None:
    """A column in another type where every value surely stays the same; None where that is not clear."""
    types = pa.types
    have = column.type
    if types.is_dictionary(have):
        column = column.cast(have.value_type)
        have = have.value_type
    if word == "json":
        return None
    try:
        if types.is_string(kind) and any(test(have) for test in _TEXTUAL):
            return _valid_text(column.cast(kind))
        if types.is_integer(kind) and types.is_integer(have):
            return column.cast(kind)
        if types.is_float64(kind) and types.is_integer(have):
            return column.cast(kind, safe=False)
        if types.is_timestamp(kind) and types.is_timestamp(have):
            return _in_years(column.cast(pa.timestamp(kind.unit, have.tz)).cast(kind))
    except pa.ArrowInvalid:
        return None
    plain = (
        types.is_boolean(kind) or types.is_float64(kind) or types.is_date32(kind) or types.is_decimal(kind)
    )
    return column if have == kind and plain else None


def _valid_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column.validate(full=True)
    return column


def _in_years(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A timestamp column if all of it lies in the years 1 to 9999."""
    counts = column.cast(pa.int64())
    second = 10 ** UNIT_DIGITS[column.type.unit]
    bounds = pc.min_max(counts).as_py()
    if bounds["min"] is None:
        return column
    inside = bounds["min"] >= -62_135_596_800 * second and bounds["max"] < 253_402_300_800 * second
    return column if inside else None


# -- row by row --------------------------------------------------------------------------------


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON records; their numbers are literal text, their times ISO text."""
    names = table.column_names
    columns = [[_token(v) for v in _values(c)] for c in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if names else []


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values of a column; what Python's types cannot hold becomes text in Arrow already."""
    if pa.types.is_timestamp(column.type):
        zone = "Z" if column.type.tz else ""
        digits = UNIT_DIGITS[column.type.unit]
        return [None if c is None else _iso(c, digits) + zone for c in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_date(column.type):
        days = column.cast(pa.date32()).cast(pa.int32()).to_pylist()
        return [None if d is None else _iso(d * 86_400, 0)[:10] for d in days]
    values: list[Any] = column.to_pylist()
    return values


def _iso(count: int, digits: int) -> str:
    seconds, fraction = divmod(count, 10**digits)
    try:
        moment = _EPOCH + dt.timedelta(seconds=seconds)
    except OverflowError:
        return f"{count}/{10**digits} seconds since 1970"
    return moment.isoformat() + (f".{fraction:0{digits}d}" if digits else "")


def _token(value: Any) -> Any:
    """A value as the JSON reader would have given it."""
    match value:
        case None | bool() | str():
            return value
        case int() | decimal.Decimal():
            return Number(value)
        case float() if math.isfinite(value):
            return Number(repr(value))
        case float():
            return NotFinite("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
        case dict():
            return {k: _token(v) for k, v in value.items()}
        case list():
            return [_token(v) for v in value]
        case bytes():
            return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
