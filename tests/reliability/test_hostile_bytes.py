"""Bytes made to harm: a line of a gigabyte, Parquet that lies about itself, streams that fail without end."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette.decoding.stream import decode_stream
from briquette.errors import BriquetteError, CorruptObject, LimitExceeded
from briquette.model import Limits
from briquette.parquet import thrift
from tests.reliability.parsers import PARSERS, SMALL, SPEC, limit_memory, read
from tests.reliability.test_fuzz import MIB, ROOT, in_a_child, parquet_bytes

SECONDS = 5


# -- one endless line ----------------------------------------------------------------------------


def one_line(mib: int) -> Iterator[bytes]:
    """A JSON record whose one text has so many MiB, never whole in memory or on disk."""
    yield b'{"a": 1, "b": "'
    block = b"x" * MIB
    for _ in range(mib):
        yield block
    yield b'"}\n{"a": 2}\n'


def zipped(chunks: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(chunk) for chunk in chunks), packer.flush()])


@pytest.mark.parametrize("mib", [64, pytest.param(1_024, marks=pytest.mark.slow)])
def test_a_gzip_of_one_endless_line_is_refused_in_little_memory(mib: int, tmp_path: Path) -> None:
    started = time.monotonic()
    assert in_a_child("gzip", zipped(one_line(mib)), tmp_path, mib=256) == "LimitExceeded"
    assert time.monotonic() - started < 60


ENDLESS = dataclasses.replace(SPEC, limits=dataclasses.replace(SMALL, object_bytes=Limits().object_bytes))


@pytest.mark.parametrize("mib", [64, pytest.param(1_024, marks=pytest.mark.slow)])
def test_a_stream_of_one_endless_csv_record_is_left_at_the_limit_of_a_record(mib: int) -> None:
    """The object may be as large as it likes; what is read of it is little more than one record may have."""
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        yield b"a,b,c\n"
        for chunk in one_line(mib):
            taken += len(chunk)
            yield chunk

    started = time.monotonic()
    with pytest.raises(LimitExceeded):
        for _ in decode_stream("x.csv", chunks(), ENDLESS, block_bytes=1 << 16):
            pass
    assert time.monotonic() - started < SECONDS
    assert taken <= SMALL.record_bytes + 4 * MIB


@pytest.mark.parametrize("mib", [64, pytest.param(1_024, marks=pytest.mark.slow)])
def test_a_stream_passes_over_one_endless_json_record_without_holding_it(mib: int) -> None:
    held, reasons, rows = 0, [], 0
    for block in decode_stream("x.json", one_line(mib), ENDLESS, block_bytes=1 << 16):
        held = max(held, block.decoded_bytes)
        reasons += [r.reason for r in block.rejects]
        rows += block.table.num_rows
    assert rows == 1
    said = f"a record of {mib * MIB + 17} bytes, more than {SMALL.record_bytes} (limits.record_bytes)"
    assert reasons == [said]
    assert held <= 2 * SMALL.record_bytes + 4 * MIB


# -- Parquet that lies ---------------------------------------------------------------------------


def with_footer(body: bytes, footer: bytes) -> bytes:
    """The file with another footer of any length, its length said truly."""
    (length,) = struct.unpack("<I", body[-8:-4])
    return body[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def footer_of(body: bytes) -> bytes:
    (length,) = struct.unpack("<I", body[-8:-4])
    return body[-8 - length : -8]


def changed_footers() -> None:
    """Run by the test below in a process that may take 2 GiB: one of them once asked for a terabyte."""
    drawn, good = random.Random(4), parquet_bytes()
    footer, said = footer_of(good), set()
    read("parquet", good)
    limit_memory(2_048)
    for _ in range(1_500):
        body = bytearray(footer)
        for _ in range(drawn.randint(1, 4)):
            at = drawn.randrange(len(body))
            match drawn.randrange(3):
                case 0:
                    body[at] ^= 1 << drawn.randrange(8)
                case 1:
                    body[at : at + 1] = drawn.choice([b"\xff\xff\xff\xff\x0f", b"\x00", b"\x80", b"\x7f"])
                case _:
                    del body[at : at + drawn.randint(1, 5)]
        started = time.monotonic()
        try:
            PARSERS["parquet"](with_footer(good, bytes(body)))
        except BriquetteError as error:
            said.add("a lack of memory" if "alloc" in error.message else error.name)
        assert time.monotonic() - started < SECONDS
    assert said == {"CorruptObject"}  # and never a lack of memory, as elsewhere no limit may stop it


def test_changed_footers_give_an_answer_or_a_typed_error_in_bounded_memory() -> None:
    code = "from tests.reliability.test_hostile_bytes import changed_footers; changed_footers()"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=ROOT,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )


@pytest.mark.parametrize("count", [-1, 501, (1 << 63) - 1])
def test_a_footer_with_an_absurd_count_of_rows_never_becomes_rows(count: int, tmp_path: Path) -> None:
    """The file's count and that of its first row group, each in turn."""
    good = parquet_bytes()
    footer = footer_of(good)
    root = thrift.scan(footer, {4: {}})
    groups = root.fields[4]
    for struct_ in (root, groups.structs[0]):
        rows = struct_.fields[3]  # num_rows, in both
        lying = thrift.patched(footer, 0, len(footer), [(rows.start, rows.stop, thrift.encode_int(count))])
        assert lying != footer
        said = in_a_child("parquet", with_footer(good, lying), tmp_path)
        assert said in ("", "CorruptObject", "LimitExceeded")


@pytest.mark.parametrize("depth", [60, 300])
def test_a_deep_parquet_schema_is_answered_or_refused(depth: int, tmp_path: Path) -> None:
    kind, value = pa.int64(), 1
    for _ in range(depth):
        kind, value = pa.struct([("x", kind)]), {"x": value}
    out = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([value], kind)}), out)
    assert in_a_child("parquet", out.getvalue(), tmp_path) in ("", "CorruptObject", "LimitExceeded")


# -- damaged streams, again and again ------------------------------------------------------------


def test_damaged_zstd_streams_leave_no_memory_behind() -> None:
    """Found by fuzzing: each left a megabyte of address space to nobody."""
    good = pa.compress(b'{"a": 1}\n' * 50, codec="zstd", asbytes=True)
    bad = good[:12] + bytes([good[12] ^ 255]) + good[13:-1]
    with pytest.raises(CorruptObject):
        list(decode_stream("x.json.zst", [bad], SPEC, block_bytes=MIB))
    before = address_space()
    for _ in range(100):
        with pytest.raises(BriquetteError):
            list(decode_stream("x.json.zst", [bad], SPEC, block_bytes=MIB))
    assert address_space() - before < 50 * MIB


def address_space() -> int:
    import resource

    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
