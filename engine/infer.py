"""A declared schema from the data: over all records, never a sample, before anything is planned (C4).

The schema that comes out decodes the same data without a reject for a value's type, unless a remark says that
no type can hold all of a column's values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from engine.decoding.csv_records import CsvReader, Splitter, read_header
from engine.decoding.json_records import JsonReader, Record
from engine.decoding.text import BOM, decompress, file_format
from engine.errors import EmptyInput, SchemaError
from engine.evidence import Evidence
from engine.model import Field, FileFormat, Limits, Schema
from engine.schema import RESCUED, check_schema, dump_schema
from engine.skim import MOST_DIGITS, lines_like, rows_like
from engine.value import Value

_MAX_WINDOW_LINES = 4_096  # read one by one before the next try to pass over a run
_SHORT_BYTES = 64  # more than any value but a string takes with the signs around it
_NULL_VALUES = Schema(()).null_values
_LINE_END = re.compile(rb"\r\n|\n|\r")
_HEAD_BYTES = 4_096  # of a text, to know its format


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Inferred(Value):
    """A schema with what was found on the way; ``remarks`` are (column, sentence), in column order."""

    schema: Schema
    objects: int
    records: int
    rejects: int  # records that are broken whatever the schema; they say nothing about columns
    remarks: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]  # fields whose names no column may have
    warnings: tuple[str, ...] = ()  # sentences about what no column will say

    @property
    def comments(self) -> dict[str, str]:
        """The remarks by column, as ``dump_schema`` takes them."""
        return dict(self.remarks)

    def to_toml(self) -> str:
        """The table's file, with the remarks as comments."""
        return dump_schema(self.schema, comments=self.comments)


def infer_schema(
    objects: Iterable[tuple[str, bytes]], name: str = "", *, limits: Limits | None = None
) -> Inferred:
    """The narrowest schema that holds every record of ``objects``, which are (key, bytes as stored).

    Columns stand in the order of their first appearance and are all nullable: another day may lack a value.
    Raises the InputErrors of decoding, EmptyInput where there is no record, and SchemaError where the records
    have no field to make a column of.
    """
    observer = _Observer(limits or Limits())
    for key, raw in objects:
        observer.object(key, raw)
    return observer.inferred(name)


