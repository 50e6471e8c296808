"""What rows say, whatever their order and file layout: counts, exact sums, and one digest of whole rows.

The corpus writes a summary of the rows it made, the suite summarises what a peer wrote, and equal summaries
mean equal rows. Everything adds up, so a dataset may come in any number of pieces and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.shapes import NUMBER, NUMBERS_LIST, PRICES, TEXT, Shape

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
    ticks: tuple[int, ...]  # in the order of the shape's ``summed``; empty before any rows
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
            ticks=tuple(a + b for a, b in zip_longest(self.ticks, other.ticks, fillvalue=0)),
            first_us=min((t for t in (self.first_us, other.first_us) if t is not None), default=None),
            last_us=max((t for t in (self.last_us, other.last_us) if t is not None), default=None),
            digest=f"{(int(self.digest, 16) + int(other.digest, 16)) % (1 << 64):016x}",
        )

    def __mul__(self, times: int) -> RowSummary:
        return reduce(RowSummary.__add__, [self] * times, NO_ROWS)

    def differences(self, other: RowSummary, shape: Shape = PRICES) -> list[str]:
        """Sentences about how ``other`` differs; none means the same rows."""
        if self == other:
            return []
        if self.rows != other.rows:
            return [f"{other.rows:,} rows instead of {self.rows:,}"]
        told = [
            f"sum of {name} off by {(theirs - ours) / TICKS:g}"
            for name, ours, theirs in zip(shape.summed, self.ticks, other.ticks, strict=True)
            if ours != theirs
        ][:3]
        if self.nulls != other.nulls:
            told.append(f"{other.nulls:,} nulls instead of {self.nulls:,}")
        if (self.first_us, self.last_us) != (other.first_us, other.last_us):
            told.append(f"timestamps span {other.first_us}..{other.last_us} us")
        return told or ["sums agree to four decimals, but values differ in their last bits or changed places"]


NO_ROWS = RowSummary(0, 0, (), None, None, f"{0:016x}")


def summarise(table: pa.Table, shape: Shape = PRICES) -> RowSummary:
    """The summary of a table that has the shape's columns, in any order and in any type that holds them."""
    missing = [name for name, _ in shape.columns if name not in table.column_names]
    if missing:
        raise ValueError(f"no column {', '.join(missing[:5])} among {', '.join(table.column_names[:20])}")
    mixed = np.zeros(table.num_rows, np.uint64)
    nulls, ticks = 0, []
    micros: Any = np.zeros(0, np.int64)
    for place, (name, kind) in enumerate(shape.leaves):
        column = _leaf(table, name)
        if kind == NUMBER:
            nulls += column.null_count
            words, total = _number_words(column)
            ticks.append(total)
        elif kind == NUMBERS_LIST:
            nulls += column.null_count
            words, total = _list_words(column)
            ticks.append(total)
        elif kind == TEXT:
            words = _text_words(column)
        else:
            micros = _microseconds(column)
            words = micros.view(np.uint64)
        mixed += _mix(words + np.uint64(place))
    return RowSummary(
        rows=table.num_rows,
        nulls=nulls,
        ticks=tuple(ticks),
        first_us=int(micros.min()) if len(micros) else None,
        last_us=int(micros.max()) if len(micros) else None,
        digest=f"{int(_mix(mixed).sum(dtype=np.uint64)):016x}",
    )


def summarise_files(files: Iterable[Path], shape: Shape = PRICES) -> RowSummary:
    """The summary of Parquet files, one row group in memory at a time."""
    total = NO_ROWS
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                total += summarise(parquet.read_row_group(group), shape)
    return total


def _leaf(table: pa.Table, name: str) -> Any:
    column, _, inner = name.partition(".")
    return pc.struct_field(table[column], inner) if inner else table[column]


def _number_words(column: Any) -> tuple[Any, int]:
    numbers = pc.cast(column, pa.float64()).combine_chunks()
    values = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False)
    bits = values.view(np.uint64).copy()
    bits[pc.is_null(numbers).to_numpy(zero_copy_only=False)] = _NULL_BITS
    return bits, sum(int(part) for part in _whole_ticks(values))


def _list_words(column: Any) -> tuple[Any, int]:
    """One word for each list, of its elements, their places and their number."""
    words, total = _number_words(pc.list_flatten(column))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    stops = np.cumsum(lengths)
    places = np.arange(len(words), dtype=np.int64) - np.repeat(stops - lengths, lengths)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(words + places.view(np.uint64)))])
    return running[stops] - running[stops - lengths] + lengths.view(np.uint64), total


def _text_words(column: Any) -> Any:
    texts = pc.fill_null(pc.cast(column, pa.string()), "\0")
    encoded = pc.dictionary_encode(texts).combine_chunks()
    words = np.array([_word(text) for text in encoded.dictionary.to_pylist()], np.uint64)
    return words[encoded.indices.to_numpy(zero_copy_only=False)] if len(encoded) else words


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


def _word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
