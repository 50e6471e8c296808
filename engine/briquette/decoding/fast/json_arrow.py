"""The fast lanes for lines of JSON: many lines at once, or a doubt that sends them to the record reader.

``decode_lines`` is the seam: it is given lines that start with "{" and end with "}" between sure seams of
records, and cuts them into runs, each a table of exactly one row per line or a run for the record reader.
pyarrow.json parses with the declared types and fails where a record deviates; where it is more lenient than
the record reader (NaN with a sign, Inf, numbers that overflow, decimals in strings) the checks below send the
lines back.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from briquette.accelerators import Accelerator, allowed
from briquette.decoding.fast.blocks import Doubt, Parsed, Run, decode_blocks
from briquette.decoding.fast.scanned import ScanLane, within_limits
from briquette.decoding.rows.columns import Converted, Mask, convert_text, narrowed
from briquette.decoding.rows.row_builder import output_schema
from briquette.decoding.rows.values import Convert, Extras, Number, converter
from briquette.decoding.strict.json_records import JsonReader
from briquette.decoding.text.lines import Lines
from briquette.model import CompactionSpec, ExtraFields
from briquette.schemas.types import INTEGERS, ColumnType, Decimal, ListOf, Plain, Struct, parse_type

_ROW = re.compile(r"in row ([0-9]+)")
_SIGNED_NAN = re.compile(rb"[:,\[\s]-NaN")
_LENIENT = re.compile(rb"[:,\[\s](?:-?Inf(?!inity)|-NaN)")
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]|\\/")
# As decimals pyarrow takes strings too, by a looser grammar, and rescales without a look at what is lost:
# fewer than 18 digits and small exponents (none for a declared decimal) keep within its 38.
_UNSURE_INTEGER = rb'"|-?[0-9.]{18}|-?[0-9.]+[eE][+-]?(?:[1-9][0-9]|[0-9]{3})'
_UNSURE_DECIMAL = rb'"|-?[0-9.]{18}|-?[0-9.]+[eE]'
_MOST_SCALE = 18
# A double tells an integer only from few digits, and a zero only without an exponent.
_UNSURE_DOUBLE = rb"-?(?:[0-9.]{16}|[0-9.]+[eE]-)"
_BAD_INTEGER = re.compile(
    r"Failed to convert JSON to (?:u?int|decimal128\(38, 12\))|is not a valid decimal128 number"
)
_WIDE_INTEGER = pa.decimal128(38, 12)  # 26 digits before the point, more than 64 bits need
_ASCII = 127
_INFERRED_DEPTH = 64


def decode_lines(lines: Lines, start: int, stop: int, lane: ArrowLane, scan: ScanLane) -> Iterator[Run]:
    """Runs that cover the lines ``[start, stop)`` in order."""
    found = scan.decode(lines, start, stop, lane)
    return decode_blocks(lines, start, stop, lane) if found is None else found


# -- pyarrow.json ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    declared: ColumnType
    kind: pa.DataType
    nullable: bool
    convert: Convert


class ArrowLane:
    """The lane of pyarrow.json, with the schema's types and what earlier lines of the call taught."""

    def __init__(self, spec: CompactionSpec) -> None:
        self._spec = spec
        self._schema = output_schema(spec)
        digits = spec.limits.number_digits
        self._long_number = re.compile(rb"[0-9.eE+-]{%d}" % (digits + 1))
        extras: Extras = []
        self._columns = []
        for f in spec.schema.fields:
            column_type = parse_type(f.type)
            convert = converter(column_type, digits, extras, f.name)
            self._columns.append(
                _Column(f.name, column_type, self._schema.field(f.name).type, f.nullable, convert)
            )
        readable = all(_readable(c.declared) for c in self._columns)
        self.able = allowed(Accelerator.ARROW_LANES) and within_limits(spec) and readable
        self._types: list[pa.DataType] = []
        self._infer = False
        self._integers: pa.DataType | None = None  # how integers are read once they are not plainly written

    def parse(self, text: pa.Buffer, longest: int, rows: int) -> Parsed:
        """The lines as one table; raises Doubt."""
        if not self._types:
            self._types = self._learn(text)
        try:
            return self._parse(text, longest, rows)
        except Doubt:
            learned = self._learn(text)
            if learned == self._types:
                raise
            self._types = learned
        return self._parse(text, longest, rows)

    def _learn(self, text: pa.Buffer) -> list[pa.DataType]:
        """The types to read, after the values of the first line: a number may be written as 3, 3.0 or "3"."""
        line = memoryview(text)[: self._spec.limits.record_bytes].tobytes().partition(b"\n")[0]
        first = next(JsonReader(self._spec.limits, sequence=True).read(line)).value or {}
        before = self._types or [None] * len(self._columns)
        return [
            _read_type(c, first.get(c.name), t, self._integers)
            for c, t in zip(self._columns, before, strict=True)
        ]

    def _parse(self, text: pa.Buffer, longest: int, rows: int) -> Parsed:
        self._check_bytes(text, longest)
        schema = pa.schema([pa.field(c.name, t) for c, t in zip(self._columns, self._types, strict=True)])
        try:
            table = pj.read_json(
                pa.BufferReader(text),
                read_options=pj.ReadOptions(use_threads=False, block_size=text.size + 1),
                parse_options=pj.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="infer" if self._infer else "error"
                ),
            )
        except pa.ArrowInvalid as error:
            if self._adapt(str(error)):
                return self._parse(text, longest, rows)
            row = _ROW.search(str(error))
            raise Doubt(int(row[1]) if row else None) from None
        if table.num_rows != rows:
            raise Doubt  # two records on one line
        return self._finish(table.combine_chunks(), text)

    def _adapt(self, message: str) -> bool:
        """Whether another way to read is worth a try: unknown fields, or integers in other forms."""
        if "unexpected field" in message:
            before, self._infer = self._infer, self._spec.extra_fields is ExtraFields.IGNORE
            return self._infer != before
        if not _BAD_INTEGER.search(message):
            return False
        before_types = self._types
        while self._types == before_types and self._integers != pa.float64():
            self._integers = _WIDE_INTEGER if self._integers is None else pa.float64()
            self._types = [
                self._integers if pa.types.is_integer(c.kind) and not pa.types.is_string(t) else t
                for c, t in zip(self._columns, self._types, strict=True)
            ]
        return self._types != before_types

    def _check_bytes(self, text: pa.Buffer, longest: int) -> None:
        """What pyarrow ignores: UTF-8, overlong numbers and, where it infers, depth that crashes it."""
        data = np.frombuffer(text, np.uint8)
        if data.max() > _ASCII and not is_utf8(text):
            raise Doubt
        limits = self._spec.limits
        if longest > limits.number_digits and self._long_number.search(text):
            raise Doubt
        if self._infer:
            opened = np.flatnonzero((data == ord("{")) | (data == ord("[")))
            ends = np.flatnonzero(data == ord("\n"))
            per_line = np.diff(np.searchsorted(opened, ends), prepend=0, append=len(opened))
            if per_line.max() > min(limits.depth, _INFERRED_DEPTH):
                raise Doubt

    def _finish(self, table: pa.Table, text: pa.Buffer) -> Parsed:
        unfit: Mask | None = None
        arrays = []
        for i, column in enumerate(self._columns):
            done = self._column(column, one_chunk(table.column(i)), text)
            arrays.append(done.column)
            refused = done.unfit
            if not column.nullable and done.column.null_count:
                nulls = np.asarray(done.column.is_null())
                refused = nulls if refused is None else refused | nulls
            if refused is not None and refused.any():
                unfit = refused if unfit is None else unfit | refused
        extra = self._extra_columns(table, text)
        if extra and all(array.null_count for array in arrays):
            # Rows without a declared value: whether they have a declared field, the record reader sees.
            empty = np.logical_and.reduce([np.asarray(array.is_null()) for array in arrays])
            if empty.any():
                unfit = empty if unfit is None else unfit | empty
        if self._spec.extra_fields is ExtraFields.RESCUE:
            arrays.append(pa.nulls(table.num_rows, pa.string()))
        return Parsed(pa.Table.from_arrays(arrays, schema=self._schema), unfit, extra)

    def _extra_columns(self, table: pa.Table, text: pa.Buffer) -> tuple[tuple[str, pa.Array], ...]:
        names = table.column_names[len(self._columns) :]
        extra = [(name, one_chunk(table.column(name))) for name in names]
        if max([table.num_columns, *(_widest(a.type) for _, a in extra)]) > self._spec.limits.columns:
            raise Doubt  # perhaps in one record
        lenient = [a for _, a in extra if pa.types.is_nested(a.type) or pa.types.is_floating(a.type)]
        if any(pa.types.is_nested(a.type) or _has_non_finite(a) for a in lenient) and _LENIENT.search(text):
            raise Doubt
        return tuple(extra)

    def _column(self, column: _Column, array: pa.Array, text: pa.Buffer) -> Converted:
        """A column as pyarrow read it, as its declared type."""
        column_type, read = column.declared, array.type
        if isinstance(column_type, ListOf | Struct):
            return Converted(self._nested(column_type, column.kind, array, text))
        if pa.types.is_string(read):
            digits = self._spec.limits.number_digits
            return convert_text(array, column_type, column.kind, column.convert, digits)
        if pa.types.is_decimal(read):
            if pa.types.is_integer(column.kind):
                self._doubt_values(column.name, _UNSURE_INTEGER, text)
                return _whole(array, column.kind)
            self._doubt_values(column.name, _UNSURE_DECIMAL, text)
            try:
                return Converted(array.cast(column.kind))
            except pa.ArrowInvalid:
                raise Doubt from None
        if pa.types.is_floating(read) and pa.types.is_integer(column.kind):
            self._doubt_values(column.name, _UNSURE_DOUBLE, text)
            return _whole(array, column.kind)
        if pa.types.is_floating(read):
            unfit = None
            if _has_non_finite(array):
                if _SIGNED_NAN.search(text):
                    raise Doubt
                # Infinity is rare; whether it was written so or overflowed is the record reader's to see.
                unfit = np.asarray(pc.is_inf(array).fill_null(False))
            done = Converted(array, unfit if unfit is not None and unfit.any() else None)
            return done if column.kind == read else narrowed(done)
        return Converted(array)

    def _doubt_values(self, name: str, value: bytes, text: pa.Buffer) -> None:
        """Raise Doubt where a member ``name`` may have a value that begins like the pattern ``value``."""
        plain = name.isascii() and name.isprintable() and '"' not in name and "\\" not in name
        pattern = rb'"' + re.escape(name.encode()) + rb'"[ \t\r]*:[ \t\r]*(?:' + value + rb")"
        if not plain or re.search(pattern, text) or _ESCAPED_ASCII.search(text):
            raise Doubt

    def _nested(
        self, column_type: ColumnType, kind: pa.DataType, array: pa.Array, text: pa.Buffer
    ) -> pa.Array:
        if array.type == kind and not _holds_floats(kind):
            return array
        if isinstance(column_type, ListOf):
            if not pa.types.is_list(array.type):
                raise Doubt
            inner = self._nested(column_type.element, kind.value_type, array.values, text)
            validity = array.buffers()[0]
            return pa.Array.from_buffers(
                kind, len(array), [validity, array.buffers()[1]], offset=array.offset, children=[inner]
            )
        if isinstance(column_type, Struct):
            if not pa.types.is_struct(array.type) or array.type.num_fields != len(column_type.fields):
                raise Doubt
            children = [
                self._nested(child, kind.field(i).type, array.field(i), text)
                for i, (_, child) in enumerate(column_type.fields)
            ]
            return pa.Array.from_buffers(
                kind, len(array), [array.buffers()[0]], offset=array.offset, children=children
            )
        leaf = _Column(
            "", column_type, kind, True, converter(column_type, self._spec.limits.number_digits, [])
        )
        done = self._column(leaf, array, text)
        if done.unfit is not None and done.unfit.any():
            raise Doubt
        return done.column


