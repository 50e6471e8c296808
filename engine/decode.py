"""Raw bytes to rows: the one door to the decoders. Pure; bad records are data, not errors.

Whole objects go in here; one huge object is cut by ``decoding.stream``. Readers of formats that are not there
are not imported: that is 0.03 s of the start of a day of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.decoding.gather import Decoded, Gather, Text
from engine.decoding.json_objects import decode_json
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
    return _decode(objects, spec, plain_ranges=plain_ranges, strict=False)


def decode_records_only(objects: Sequence[tuple[str, bytes]], spec: CompactionSpec) -> Decoded:
    """The same answer, found by the record readers alone: slow, and what every faster lane is held to."""
    return _decode(objects, spec, plain_ranges=False, strict=True)


def _decode(
    objects: Sequence[tuple[str, bytes]], spec: CompactionSpec, *, plain_ranges: bool, strict: bool
) -> Decoded:
    gather = Gather(spec, len(objects))
    families: dict[FileFormat | None, list[Text]] = {}
    small_json = families.setdefault(FileFormat.JSON, [])
    for index, (key, raw) in enumerate(objects):
        if raw[:1] == b"{" and key[-5:] == ".json" and len(raw) <= spec.limits.object_bytes:
            # What most objects of most days are: without compression and known at first sight.
            small_json.append(Text(index, key, raw))
            gather.decoded_bytes += len(raw)
            continue
        body = raw if plain_ranges else decompress(key, raw, spec.limits)
        gather.decoded_bytes += len(body)
        kind = FileFormat.JSON if plain_ranges else file_format(key, body)
        families.setdefault(kind, []).append(Text(index, key, body))
    decode_json(small_json, gather, inside=plain_ranges, strict=strict)
    for kind in (FileFormat.CSV, FileFormat.TSV):
        if kind in families:
            from engine.decoding.csv_objects import decode_csv

            decode_csv(families[kind], kind, gather, strict=strict)
    if FileFormat.PARQUET in families:
        from engine.decoding.parquet_rows import decode_parquet

        decode_parquet(families[FileFormat.PARQUET], gather, strict=strict)
    return gather.finish()
