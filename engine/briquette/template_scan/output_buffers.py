"""The memory that the kernel writes, how it grows, and the Arrow arrays that are cut from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from briquette.template_scan import abi as at
from briquette.template_scan.columns import ROWS, Column

MOST_DICTIONARIES = 64  # each takes a quarter of a megabyte, and more as it fills


class OutputBuffers:
    """Output of one scan. The values of a column lie together, with room for its rows or its list's elements.

    ``capacity`` is that of rows; ``lists`` holds that of elements, and how many there are.
    """

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.capacity = 0
        self.lists = np.zeros((sum(c.kind == at.LIST for c in columns), at.LIST_WIDTH), np.int64)
        texts = [c for c in columns if c.kind == at.STRING]
        self.texts_count = len(texts)
        self._text_columns = np.array([i for i, c in enumerate(columns) if c.kind == at.STRING], np.int64)
        self._counts = np.array([c.counts for c in columns], np.int64)
        self._stores = np.array([c.store for c in columns], np.int64)
        self.valid, self.values, self.codes = self._new_areas()
        self.row_starts = np.empty(0, np.int64)
        self.chars = np.empty(0, np.uint8)
        self.texts = np.zeros((self.texts_count, at.TEXT_WIDTH), np.int64)
        self.texts[:, at.TEXT_LAST] = -1
        # Inside of lists and structs Parquet's writer makes dictionaries by itself.
        plain = [c.parent >= 0 or len(texts) > MOST_DICTIONARIES for c in texts]
        self.texts[:, at.TEXT_PLAIN] = plain
        dictionaries = 0 if all(plain) else self.texts_count
        self.dict_chars = np.empty(dictionaries * (at.DICTIONARY_BYTES + 8), np.uint8)
        self.dict_offsets = np.empty(dictionaries * (at.DICTIONARY_ENTRIES + 1), np.int32)
        self.dict_offsets[:: at.DICTIONARY_ENTRIES + 1] = 0
        self.dict_table = np.full(dictionaries * at.DICTIONARY_TABLE, -1, np.int32)
        self.deviating = np.empty((256, 3), np.int64)

    def _new_areas(self) -> tuple[Any, Any, Any]:
        """Buffers of validity, values and codes as the capacities say; notes where columns lie there."""
        room = self._per_column(self.capacity, at.LIST_CAPACITY)
        in_values = np.where(self._stores == at.STORE_VALUES, room, 0)
        in_codes = np.where((self._stores == at.STORE_TEXT) | (self._stores == at.STORE_ENDS), room + 1, 0)
        self.valid_places = np.cumsum(room) - room
        self.places = np.where(in_codes, np.cumsum(in_codes) - in_codes, np.cumsum(in_values) - in_values)
        valid = np.ones(int(room.sum()), np.uint8)
        codes = np.empty(int(in_codes.sum()), np.int32)
        codes[self.places[in_codes > 0]] = 0  # where the first text begins, or the first list
        return valid, np.empty(int(in_values.sum()), np.int64), codes

    def _per_column(self, rows: int, field: int) -> Any:
        """For each column a number of rows, or what its list has."""
        inside = self._counts != ROWS
        numbers = np.full(len(self.columns), rows, np.int64)
        numbers[inside] = self.lists[self._counts[inside], field]
        return numbers

    def grow_rows(self, capacity: int, rows: int) -> None:
        row_starts = np.empty(capacity, np.int64)
        row_starts[:rows] = self.row_starts[:rows]
        self.row_starts = row_starts
        self.capacity = capacity
        self._move(rows)

    def grow_elements(self, number: int, capacity: int, rows: int) -> None:
        self.lists[number, at.LIST_CAPACITY] = capacity
        self._move(rows)

    def _move(self, rows: int) -> None:
        """Give all columns the room that the capacities say, with what they hold."""
        old = (self.valid, self.values, self.codes, self.valid_places.tolist(), self.places.tolist())
        self.valid, self.values, self.codes = self._new_areas()
        valid, values, codes, valid_places, places = old
        used = self._per_column(rows, at.LIST_USED).tolist()
        if not rows:
            return
        for index, column in enumerate(self.columns):
            count, place, before = used[index], int(self.valid_places[index]), valid_places[index]
            self.valid[place : place + count] = valid[before : before + count]
            place, before = int(self.places[index]), places[index]
            if column.store == at.STORE_VALUES:
                self.values[place : place + count] = values[before : before + count]
            elif column.store != at.STORE_NOTHING:
                self.codes[place : place + count + 1] = codes[before : before + count + 1]

    def used(self, column: Column, rows: int) -> int:
        """How many values a column has after so many rows."""
        return rows if column.counts == ROWS else int(self.lists[column.counts, at.LIST_USED])

    def chars_used(self, rows: int) -> Any:
        """Characters that each text column holds; 0 for one that is a dictionary."""
        ends = self.places[self._text_columns] + self._per_column(rows, at.LIST_USED)[self._text_columns]
        return np.where(self.texts[:, at.TEXT_PLAIN] == 1, self.codes[ends], 0)

    def grow_deviating(self) -> None:
        self.deviating = np.concatenate([self.deviating, np.empty_like(self.deviating)])

    def grow_chars(self, rows: int, wanted_bytes: Any) -> None:
        """Give each plain string column room for so many characters, and never less than it has."""
        plain = self.texts[:, at.TEXT_PLAIN] == 1
        sizes = np.maximum(wanted_bytes, self.texts[:, at.TEXT_CAPACITY])
        room = np.where(plain, sizes + 8, 0)  # the kernel copies words of eight bytes
        bases = np.cumsum(room) - room
        chars = np.empty(int(room.sum()), np.uint8)
        used = self.chars_used(rows).tolist()
        for index in np.flatnonzero(plain).tolist():
            old, new = int(self.texts[index, at.TEXT_BASE]), int(bases[index])
            chars[new : new + used[index]] = self.chars[old : old + used[index]]
        self.chars = chars
        self.texts[plain, at.TEXT_BASE] = bases[plain]
        self.texts[plain, at.TEXT_CAPACITY] = sizes[plain]

    def make_plain(self, text: int, rows: int, wanted_bytes: Any) -> None:
        """Turn a dictionary column of many different texts, one of rows, into one that keeps each text."""
        index = int(self._text_columns[text])
        first = int(self.places[index])
        offsets, chars = self._dictionary(text)
        sizes = np.diff(offsets)
        codes = self.codes[first : first + rows]
        ends = np.zeros(rows + 1, np.int64)
        if rows:
            place = int(self.valid_places[index])
            valid = self.valid[place : place + rows]
            if len(sizes):
                np.cumsum(sizes[codes] * valid, out=ends[1:])
        plain = b"" if not len(sizes) else self._spread(chars, offsets, codes, ends)
        self.texts[text, at.TEXT_PLAIN] = 1
        self.texts[text, at.TEXT_CAPACITY] = 0
        self.codes[first + rows] = 0  # nothing to keep while the room is made
        wanted_bytes[text] = max(wanted_bytes[text], len(plain))
        self.grow_chars(rows, wanted_bytes)
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
        return [self._array(index, rows) for index, c in enumerate(self.columns) if c.parent < 0]

    def _array(self, index: int, rows: int) -> Any:
        column = self.columns[index]
        count = self.used(column, rows)
        place = int(self.valid_places[index])
        valid = self.valid[place : place + count]
        nulls = count - int(np.count_nonzero(valid))
        mask = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
        place = int(self.places[index])
        if column.kind == at.STRING:
            return self._strings(column.slot, place, count, mask, nulls)
        if column.children:
            children = [self._array(child, rows) for child in column.children]
            ends = [pa.py_buffer(self.codes[place : place + count + 1])] if column.kind == at.LIST else []
            return pa.Array.from_buffers(column.arrow, count, [mask, *ends], nulls, children=children)
        values = self.values[place : place + count]
        data: Any = values
        if column.kind == at.BOOL:
            data = np.packbits(values.astype(np.uint8), bitorder="little")
        elif column.kind == at.FLOAT:
            data = values.view(np.float64)
            if column.narrow:
                data = data.astype(np.float32)
        elif column.arrow.bit_width < 64:
            data = values.astype(f"i{column.arrow.bit_width // 8}")  # same bits for unsigned types
        return pa.Array.from_buffers(column.arrow, count, [mask, pa.py_buffer(data)], nulls)

    def _strings(self, text: int, first: int, count: int, mask: Any, nulls: int) -> Any:
        if self.texts[text, at.TEXT_PLAIN] == 1:
            offsets = self.codes[first : first + count + 1]
            base = int(self.texts[text, at.TEXT_BASE])
            chars = self.chars[base : base + int(offsets[-1])]
            return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(chars), mask, nulls)
        offsets, chars = self._dictionary(text)
        words = pa.StringArray.from_buffers(
            len(offsets) - 1, pa.py_buffer(offsets.copy()), pa.py_buffer(chars.tobytes())
        )
        codes = pa.py_buffer(self.codes[first : first + count])
        indices = pa.Array.from_buffers(pa.int32(), count, [mask, codes], nulls)
        return pa.DictionaryArray.from_arrays(indices, words, safe=False)
