"""Records to rows: one list per column, filled only by records that fit, and what was counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from briquette.decoding.rows.refusals import record_refusal, refuses_strangers
from briquette.decoding.rows.values import Extras, Unfit, Unsayable, compact, converter, quoted
from briquette.model import CompactionSpec, ExtraFields
from briquette.schemas.declared import arrow_schema
from briquette.schemas.types import parse_type


def output_schema(spec: CompactionSpec) -> pa.Schema:
    """The columns that every decoder gives: those declared, and ``_rescued`` last where asked for."""
    return arrow_schema(spec.schema, rescued=spec.extra_fields is ExtraFields.RESCUE)


def rescued_text(extras: Extras) -> str | None:
    """Unknown fields as one JSON object; a token that JSON lacks, such as NaN, becomes a string."""
    return compact(dict(extras), non_finite=quoted) if extras else None


def unknown_reason(name: str) -> str:
    """Why a record with an unknown field is refused."""
    return f"unknown field {name}"


def null_reason(name: str) -> str:
    """Why a record without a value that must be there is refused."""
    return f"field {name} is null but declared not null"


class RowBuilder:
    """Takes records one by one, keeps those that fit their columns, and says of the others why not."""

    def __init__(self, spec: CompactionSpec, *, text_cells: bool = False) -> None:
        self.rows = 0
        self.extra_fields: Counter[str] = Counter()
        self._policy = spec.extra_fields
        self._schema = output_schema(spec)
        self._nested_extras: Extras = []
        digits = spec.limits.number_digits
        self._fields = [
            (
                f.name,
                converter(parse_type(f.type), digits, self._nested_extras, f.name, text_cells=text_cells),
                f.nullable,
            )
            for f in spec.schema.fields
        ]
        self._declared = tuple(f.name for f in spec.schema.fields)
        self._known = frozenset(self._declared)
        self._refuses = refuses_strangers(spec) and spec.extra_fields is not ExtraFields.REJECT
        self._columns: list[list[object]] = [[] for _ in self._schema]

    def add(self, record: Mapping[str, Any]) -> str:
        """Keep a record as a row and answer "", or answer why it does not fit."""
        if record and self._refuses and self._known.isdisjoint(record):
            return record_refusal(record, self._declared)
        row: list[object] = []
        matched = 0
        self._nested_extras.clear()
        for name, convert, nullable in self._fields:
            value = record.get(name)
            if value is None:
                if not nullable:
                    return null_reason(name)
                matched += name in record
                row.append(None)
                continue
            matched += 1
            try:
                row.append(convert(value))
            except Unfit as unfit:
                return f"field {name}: {value.why if isinstance(value, Unsayable) else unfit}"
            if row[-1] is None and not nullable:
                return null_reason(name)  # a cell that holds the JSON text null
        if matched != len(record) or self._nested_extras:
            extras = [(name, value) for name, value in record.items() if name not in self._known]
            extras += _joined(self._nested_extras)
            if self._policy is ExtraFields.REJECT:
                return unknown_reason(extras[0][0])
            self.extra_fields.update(name for name, value in extras if value is not None)
        else:
            extras = []
        if self._policy is ExtraFields.RESCUE:
            row.append(rescued_text(extras))
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self.rows += 1
        return ""

    def table(self) -> pa.Table:
        """All rows kept, in order."""
        arrays = [pa.array(c, type=f.type) for c, f in zip(self._columns, self._schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self._schema)


def _joined(extras: Extras) -> Extras:
    """One entry per path: a path inside a list gathers the values of all elements."""
    joined: dict[str, Any] = {}
    for path, value in extras:
        if "[]" not in path:
            joined[path] = value
        elif value is not None:
            joined[path] = [*(joined.get(path) or []), value]
        else:
            joined.setdefault(path, None)
    return list(joined.items())
