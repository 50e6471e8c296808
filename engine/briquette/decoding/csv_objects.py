"""The CSV objects of a call: objects with the same header share a buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from briquette.decoding.fast.scanned import csv_scan
from briquette.decoding.json_objects import add_records
from briquette.decoding.rows.refusals import beginning, csv_refusal
from briquette.decoding.rows.result import Gather, Text
from briquette.decoding.rows.row_builder import RowBuilder
from briquette.decoding.strict.csv_records import CsvReader, Header, Splitter, read_header
from briquette.model import CompactionSpec, FileFormat


def splitter_of(kind: FileFormat) -> tuple[bytes, Splitter]:
    """The delimiter of a format, and what splits its text."""
    delimiter = b"\t" if kind is FileFormat.TSV else b","
    return delimiter, Splitter(delimiter)


def decode_csv(
    texts: Sequence[Text],
    kind: FileFormat,
    gather: Gather,
    *,
    header: Header | None = None,
    base_offset: int = 0,
    following: bytes = b"",
    strict: bool = False,
) -> None:
    """Decode CSV or TSV texts into ``gather``.

    ``header`` is given for a text from the midst of an object, which begins at ``base_offset``; ``following``
    is what comes after it there, as far as its records depend on it.
    """
    delimiter, splitter = splitter_of(kind)
    spec = gather.spec
    groups: dict[Header, list[tuple[Text, int]]] = {}
    seen: dict[bytes, Header] = {}
    for text in texts:
        found = (header, 0) if header else _header(text, splitter, spec, seen)
        if found is None:
            continue
        if found[0].refused:
            gather.refuse_object(text.place, text.key, found[0].refused, beginning(text.body), len(text.body))
            continue
        if strict:
            reader = CsvReader(text.key, found[0], splitter, spec.schema.null_values, spec.limits)
            whole = text._replace(body=text.body + following)
            records = reader.read(whole.body, base_offset, found[1], len(text.body))
            add_records(whole, records, gather, RowBuilder(spec, text_cells=True), base_offset)
        else:
            groups.setdefault(found[0], []).append((text, found[1]))
    for shared, members in groups.items():
        scan = csv_scan(spec, shared, delimiter)
        texts, begins = [t for t, _ in members], [begin for _, begin in members]
        clean = scan.take_clean(texts, begins, gather, spec.limits.record_bytes)
        rest = [(t, begin) for t, begin in members if t.place not in clean]
        if rest:
            from briquette.decoding.csv_lines import CsvObjects
            from briquette.decoding.fast.csv_arrow import CsvLane

            objects = CsvObjects(rest, gather, shared, splitter, base_offset=base_offset, following=following)
            objects.decode(scan, CsvLane(spec, shared, delimiter), delimiter)


def _header(
    text: Text, splitter: Splitter, spec: CompactionSpec, seen: dict[bytes, Header]
) -> tuple[Header, int] | None:
    """An object's header; most objects of a day have the same first line, which is parsed once."""
    end = text.body.find(b"\n") + 1
    line = text.body[:end]
    if line in seen:
        return seen[line], end
    found = header_of(text.key, text.body, splitter, spec)
    if found and found[1] == end:
        seen[line] = found[0]
    return found


def header_of(
    key: str, text: bytes, splitter: Splitter, spec: CompactionSpec, *, final: bool = True
) -> tuple[Header, int] | None:
    """As ``read_header``; a header that names no declared column refuses its object."""
    found = read_header(key, text, splitter, spec.limits, final=final)
    if found is None or found[0].refused:
        return found
    header, behind = found
    return replace(header, refused=csv_refusal(header.names, splitter.delimiter.decode(), spec)), behind
