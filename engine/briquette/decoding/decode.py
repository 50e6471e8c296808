"""Raw bytes of whole objects to rows. Pure; bad records are data, not errors.

One huge object is cut by ``decoding.stream``. Readers of formats that are not there are not imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import assert_never

from briquette.decoding.fast.scanned import InTurn
from briquette.decoding.json_objects import decode_json
from briquette.decoding.rows.result import Decoded, Gather, Refused, Text
from briquette.decoding.text.object_text import decompress, file_format
from briquette.model import CompactionSpec, FileFormat, TextFormat

__all__ = ["Decoded", "Refused", "decode_objects", "decode_records_only"]


def decode_objects(
    objects: Sequence[tuple[str, bytes]], spec: CompactionSpec, *, plain_ranges: bool = False
) -> Decoded:
    """Decode many objects, given as (key, raw bytes), at once; their order is the order of rows and rejects.

    ``plain_ranges`` says that the bytes are runs of records of JSON Lines (see ``stream.decode_range``).
    Raises CorruptObject, UnsupportedFormat, LimitExceeded; never for a bad record, which becomes a reject.
    """
    total_bytes = sum(len(raw) for _, raw in objects)
    (decoded,) = _decode(objects, len(objects), total_bytes, spec, plain_ranges=plain_ranges)
    return decoded


def decode_in_turn(
    objects: Iterable[tuple[str, bytes | Refused]], count: int, total_bytes: int, spec: CompactionSpec
) -> Iterator[Decoded]:
    """As ``decode_objects``, of so many objects that come one by one, and are decoded as they come.

    One that comes as ``Refused`` is one reject.

    Whoever makes them must not hold them: then few are in memory at a time. ``total_bytes`` is about what
    they have together once they are decompressed. The answer is one block, and a further one wherever the
    values of Parquet objects pass the spec's ``split_bytes``: a small file may hold many of them.
    """
    return _decode(objects, count, total_bytes, spec, block_bytes=spec.split_bytes)


def decode_records_only(objects: Sequence[tuple[str, bytes]], spec: CompactionSpec) -> Decoded:
    """The same answer, found by the record readers alone: slow, and what every faster lane is held to."""
    (decoded,) = _decode(objects, len(objects), 0, spec, strict=True)
    return decoded


class _Block:
    """What is gathered of the objects of one block."""

    def __init__(
        self, count: int, total_bytes: int, spec: CompactionSpec, *, plain_ranges: bool, strict: bool
    ) -> None:
        self.gather = Gather(spec, count)
        self._plain_ranges, self._strict = plain_ranges, strict
        self._in_turn = None if plain_ranges or strict else InTurn(self.gather, total_bytes)
        self._families: dict[TextFormat, list[Text]] = {}
        self._plain_json = self._families.setdefault(FileFormat.JSON, [])

    def take(self, kind: TextFormat, text: Text) -> None:
        """Add an object of any format but Parquet."""
        if self._in_turn is not None and kind is FileFormat.JSON and text.body[:1] == b"{":
            self._plain_json += self._in_turn.take(text)
        else:
            self._families.setdefault(kind, []).append(text)

    def finish(self) -> Decoded:
        """Decode what waits."""
        if self._in_turn is not None:
            self._plain_json += self._in_turn.finish()
            self._plain_json.sort(key=attrgetter("place"))
        decode_json(self._plain_json, self.gather, inside=self._plain_ranges, strict=self._strict)
        for kind, texts in sorted(self._families.items()):
            match kind:
                case FileFormat.JSON:
                    pass  # above
                case FileFormat.CSV | FileFormat.TSV:
                    from briquette.decoding.csv_objects import decode_csv

                    decode_csv(texts, kind, self.gather, strict=self._strict)
                case _:
                    assert_never(kind)
        return self.gather.finish()


def _decode(
    objects: Iterable[tuple[str, bytes | Refused]],
    count: int,
    total_bytes: int,
    spec: CompactionSpec,
    *,
    plain_ranges: bool = False,
    strict: bool = False,
    block_bytes: int | None = None,
) -> Iterator[Decoded]:
    block = _Block(count, total_bytes, spec, plain_ranges=plain_ranges, strict=strict)
    values = None  # of Parquet objects, as they are counted
    index = -1
    kind: FileFormat | None
    for key, raw in objects:  # not by enumerate, which keeps the last pair while it waits for the next
        index += 1
        if isinstance(raw, Refused):
            block.gather.decoded_bytes += raw.size_bytes
            block.gather.refuse_object(index, key, raw.reason, b"", raw.size_bytes)
            continue
        if raw[:1] == b"{" and key[-5:] == ".json" and len(raw) <= spec.limits.object_bytes:
            # What most objects of most days are: without compression and known at first sight.
            kind, body = FileFormat.JSON, raw
        elif plain_ranges:
            kind, body = FileFormat.JSON, raw
        else:
            body = decompress(key, raw, spec.limits)
            kind = file_format(key, body)
        block.gather.decoded_bytes += len(body)
        if kind is FileFormat.PARQUET:
            from briquette.decoding.parquet.file import InMemory, Meter, ParquetObject
            from briquette.decoding.parquet.rows import add_slice, is_refused

            values = values or Meter(block_bytes)
            file = ParquetObject(key, InMemory(body), spec.limits)
            for piece in () if is_refused(file, index, block.gather) else file.slices(values):
                if piece.begins_block:
                    yield block.finish()
                    block = _Block(count, total_bytes, spec, plain_ranges=plain_ranges, strict=strict)
                add_slice(file, piece, index, block.gather, strict=strict)
            del file
        elif kind is not None:
            block.take(kind, Text(index, key, body))
        del raw, body
    yield block.finish()
