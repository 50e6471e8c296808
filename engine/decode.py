"""Raw bytes of whole objects to rows. Pure; bad records are data, not errors.

One huge object is cut by ``decoding.stream``. Readers of formats that are not there
are not imported: that is 0.03 s of the start of a day of JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from engine.decoding.gather import Decoded, Gather, Text
from engine.decoding.json_objects import decode_json
from engine.decoding.scanned import InTurn
from engine.decoding.text import decompress, file_format
from engine.model import CompactionSpec, FileFormat

__all__ = ["Decoded", "decode_objects", "decode_records_only"]


def decode_objects(
    objects: Sequence[tuple[str, bytes]], spec: CompactionSpec, *, plain_ranges: bool = False
) -> Decoded:
    """Decode many objects, given as (key, raw bytes), at once; their order is the order of rows and rejects.

    ``plain_ranges`` says that the bytes are runs of records of JSON Lines (see ``stream.decode_range``).
    Raises CorruptObject, UnsupportedFormat, LimitExceeded; never for a bad record, which becomes a reject.
    """
    total_bytes = sum(len(raw) for _, raw in objects)
    return _decode(objects, len(objects), total_bytes, spec, plain_ranges=plain_ranges)


def decode_in_turn(
    objects: Iterable[tuple[str, bytes]], count: int, total_bytes: int, spec: CompactionSpec
) -> Decoded:
    """As ``decode_objects``, of so many objects that come one by one, and are decoded as they come.

    Whoever makes them must not hold them: then few are in memory at a time. ``total_bytes`` is about what
    they have together once they are decompressed.
    """
    return _decode(objects, count, total_bytes, spec)


def decode_records_only(objects: Sequence[tuple[str, bytes]], spec: CompactionSpec) -> Decoded:
    """The same answer, found by the record readers alone: slow, and what every faster lane is held to."""
    return _decode(objects, len(objects), 0, spec, strict=True)


def _decode(
    objects: Iterable[tuple[str, bytes]],
    count: int,
    total_bytes: int,
    spec: CompactionSpec,
    *,
    plain_ranges: bool = False,
    strict: bool = False,
) -> Decoded:
    gather = Gather(spec, count)
    in_turn = None if plain_ranges or strict else InTurn(gather, total_bytes)
    families: dict[FileFormat | None, list[Text]] = {}
    plain_json = families.setdefault(FileFormat.JSON, [])
    index = -1
    kind: FileFormat | None
    for key, raw in objects:  # not by enumerate, which keeps the last pair while it waits for the next
        index += 1
        if raw[:1] == b"{" and key[-5:] == ".json" and len(raw) <= spec.limits.object_bytes:
            # What most objects of most days are: without compression and known at first sight.
            kind, body = FileFormat.JSON, raw
        elif plain_ranges:
            kind, body = FileFormat.JSON, raw
        else:
            body = decompress(key, raw, spec.limits)
            kind = file_format(key, body)
        gather.decoded_bytes += len(body)
        if in_turn is not None and kind is FileFormat.JSON and body[:1] == b"{":
            plain_json += in_turn.take(Text(index, key, body))
        else:
            families.setdefault(kind, []).append(Text(index, key, body))
        del raw, body
    if in_turn is not None:
        plain_json += in_turn.finish()
        plain_json.sort(key=attrgetter("place"))
    decode_json(plain_json, gather, inside=plain_ranges, strict=strict)
    for kind in (FileFormat.CSV, FileFormat.TSV):
        if kind in families:
            from engine.decoding.csv_objects import decode_csv

            decode_csv(families[kind], kind, gather, strict=strict)
    if FileFormat.PARQUET in families:
        from engine.decoding.parquet_rows import decode_parquet

        decode_parquet(families[FileFormat.PARQUET], gather, strict=strict)
    return gather.finish()