def _readable(column_type: ColumnType, *, nested: bool = False) -> bool:
    """Whether pyarrow.json can read a type: it keeps no JSON text; decimals in lists cannot be checked."""
    match column_type:
        case ListOf(element):
            return _readable(element, nested=True)
        case Struct(fields):
            return all(_readable(kind, nested=True) for _, kind in fields)
        case Decimal(_, scale):
            return not nested and scale <= _MOST_SCALE
    return column_type != Plain("json")


def _read_type(
    column: _Column, value: object, before: pa.DataType | None, integers: pa.DataType | None
) -> pa.DataType:
    column_type = column.declared
    if isinstance(column_type, ListOf | Struct):
        return _nested_read_type(column_type)
    text = pa.string()
    match column_type:
        case Plain("bool"):
            direct = pa.bool_()
        case Plain("float64" | "float32"):
            direct = pa.float64()
        case Plain(name) if name in INTEGERS:
            # Once one writer wrote 3.0, all forms are read: as decimals, which keep all 64 bits exact.
            direct = integers or column.kind
            if integers is None and type(value) is Number and any(c in value for c in ".eE"):
                direct = _WIDE_INTEGER
        case Decimal(_, scale):
            direct = pa.decimal128(38, scale)
        case _:
            return text
    if value is None:
        return before or direct
    return text if type(value) is str else direct


