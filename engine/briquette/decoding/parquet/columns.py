"""One column's values of a Parquet object, where inference has to settle its type."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from briquette.errors import CorruptObject, LimitExceeded
from briquette.model import Limits

_HINT = "Fetch it again from its source, or move it away and plan again."


def column_of(key: str, body: bytes, name: str, limits: Limits) -> Iterator[pa.Array]:
    """A column's values; INT96 times twice: to the microsecond, which reaches all, and to the nanosecond."""
    with _opened(key, body, limits, coerce_int96_timestamp_unit="us") as file:
        column = _read(key, file, name)
    yield column
    if "timestamp[us" in str(column.type):
        with _opened(key, body, limits) as file:
            if file.schema_arrow.field(name).type != column.type:
                fine = _read(key, file, name)
                yield fine.filter(_near(column)) if pa.types.is_timestamp(column.type) else fine


def _near(column: pa.Array) -> pa.Array:
    """Which times, counted in microseconds, nanoseconds reach."""
    return pc.less(pc.abs_checked(column.cast(pa.int64())), (1 << 63) // 1_000)


def _opened(key: str, body: bytes, limits: Limits, coerce_int96_timestamp_unit: str = "") -> pq.ParquetFile:
    options = {"coerce_int96_timestamp_unit": coerce_int96_timestamp_unit or None}
    try:
        file = pq.ParquetFile(pa.BufferReader(body), **options)
        doubled = _doubled(list(file.schema_arrow))  # names are decoded here: a damaged one is no Unicode
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptObject(f"{key} is not readable as Parquet: {error}.", hint=_HINT) from error
    if file.metadata.num_columns > limits.columns:
        raise LimitExceeded(
            f"{key} has {file.metadata.num_columns} columns, more than {limits.columns}.",
            hint="Raise limits.columns if that is right; otherwise move the object away.",
        )
    if doubled is not None:
        raise CorruptObject(f"{key} names the Parquet column {doubled} more than once.", hint=_HINT)
    return file


def _doubled(fields: list[pa.Field], path: str = "") -> str | None:
    """The first name that stands twice among fields, or among those of a field, as a dotted path."""
    names: set[str] = set()
    for field in fields:
        if field.name in names:
            return f"{path}{field.name}"
        names.add(field.name)
        inner = [field.type.field(i) for i in range(field.type.num_fields)]
        if (found := _doubled(inner, f"{path}{field.name}.")) is not None:
            return found
    return None


def _read(key: str, file: pq.ParquetFile, name: str) -> pa.Array:
    try:
        return file.read(columns=[name], use_threads=False).column(name).combine_chunks()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise CorruptObject(
            f"{key} is not readable as Parquet, column {name!r}: {error}.", hint=_HINT
        ) from error
