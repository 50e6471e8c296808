"""Every reader of bytes that a stranger may have written, as one function of a name and bytes.

``python -m tests.reliability.parsers NAME FILE MIB`` runs one in a process of its own under a memory limit:
exit 0 for an answer or a typed error, which it prints. ``fuzz_readers.py`` mutates with atheris.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.stream import decode_stream
from briquette.errors import BriquetteError
from briquette.model import CompactionSpec, Field, Limits, Schema
from briquette.schemas.declared import parse_table
from briquette.serialization import manifest_from_bytes, plan_from_bytes

SMALL = Limits(object_bytes=8 << 20, record_bytes=1 << 20, depth=64, columns=2_000, number_digits=400)
SPEC = CompactionSpec(
    Schema((Field("a", "int64"), Field("b", "string"), Field("c", "float64"))),
    limits=SMALL,
    max_reject_ratio=1,
)


NESTED = replace(
    SPEC,
    schema=Schema(
        (
            Field("a", "list<float64>"),
            Field("b", "struct<c: string, d: int8, e: list<string>>"),
            Field("f", "list<struct<g: bool, h: timestamp[us, UTC]>>"),
        )
    ),
)


def decode_as(key: str) -> Callable[[bytes], object]:
    """Decoding at once and in a stream, which must agree on rows, or both refuse."""

    def decode(data: bytes) -> object:
        whole = decode_objects([(key, data)], SPEC)
        assert whole.object_records[0] >= 0
        for _ in decode_stream(key, [data], SPEC, block_bytes=1 << 16):
            pass
        return whole.object_records

    return decode


def decode_nested(data: bytes) -> object:
    """Lists and structs at once and by the record reader, which must agree."""
    fast, strict = (decode([("x.json", data)], NESTED) for decode in (decode_objects, decode_records_only))
    assert repr(fast.table.to_pylist()) == repr(strict.table.to_pylist())
    assert (fast.rejects, fast.object_records) == (strict.rejects, strict.object_records)
    return fast.object_records


def _table(data: bytes) -> object:
    return parse_table(data.decode("utf-8", "replace"))


PARSERS: dict[str, Callable[[bytes], object]] = {
    "json": decode_as("x.json"),
    "nested": decode_nested,
    "csv": decode_as("x.csv"),
    "tsv": decode_as("x.tsv"),
    "parquet": decode_as("x.parquet"),
    "gzip": decode_as("x.json.gz"),
    "zstd": decode_as("x.json.zst"),
    "bz2": decode_as("x.json.bz2"),
    "xz": decode_as("x.json.xz"),
    "schema": _table,
    "plan": plan_from_bytes,
    "manifest": manifest_from_bytes,
}


def read(name: str, data: bytes) -> str:
    """The name of the typed error, or "" for an answer; anything else is raised."""
    try:
        PARSERS[name](data)
    except BriquetteError as error:
        return error.name if error.message else "an error without a message"
    return ""


def limit_memory(mib: int) -> None:
    """From now on this process gets so much more address space than it has, and no more."""
    status = Path("/proc/self/statm").read_text().split()
    now = int(status[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mib << 20), now + (mib << 20)))


if __name__ == "__main__":
    body = Path(sys.argv[2]).read_bytes()
    read("json", b'{"a": 1}')  # libraries and their threads take their space before the limit
    limit_memory(int(sys.argv[3]))
    sys.stdout.write(read(sys.argv[1], body) + "\n")