def _nested_read_type(column_type: ColumnType) -> pa.DataType:
    match column_type:
        case ListOf(element):
            return pa.list_(pa.field("element", _nested_read_type(element)))
        case Struct(fields):
            return pa.struct([pa.field(name, _nested_read_type(kind)) for name, kind in fields])
        case Plain("float64" | "float32"):
            return pa.float64()
        case Plain(name) if name in INTEGERS or name == "bool":
            return pa.bool_() if name == "bool" else getattr(pa, name)()
    return pa.string()


def _widest(kind: pa.DataType) -> int:
    """How many fields the largest struct in a type has."""
    inner = [kind.field(i).type for i in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    own = len(inner) if pa.types.is_struct(kind) else 0
    return max([own, *map(_widest, inner)])


def _holds_floats(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_floats(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def _has_non_finite(array: pa.Array) -> bool:
    if not pa.types.is_floating(array.type):
        return False
    return not bool(np.isfinite(array.fill_null(0.0).to_numpy(zero_copy_only=False)).all())


def is_utf8(text: pa.Buffer) -> bool:
    """Whether all of a buffer is UTF-8; checked by Arrow, without holding the interpreter."""
    offsets = pa.py_buffer(np.array([0, text.size], np.int64))
    try:
        pa.LargeStringArray.from_buffers(1, offsets, text).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _whole(numbers: pa.Array, kind: pa.DataType) -> Converted:
    """Decimals or doubles as integers; rows that are no exact integers in range are unfit."""
    if pa.types.is_decimal(numbers.type):
        rounded = pc.round(numbers)
        info = np.iinfo(kind.to_pandas_dtype())
        low, high = (pa.scalar(decimal.Decimal(int(x)), numbers.type) for x in (info.min, info.max))
        fits = pc.and_(
            pc.equal(rounded, numbers), pc.and_(pc.less_equal(low, numbers), pc.less_equal(numbers, high))
        )
        unfit = np.asarray(pc.invert(fits).fill_null(False))
        kept = numbers if not unfit.any() else pc.if_else(fits, numbers, pa.scalar(None, numbers.type))
        return Converted(kept.cast(kind), unfit if unfit.any() else None)
    info = np.iinfo(kind.to_pandas_dtype())
    values = numbers.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        exact = (np.abs(values) < 2.0**53) & (values == np.trunc(values))
    exact &= (values >= info.min) & (values <= info.max)
    nulls = np.asarray(numbers.is_null())
    whole = np.where(exact, values, 0.0).astype(np.int64)
    column = pa.array(whole, mask=nulls | ~exact).cast(kind)
    unfit = ~exact & ~nulls
    return Converted(column, unfit if unfit.any() else None)
