"""A Parquet object as slices of rows whose values take a bounded number of bytes, however small the file is.

A page of a few bytes can hold a gigabyte of text: repeated values are written once, and compressed. So rows
come in batches, columns that could inflate come as dictionaries, and what a slice holds once it is decoded is
measured before it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from briquette.decoding.parquet.sizes import LENGTH, WIDTH, Sizes, total
from briquette.decoding.parquet.values import Form, form_of
from briquette.errors import CorruptObject, LimitExceeded, OutOfMemory
from briquette.model import Limits
from briquette.parquet import thrift
from briquette.storage.range_file import RangeFile

T = TypeVar("T")

HINT = "Fetch it again from its source, or move it away and plan again."
SLICE_BYTES = 8 << 20  # of values, and about what one slice takes as Arrow columns
_BATCH_BYTES = 16 << 20  # that a batch is expected to take, its dictionaries not unfolded
_BATCH_ROWS = 1 << 16
_SUSPECT_BYTES = 64 << 20  # that a column chunk might unfold to
_BYTE_ARRAY = 6  # parquet.thrift: Type
_DICTIONARIES = {2, 8}  # Encoding: PLAIN_DICTIONARY, RLE_DICTIONARY
_DELTA_BYTE_ARRAY = 7
_DATA_PAGES = {0, 3}  # PageType: DATA_PAGE, DATA_PAGE_V2
_TAIL_BYTES = 1 << 16
_BUFFER_BYTES = 4 << 20  # of a column chunk are fetched at once where a file is not in memory
_OPAQUE = ("BSON", "Geometry", "Geography", "Variant")


class Source(Protocol):
    """Where a file's bytes are."""

    size: int
    in_memory: bool

    @property
    def read(self) -> Callable[[int, int], bytes]:
        """Gives the bytes from a first offset to a last one."""

    def open(self) -> pa.NativeFile:
        """All of it, for pyarrow."""


class InMemory:
    """A file that is there as bytes."""

    in_memory = True

    def __init__(self, body: bytes) -> None:
        self.size = len(body)
        self._body = body

    def read(self, start: int, stop: int) -> bytes:
        """Some of its bytes."""
        return self._body[start:stop]

    def open(self) -> pa.NativeFile:
        """All of it, for pyarrow."""
        return pa.BufferReader(self._body)


class Ranged:
    """A file of which ``fetch(start, stop)`` gives bytes: what is read of it is all that is in memory."""

    in_memory = False

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self.size = size
        self.read = fetch

    def open(self) -> pa.NativeFile:
        """All of it, for pyarrow."""
        return pa.PythonFile(RangeFile(self.size, self.read), mode="r")


