"""The rows of Parquet objects: columns by name, taken over where that loses nothing, else row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from briquette.accelerators import Accelerator, allowed
from briquette.decoding.parquet.file import Meter, ParquetObject, Slice, Source, enough_memory
from briquette.decoding.parquet.scalars import BYTES, TEXTS, first_of, unwrapped
from briquette.decoding.parquet.values import Form, Tokens, holds_doubled
from briquette.decoding.rows.refusals import SHOWN_BYTES, column_refusal
from briquette.decoding.rows.result import Decoded, Gather
from briquette.decoding.rows.row_builder import RowBuilder, output_schema
from briquette.decoding.rows.values import UNIT_DIGITS, compact, quoted
from briquette.model import CompactionSpec, ExtraFields, Reject

types = pa.types

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
_KEPT = 4  # rows for each text of a dictionary that is kept as it came: larger ones are slow to join
_CELLS = 1 << 18  # of a slice that are Python objects at a time
_FIRST_SECOND, _END_SECOND = -62_135_596_800, 253_402_300_800  # of the years 1 to 9999
_DAY = 86_400


def parquet_blocks(key: str, source: Source, spec: CompactionSpec, block_bytes: int) -> Iterator[Decoded]:
    """One file in blocks of about so many bytes of values; positions are those in the file."""
    gather, meter = Gather(spec, 1), Meter(block_bytes)
    gather.decoded_bytes = source.size
    file = ParquetObject(key, source, spec.limits)
    for piece in () if is_refused(file, 0, gather) else file.slices(meter):
        if piece.begins_block:
            yield gather.finish()
            gather = Gather(spec, 1)
        add_slice(file, piece, 0, gather)
    yield gather.finish()


def is_refused(file: ParquetObject, place: int, gather: Gather) -> bool:
    """Whether none of a file's columns is declared: then it is one reject, and that is told to ``gather``."""
    refused = column_refusal(file.names, gather.spec)
    if refused:
        raw = ", ".join(file.names).encode("utf-8", "replace")[:SHOWN_BYTES]
        gather.refuse_object(place, file.key, refused, raw, file.size_bytes)
    return bool(refused)


