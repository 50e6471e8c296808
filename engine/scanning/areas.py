"""The memory that the kernel writes, how it grows, and the Arrow arrays that are cut from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from engine.scanning import layout as at
from engine.scanning.template import Column


class Areas:
    """Output of one scan. Rows of a column lie together; ``capacity`` rows fit before it must grow."""

    def __init__(self, columns: tuple[Column, ...], capacity: int) -> None:
        self.columns = columns
        self.capacity = capacity
        self.texts_count = sum(column.kind == at.STRING for column in columns)
        self.values_count = len(columns) - self.texts_count
        self.values = np.empty(self.values_count * capacity, np.int64)
        self.valid = np.ones(len(columns) * capacity, np.uint8)
        self.codes = np.empty(self.texts_count * (capacity + 1), np.int32)
        self.row_starts = np.empty(capacity, np.int64)
        self.chars = np.empty(0, np.uint8)
        self.texts = np.zeros((self.texts_count, at.TEXT_WIDTH), np.int64)
        self.texts[:, at.TEXT_LAST] = -1
        self.dict_chars = np.empty(self.texts_count * (at.DICTIONARY_BYTES + 8), np.uint8)
        self.dict_offsets = np.empty(self.texts_count * (at.DICTIONARY_ENTRIES + 1), np.int32)
        self.dict_offsets[:: at.DICTIONARY_ENTRIES + 1] = 0
        self.dict_table = np.full(self.texts_count * at.DICTIONARY_TABLE, -1, np.int32)
        self.deviating = np.empty((256, 3), np.int64)

    def grow_rows(self, capacity: int, rows: int) -> None:
        def moved(old: Any, runs: int, extra: int, fill: int | None) -> Any:
            new = np.empty((runs, capacity + extra), old.dtype)
            kept = rows + extra
            new[:, :kept] = old.reshape(runs, self.capacity + extra)[:, :kept]
            if fill is not None:
                new[:, kept:] = fill
            return new.ravel()

        self.values = moved(self.values, self.values_count, 0, None)
        self.valid = moved(self.valid, len(self.columns), 0, 1)
        self.codes = moved(self.codes, self.texts_count, 1, None)
        self.row_starts = moved(self.row_starts, 1, 0, None)
        self.capacity = capacity

    def grow_deviating(self) -> None:
        self.deviating = np.concatenate([self.deviating, np.empty_like(self.deviating)])

    def grow_chars(self, text: int, rows: int, wanted_bytes: int) -> None:
        """Give one plain string column room for ``wanted_bytes`` characters."""
        sizes = np.where(np.arange(self.texts_count) == text, wanted_bytes, self.texts[:, at.TEXT_CAPACITY])
        plain = self.texts[:, at.TEXT_PLAIN] == 1
        room = np.where(plain, sizes + 8, 0)  # the kernel copies words of eight bytes
        bases = np.cumsum(room) - room
        chars = np.empty(int(room.sum()), np.uint8)
        for index in np.flatnonzero(plain):
            used = int(self.codes[index * (self.capacity + 1) + rows])
            old = int(self.texts[index, at.TEXT_BASE])
            chars[bases[index] : bases[index] + used] = self.chars[old : old + used]
        self.chars = chars
        self.texts[plain, at.TEXT_BASE] = bases[plain]
        self.texts[plain, at.TEXT_CAPACITY] = sizes[plain]

    def make_plain(self, text: int, rows: int, wanted_bytes: int) -> None:
        """Turn a dictionary column of many different texts into one that keeps each text."""
        first = text * (self.capacity + 1)
        offsets, chars = self._dictionary(text)
        sizes = np.diff(offsets)
        codes = self.codes[first : first + rows]
        ends = np.zeros(rows + 1, np.int64)
        if rows:
            index = next(i for i, c in enumerate(self.columns) if c.kind == at.STRING and c.slot == text)
            valid = self.valid[index * self.capacity : index * self.capacity + rows]
            if len(sizes):
                np.cumsum(sizes[codes] * valid, out=ends[1:])
        plain = b"" if not len(sizes) else self._spread(chars, offsets, codes, ends)
        self.texts[text, at.TEXT_PLAIN] = 1
        self.texts[text, at.TEXT_CAPACITY] = 0
        self.codes[first + rows] = 0  # nothing to keep while the room is made
        self.grow_chars(text, rows, max(wanted_bytes, len(plain)))
        base = int(self.texts[text, at.TEXT_BASE])
        self.chars[base : base + len(plain)] = np.frombuffer(plain, np.uint8)
        self.codes[first : first + rows + 1] = ends

    @staticmethod
    def _spread(chars: Any, offsets: Any, codes: Any, ends: Any) -> bytes:
        texts = [chars[a:b].tobytes() for a, b in pairwise(offsets.tolist())]
        return b"".join(
            [texts[code] for code, size in zip(codes.tolist(), np.diff(ends).tolist(), strict=True) if size]
        )

    def _dictionary(self, text: int) -> tuple[Any, Any]:
        count = int(self.texts[text, at.TEXT_COUNT])
        first = text * (at.DICTIONARY_ENTRIES + 1)
        offsets = self.dict_offsets[first : first + count + 1]
        start = text * (at.DICTIONARY_BYTES + 8)
        return offsets, self.dict_chars[start : start + int(offsets[-1])]

    def arrow(self, rows: int) -> list[Any]:
        """The first ``rows`` rows as Arrow arrays over this memory, in schema order."""
        return [self._array(index, column, rows) for index, column in enumerate(self.columns)]

    def _array(self, index: int, column: Column, rows: int) -> Any:
        valid = self.valid[index * self.capacity : index * self.capacity + rows]
        nulls = rows - int(np.count_nonzero(valid))
        mask = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
        if column.kind == at.STRING:
            return self._strings(column.slot, rows, mask, nulls)
        values = self.values[column.slot * self.capacity : column.slot * self.capacity + rows]
        data: Any = values
        if column.kind == at.BOOL:
            data = np.packbits(values.astype(np.uint8), bitorder="little")
        elif column.kind == at.FLOAT:
            data = values.view(np.float64)
            if column.narrow:
                data = data.astype(np.float32)
        elif column.arrow.bit_width < 64:
            data = values.astype(f"i{column.arrow.bit_width // 8}")  # same bits for unsigned types
        return pa.Array.from_buffers(column.arrow, rows, [mask, pa.py_buffer(data)], nulls)

    def _strings(self, text: int, rows: int, mask: Any, nulls: int) -> Any:
        first = text * (self.capacity + 1)
        if self.texts[text, at.TEXT_PLAIN] == 1:
            offsets = self.codes[first : first + rows + 1]
            base = int(self.texts[text, at.TEXT_BASE])
            chars = self.chars[base : base + int(offsets[-1])]
            return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(chars), mask, nulls)
        offsets, chars = self._dictionary(text)
        words = pa.StringArray.from_buffers(
            len(offsets) - 1, pa.py_buffer(offsets.copy()), pa.py_buffer(chars.tobytes())
        )
        codes = pa.py_buffer(self.codes[first : first + rows])
        indices = pa.Array.from_buffers(pa.int32(), rows, [mask, codes], nulls)
        return pa.DictionaryArray.from_arrays(indices, words, safe=False)
