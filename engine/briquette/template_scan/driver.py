"""The driver of a scan: it calls the kernel, and learns or makes room whenever the kernel comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from briquette.template_scan import abi as at
from briquette.template_scan.columns import Column
from briquette.template_scan.output_buffers import OutputBuffers
from briquette.template_scan.template import LINE_BYTES, Program, Template, assemble, learn

TEMPLATES: Final = 16  # kept for one buffer
FAILED_LESSONS: Final = 32  # lines that taught nothing, before the scan stops asking
SAMPLES, SAMPLE_BYTES = 16, 4096
MAX_BUFFER_BYTES: Final = (1 << 31) - 1  # offsets of Arrow strings are int32


@dataclass(frozen=True, slots=True)
class Scan:
    r"""What one buffer became.

    ``columns``: Arrow arrays in schema order over the accepted lines only, in their order. A string column is
    a dictionary (first occurrence order) or, with many different texts, plain.
    ``row_starts``: int64 (rows,), byte offset of each accepted line.
    ``deviating``: int64 (lines, 2), byte ranges ``[start, end)`` of lines that left the lane, without "\n".
    ``rows_before``: int64, for each deviating line the number of accepted rows in front of it.
    ``lines``: lines that are not blank, i.e. ``rows + len(deviating)``.
    """

    columns: list[Any]
    row_starts: Any
    deviating: Any
    rows_before: Any
    lines: int

    @property
    def rows(self) -> int:
        return len(self.row_starts)


def _last_newline(memory: Any) -> int:
    """Offset of the last newline, or -1."""
    stop = memory.size
    while stop > 0:
        start = max(stop - LINE_BYTES, 0)
        found = np.flatnonzero(memory[start:stop] == 10)
        if found.size:
            return int(start + found[-1])
        stop = start
    return -1


def _line_share(memory: Any) -> float:
    """Line ends in a byte, by a sample spread over all of it: its objects may differ."""
    step = max(memory.size // SAMPLES, SAMPLE_BYTES)
    parts = [memory[start : start + SAMPLE_BYTES] for start in range(0, memory.size, step)]
    return sum(int(np.count_nonzero(part == 10)) for part in parts) / max(sum(map(len, parts)), 1)


class Run:
    """One scan, of one buffer or of several; ``total_bytes`` is their size."""

    def __init__(
        self,
        call: Callable[[int], int],
        total_bytes: int,
        columns: tuple[Column, ...],
        max_deviating_ratio: float,
        program: Program,
    ) -> None:
        self.call = call
        self.columns = columns
        self.total_bytes = total_bytes
        self.max_deviating_ratio = max_deviating_ratio
        self.program = program
        self.block = np.zeros(at.BLOCK_LENGTH, np.int64)
        self.output = OutputBuffers(columns)
        self.taken_bytes = self.taken_rows = 0
        self.over = False
        if not max_deviating_ratio:
            self.output.deviating = self.output.deviating[:0]

    def take(self, memory: Any, longest_line: int) -> bool:
        """Scan one more buffer, after which it may go; ``total_bytes`` is what they are expected to be.

        False, and so for all that follow, where a line deviates or is longer: nothing of that buffer is kept.
        """
        self.total_bytes = max(self.total_bytes, self.taken_bytes + memory.size + 1)
        self.over |= self.total_bytes > MAX_BUFFER_BYTES
        if self.over:
            return False
        fine = self._buffer(memory, self.taken_bytes) and not self.block[at.S_DEVIATING]
        end = self.taken_bytes + memory.size + 1
        rows = int(self.block[at.S_ROWS])
        starts = self.output.row_starts[self.taken_rows : rows]
        if not fine or int(np.diff(starts, append=end).max(initial=0)) > longest_line:
            self.over = True
            return False
        self.taken_bytes, self.taken_rows = end, rows
        return True

    def taken(self) -> Scan:
        """The rows of the buffers that were taken."""
        rows = self.taken_rows
        return Scan(
            columns=self.output.arrow(rows),
            row_starts=self.output.row_starts[:rows],
            deviating=np.empty((0, 2), np.int64),
            rows_before=np.empty(0, np.int64),
            lines=rows,
        )

    def whole(self, *memories: Any) -> Scan | None:
        """Scan buffers as if they were joined by newlines; offsets are those of the whole."""
        origin = 0
        for memory in memories:
            if not self._buffer(memory, origin):
                return None
            origin += memory.size + 1
        return self.result()

    def _buffer(self, memory: Any, origin: int) -> bool:
        """Scan a buffer: in place up to the last newline with bytes behind it, the rest in a padded copy."""
        inner = memory[: max(memory.size - at.LOOKAHEAD, 0)]
        cut = _last_newline(inner) + 1
        tail = np.zeros(memory.size - cut + 1 + at.LOOKAHEAD, np.uint8)
        tail[: memory.size - cut] = memory[cut:]
        tail[memory.size - cut] = 10
        with_end = memory.size == cut or memory[-1] != 10
        return self.scan(memory, cut, origin) and self.scan(tail, memory.size - cut + with_end, origin + cut)

    def scan(self, memory: Any, end: int, origin: int) -> bool:
        """Scan ``memory[:end]``, which ends with a newline; False when it is not worth going on."""
        block = self.block
        block[at.S_POSITION], block[at.B_KNOWN] = 0, -1
        block[at.B_END], block[at.B_ORIGIN] = end, origin
        block[at.B_BUFFER], block[at.B_BUFFER_LENGTH] = memory.ctypes.data, memory.size
        while True:
            self._point()
            status = self.call(block.ctypes.data)
            rows = int(block[at.S_ROWS])
            detail = int(block[at.S_DETAIL])
            if status == at.DONE:
                return True
            if status == at.UNKNOWN_LINE:
                self._lesson(memory, int(block[at.S_POSITION]), end)
            elif status == at.ROWS_FULL:
                self.output.grow_rows(int(self._enough(np.int64(rows), origin)), rows)
            elif status == at.CHARS_FULL:
                self.output.grow_chars(rows, self._enough_chars(detail, rows, origin))
            elif status == at.DICTIONARY_FULL:
                self.output.make_plain(detail, rows, self._enough_chars(detail, rows, origin))
            elif status == at.ELEMENTS_FULL:
                self.output.grow_elements(detail, self._enough_elements(detail, origin), rows)
            else:
                if not self.max_deviating_ratio or self._too_many():
                    return False
                self.output.grow_deviating()

    def result(self) -> Scan | None:
        if self._too_many():
            return None
        rows, strays = int(self.block[at.S_ROWS]), int(self.block[at.S_DEVIATING])
        deviating = self.output.deviating[:strays]
        return Scan(
            columns=self.output.arrow(rows),
            row_starts=self.output.row_starts[:rows],
            deviating=deviating[:, :2].copy(),
            rows_before=deviating[:, 2].copy(),
            lines=int(self.block[at.S_LINES]),
        )

    def _too_many(self) -> bool:
        return bool(self.block[at.S_DEVIATING] > self.max_deviating_ratio * self.block[at.S_LINES])

    def _lesson(self, memory: Any, position: int, end: int) -> None:
        """What the line at ``position`` teaches, where the kernel asks for it."""

    def _enough(self, count: Any, origin: int) -> Any:
        """What the whole buffer will need if it goes on as until here, and always more than now."""
        done_bytes = origin + int(self.block[at.S_POSITION])
        return (count * (self.total_bytes / max(done_bytes, 1) * 1.03)).astype(np.int64) + count // 8 + 64

    def _enough_chars(self, text: int, rows: int, origin: int) -> Any:
        """Room for the characters of all texts, because that of ``text`` does not suffice."""
        output = self.output
        wanted = self._enough(output.chars_used(rows), origin)
        # At first a share of the buffer, so that not each of many columns asks for itself.
        np.maximum(wanted, self.total_bytes // (8 * output.texts_count), out=wanted)
        # A single text may be larger than everything before it; the buffer is the bound.
        wanted[text] = max(wanted[text], 2 * int(output.texts[text, at.TEXT_CAPACITY]))
        return np.minimum(wanted, self.total_bytes)

    def _enough_elements(self, number: int, origin: int) -> int:
        """A single list may be longer than all before it; an element and what follows it are two bytes."""
        there = self.output.lists[number]
        wanted = max(int(self._enough(there[at.LIST_USED], origin)), 2 * int(there[at.LIST_CAPACITY]))
        return int(min(wanted, self.total_bytes // 2 + 1))

    def _point(self) -> None:
        """Tell the kernel where everything lies now."""
        block, output, program = self.block, self.output, self.program
        if program.columns.size:
            program.ops[:, at.OP_PLACE] = output.places[program.columns]
            program.ops[:, at.OP_VALID] = output.valid_places[program.columns]
        block[at.B_OPS], block[at.B_OPS_LENGTH] = program.ops.ctypes.data, program.ops.size
        block[at.B_WORDS], block[at.B_MASKS] = program.words.ctypes.data, program.masks.ctypes.data
        block[at.B_WORDS_LENGTH] = program.words.size
        block[at.B_TEMPLATES], block[at.B_TEMPLATE_COUNT] = program.starts.ctypes.data, program.starts.size
        block[at.B_VALUES], block[at.B_VALUES_LENGTH] = output.values.ctypes.data, output.values.size
        block[at.B_VALID], block[at.B_VALID_LENGTH] = output.valid.ctypes.data, output.valid.size
        block[at.B_CODES], block[at.B_CODES_LENGTH] = output.codes.ctypes.data, output.codes.size
        block[at.B_CHARS], block[at.B_CHARS_LENGTH] = output.chars.ctypes.data, output.chars.size
        block[at.B_TEXTS], block[at.B_TEXT_COUNT] = output.texts.ctypes.data, output.texts_count
        block[at.B_DICT_CHARS] = output.dict_chars.ctypes.data
        block[at.B_DICT_OFFSETS] = output.dict_offsets.ctypes.data
        block[at.B_DICT_TABLE] = output.dict_table.ctypes.data
        block[at.B_ROW_STARTS] = output.row_starts.ctypes.data
        block[at.B_DEVIATING] = output.deviating.ctypes.data
        block[at.B_DEVIATING_CAPACITY] = len(output.deviating)
        block[at.B_CAPACITY] = output.capacity
        block[at.B_LISTS], block[at.B_LIST_COUNT] = output.lists.ctypes.data, len(output.lists)


class LinesRun(Run):
    """A scan of lines of JSON, whose templates it learns on its way."""

    def __init__(
        self,
        call: Callable[[int], int],
        total_bytes: int,
        columns: tuple[Column, ...],
        max_deviating_ratio: float,
    ) -> None:
        super().__init__(call, total_bytes, columns, max_deviating_ratio, assemble([], columns))
        self.templates: list[Template] = []
        self.failed_lessons = 0
        self._assemble()

    def result(self) -> Scan | None:
        taught = bool(self.templates) or not self.block[at.S_LINES]
        return super().result() if taught else None

    def _lesson(self, memory: Any, position: int, end: int) -> None:
        """Learn from the line at ``position``, or mark it as one that teaches nothing."""
        line = memory[position : min(end, position + LINE_BYTES)].tobytes()
        line = line[: line.find(b"\n") + 1]
        template = learn(line, self.columns)
        if template is None or template in self.templates:
            self.block[at.B_KNOWN] = position
            self.failed_lessons += 1
            self.block[at.B_LEARN] = self.failed_lessons < FAILED_LESSONS
            return
        self.templates.append(template)
        if len(self.templates) == 1:
            self.output.lists[:, at.LIST_CAPACITY] = 64
            # Lines like the first, or what a sample says; never more than memory for twice as many.
            most = 2 * self.total_bytes // max(len(line), 32)
            rows = min(int(_line_share(memory[:end]) * self.total_bytes * 1.03), most)
            self.output.grow_rows(rows + 64, int(self.block[at.S_ROWS]))
        self._assemble()

    def _assemble(self) -> None:
        self.program = assemble(self.templates, self.columns)
        self.block[at.S_TEMPLATE] = max(len(self.templates) - 1, 0)
        self.block[at.B_LEARN] = len(self.templates) < TEMPLATES and self.failed_lessons < FAILED_LESSONS


class CellsRun(Run):
    """A scan of rows of CSV, whose form the header tells."""

    def __init__(
        self,
        call: Callable[[int], int],
        total_bytes: int,
        columns: tuple[Column, ...],
        max_deviating_ratio: float,
        program: Program,
        delimiter: int,
    ) -> None:
        super().__init__(call, total_bytes, columns, max_deviating_ratio, program)
        self.block[at.B_DELIMITER] = delimiter

    def whole(self, *memories: Any) -> Scan | None:
        """See ``Run.whole``; how long the rows are is seen before the first one."""
        self.output.grow_rows(int(self.total_bytes * _line_share(memories[0]) * 1.03) + 64, 0)
        return super().whole(*memories)
