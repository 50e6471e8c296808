"""Rows as lines of canonical JSON text, the form of ``expected.jsonl``; README.md has the forms."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def canonical_rows(table: pa.Table) -> list[str]:
    """One line for each row, columns in file order."""
    columns = [[_value(cell) for cell in column] for column in table.columns]
    return [_line(dict(zip(table.column_names, row, strict=True))) for row in zip(*columns, strict=True)]


def canonical_lines(text: str) -> list[str]:
    """A hand-written ``expected.jsonl`` in the same spelling; only spaces and escapes do not matter."""
    return [_line(json.loads(line)) for line in text.split("\n") if line]


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _value(cell: pa.Scalar) -> Any:
    kind = cell.type
    if not cell.is_valid:
        return None
    if pa.types.is_dictionary(kind):
        return _value(cell.dictionary[cell.index.as_py()])
    if pa.types.is_struct(kind):
        return {field.name: _value(cell[field.name]) for field in kind}
    if pa.types.is_list(kind):
        return [_value(item) for item in cell.values]
    if pa.types.is_timestamp(kind):
        return _instant(cell.value, kind.unit) + ("Z" if kind.tz else "")
    if pa.types.is_float32(kind):  # the shortest text that reads back to the same float32
        return _float(float(str(cell.cast(pa.string()))))
    if pa.types.is_floating(kind):
        return _float(cell.as_py())
    if pa.types.is_decimal(kind):
        return format(cell.as_py(), "f")
    if pa.types.is_date(kind):
        return str(cell.as_py())
    if pa.types.is_binary(kind):
        return base64.b64encode(cell.as_py()).decode()
    return cell.as_py()


def _float(number: float) -> float | str:
    if math.isnan(number):
        return "NaN"
    return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")


def _instant(count: int, unit: str) -> str:
    seconds, fraction = divmod(count, _PER_SECOND[unit])
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    digits = f"{fraction:0{len(str(_PER_SECOND[unit])) - 1}d}".rstrip("0") if fraction else ""
    return f"{instant:%Y}".zfill(4) + f"{instant:-%m-%dT%H:%M:%S}" + ("." + digits if digits else "")
