"""The JSON objects of a call: lines that are surely whole records take the fast lanes.

Where one line ends with "}" and the next begins with "{", a record ends and another begins, whatever is
broken around: no JSON value may hold these characters in sequence, a string holds no raw line end, and the
extent of a malformed record stops there by rule. So lines between two such seams can be decoded on their own,
together with those of other objects in one buffer. Only an array of records, which has commas between, goes
to the reader whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from briquette.decoding.fast.blocks import Run
from briquette.decoding.fast.scanned import json_scan
from briquette.decoding.lined import LinedObjects, read_all
from briquette.decoding.rows.result import Gather, Text
from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.json_records import JsonReader, Record
from briquette.decoding.text.lines import Bools, Lines, sound_lines
from briquette.decoding.text.object_text import BOM, first_char
from briquette.model import CompactionSpec, Reject


class JsonLines:
    """The dialect of JSON texts that are no array.

    The lane of pyarrow.json is imported for the lines that the scan leaves, which most days do not have.
    """

    def __init__(self, spec: CompactionSpec) -> None:
        from briquette.decoding.fast.json_arrow import ArrowLane

        self._limits = spec.limits
        self._lane = ArrowLane(spec)
        self._scan = json_scan(spec)

    def sound(self, lines: Lines) -> Bools | None:
        return sound_lines(lines, self._limits.record_bytes)

    def decode(self, lines: Lines, start: int, stop: int) -> Iterator[Run]:
        from briquette.decoding.fast.json_arrow import decode_lines

        return decode_lines(lines, start, stop, self._lane, self._scan)

    def read(self, key: str, text: bytes, base_offset: int) -> Iterator[Record]:  # noqa: ARG002
        return JsonReader(self._limits, base_offset=base_offset, sequence=True).read(text)


def decode_json(
    texts: Sequence[Text], gather: Gather, *, base_offset: int = 0, inside: bool = False, strict: bool = False
) -> None:
    """Decode JSON texts into ``gather``.

    ``inside`` says that the (only) text is from the midst of a sequence of records, ``base_offset`` from
    which place; ``strict`` sends every record through the reader.
    """
    lined = [] if strict else [t for t in texts if inside or first_char(t.body) != b"["]
    taken = {t.place for t in lined}
    if lined:
        begins = [0] * len(lined)
        clean = json_scan(gather.spec).take_clean(lined, begins, gather, gather.spec.limits.record_bytes)
        lined = [t for t in lined if t.place not in clean]
    if lined:
        begins = [len(BOM) if not base_offset and t.body.startswith(BOM) else 0 for t in lined]
        builder = RowBuilder(gather.spec)
        objects = LinedObjects(lined, begins, gather, builder, base_offset=base_offset)
        objects.decode(JsonLines(gather.spec))
    for text in texts:
        if text.place not in taken:
            records = JsonReader(gather.spec.limits).read(text.body)
            add_records(text, records, gather, RowBuilder(gather.spec))


def add_records(
    text: Text, records: Iterator[Record], gather: Gather, builder: RowBuilder, base_offset: int = 0
) -> None:
    """A whole text as a record reader gives it; it begins at ``base_offset`` of its object."""
    refused: list[Reject] = []
    count, duplicates, left_out = read_all(records, text.body, base_offset, builder, refused, text.key)
    for reject in refused:
        gather.add_reject(text.place, reject)
    gather.reject_bytes += left_out
    gather.duplicate_json_keys += duplicates
    gather.records[text.place] += count
    rows = np.zeros_like(gather.records)
    rows[text.place] = builder.rows
    gather.extra_fields.update(builder.extra_fields)
    gather.add_rows(builder.table(), rows)
