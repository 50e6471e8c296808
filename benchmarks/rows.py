"""What rows say, whatever their order and file layout: counts, exact sums, and one digest of whole rows.

The corpus writes a summary of the rows it made, the suite summarises what a peer wrote, and equal summaries
mean equal rows. Everything adds up, so a dataset may come in any number of pieces and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import JSON_COLUMNS, NUMBERS

TICKS = 10_000  # prices have four decimals: as whole ticks their sum is exact in any order
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
_NULL_BITS = np.uint64(0x7FF8_DEAD_BEEF_0001)  # a NaN that no decoder produces


@dataclass(frozen=True, slots=True)
class RowSummary:
    """Rows in numbers. ``ticks`` are sums in ten-thousandths, ``first`` and ``last`` microseconds UTC.

    ``digest`` adds up a 64-bit mix of every whole row, so a value in another row or column changes it.
    """

    rows: int
    nulls: int
    ticks: tuple[int, ...]  # in the order of NUMBERS
    first_us: int | None
    last_us: int | None
    digest: str

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The summary that ``dataclasses.asdict`` and JSON made of one."""
        return cls(**{**document, "ticks": tuple(document["ticks"])})

    def __add__(self, other: RowSummary) -> RowSummary:
        return RowSummary(
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            ticks=tuple(a + b for a, b in zip(self.ticks, other.ticks, strict=True)),
            first_us=min((t for t in (self.first_us, other.first_us) if t is not None), default=None),
            last_us=max((t for t in (self.last_us, other.last_us) if t is not None), default=None),
            digest=f"{(int(self.digest, 16) + int(other.digest, 16)) % (1 << 64):016x}",
        )

    def differences(self, other: RowSummary) -> list[str]:
        """Sentences about how ``other`` differs; none means the same rows."""
        if self == other:
            return []
        if self.rows != other.rows:
            return [f"{other.rows:,} rows instead of {self.rows:,}"]
        told = [
            f"sum of {name} off by {(theirs - ours) / TICKS:g}"
            for name, ours, theirs in zip(NUMBERS, self.ticks, other.ticks, strict=True)
            if ours != theirs
        ]
        if self.nulls != other.nulls:
            told.append(f"{other.nulls:,} nulls instead of {self.nulls:,}")
        if (self.first_us, self.last_us) != (other.first_us, other.last_us):
            told.append(f"timestamps span {other.first_us}..{other.last_us} us")
        return told or ["sums agree to four decimals, but values differ in their last bits or changed places"]


NO_ROWS = RowSummary(0, 0, (0,) * len(NUMBERS), None, None, f"{0:016x}")


def summarise(table: pa.Table) -> RowSummary:
    """The summary of a table that has the price columns, in any order and in any type that holds them."""
    missing = [name for name in JSON_COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} among {', '.join(table.column_names)}")
    mixed = np.zeros(table.num_rows, np.uint64)
    nulls, ticks = 0, []
    for place, name in enumerate(NUMBERS):
        column = pc.cast(table[name], pa.float64()).combine_chunks()
        nulls += column.null_count
        values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
        ticks.append(sum(int(part) for part in _whole_ticks(values)))
        bits = values.view(np.uint64).copy()
        bits[pc.is_null(column).to_numpy(zero_copy_only=False)] = _NULL_BITS
        mixed += _mix(bits + np.uint64(place))
    micros = _microseconds(table["timestamp"])
    mixed += _mix(micros.view(np.uint64) + np.uint64(len(NUMBERS)))
    symbols = pc.dictionary_encode(pc.cast(table["symbol"], pa.string())).combine_chunks()
    words = np.array([_word(s) for s in symbols.dictionary.to_pylist()], np.uint64)
    if table.num_rows:
        mixed += words[symbols.indices.to_numpy(zero_copy_only=False)]
    return RowSummary(
        rows=table.num_rows,
        nulls=nulls,
        ticks=tuple(ticks),
        first_us=int(micros.min()) if len(micros) else None,
        last_us=int(micros.max()) if len(micros) else None,
        digest=f"{int(_mix(mixed).sum(dtype=np.uint64)):016x}",
    )


def summarise_files(files: Iterable[Path]) -> RowSummary:
    """The summary of Parquet files, read one by one."""
    return reduce(RowSummary.__add__, (summarise(pq.read_table(file)) for file in files), NO_ROWS)


def _whole_ticks(values: Any) -> Any:
    """Values in whole ticks, in pieces whose sums stay far below 2^63."""
    whole = np.rint(values * TICKS).astype(np.int64)
    return (piece.sum() for piece in np.array_split(whole, 1 + len(whole) // 100_000))


def _microseconds(column: Any) -> Any:
    """Timestamps as microseconds UTC; text is read as ISO-8601, a timestamp without zone is taken as UTC."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.timestamp("us", "UTC"))
    unit = pa.timestamp("us", column.type.tz)
    return pc.cast(pc.cast(column, unit), pa.int64()).combine_chunks().to_numpy(zero_copy_only=False)


def _mix(words: Any) -> Any:
    """Spread every bit over the word, so that sums of rows do not cancel out (splitmix64's finish)."""
    words = (words + _MIX) * np.uint64(0xBF58_476D_1CE4_E5B9)
    words ^= words >> np.uint64(31)
    words *= np.uint64(0x94D0_49BB_1331_11EB)
    return words ^ (words >> np.uint64(29))


def _word(symbol: str | None) -> int:
    return int.from_bytes(hashlib.blake2b((symbol or "\0").encode(), digest_size=8).digest(), "little")
