"""The template scan in front of the other lanes: what it accepts is done, what deviates goes to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from engine import scan
from engine.decoding.blocks import Lane, Run, decode_blocks
from engine.decoding.gather import Gather, Text
from engine.decoding.lines import Lines, Offsets
from engine.decoding.rows import output_schema
from engine.model import CompactionSpec, ExtraFields

_LARGE_BYTES = 1 << 20  # scanned where it lies rather than joined with its neighbours
_FEW_LINES = 64  # deviating in sequence: the record reader is quicker than a parser's attempt


class ScanLane:
    """Decodes sound lines by template where that repays loading the scan."""

    def __init__(self, spec: CompactionSpec) -> None:
        self._schema = spec.schema
        self._output = output_schema(spec)
        self._rescued = spec.extra_fields is ExtraFields.RESCUE
        self._whole: list[tuple[scan.Scan, pa.Table] | None] = []  # of the one buffer that is decoded here

    def take_clean(self, texts: Sequence[Text], gather: Gather, limit_bytes: int) -> set[int]:
        """Decode the texts that hold nothing but lines by template, each line a record; returns their places.

        Their lines are never looked for, and large ones are not copied: that is half of the time of a scan.
        """
        if not scan.worthwhile(sum(len(t.body) for t in texts)):
            return set()
        small = [t for t in texts if len(t.body) < _LARGE_BYTES]
        alone = [[t] for t in texts if len(t.body) >= _LARGE_BYTES]
        taken: set[int] = set()
        for group in ([small] if small else []) + alone:
            if self._take(group, gather, limit_bytes):
                taken.update(t.place for t in group)
        return taken

    def _take(self, group: Sequence[Text], gather: Gather, limit_bytes: int) -> bool:
        buffer = group[0].body if len(group) == 1 else b"\n".join([t.body for t in group])
        found = scan.scan_json_lines(buffer, self._schema)
        if found is None or len(found.deviating) or not found.rows:
            return False
        if int(np.diff(found.row_starts, append=len(buffer)).max()) > limit_bytes:
            return False
        lengths = np.fromiter((len(t.body) + 1 for t in group), np.int64, len(group))
        edges = np.searchsorted(found.row_starts, np.concatenate(([0], np.cumsum(lengths))))
        counts = np.zeros_like(gather.records)
        counts[[t.place for t in group]] = np.diff(edges)
        gather.add_rows(self._table(found), counts)
        gather.records += counts
        return True

    def decode(self, lines: Lines, start: int, stop: int, rest: Lane) -> Iterator[Run] | None:
        """Runs that cover the lines ``[start, stop)`` in order, or None where the scan is of no use."""
        if not self._whole:
            self._whole.append(self._scan(lines, 0, len(lines)))
        if self._whole[0] is not None:
            found, table = self._whole[0]
            origin = int(lines.starts[0])
            edges = lines.starts[start] - origin, lines.stops[stop - 1] - origin
            first, last = np.searchsorted(found.deviating[:, 0], edges)
            row = int(np.searchsorted(found.row_starts, edges[0]))
            return self._runs(found.deviating[first:last, 0] + origin, table, row, lines, start, stop, rest)
        part = self._scan(lines, start, stop) if stop - start < len(lines) else None
        if part is None:
            return None
        found, table = part
        deviating = found.deviating[:, 0] + int(lines.starts[start])
        return self._runs(deviating, table, 0, lines, start, stop, rest)

    def _scan(self, lines: Lines, start: int, stop: int) -> tuple[scan.Scan, pa.Table] | None:
        """A line is accepted for itself, so what lies between sound lines does not matter to them."""
        begin, end = int(lines.starts[start]), int(lines.stops[stop - 1])
        if not scan.worthwhile(end - begin):
            return None
        end = min(end + 1, len(lines.buffer))
        whole = (begin, end) == (0, len(lines.buffer))
        buffer = lines.buffer if whole else memoryview(lines.buffer)[begin:end]
        found = scan.scan_json_lines(buffer, self._schema)
        if found is None or found.lines != stop - start:
            return None
        return found, self._table(found)

    def _runs(
        self,
        deviating: Offsets,
        table: pa.Table,
        row: int,
        lines: Lines,
        start: int,
        stop: int,
        rest: Lane,
    ) -> Iterator[Run]:
        """``table`` holds the accepted lines from ``row`` on; the others begin at the bytes ``deviating``."""
        strays = np.searchsorted(lines.starts, deviating)
        # Runs of neighbouring deviating lines, and the accepted lines between them.
        breaks = np.flatnonzero(np.diff(strays) > 1)
        firsts = strays[np.concatenate(([0], breaks + 1))] if len(strays) else strays
        lasts = strays[np.concatenate((breaks, [len(strays) - 1]))] if len(strays) else strays
        at = 0
        for first, last in zip((firsts - start).tolist(), (lasts - start).tolist(), strict=True):
            if first > at:
                yield Run(start + at, start + first, table, row=row)
                row += first - at
            at = last + 1
            if at - first < _FEW_LINES:
                yield Run(start + first, start + at)
            else:
                yield from decode_blocks(lines, start + first, start + at, rest)
        if start + at < stop:
            yield Run(start + at, stop, table, row=row)

    def _table(self, found: scan.Scan) -> pa.Table:
        columns = list(found.columns)
        if self._rescued:
            columns.append(pa.nulls(found.rows, pa.string()))
        fields = [f.with_type(c.type) for f, c in zip(self._output, columns, strict=True)]
        return pa.Table.from_arrays(columns, schema=pa.schema(fields))
