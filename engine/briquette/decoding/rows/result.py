"""What the decoders of all formats hand in, and how it becomes one ``Decoded`` in listing order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from briquette.decoding.rows.row_builder import output_schema
from briquette.errors import LimitExceeded
from briquette.model import CompactionSpec, Reject
from briquette.schemas.limits import limit_hint
from briquette.schemas.types import parse_type

Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows and rejects of some objects.

    ``table`` has the columns of the schema (and ``_rescued`` last where unknown fields are rescued) in the
    order (object, position), in one chunk; a text column may be a dictionary. Every record is a row or a
    reject; ``object_records`` has one count per object. ``extra_fields`` counts, per unknown field, the rows
    in which it is not null. ``decoded_bytes`` are those of the objects' texts, ``reject_bytes`` those of them
    that became rejects: what a limit on rejects weighs.
    """

    table: pa.Table
    rejects: tuple[Reject, ...]
    object_records: tuple[int, ...]
    extra_fields: tuple[tuple[str, int], ...]
    duplicate_json_keys: int
    decoded_bytes: int
    reject_bytes: int


class Text(NamedTuple):
    """One object's decompressed text and its place among the objects of the call."""

    place: int
    key: str
    body: bytes


class Refused(NamedTuple):
    """In place of an object's bytes: why it is not read, and how large it is."""

    reason: str
    size_bytes: int


class Gather:
    """Collects the parts in any order of objects; within one object they come in order of position."""

    def __init__(self, spec: CompactionSpec, objects: int) -> None:
        self.spec = spec
        self.schema = output_schema(spec)
        self.column_types = {f.name: parse_type(f.type) for f in spec.schema.fields}
        self.records: Counts = np.zeros(objects, np.int64)
        self.extra_fields: Counter[str] = Counter()
        self.duplicate_json_keys = 0
        self.decoded_bytes = 0
        self.reject_bytes = 0
        self._rejects: list[tuple[int, Reject]] = []
        self._parts: list[tuple[pa.Table, Counts]] = []

    def add_rows(self, table: pa.Table, rows: Counts) -> None:
        """Rows of one or more objects in their order; ``rows`` counts them for every object of the call."""
        if table.num_rows:
            self._parts.append((table, rows))

    def add_reject(self, index: int, reject: Reject, text_bytes: int | None = None) -> None:
        """A record that was set aside; it weighs ``text_bytes``; None: as many as its raw text."""
        self._rejects.append((index, reject))
        self.reject_bytes += len(reject.raw) if text_bytes is None else text_bytes

    def refuse_object(self, index: int, key: str, reason: str, raw: bytes, size_bytes: int) -> None:
        """A whole object that is one reject; ``raw`` is as much of it as tells the reader what it is."""
        self.records[index] += 1
        self.add_reject(index, Reject(key, 0, 0, reason, raw), size_bytes)

    def finish(self) -> Decoded:
        self._rejects.sort(key=lambda r: (r[0], r[1].position))
        return Decoded(
            table=self._table(),
            rejects=tuple(r for _, r in self._rejects),
            object_records=tuple(self.records.tolist()),
            extra_fields=tuple(sorted((n, c) for n, c in self.extra_fields.items() if c)),
            duplicate_json_keys=self.duplicate_json_keys,
            decoded_bytes=self.decoded_bytes,
            reject_bytes=self.reject_bytes,
        )

    def _table(self) -> pa.Table:
        if not self._parts:
            return self.schema.empty_table()
        whole = concatenated([t for t, _ in self._parts])
        if len(self._parts) > 1:
            numbers = np.arange(len(self.records))
            owners = np.concatenate([np.repeat(numbers, rows) for _, rows in self._parts])
            if (np.diff(owners) < 0).any():
                return whole.take(pa.array(np.argsort(owners, kind="stable"))).combine_chunks()
        return whole.combine_chunks()


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of one schema as one; a text column that is a dictionary in some of them only becomes plain."""
    if all(t.schema.equals(tables[0].schema) for t in tables):
        return pa.concat_tables(tables)
    fields = tables[0].schema
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in fields]
    return pa.concat_tables([t.cast(pa.schema(plain)) for t in tables])


def record_too_long(key: str, limit: int) -> LimitExceeded:
    """The error for a record (or what might be one) longer than the limit."""
    return LimitExceeded(
        f"{key} holds a record of more than {limit} bytes.",
        hint=limit_hint("record_bytes"),
    )