class _Observer:
    """Evidence of all columns, gathered object by object."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.columns: dict[str, Evidence] = {}
        self.objects = self.records = self.rejects = 0
        self.first_reason = ""
        self._keys: tuple[str, ...] = ()  # of the last record: the next ones are probably like it

    def object(self, key: str, raw: bytes) -> None:
        text = decompress(key, raw, self.limits)
        self.objects += 1
        kind = file_format(key, text[:_HEAD_BYTES] if text[:_HEAD_BYTES].strip() else text)
        if kind is FileFormat.JSON:
            self._json(key, text.removeprefix(BOM))
        elif kind is FileFormat.PARQUET:
            self._parquet(key, text)
        elif kind is not None:
            self._csv(key, text, kind)

    def _column(self, name: str) -> Evidence:
        found = self.columns.get(name)
        if found is None:
            if len(self.columns) == self.limits.columns:
                raise SchemaError(
                    f"The records have more than {self.limits.columns} different fields.",
                    hint="Their names look like data: put them into one object, which can be a json column.",
                )
            found = self.columns[name] = Evidence()
        return found

    def _reject(self, key: str, reason: str) -> None:
        self.rejects += 1
        self.first_reason = self.first_reason or f"{key}: {reason}"

    # -- JSON ----------------------------------------------------------------------------------

    def _json(self, key: str, text: bytes) -> None:
        if text.lstrip(b" \t\r\n").startswith(b"["):
            self._read(key, JsonReader(self.limits).read(text))
            return
        ascii_only = text.isascii()
        may_skim = self.limits.number_digits >= MOST_DIGITS and (ascii_only or _is_utf8(text))
        at, lines, window_bytes = 0, 1, 0
        reader: JsonReader | None = None  # of the text from the last run that was passed over
        while at < len(text):
            if may_skim:
                stop = self._skim(text, at, ascii_only=ascii_only)
                if stop > at:
                    self.records += text.count(b"\n", at, stop)
                    at, lines, reader = stop, 1, None
                    continue
            stop = max(_after_lines(text, at, lines), min(at + window_bytes, len(text)))
            reader = reader or JsonReader(self.limits, base_offset=at, sequence=True)
            taken = self._read(key, reader.read_piece(text[at:stop], final=stop == len(text)))
            # Nothing taken: a record longer than the window. Nothing to skim: read on before the next try.
            window_bytes = 0 if taken else max(4 * (stop - at), _HEAD_BYTES)
            lines = min(lines * 2, _MAX_WINDOW_LINES)
            at = len(text) if stop == len(text) else at + taken

    def _skim(self, text: bytes, at: int, *, ascii_only: bool) -> int:
        """Behind the run of lines at ``at`` that say nothing new."""
        pattern = lines_like(
            self.columns, self._keys, ascii_only=ascii_only, text_bytes=self._text_bytes(text, self._keys)
        )
        run = pattern.match(text, at) if pattern else None
        return run.end() if run else at

    def _text_bytes(self, text: bytes, names: tuple[str, ...]) -> int | None:
        """How long a string may be so that no record passes its limit; None where none can."""
        if len(text) <= self.limits.record_bytes:
            return None
        room = self.limits.record_bytes - 8 * sum(map(len, names))
        return max(room // max(len(names), 1) - _SHORT_BYTES, 0)

    def _read(self, key: str, records: Iterator[Record]) -> int:
        """Take note of the records; the generator's answer is how many bytes they took."""
        try:
            while True:
                record = next(records)
                self.records += 1
                if record.value is None:
                    self._reject(key, record.reason)
                    continue
                for name, value in record.value.items():
                    evidence = self.columns.get(name) or self._column(name)
                    if value is not None:
                        evidence.add(value)
                self._keys = tuple(record.value)
        except StopIteration as end:
            return int(end.value or 0)

    # -- CSV -----------------------------------------------------------------------------------

    def _csv(self, key: str, text: bytes, kind: FileFormat) -> None:
        delimiter = b"\t" if kind is FileFormat.TSV else b","
        splitter = Splitter(delimiter)
        found = read_header(key, text, splitter, self.limits)
        if found is None:
            return
        header, at = found
        cells = [self._column(name) for name in header.names]
        reader = CsvReader(key, header, splitter, _NULL_VALUES, self.limits)
        ascii_only = text.isascii()
        may_skim = self.limits.number_digits >= MOST_DIGITS and (ascii_only or _is_utf8(text))
        text_bytes, lines = self._text_bytes(text, header.names), 1
        while at < len(text):
            if may_skim:
                pattern = rows_like(
                    self.columns,
                    header.names,
                    delimiter=delimiter,
                    ascii_only=ascii_only,
                    text_bytes=text_bytes,
                )
                run = pattern.match(text, at) if pattern else None
                if run and run.end() > at:
                    self.records += text.count(b"\n", at, run.end())
                    at, lines = run.end(), 1
                    continue
            taken = 0
            for record in islice(reader.read(text, 0, at), lines):
                taken += 1
                self.records += 1
                line_end = _LINE_END.match(text, record.offset + record.size)
                at = line_end.end() if line_end else len(text)
                if record.value is None:
                    self._reject(key, record.reason)
                    continue
                for evidence, value in zip(cells, record.value.values(), strict=True):
                    if value is not None:
                        evidence.add_cell(value)
            if taken < lines:
                break
            lines = min(lines * 2, _MAX_WINDOW_LINES)

    # -- Parquet -------------------------------------------------------------------------------

    def _parquet(self, key: str, text: bytes) -> None:
        from engine.decoding.parquet_types import parquet_words

        rows, words = parquet_words(key, text, self.limits)
        self.records += rows
        for name, word in words.items():
            self._column(name).declared[word] = None

    # -- the verdict ---------------------------------------------------------------------------

    def inferred(self, name: str) -> Inferred:
        fields: list[Field] = []
        remarks: list[tuple[str, str]] = []
        lower: dict[str, str] = {}
        left_out = [column for column in self.columns if column in ("", RESCUED)]
        for column, evidence in self.columns.items():
            if column in left_out:
                continue
            word, remark = evidence.verdict()
            twin = lower.setdefault(column.lower(), column)
            if twin != column:
                remark = "; ".join(filter(None, [remark, f"many readers cannot tell it from {twin}"]))
            fields.append(Field(column, str(word)))
            if remark:
                remarks.append((column, remark))
        if not self.records and not fields:
            raise EmptyInput(
                f"{self.objects} raw objects hold no record, so there is no schema to infer.",
                hint="Check the path, or declare the schema.",
            )
        if not fields:
            raise SchemaError(
                f"None of {self.records} records has a field to make a column of.",
                hint=f"The first reject: {self.first_reason}." if self.first_reason else "",
            )
        schema = check_schema(Schema(tuple(fields), name=name), where="the inferred schema")
        return Inferred(schema, self.objects, self.records, self.rejects, tuple(remarks), tuple(left_out))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _after_lines(text: bytes, at: int, lines: int) -> int:
    for _ in range(lines):
        at = text.find(b"\n", at) + 1
        if not at:
            return len(text)
    return at
