"""A declared schema from the data: over all records, never a sample, before anything is planned (C4).

The schema that comes out decodes the same data without a reject for a value's type, unless a remark says that
no type can hold all of a column's values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, assert_never

from briquette.decoding.strict.csv_records import CsvReader, Header, Splitter, read_header
from briquette.decoding.strict.json_records import JsonReader, Record
from briquette.decoding.text.object_text import BOM, decompress, file_format
from briquette.errors import EmptyInput, RejectLimitExceeded, SchemaError
from briquette.inference import hints
from briquette.inference.column_profile import TEXT, ColumnProfile, Place
from briquette.inference.known_lines import MOST_DIGITS, lines_like, rows_like
from briquette.inference.number_clash import without_loss
from briquette.model import Field, FileFormat, Limits, Schema
from briquette.schemas.declared import RESCUED, check_schema, dump_schema
from briquette.schemas.types import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

Again = Callable[[Collection[str]], Iterable[tuple[str, bytes]]]  # reads objects once more, by their keys

_MAX_WINDOW_LINES = 4_096  # read one by one before the next try to pass over a run
_SHORT_BYTES = 64  # more than any value but a string takes with the signs around it
_NULL_VALUES = Schema(()).null_values
_LINE_END = re.compile(rb"\r?\n")
_MOST_DECIDED = 20  # sentences about columns among the warnings
_MAX_HEADERS = 1_000  # different ones that are compared
_HEAD_BYTES = 4_096  # of a text, to know its format


@dataclass(frozen=True, slots=True)
class Inferred:
    """A schema with what was found on the way; ``remarks`` are (column, sentence), in column order."""

    schema: Schema
    objects: int
    records: int
    rejects: int  # records that are broken whatever the schema; they say nothing about columns
    remarks: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]  # fields whose names no column may have
    warnings: tuple[str, ...]  # what a person should know before the schema is used

    @property
    def comments(self) -> dict[str, str]:
        """The remarks by column, as ``dump_schema`` takes them."""
        return dict(self.remarks)

    def to_toml(self) -> str:
        """The table's file, with the remarks as comments."""
        return dump_schema(self.schema, comments=self.comments)


def infer_schema(
    objects: Iterable[tuple[str, bytes]],
    name: str = "",
    *,
    limits: Limits | None = None,
    again: Again | None = None,
    refused: Iterable[tuple[str, str]] = (),
) -> Inferred:
    """The narrowest schema that holds every record of ``objects``, which are (key, bytes as stored).

    Columns stand in the order of their first appearance and are all nullable: another day may lack a value.
    ``again`` gives Parquet objects a second time, where their types differ and the values have to decide;
    without it all objects are kept in memory. ``refused`` are objects that are one reject each, with why.
    Raises the InputErrors of decoding, EmptyInput where there is no record, RejectLimitExceeded where all
    records are rejects and name no column, and SchemaError where the records have no field to make a column
    of, or no type holds a column's values.
    """
    if again is None:
        objects = kept = list(objects)

        def again(keys: Collection[str]) -> Iterable[tuple[str, bytes]]:
            return [(key, raw) for key, raw in kept if key in keys]

    observer = _Observer(limits or Limits(), again)
    for key, raw in objects:
        observer.object(key, raw)
    for key, reason in refused:
        observer.refuse(key, reason)
    return observer.inferred(name)