@dataclass(slots=True)
class Meter:
    """How many bytes of values a block has taken; it ends before the row that would pass ``block_bytes``."""

    block_bytes: int | None = None
    used: int = 0
    object_bytes: int = 0  # of the object that is read

    def cut(self, ends: Sizes, at: int) -> tuple[int, bool]:
        """Up to which row a slice from row ``at`` goes; and whether a new block begins there.

        ``ends`` are the bytes of a batch behind each of its rows.
        """
        before = int(ends[at - 1]) if at else 0
        begins = self.block_bytes is not None and 0 < self.used > self.block_bytes - int(ends[at]) + before
        if begins:
            self.used = 0
        room = SLICE_BYTES if self.block_bytes is None else min(SLICE_BYTES, self.block_bytes - self.used)
        stop = max(int(np.searchsorted(ends, before + room, "right")), at + 1)
        self.used += int(ends[stop - 1]) - before
        self.object_bytes += int(ends[stop - 1]) - before
        return stop, begins


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows in order: their columns, the twins of INT96 columns, and where they stand in the file."""

    rows: pa.RecordBatch
    twins: dict[str, pa.Array]
    first: int
    begins_block: bool


@dataclass(slots=True)
class _Facts:
    """What a footer says that decides how to read."""

    names: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)  # rows of each row group
    batch_rows: int = _BATCH_ROWS
    value_bytes: int = 0  # of all row groups together, about
    dictionaries: set[int] = field(default_factory=set)  # leaf columns to read as such


class ParquetObject:
    """One file. Raises CorruptObject, LimitExceeded and OutOfMemory, also while slices are taken."""

    def __init__(self, key: str, source: Source, limits: Limits) -> None:
        self.key = key
        self.size_bytes = source.size
        self._source, self._limits = source, limits
        with reading(key):
            self._facts = _facts(key, source, limits)
            self._file = self._open(read_dictionary=sorted(self._facts.dictionaries))
            self.schema: pa.Schema = self._file.schema_arrow
            self.names: list[str] = self.schema.names  # decoded here: a damaged name is no Unicode
            twice = _twice(self.schema)
            self.forms = _forms(self._file)
        if twice is not None:
            raise CorruptObject(f"{key} names the Parquet column {twice} more than once.", hint=HINT)
        self.rows = sum(self._facts.groups)
        self._wide_times = [n for n, f in self.forms.items() if "int96" in f.marks()]

    def _open(self, **options: Any) -> pq.ParquetFile:
        if not self._source.in_memory:
            options |= {"buffer_size": _BUFFER_BYTES, "pre_buffer": False}
        return pq.ParquetFile(self._source.open(), **options)

    def slices(self, meter: Meter) -> Iterator[Slice]:
        """The rows in slices, cut where the meter says."""
        meter.object_bytes = 0
        first = 0
        batches = self._batches()
        while True:
            with reading(self.key):
                batch, twins = next(batches, (None, {}))
            if batch is None:
                return
            with reading(self.key):
                ends = np.cumsum(total(batch.num_rows, batch.columns))
            at = 0
            while at < batch.num_rows:
                stop, begins = meter.cut(ends, at)
                if meter.object_bytes > self._limits.object_bytes:
                    raise _too_large(self.key, f"more than {self._limits.object_bytes} bytes of values")
                rows = batch.slice(at, stop - at)
                yield Slice(rows, {n: t.slice(at, stop - at) for n, t in twins.items()}, first + at, begins)
                at = stop
            first += batch.num_rows

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.Array]]]:
        facts = self._facts
        groups = range(len(facts.groups))
        together = facts.value_bytes <= _BATCH_BYTES and not self._wide_times
        twins = self._open(coerce_int96_timestamp_unit="ms") if self._wide_times else None
        for chosen in [list(groups)] if together and groups else [[g] for g in groups]:
            wide = {}
            if twins is not None:
                table = twins.read_row_group(chosen[0], columns=self._wide_times, use_threads=False)
                wide = {n: table.column(n).combine_chunks() for n in self._wide_times}
            at = 0
            for batch in self._read(chosen):
                yield batch, {n: column.slice(at, batch.num_rows) for n, column in wide.items()}
                at += batch.num_rows

    def _read(self, groups: list[int]) -> Iterator[pa.RecordBatch]:
        rows = self._facts.batch_rows
        if sum(self._facts.groups[g] for g in groups) <= rows:  # a sixth quicker than an iterator
            table = self._file.read_row_groups(groups, use_threads=False)
            return iter(table.combine_chunks().to_batches())
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            rows, row_groups=groups, use_threads=False
        )
        return batches


@contextmanager
def reading(key: str) -> Iterator[None]:
    """A fault of the file as CorruptObject; a lack of memory is none of its faults."""
    with enough_memory(key):
        try:
            yield
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptObject(f"{key} cannot be read as Parquet: {error}.", hint=HINT) from error


@contextmanager
def enough_memory(key: str) -> Iterator[None]:
    """A lack of memory by its own name, with the object that took it."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(
            f"{key} takes more memory to decode than there is ({error}); nothing was published.",
            hint="Run again with more memory, or with fewer splits at once: --threads 1 or --memory-limit.",
        ) from error


# -- what the footer says ----------------------------------------------------------------------


def _facts(key: str, source: Source, limits: Limits) -> _Facts:
    """What the footer says, read by our own hands and checked: it need not be true, and costs memory if not.

    Asking pyarrow for a damaged column chunk ends the process.
    """
    footer = _footer(source)
    # Row groups, their column chunks, of these the metadata and what it says of pages.
    wanted: thrift.Wanted = {4: {1: {3: {13: {}}}}}
    try:
        root = thrift.scan(footer, wanted)
        rows = thrift.int_of(footer, root.fields[3])
        groups = root.fields[4].structs
        counts = [thrift.int_of(footer, g.fields[3]) for g in groups]
        chunks = [[_chunk(footer, c.fields[3].structs[0]) for c in g.fields[1].structs] for g in groups]
        sizes = [thrift.int_of(footer, g.fields[2]) for g in groups]
    except (thrift.ThriftError, KeyError, IndexError) as error:
        raise CorruptObject(
            f"{key} has a Parquet footer that cannot be read: {error!r}.", hint=HINT
        ) from error
    values = [c.values for group in chunks for c in group]
    if min([rows, *counts, *values]) < 0 or sum(counts) != rows:
        raise CorruptObject(
            f"{key} has a Parquet footer that gives two different numbers of rows.", hint=HINT
        )
    columns = max(map(len, chunks), default=0)
    if columns > limits.columns or sum(sizes) > limits.object_bytes:
        raise _too_large(key, f"{sum(sizes)} bytes in {columns} columns, more than the limits")
    if max(rows, sum(values)) > limits.object_bytes:
        raise _too_large(key, f"{max(rows, sum(values))} values, more than it may have bytes")
    facts = _Facts(groups=counts)
    for count, group in zip(counts, chunks, strict=True):
        _weigh(facts, count, group)
    return facts


