"""Data quality of a day of prices: counts over the rows, then one verdict. docs/transform.md has the rules.

Counting is per split and merges, so that the verdict does not depend on how the rows were cut.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from briquette.errors import InputError

NON_NEGATIVE = ("price", "close", "adjusted_close")
EXACT = ("price", "amount", "value")  # money that should be a decimal
EXPECTED_MIN_RECORDS = 100
MAX_CRITICAL_ERROR_RATE = 5.0

_TALLY = b"tally"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a day must keep to; ``max_critical_error_rate`` is in per cent of the records."""

    expected_min_records: int = EXPECTED_MIN_RECORDS
    max_critical_error_rate: float = MAX_CRITICAL_ERROR_RATE


@dataclass(frozen=True, slots=True)
class Findings:
    """What was counted in some rows. ``keys`` has the columns key and count: each key's number of rows."""

    records: int
    null_symbols: int
    negatives: tuple[tuple[str, int], ...]  # (column, rows below zero), only those that occur
    not_decimal: tuple[str, ...]
    keys: pa.Table


@dataclass(frozen=True, slots=True)
class Quality:
    """The numbers of a day and its verdict."""

    records: int
    null_symbols: int
    negatives: tuple[tuple[str, int], ...]
    duplicate_keys: int  # keys that more than one row has
    too_few_records: bool
    not_decimal: tuple[str, ...]
    thresholds: Thresholds

    @property
    def critical(self) -> int:
        """Critical errors; a row with two of them counts twice."""
        return self.null_symbols + sum(count for _, count in self.negatives)

    @property
    def critical_error_rate(self) -> float:
        """Critical errors in per cent of the records."""
        return self.critical / self.records * 100 if self.records else 0.0

    @property
    def warnings(self) -> int:
        """Duplicate keys, one for too few records, and one for each column of money that is no decimal."""
        return self.duplicate_keys + int(self.too_few_records) + len(self.not_decimal)

    @property
    def passed(self) -> bool:
        """Whether the rate is at most what the thresholds allow."""
        return self.critical_error_rate <= self.thresholds.max_critical_error_rate

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {
            "passed": self.passed,
            "records": self.records,
            "critical": self.critical,
            "critical_error_rate": self.critical_error_rate,
            "null_symbols": self.null_symbols,
            "negative": dict(self.negatives),
            "warnings": self.warnings,
            "duplicate_keys": self.duplicate_keys,
            "too_few_records": self.too_few_records,
            "not_decimal": list(self.not_decimal),
            "expected_min_records": self.thresholds.expected_min_records,
            "max_critical_error_rate": self.thresholds.max_critical_error_rate,
        }

    def sentence(self) -> str:
        """The critical errors in words.

        >>> Quality(50, 2, (("close", 1),), 0, True, (), Thresholds()).sentence()
        '3 critical errors in 50 records, 6.00 % (at most 5.0 %): 2 null symbols, 1 negative close'
        """
        found = [f"{self.null_symbols} null symbols"] if self.null_symbols else []
        found += [f"{count} negative {column}" for column, count in self.negatives]
        return (
            f"{self.critical} critical errors in {self.records} records, {self.critical_error_rate:.2f} % "
            f"(at most {self.thresholds.max_critical_error_rate} %): {', '.join(found) or 'none'}"
        )


# -- count ---------------------------------------------------------------------------------------


def count(table: pa.Table) -> Findings:
    """Count the rows of a table that has a column ``symbol``.

    NaN and null are not negative; minus infinity is. A column of ``NON_NEGATIVE`` that holds no numbers is
    not counted.
    """
    negatives = []
    for name in NON_NEGATIVE:
        if name in table.column_names and is_number(table.column(name).type):
            below = pc.sum(pc.less(table.column(name), pa.scalar(0, table.column(name).type))).as_py() or 0
            if below:
                negatives.append((name, int(below)))
    return Findings(
        records=table.num_rows,
        null_symbols=table.column("symbol").null_count,
        negatives=tuple(negatives),
        not_decimal=tuple(
            n for n in EXACT if n in table.column_names and not pa.types.is_decimal(table.column(n).type)
        ),
        keys=_keys(table.column("id" if "id" in table.column_names else "symbol")),
    )


def is_number(kind: pa.DataType) -> bool:
    """Whether values of a type can be below zero and be multiplied."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _keys(column: pa.ChunkedArray) -> pa.Table:
    """Each value and how often it occurs; null is a value, as in a GROUP BY."""
    kind = column.type
    if pa.types.is_nested(kind):
        raise InputError(
            f"the column id has the type {kind}, by which rows cannot be counted.",
            hint="Rename it, or declare it as text.",
        )
    if pa.types.is_floating(kind):
        column = pc.add(column, pa.scalar(0.0, kind))  # minus zero is zero
    found = pc.value_counts(column)
    values, counts = found.field("values"), found.field("counts")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pa.table({"key": values, "count": counts})


# -- merge ---------------------------------------------------------------------------------------


def merge(findings: Sequence[Findings]) -> Findings:
    """The findings of all rows from those of their pieces; at least one."""
    negatives: Counter[str] = Counter()
    for part in findings:
        negatives.update(dict(part.negatives))
    keys = pa.concat_tables([f.keys for f in findings])
    summed = keys.group_by("key", use_threads=False).aggregate([("count", "sum")])
    return Findings(
        records=sum(f.records for f in findings),
        null_symbols=sum(f.null_symbols for f in findings),
        negatives=tuple((n, negatives[n]) for n in NON_NEGATIVE if negatives[n]),
        not_decimal=findings[0].not_decimal,
        keys=summed.rename_columns({"count_sum": "count"}).select(["key", "count"]),
    )


def findings_to_bytes(findings: Findings) -> bytes:
    """An Arrow stream: the keys, and the counts in its metadata. Such streams can stand one after another."""
    tally = {
        "records": findings.records,
        "null_symbols": findings.null_symbols,
        "negatives": list(findings.negatives),
        "not_decimal": list(findings.not_decimal),
    }
    table = findings.keys.replace_schema_metadata({_TALLY: json.dumps(tally).encode()})
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def findings_from_bytes(streams: bytes) -> tuple[Findings, ...]:
    """What ``findings_to_bytes`` wrote, any number of times in a row."""
    source = pa.BufferReader(streams)
    found = []
    while source.tell() < len(streams):
        table = pa.ipc.open_stream(source).read_all()
        tally = json.loads(table.schema.metadata[_TALLY])
        found.append(
            Findings(
                records=tally["records"],
                null_symbols=tally["null_symbols"],
                negatives=tuple((name, number) for name, number in tally["negatives"]),
                not_decimal=tuple(tally["not_decimal"]),
                keys=table.replace_schema_metadata(None),
            )
        )
    return tuple(found)


def judge(streams: Iterable[bytes], thresholds: Thresholds) -> Quality:
    """The verdict on the rows whose findings these are; no rows at all have no errors."""
    findings = [f for stream in streams for f in findings_from_bytes(stream)]
    if not findings:
        return Quality(0, 0, (), 0, thresholds.expected_min_records > 0, (), thresholds)
    whole = merge(findings)
    return Quality(
        records=whole.records,
        null_symbols=whole.null_symbols,
        negatives=whole.negatives,
        duplicate_keys=pc.sum(pc.greater(whole.keys.column("count"), 1)).as_py() or 0,
        too_few_records=whole.records < thresholds.expected_min_records,
        not_decimal=whole.not_decimal,
        thresholds=thresholds,
    )
