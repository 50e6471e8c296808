"""Bytes from strangers: an answer or a typed error, in bounded time and memory, whatever they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reliability.parsers import PARSERS, read

ROOT = Path(__file__).parents[2]
SECONDS = 5
MIB = 1 << 20


def in_a_child(name: str, body: bytes, folder: Path, mib: int = 512) -> str:
    """What a reader says, in a process that may take ``mib`` more memory and a bounded time."""
    file = folder / "body"
    file.write_bytes(body)
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.parsers", name, str(file), str(mib)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-1_500:]
    return done.stdout.strip()


# -- small bytes, many of them -------------------------------------------------------------------

TOKENS = st.sampled_from([*b'{}[]":,', *b"\n\r\t\\0-.eE;'#=", *b"ab\xff\xef\xbb\xbf\x00\x1f\x8b\xe2\x80\xa8"])
BYTES = st.binary(max_size=300) | st.lists(TOKENS, max_size=120).map(bytes)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150, deadline=SECONDS * 1_000)
@given(data=BYTES)
def test_any_bytes_give_an_answer_or_a_typed_error(name: str, data: bytes) -> None:
    read(name, data)


def parquet_bytes() -> bytes:
    out = io.BytesIO()
    table = pa.table(
        {"a": list(range(500)), "b": [str(i) * 3 for i in range(500)], "c": [i / 7 for i in range(500)]}
    )
    pq.write_table(table, out, row_group_size=100)
    return out.getvalue()


LINES = b"".join(b'{"a": %d, "b": "text %d", "c": %d.5}\n' % (i, i, i) for i in range(60))
SEEDS: dict[str, bytes] = {
    "json": LINES,
    "csv": b"a,b,c\n" + b"".join(b'%d,"x ""%d",1.5\n' % (i, i) for i in range(60)),
    "parquet": parquet_bytes(),
    "gzip": gzip.compress(LINES),
    "bz2": bz2.compress(LINES),
    "xz": lzma.compress(LINES),
    "zstd": pa.compress(LINES, codec="zstd", asbytes=True),
    "schema": b'unique_key = ["a"]\n[columns]\na = "int64 not null"\nb = "list<struct<x: string>>"\n',
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_good_file_with_changed_bytes_gives_an_answer_or_a_typed_error(name: str) -> None:
    """Cut, doubled, flipped and overwritten with the bytes that sizes and counts are made of."""
    drawn = random.Random(name)
    for _ in range(400):
        body = bytearray(SEEDS[name])
        for _ in range(drawn.randint(1, 6)):
            at = drawn.randrange(len(body))
            match drawn.randrange(4):
                case 0:
                    body[at] ^= 1 << drawn.randrange(8)
                case 1:
                    body[at] = drawn.choice(b"\x00\x7f\x80\xff")
                case 2:
                    del body[at : at + drawn.randint(1, 9)]
                case _:
                    body[at:at] = body[max(at - 9, 0) : at]
            if not body:
                break
        read(name, bytes(body))


# -- bombs ---------------------------------------------------------------------------------------

ZEROS = bytes(64 * MIB)
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", lambda: gzip.compress(ZEROS)),
    "gzip of many members": ("gzip", lambda: gzip.compress(bytes(MIB)) * 64),
    "bz2": ("bz2", lambda: bz2.compress(ZEROS)),
    "xz": ("xz", lambda: lzma.compress(ZEROS)),
    "zstd": ("zstd", lambda: pa.compress(ZEROS, codec="zstd", asbytes=True)),
    "gzip in gzip": ("gzip", lambda: gzip.compress(gzip.compress(ZEROS))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_fills_the_memory(name: str, tmp_path: Path) -> None:
    """64 MiB from a few kilobytes, where 8 MiB are allowed and the process has 256 MiB."""
    parser, make = BOMBS[name]
    said = in_a_child(parser, make(), tmp_path, mib=256)
    assert said == ("" if name == "gzip in gzip" else "LimitExceeded")


SHAPES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a line of 4 MiB": ("json", lambda: b'{"b": "' + b"x" * (4 * MIB) + b'"}\n'),
    "a CSV field of 4 MiB": ("csv", lambda: b"a,b\n1," + b"x" * (4 * MIB) + b"\n"),
    "an open quote": ("csv", lambda: b'a,b\n1,"' + b"x\n" * (2 * MIB)),
    "100,000 columns": ("csv", lambda: b",".join(b"c%d" % i for i in range(100_000)) + b"\n"),
    "depth 100,000": ("json", lambda: b'{"a":' + b"[" * 100_000),
    "closed depth 100,000": ("json", lambda: b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
    "a million keys": ("json", lambda: b"{" + b",".join(b'"k%d":1' % i for i in range(1_000_000)) + b"}\n"),
    "a number of a million digits": ("json", lambda: b'{"a":' + b"9" * 1_000_000 + b"}\n"),
    "a deep plan": ("plan", lambda: b"[" * 100_000),
    "a deep manifest": ("manifest", lambda: b'{"a":' * 100_000),
    "a deep schema": ("schema", lambda: b"x = " + b"[" * 100_000),
    "a deep type": (
        "schema",
        lambda: b'[columns]\na = "' + b"list<" * 20_000 + b"int64" + b">" * 20_000 + b'"\n',
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_extreme_shape_is_answered_or_refused_in_bounded_memory(name: str, tmp_path: Path) -> None:
    parser, make = SHAPES[name]
    said = in_a_child(parser, make(), tmp_path)
    assert said in ("", "LimitExceeded", "PlanError", "VerificationFailed", "SchemaError", "CorruptObject")
