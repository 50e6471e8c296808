"""The template scan in front of the other lanes: what it accepts is done, what deviates goes to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby

import numpy as np
import pyarrow as pa

from briquette.decoding.fast.blocks import Lane, Ranges, Run, decode_blocks
from briquette.decoding.rows.result import Gather, Text
from briquette.decoding.rows.row_builder import output_schema
from briquette.decoding.strict.csv_records import Header
from briquette.decoding.text.lines import Lines, Offsets
from briquette.model import CompactionSpec, ExtraFields, Field
from briquette.schemas.types import ColumnType, ListOf, Struct, parse_type
from briquette.template_scan import scan

_LARGE_BYTES = 1 << 20  # scanned for itself: one line that deviates costs no other object a second attempt
_SMALL_BYTES = 1 << 18  # copied together with its neighbours: less work than a buffer of its own for the scan
_JOINED_BYTES = 1 << 20  # of texts that are scanned in turn; so many are still in the cache
# Of the lines; above that the other lanes do all. pyarrow.csv and its conversions bear what is oddly written.
_MOST_DEVIATING_JSON = 0.25
_MOST_DEVIATING_CSV = 0.02
_FEW_LINES = 64  # deviating in sequence: the record reader is quicker than a parser's attempt

Buffer = bytes | memoryview
Scanner = Callable[[list[Buffer], float], scan.Scan | None]
_Scanned = tuple[scan.Scan, pa.Table]
_Group = Sequence[tuple[Text, Buffer]]


def json_scan(spec: CompactionSpec) -> ScanLane:
    """The lane of JSON Lines; of what the limits may refuse, the record reader says it."""
    if not within_limits(spec):
        return ScanLane(spec, lambda _buffers, _ratio: None, most_deviating=0.0)

    def scanner(buffers: list[Buffer], ratio: float) -> scan.Scan | None:
        return scan.scan_json_lines(buffers, spec.schema, max_deviating_ratio=ratio)

    return ScanLane(spec, scanner, most_deviating=_MOST_DEVIATING_JSON)


def csv_scan(spec: CompactionSpec, header: Header, delimiter: bytes) -> ScanLane:
    """The lane of CSV texts below one header; unknown columns that only count are read as texts."""
    known = {f.name for f in spec.schema.fields}
    unknown = tuple(name for name in header.names if name not in known)
    if unknown and spec.extra_fields is not ExtraFields.IGNORE:
        return ScanLane(spec, lambda _buffers, _ratio: None, most_deviating=0.0)
    fields = (*spec.schema.fields, *(Field(name, "string") for name in unknown))
    schema = replace(spec.schema, fields=fields)

    def scanner(buffers: list[Buffer], ratio: float) -> scan.Scan | None:
        return scan.scan_csv_rows(buffers, schema, header.names, delimiter, max_deviating_ratio=ratio)

    return ScanLane(spec, scanner, most_deviating=_MOST_DEVIATING_CSV, unknown=unknown)


class ScanLane:
    """Decodes sound lines by template where that repays loading the scan.

    ``unknown`` names columns that the scan gives behind those of the schema.
    """

    def __init__(
        self,
        spec: CompactionSpec,
        scanner: Scanner,
        *,
        most_deviating: float,
        unknown: tuple[str, ...] = (),
    ) -> None:
        self._scanner = scanner
        self._most_deviating = most_deviating
        self._unknown = unknown
        self._output = output_schema(spec)
        self._width = len(spec.schema.fields)
        self._rescued = spec.extra_fields is ExtraFields.RESCUE
        self._whole: list[_Scanned | None] = []  # of the one buffer that is decoded here
        digits = spec.limits.number_digits
        self._long_number = (
            re.compile(rb"[0-9.eE+-]{%d}" % (digits + 1)) if digits < scan.NUMBER_CHARS else None
        )

    def take_clean(
        self, texts: Sequence[Text], begins: Sequence[int], gather: Gather, limit_bytes: int
    ) -> set[int]:
        """Decode the texts that hold nothing but lines by template, each line a record; returns their places.

        ``begins`` says where the lines of each text begin. They are never looked for, and large texts are not
        copied: that is half of the time of a scan.
        """
        if not scan.worthwhile(sum(len(t.body) for t in texts)):
            return set()
        parts: list[tuple[Text, Buffer]] = [
            (t, memoryview(t.body)[begin:] if begin else t.body)
            for t, begin in zip(texts, begins, strict=True)
        ]
        small = [part for part in parts if len(part[1]) < _LARGE_BYTES]
        groups = [small] if small else []
        groups += [[part] for part in parts if len(part[1]) >= _LARGE_BYTES]
        taken: set[int] = set()
        for group in groups:
            found = self._scan(_buffers([body for _, body in group]), 0.0)
            if found is not None and self._take(group, found, gather, limit_bytes):
                taken.update(t.place for t, _ in group)
        return taken

    def _take(self, group: _Group, found: scan.Scan, gather: Gather, limit_bytes: int) -> bool:
        lengths = np.fromiter((len(body) + 1 for _, body in group), np.int64, len(group))
        longest = np.diff(found.row_starts, append=lengths.sum()).max(initial=0)
        if not found.rows or int(longest) > limit_bytes:
            return False
        edges = np.searchsorted(found.row_starts, np.concatenate(([0], np.cumsum(lengths))))
        counts = np.zeros_like(gather.records)
        counts[[t.place for t, _ in group]] = np.diff(edges)
        gather.add_rows(self.table(found), counts)
        gather.records += counts
        gather.extra_fields.update(self._extra(found, 0, found.rows))
        return True

    def _scan(self, buffers: list[Buffer], max_deviating_ratio: float) -> scan.Scan | None:
        if not all(map(self.counts_no_digits, buffers)):
            return None
        return self._scanner(buffers, max_deviating_ratio)

    def counts_no_digits(self, buffer: Buffer) -> bool:
        """The scan does not count digits: where the limit is low, the other lanes do."""
        return self._long_number is None or self._long_number.search(buffer) is None

    def decode(self, lines: Lines, start: int, stop: int, rest: Lane) -> Iterator[Run] | None:
        """Runs that cover the lines ``[start, stop)`` in order, or None where the scan is of no use."""
        if not self._whole:
            self._whole.append(self._scan_lines(lines, 0, len(lines)))
        whole = self._whole[0]
        if whole is not None:
            found = whole[0]
            origin = int(lines.starts[0])
            edges = lines.starts[start] - origin, lines.stops[stop - 1] - origin
            first, last = np.searchsorted(found.deviating[:, 0], edges)
            row = int(np.searchsorted(found.row_starts, edges[0]))
            deviating = found.deviating[first:last, 0] + origin
            return self._runs(whole, deviating, row, lines, start, stop, rest)
        part = self._scan_lines(lines, start, stop) if stop - start < len(lines) else None
        if part is None:
            return None
        deviating = part[0].deviating[:, 0] + int(lines.starts[start])
        return self._runs(part, deviating, 0, lines, start, stop, rest)

    def _scan_lines(self, lines: Lines, start: int, stop: int) -> _Scanned | None:
        """A line is accepted for itself, so what lies between sound lines does not matter to them."""
        begin, end = int(lines.starts[start]), int(lines.stops[stop - 1])
        if not scan.worthwhile(end - begin):
            return None
        end = min(end + 1, len(lines.buffer))
        whole = (begin, end) == (0, len(lines.buffer))
        buffer = lines.buffer if whole else memoryview(lines.buffer)[begin:end]
        found = self._scan([buffer], self._most_deviating)
        if found is None or found.lines != stop - start:
            return None
        return found, self.table(found)

    def _runs(
        self,
        scanned: _Scanned,
        deviating: Offsets,
        row: int,
        lines: Lines,
        start: int,
        stop: int,
        rest: Lane,
    ) -> Iterator[Run]:
        """The accepted lines are the rows from ``row`` on; the others begin at the bytes ``deviating``."""
        found, table = scanned
        strays = np.searchsorted(lines.starts, deviating)
        # Runs of neighbouring deviating lines, and the accepted lines between them.
        breaks = np.flatnonzero(np.diff(strays) > 1)
        firsts = strays[np.concatenate(([0], breaks + 1))] if len(strays) else strays
        lasts = strays[np.concatenate((breaks, [len(strays) - 1]))] if len(strays) else strays
        strays_at = list(zip(firsts.tolist(), (lasts + 1).tolist(), strict=True))
        others = self._others(lines, strays_at, rest)
        at = start
        for first, behind in strays_at:
            if first > at:
                yield Run(at, first, table, self._extra(found, row, first - at), row)
                row += first - at
            at = first
            while at < behind:
                run = next(others)
                yield run
                at = run.stop
        if at < stop:
            yield Run(at, stop, table, self._extra(found, row, stop - at), row)

    def _others(self, lines: Lines, ranges: Ranges, rest: Lane) -> Iterator[Run]:
        """Runs that cover the lines which the scan left."""
        for first, behind in ranges:
            if behind - first < _FEW_LINES:
                yield Run(first, behind)
            else:
                yield from decode_blocks(lines, first, behind, rest)

    def scan_lines(self, lines: Lines) -> _Scanned | None:
        """What the scan makes of all the lines, those it accepts as a table; None where it is of no use."""
        return self._scan_lines(lines, 0, len(lines))

    def extra_columns(self, found: scan.Scan) -> list[tuple[str, pa.Array]]:
        """The unknown columns of what was found."""
        return list(zip(self._unknown, found.columns[self._width :], strict=True))

    def table(self, found: scan.Scan) -> pa.Table:
        columns = list(found.columns[: self._width])
        if self._rescued:
            columns.append(pa.nulls(found.rows, pa.string()))
        fields = [f.with_type(c.type) for f, c in zip(self._output, columns, strict=True)]
        return pa.Table.from_arrays(columns, schema=pa.schema(fields))

    def _extra(self, found: scan.Scan, row: int, rows: int) -> Counter[str]:
        """In how many of the rows the unknown columns are not null."""
        columns = self.extra_columns(found)
        return Counter({name: rows - column.slice(row, rows).null_count for name, column in columns})


class InTurn:
    """Texts of JSON Lines, scanned into one table as they come, so that few are in memory and not all.

    Small ones are joined until they are worth a call. A text with a line that is not by template is left to
    the other lanes, as are those that it was joined with and all behind it.
    """

    def __init__(self, gather: Gather, total_bytes: int) -> None:
        self._gather = gather
        self._total_bytes = total_bytes
        self._lane: ScanLane | None = None
        self._run: scan.LinesRun | None = None
        self._waiting: list[Text] = []
        self._waiting_bytes = 0
        self._places: list[int] = []
        self._begins: list[int] = []

    def take(self, text: Text) -> list[Text]:
        """Scan the text, which begins with a record, now or later; returns what is for the other lanes."""
        if self._lane is None:
            self._begin()
        if self._run is None or self._run.over:
            return [*self._forgotten(), text]
        self._waiting.append(text)
        self._waiting_bytes += len(text.body) + 1
        return self._scan() if self._waiting_bytes >= _JOINED_BYTES else []

    def finish(self) -> list[Text]:
        """Hand the rows of all that was scanned to ``gather``; returns what is for the other lanes."""
        rest = self._scan() if self._waiting else []
        if self._lane is not None and self._run is not None and self._places:
            found = self._run.taken()
            counts = np.zeros_like(self._gather.records)
            firsts = np.searchsorted(found.row_starts, self._begins)
            counts[self._places] = np.diff(firsts, append=found.rows)
            self._gather.add_rows(self._lane.table(found), counts)
            self._gather.records += counts
        return rest

    def _begin(self) -> None:
        spec = self._gather.spec
        self._lane = json_scan(spec)
        if within_limits(spec) and scan.worthwhile(self._total_bytes):
            self._run = scan.json_lines_in_turn(self._total_bytes, spec.schema)

    def _scan(self) -> list[Text]:
        assert self._lane is not None
        assert self._run is not None
        texts = self._forgotten()
        bodies = [text.body for text in texts]
        begin = self._run.taken_bytes
        joined = bodies[0] if len(bodies) == 1 else b"\n".join(bodies)
        limit_bytes = self._gather.spec.limits.record_bytes
        if not self._lane.counts_no_digits(joined) or not self._run.take(
            np.frombuffer(joined, np.uint8), limit_bytes
        ):
            return texts
        ends = accumulate((len(body) + 1 for body in bodies), initial=begin)
        self._begins += [at for at, _ in zip(ends, bodies, strict=False)]
        self._places += [text.place for text in texts]
        return []

    def _forgotten(self) -> list[Text]:
        texts, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return texts


def within_limits(spec: CompactionSpec) -> bool:
    """Whether no record of the schema's shape can be nested too deep or have too many keys."""
    record = Struct(tuple((f.name, parse_type(f.type)) for f in spec.schema.fields))
    depth, keys = _extent(record)
    return depth <= spec.limits.depth and keys <= spec.limits.columns


def _extent(column_type: ColumnType) -> tuple[int, int]:
    """How deep its values are nested, and how many keys the largest object in them has."""
    match column_type:
        case ListOf(element):
            depth, keys = _extent(element)
            return depth + 1, keys
        case Struct(fields):
            inner = [_extent(kind) for _, kind in fields]
            return 1 + max((d for d, _ in inner), default=0), max([len(fields), *(k for _, k in inner)])
    return 0, 0


def _buffers(bodies: Sequence[Buffer]) -> list[Buffer]:
    """The same texts in sequence, small neighbours as one; a line end belongs between all of them."""
    found: list[Buffer] = []
    for small, together in groupby(bodies, lambda body: len(body) < _SMALL_BYTES):
        run = list(together)
        found += [b"\n".join(run)] if small and len(run) > 1 else run
    return found