class _Observer:
    """The profiles of all columns, gathered object by object."""

    def __init__(self, limits: Limits, again: Again) -> None:
        self.limits = limits
        self.again = again
        self.columns: dict[str, ColumnProfile] = {}
        self.objects = self.records = self.rejects = 0
        self.first_reason = ""
        self.place = Place()  # of the record that is read
        self.hints = hints.Hints()
        self.headers: dict[tuple[str, ...], None] = {}
        self.csv_objects = 0
        self.found_in: dict[str, Place] = {}  # the first record with a name that no column may have
        self.twins: dict[tuple[str, str], bool] = {}  # names equal but for case: whether one record has both
        self.parquet: dict[str, dict[str, None]] = {}  # the Parquet objects that have a column
        self._lower: dict[str, str] = {}
        self._keys: tuple[str, ...] = ()  # of the last record: the next ones are probably like it

    def object(self, key: str, raw: bytes) -> None:
        text = decompress(key, raw, self.limits)
        self.objects += 1
        self.place.key, self.place.position = key, 0
        kind = file_format(key, text[:_HEAD_BYTES] if text[:_HEAD_BYTES].strip() else text)
        match kind:
            case FileFormat.JSON:
                self._json(key, text.removeprefix(BOM))
            case FileFormat.PARQUET:
                self._parquet(key, text)
            case FileFormat.CSV | FileFormat.TSV:
                self._csv(key, text, kind)
            case None:  # nothing but white space
                pass
            case _:
                assert_never(kind)

    def refuse(self, key: str, reason: str) -> None:
        """Count an object that is one reject."""
        self.objects += 1
        self.records += 1
        self.place.key, self.place.position = key, 0
        self._reject(key, reason)

    def _column(self, name: str) -> ColumnProfile:
        found = self.columns.get(name)
        if found is None:
            if len(self.columns) == self.limits.columns:
                raise SchemaError(
                    f"The records have more than {self.limits.columns} different fields.",
                    hint="Their names look like data: put them into one object, which can be a json column.",
                )
            found = self.columns[name] = ColumnProfile(self.place)
            if name in ("", RESCUED):
                self.found_in[name] = Place(self.place.key, self.place.position)
            twin = self._lower.setdefault(name.lower(), name)
            if twin != name:
                self.twins[twin, name] = False
        return found

    def _together(self, names: Collection[str]) -> None:
        """Take note of which twins stand in one record."""
        for pair, together in self.twins.items():
            if not together and pair[0] in names and pair[1] in names:
                self.twins[pair] = True

    def _reject(self, key: str, reason: str) -> None:
        self.rejects += 1
        self.first_reason = self.first_reason or f"{key!r}, record {self.place.position}: {reason}"

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
                    self._passed(text.count(b"\n", at, stop))
                    at, lines, reader = stop, 1, None
                    continue
            stop = max(_after_lines(text, at, lines), min(at + window_bytes, len(text)))
            reader = reader or JsonReader(self.limits, base_offset=at, sequence=True)
            taken = self._read(key, reader.read_piece(text[at:stop], final=stop == len(text)))
            # Nothing taken: a record longer than the window. No known lines: read on before the next try.
            window_bytes = 0 if taken else max(4 * (stop - at), _HEAD_BYTES)
            lines = min(lines * 2, _MAX_WINDOW_LINES)
            at = len(text) if stop == len(text) else at + taken

    def _passed(self, records: int) -> None:
        self.records += records
        self.place.position += records

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
                    self.place.position += 1
                    continue
                for name, value in record.value.items():
                    profile = self.columns.get(name) or self._column(name)
                    if value is not None:
                        profile.add(value)
                self._keys = tuple(record.value)
                self.place.position += 1
                if self.twins:
                    self._together(record.value)
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
        if header.refused:
            self.records += 1
            self._reject(key, header.refused)
            return
        hints.check_header(key, header.names)
        cells = [self._column(name) for name in header.names]
        self._together(header.names)
        reader = CsvReader(key, header, splitter, _NULL_VALUES, self.limits)
        self._look_at_csv(key, text, header, at, reader, delimiter)
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
                    self._passed(text.count(b"\n", at, run.end()))
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
                    self.place.position += 1
                    continue
                raw = text[record.offset : record.offset + record.size]
                for profile, value in zip(cells, record.value.values(), strict=True):
                    if value is not None:
                        profile.add_cell(value)
                        if b'"' in raw and not profile.passed & TEXT and f'"{value}"'.encode() in raw:
                            profile.quoted |= value in profile.texts()
                self.place.position += 1
            if taken < lines:
                break
            lines = min(lines * 2, _MAX_WINDOW_LINES)

    def _look_at_csv(
        self, key: str, text: bytes, header: Header, at: int, reader: CsvReader, delimiter: bytes
    ) -> None:
        """Whether the object seems to be another kind of CSV than the one that is read."""
        rows = [
            tuple(record.value.values())
            for record in islice(reader.read(text, 0, at), hints.FIRST_ROWS)
            if record.value
        ]
        hints.of_csv(self.hints, key, header.names, rows, text[:_HEAD_BYTES], delimiter)
        self.csv_objects += 1
        if len(self.headers) < _MAX_HEADERS:
            self.headers[header.names] = None

    # -- Parquet -------------------------------------------------------------------------------

    def _parquet(self, key: str, text: bytes) -> None:
        from briquette.decoding.parquet.types import parquet_types

        rows, types = parquet_types(key, text, self.limits)
        self.records += rows
        for name, column_type in types.items():
            self._column(name).declared.setdefault(column_type, key)
            self.parquet.setdefault(name, {})[key] = None
        self._together(types)

    def _values(self, name: str) -> Iterator[pa.Array]:
        """A column's values in each Parquet object that has it."""
        from briquette.decoding.parquet.columns import column_of

        for key, raw in self.again(tuple(self.parquet[name])):
            yield from column_of(key, decompress(key, raw, self.limits), name, self.limits)

    # -- the verdict ---------------------------------------------------------------------------

    def _verdict(self, name: str, profile: ColumnProfile) -> tuple[ColumnType, str]:
        def repair(joined: ColumnType) -> tuple[ColumnType, str]:
            return without_loss(name, profile, joined, lambda: self._values(name))

        return profile.verdict(repair if profile.declared else None)

    def inferred(self, name: str) -> Inferred:
        fields: list[Field] = []
        remarks: list[tuple[str, str]] = []
        decided: list[str] = []
        for column, profile in self.columns.items():
            if column in self.found_in:
                continue
            column_type, remark = self._verdict(column, profile)
            why = hints.of_column(column, column_type, profile, self.records)
            decided += [f"{column}: {sentence}." for sentence in why]
            twin = self._lower[column.lower()]
            if twin != column:
                why.append(f"many readers cannot tell it from {twin}")
            fields.append(Field(column, str(column_type)))
            if remark or why:
                remarks.append((column, "; ".join(filter(None, [remark, *why]))))
        if len(decided) > _MOST_DECIDED:
            more = len(decided) - _MOST_DECIDED
            decided[_MOST_DECIDED:] = [f"{more:,} more remarks on columns are comments in the schema."]
        if not fields:
            raise self._nothing()
        schema = check_schema(Schema(tuple(fields), name=name), where="the inferred schema")
        return Inferred(
            schema,
            self.objects,
            self.records,
            self.rejects,
            tuple(remarks),
            tuple(self.found_in),
            tuple(filter(None, [*self._warnings(), *decided, hints.null_values(self.columns.items())])),
        )

    def _warnings(self) -> Iterator[str]:
        if self.rejects:
            yield (
                f"{self.rejects:,} of {self.records:,} records are rejects whatever the schema is "
                f"(the first: {self.first_reason}): nothing of them is in it."
            )
        yield from self.hints.sentences()
        yield hints.unlike_headers(self.headers, self.csv_objects)
        yield hints.of_records(self.columns, self.records, self.objects)
        yield from (hints.twins(*pair) for pair, together in self.twins.items() if not together)
        for column, place in self.found_in.items():
            yield hints.left_out(column, place)

    def _nothing(self) -> EmptyInput | RejectLimitExceeded | SchemaError:
        if not self.records and not self.found_in:
            return EmptyInput(
                f"{self.objects} raw objects hold no record, so there is no schema to infer.",
                hint="Check the path, or declare the schema.",
            )
        first = f"The first reject: {self.first_reason}." if self.first_reason else ""
        if self.rejects and self.rejects == self.records:
            return RejectLimitExceeded(f"All {self.records} records are rejects.", hint=first)
        return SchemaError(f"None of {self.records} records has a field to make a column of.", hint=first)


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