def _too_large(key: str, what: str) -> LimitExceeded:
    return LimitExceeded(
        f"{key} holds {what}.", hint="Raise limits.object_bytes or limits.columns if that is right."
    )


def _footer(source: Source) -> bytes:
    tail = source.read(max(source.size - _TAIL_BYTES, 0), source.size)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > source.size or tail[-4:] != b"PAR1":
        raise ValueError("it does not end with a footer; it may be cut")
    return (tail if length <= len(tail) else source.read(source.size - length, source.size))[-length:-8]


@dataclass(frozen=True, slots=True)
class _Chunk:
    text: bool  # of values with a length of their own
    repeats: bool  # most pages name values of a dictionary
    delta: bool  # values repeat the beginning of the one before
    values: int
    plain_bytes: int  # of its pages without compression


def _chunk(footer: bytes, meta: thrift.Struct) -> _Chunk:
    fields = meta.fields
    kind, values, plain = (thrift.int_of(footer, fields[i]) for i in (1, 5, 6))
    encodings = thrift.ints_of(footer, fields[2])
    dictionaries = plain_pages = 0
    for page in fields[13].structs if 13 in fields else ():
        if thrift.int_of(footer, page.fields[1]) in _DATA_PAGES:
            count = thrift.int_of(footer, page.fields[3])
            repeated = thrift.int_of(footer, page.fields[2]) in _DICTIONARIES
            dictionaries, plain_pages = dictionaries + count * repeated, plain_pages + count * (not repeated)
    # Where a dictionary grew too large, its writer goes on with plain values, as large as they look.
    repeats = bool(_DICTIONARIES.intersection(encodings)) and dictionaries >= plain_pages
    return _Chunk(kind == _BYTE_ARRAY, repeats, _DELTA_BYTE_ARRAY in encodings, values, max(plain, 0))


def _weigh(facts: _Facts, rows: int, chunks: list[_Chunk]) -> None:
    """Add what a row group's columns take; find those that may unfold to much more than their pages."""
    total, most = 0, _BATCH_ROWS
    for leaf, chunk in enumerate(chunks):
        total += chunk.values * (LENGTH if chunk.text else WIDTH)
        if not chunk.text:
            continue
        total += chunk.plain_bytes
        # A value is no longer than all pages of its column; a repeated one costs next to nothing.
        if chunk.values * chunk.plain_bytes > _SUSPECT_BYTES:
            if chunk.repeats:
                facts.dictionaries.add(leaf)
            if chunk.delta:
                most = min(most, _BATCH_BYTES // chunk.plain_bytes)
    facts.value_bytes += total
    facts.batch_rows = (
        max(min(facts.batch_rows, most, rows * _BATCH_BYTES // max(total, 1)), 1)
        if rows
        else (facts.batch_rows)
    )


def _twice(kind: pa.Schema | pa.DataType, path: str = "") -> str | None:
    """The path of a field whose name occurs twice at its level."""
    seen: set[str] = set()
    fields = kind if isinstance(kind, pa.Schema) else [kind.field(i) for i in range(kind.num_fields)]
    for child in fields:
        here = f"{path}.{child.name}".removeprefix(".")
        if child.name in seen:
            return here
        seen.add(child.name)
        if (found := _twice(child.type, here)) is not None:
            return found
    return None


def _forms(file: pq.ParquetFile) -> dict[str, Form]:
    """Each column's form."""
    leaves = (file.schema.column(i) for i in range(len(file.schema)))
    marks = map(_mark, leaves)
    return {f.name: form_of(f.type, marks) for f in file.schema_arrow}


def _mark(leaf: pq.ColumnSchema) -> str:
    kind = leaf.physical_type
    if not kind.endswith("BYTE_ARRAY"):
        return "int96" if kind == "INT96" else ""
    logical = str(leaf.logical_type)
    if leaf.converted_type == "INTERVAL" or logical == "Interval":
        return "interval"
    return "opaque" if logical.startswith(_OPAQUE) else ""