def add_slice(file: ParquetObject, piece: Slice, place: int, gather: Gather, *, strict: bool = False) -> None:
    """Decode a slice of the object at ``place``; the raw text of a reject is its row as JSON."""
    with enough_memory(file.key):
        rows = np.zeros_like(gather.records)
        gather.records[place] += piece.rows.num_rows
        by_value = strict or not allowed(Accelerator.ARROW_LANES)
        taken = None if by_value else _taken_over(piece, file.forms, gather.spec)
        if taken is not None:
            rows[place] = taken.num_rows
            known = set(gather.schema.names)
            columns = zip(file.names, piece.rows.columns, strict=True)
            gather.extra_fields.update(
                {n: taken.num_rows - c.null_count for n, c in columns if n not in known}
            )
            gather.add_rows(taken, rows)
            return
        step = max(_CELLS // max(len(file.names), 1), 1)
        for at in range(0, piece.rows.num_rows, step):
            part = Slice(
                piece.rows.slice(at, step),
                {n: t.slice(at, step) for n, t in piece.twins.items()},
                piece.first + at,
                begins_block=False,
            )
            _row_by_row(file, part, place, gather)


# -- whole columns -----------------------------------------------------------------------------


def _taken_over(piece: Slice, forms: dict[str, Form], spec: CompactionSpec) -> pa.Table | None:
    """The rows in the declared types, or None where one of them may have to be looked at."""
    schema = output_schema(spec)
    count = piece.rows.num_rows
    names = piece.rows.schema.names
    unknown = set(names) - {f.name for f in spec.schema.fields}
    if unknown and spec.extra_fields is not ExtraFields.IGNORE:
        return None
    columns = []
    for declared, field in zip(spec.schema.fields, schema, strict=False):
        column: pa.Array | None
        if field.name not in names:
            column = pa.nulls(count, field.type)
        else:
            column = piece.rows.column(field.name)
            if field.name in piece.twins and types.is_timestamp(column.type):
                column = unwrapped(column, piece.twins[field.name])
            if column is not None:
                column = _lossless(column, field.type, declared.type, forms[field.name].mark)
        if column is None or (not field.nullable and column.null_count):
            return None
        columns.append(column)
    if spec.extra_fields is ExtraFields.RESCUE:
        columns.append(pa.nulls(count, pa.string()))
    fields = [f.with_type(c.type) for f, c in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _lossless(column: pa.Array, kind: pa.DataType, column_type: str, mark: str) -> pa.Array | None:
    """A column in another type where every value surely stays the same; None where that is not clear."""
    have = column.type
    if types.is_dictionary(have):
        small = _KEPT * len(column.dictionary) <= len(column)
        if small and have == _DICTIONARY and types.is_string(kind) and column_type != "json":
            column.dictionary.validate(full=True)
            return column
        column = column.dictionary_decode()
        have = column.type
    if column_type == "json" or isinstance(have, pa.BaseExtensionType):
        return None
    try:
        return _converted(column, kind, mark)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _converted(column: pa.Array, kind: pa.DataType, mark: str) -> pa.Array | None:
    have = column.type
    if types.is_string(kind) and first_of(have, TEXTS):
        column = column.cast(kind)
        column.validate(full=True)
        return column
    if types.is_string(kind) and first_of(have, BYTES) and not mark:
        return column.cast(pa.large_binary()).cast(pa.large_string()).cast(kind)
    if types.is_binary(kind) and first_of(have, BYTES):
        return column.cast(kind)
    if types.is_integer(have) and types.is_integer(kind):
        return column.cast(kind)
    if types.is_integer(have) and types.is_float64(kind):
        return column.cast(kind, safe=False)
    if types.is_floating(have) and types.is_floating(kind) and have.bit_width <= kind.bit_width:
        return column.cast(kind)
    if types.is_timestamp(have) and types.is_timestamp(kind):
        return _in_years(column.cast(pa.timestamp(kind.unit, have.tz)).cast(kind))
    if types.is_date32(have) and types.is_date32(kind):
        return _within(column, column.cast(pa.int32()), _FIRST_SECOND // _DAY, _END_SECOND // _DAY)
    if types.is_decimal(have) and have == kind:
        column.validate(full=True)
        return column
    return column if types.is_boolean(have) and types.is_boolean(kind) else None


def _in_years(column: pa.Array) -> pa.Array | None:
    """A timestamp column if all of it lies in the years 1 to 9999, and above the least number of 64 bits."""
    second = 10 ** UNIT_DIGITS[column.type.unit]
    return _within(
        column, column.cast(pa.int64()), max(_FIRST_SECOND * second, 1 - 2**63), _END_SECOND * second
    )


def _within(column: pa.Array, counts: pa.Array, first: int, end: int) -> pa.Array | None:
    bounds = pc.min_max(counts).as_py()
    if bounds["min"] is None:
        return column
    return column if bounds["min"] >= first and bounds["max"] < end else None


# -- row by row --------------------------------------------------------------------------------


def _row_by_row(file: ParquetObject, piece: Slice, place: int, gather: Gather) -> None:
    builder = RowBuilder(gather.spec)
    tokens = Tokens()
    left_out = gather.spec.extra_fields is ExtraFields.IGNORE
    read = [n for n in file.names if n in gather.column_types or not left_out]
    for position, record in enumerate(_records(file, piece, gather, tokens)):
        if tokens.doubled and any(holds_doubled(record[n]) for n in read):
            gather.duplicate_json_keys += 1
        if reason := builder.add(record):
            raw = compact(record, non_finite=quoted).encode()
            weight = file.size_bytes // file.rows  # the raw text is none of the file's bytes
            gather.add_reject(place, Reject(file.key, piece.first + position, 0, reason, raw), weight)
    rows = np.zeros_like(gather.records)
    rows[place] = builder.rows
    gather.extra_fields.update(builder.extra_fields)
    gather.add_rows(builder.table(), rows)


def _records(file: ParquetObject, piece: Slice, gather: Gather, tokens: Tokens) -> Iterator[dict[str, Any]]:
    """Rows as JSON records; their numbers are literal text, their times ISO text."""
    if not file.names:
        return ({} for _ in range(piece.rows.num_rows))
    columns = [
        tokens.of(column, file.forms[name], gather.column_types.get(name), piece.twins.get(name))
        for name, column in zip(file.names, piece.rows.columns, strict=True)
    ]
    return (dict(zip(file.names, row, strict=True)) for row in zip(*columns, strict=True))
