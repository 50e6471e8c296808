"""The lane of pyarrow.csv: for the lines that the scan leaves, so most days do not import it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from briquette.accelerators import Accelerator, allowed
from briquette.decoding.fast.blocks import Doubt, Parsed
from briquette.decoding.fast.json_arrow import one_chunk
from briquette.decoding.rows.columns import Mask, convert_text
from briquette.decoding.rows.row_builder import output_schema, rescued_text
from briquette.decoding.rows.values import Convert, converter
from briquette.decoding.strict.csv_records import Header
from briquette.model import CompactionSpec, ExtraFields
from briquette.schemas.types import ColumnType, ListOf, Struct, parse_type


class CsvLane:
    """pyarrow.csv with every column read as text, which is then converted without loss."""

    def __init__(self, spec: CompactionSpec, header: Header, delimiter: bytes) -> None:
        self._spec = spec
        self._names = header.names
        self._delimiter = delimiter.decode()
        self._schema = output_schema(spec)
        column_types = [parse_type(f.type) for f in spec.schema.fields]
        digits = spec.limits.number_digits
        self._columns: list[tuple[str, ColumnType, Convert, bool]] = [
            (f.name, column_type, converter(column_type, digits, [], f.name, text_cells=True), f.nullable)
            for f, column_type in zip(spec.schema.fields, column_types, strict=True)
        ]
        known = {f.name for f in spec.schema.fields}
        self._unknown = [name for name in self._names if name not in known]
        # A nested cell may hold unknown fields of its own, which only the record reader counts.
        nested = any(isinstance(column_type, ListOf | Struct) for column_type in column_types)
        rejects = self._unknown and spec.extra_fields is ExtraFields.REJECT
        self._able = allowed(Accelerator.ARROW_LANES) and not (nested or rejects)

    @property
    def able(self) -> bool:
        return self._able

    def parse(self, text: pa.Buffer, longest: int, rows: int) -> Parsed:  # noqa: ARG002 - the lanes' one form
        """The lines as one table; raises Doubt."""
        places = [str(i) for i in range(len(self._names))]
        nulls = list(self._spec.schema.null_values)
        try:
            table = pacsv.read_csv(
                pa.BufferReader(text),
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=text.size + 1, column_names=places
                ),
                parse_options=pacsv.ParseOptions(delimiter=self._delimiter),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.string()),
                    null_values=nulls,
                    strings_can_be_null=bool(nulls),
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            raise Doubt from None
        if table.num_rows != rows:
            raise Doubt
        return self._finish(dict(zip(self._names, table.columns, strict=True)), rows)

    def _finish(self, read: dict[str, pa.ChunkedArray], rows: int) -> Parsed:
        unfit: Mask | None = None
        arrays = []
        digits = self._spec.limits.number_digits
        for (name, column_type, convert, nullable), field in zip(self._columns, self._schema, strict=False):
            cells = one_chunk(read[name]) if name in read else pa.nulls(rows, pa.string())
            done = convert_text(cells, column_type, field.type, convert, digits)
            refused = done.unfit
            if not nullable and done.column.null_count:
                nulls = np.asarray(done.column.is_null())
                refused = nulls if refused is None else refused | nulls
            if refused is not None:
                unfit = refused if unfit is None else unfit | refused
            arrays.append(done.column)
        extra = tuple((name, one_chunk(read[name])) for name in self._unknown)
        if self._spec.extra_fields is ExtraFields.RESCUE:
            arrays.append(_rescued(extra, rows))
        return Parsed(pa.Table.from_arrays(arrays, schema=self._schema), unfit, extra)


def _rescued(extra: tuple[tuple[str, pa.Array], ...], rows: int) -> pa.Array:
    if not extra:
        return pa.nulls(rows, pa.string())
    names = [name for name, _ in extra]
    cells = zip(*(a.to_pylist() for _, a in extra), strict=True)
    return pa.array([rescued_text(list(zip(names, row, strict=True))) for row in cells], pa.string())
