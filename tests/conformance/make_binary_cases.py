"""Makes the raw files of the cases that no editor can write: compressed, damaged and Parquet objects.

    python tests/conformance/make_binary_cases.py          # writes them
    pytest tests/conformance/test_spec.py                  # fails when a committed file differs

Streams are put together from stored (uncompressed) blocks by hand, so that their bytes depend on no
compressor's version, and so that what is wrong with a damaged one can be read here.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import lzma
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "cases"


def line(symbol: str, close: float) -> bytes:
    return b'{"symbol":"%s","close":%g}\n' % (symbol.encode(), close)


def gzip_member(text: bytes, *, crc: int | None = None) -> bytes:
    """One gzip member of one stored deflate block (RFC 1951 3.2.4, RFC 1952)."""
    header = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
    block = b"\x01" + struct.pack("<HH", len(text), len(text) ^ 0xFFFF) + text
    return header + block + struct.pack("<II", zlib.crc32(text) if crc is None else crc, len(text))


def zstd_frame(text: bytes, *, repeat: int = 1) -> bytes:
    """One zstd frame (RFC 8878): a raw block, or ``repeat`` times one byte as a run-length block."""
    size = len(text) * repeat
    kind = 0 if repeat == 1 else 1
    header = struct.pack("<IBI", 0xFD2FB528, 0b1010_0000, size)  # content size in 4 bytes, single segment
    return header + struct.pack("<I", 1 | kind << 1 | size << 3)[:3] + text


def xz(text: bytes) -> bytes:
    return lzma.compress(text, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=0)


def parquet(columns: dict[str, tuple[str, list[Any]]]) -> bytes:
    """A Parquet file; only its content, not its bytes, is the same with every pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"timestamp_ms": pa.timestamp("ms")}
    table = pa.table({n: pa.array(v, kinds.get(k) or pa.type_for_alias(k)) for n, (k, v) in columns.items()})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none")
    return sink.getvalue()


def typed(columns: dict[str, tuple[str, list[Any]]], *, int96: bool = False) -> bytes:
    """A Parquet file of Arrow types, as ``kinds`` names them; with ``int96`` its times are of that type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "int": pa.int64(),
        "binary": pa.binary(),
        "fixed": pa.binary(4),
        "uuid": pa.uuid(),
        "us": pa.timestamp("us"),
        "time_ns": pa.time64("ns"),
        "duration": pa.duration("ms"),
        "date": pa.date32(),
        "far": pa.struct([("t", pa.timestamp("us")), ("n", pa.list_(pa.timestamp("ns")))]),
        "map": pa.map_(pa.string(), pa.int64()),
        "map_of_ints": pa.map_(pa.int64(), pa.map_(pa.string(), pa.bool_())),
        "map_of_floats": pa.map_(pa.float64(), pa.int64()),
    }
    table = pa.table({name: pa.array(values, kinds[kind]) for name, (kind, values) in columns.items()})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_deprecated_int96_timestamps=int96)
    return sink.getvalue()


def prices(symbol: str, close: float) -> bytes:
    return parquet({"close": ("double", [close]), "symbol": ("string", [symbol])})


def files() -> Iterator[tuple[str, bytes]]:
    """``(path below cases/, bytes)`` of every generated file."""
    a, b, c = line("A", 1), line("B", 2), line("C", 3)
    yield "one-stem-plain-and-compressed/raw/AAPL.json.gz", gzip_member(line("AAPL", 1))
    yield "gzip-named-json/raw/a.json", gzip_member(a)
    yield "gzip-named-json/raw/b.csv", gzip_member(b"symbol,close\nB,2\n")
    members = [a + b[:14], b[14:], b"", c]
    yield "gzip-of-several-members/raw/a.json.gz", b"".join(map(gzip_member, members)) + bytes(16)
    yield "gzip-cut/raw/b.json.gz", gzip_member(b)[:-12]
    yield "gzip-cut-in-the-trailer/raw/b.json.gz", gzip_member(b)[:-4]
    yield "gzip-with-a-wrong-crc/raw/b.json.gz", gzip_member(b, crc=zlib.crc32(b) ^ 1)
    yield "gzip-with-trailing-bytes/raw/b.json.gz", gzip_member(b) + b"trailing"
    yield "a-failed-run-changes-nothing/raw-corrupt/b.json.gz", gzip_member(b)[:-12]
    yield "zstd-bz2-and-xz/raw/a.json.zst", zstd_frame(a) + zstd_frame(line("A2", 1.5))
    yield "zstd-bz2-and-xz/raw/b.json.bz2", bz2.compress(b)
    yield "zstd-bz2-and-xz/raw/c.csv.xz", xz(b"symbol,close\nC,3\n")
    yield "zstd-bz2-and-xz/raw/d.tsv.zst", zstd_frame(b"close\tsymbol\n4\tD\n")
    yield "zstd-cut/raw/b.json.zst", zstd_frame(b)[:-8]
    yield "xz-cut/raw/b.json.xz", xz(b)[:-16]
    packed = bz2.compress(b)  # bytes 10 to 13 are the block's CRC
    yield "bz2-with-a-wrong-crc/raw/b.json.bz2", packed[:10] + bytes([packed[10] ^ 1]) + packed[11:]
    yield "limit-of-a-decompressed-object/raw/bomb.json.zst", zstd_frame(b" ", repeat=100_000)
    yield (
        "huge-objects-in-blocks/raw/d.json.gz",
        gzip_member(
            b"".join(b'{"symbol":"D%d","volume":%d}\n' % (i, i) for i in range(8))
            + b'{"symbol":"D8","volume":true}\n'
        ),
    )
    yield "unknown-extension-is-sniffed/raw/z", gzip_member(line("Z", 4))
    yield "mixed-formats/raw/c.json.gz", gzip_member(c)
    yield "mixed-formats/raw/d.parquet", prices("D", 4)
    yield "json-named-parquet/raw/b.json", prices("B", 2)
    yield "parquet-cut/raw/b.parquet", prices("B", 2)[:-20]
    yield (
        "parquet-object/raw/a.parquet",
        parquet(
            {
                "volume": ("double", [100.0, 200.5, None]),
                "symbol": ("string", ["A", "B", "C"]),
                "timestamp": ("timestamp_ms", [1757079000000, 1757079060000, 1757079120250]),
                "vwap": ("double", [None, 2.0, 3.0]),
            }
        ),
    )
    far = [253402300799000000, -62135596800000000, 1715000000123456, None]
    yield (
        "parquet-int96-times/raw/a.parquet",
        typed({"id": ("int", [1, 2, 3, 4]), "us": ("us", far), "ns": ("us", far)}, int96=True),
    )
    yield (
        "parquet-bytes/raw/a.parquet",
        typed(
            {
                "id": ("int", [1, 2, 3]),
                "text": ("binary", [b"hello", "é".encode(), b"\xff\x00"]),
                "bytes": ("binary", [b"hello", b"\xff", None]),
                "code": ("fixed", [b"abcd", None, b"wxyz"]),
                "uuid": ("uuid", [bytes(range(16)), None, bytes(16)]),
            }
        ),
    )
    yield (
        "parquet-maps/raw/a.parquet",
        typed(
            {
                "id": ("int", [1, 2, 3, 4]),
                "json": ("map", [[("k", 2), ("z", None)], [], None, [("a", 1), ("b", 2), ("a", 3)]]),
                "text": ("map", [[("k", 2)], [], None, None]),
                "members": ("map", [[("k", 2), ("z", 9)], [("z", 1)], None, None]),
                "nested": ("map_of_ints", [[(-1, [("x", True)])], [(2, None)], None, None]),
            }
        ),
    )
    yield (
        "parquet-map-keys-without-text/raw/a.parquet",
        typed({"id": ("int", [1, 2]), "m": ("map_of_floats", [[(1.5, 1)], [(float("inf"), 1)]])}),
    )
    yield (
        "parquet-times/raw/a.parquet",
        typed(
            {
                "id": ("int", [1, 2, 3, 4]),
                "clock": ("time_ns", [3723000000005, 3723000000000, None, 0]),
                "took": ("duration", [1500, -1, None, 0]),
                "day": ("date", [-719162, 2932896, 2932897, 0]),
                "nested": (
                    "far",
                    [
                        {"t": 253402300799000000, "n": [1, None]},
                        None,
                        {"t": 0, "n": []},
                        {"t": 253402300800000000, "n": []},
                    ],
                ),
            }
        ),
    )
    texts = ["a" * 50, "b", "not a number", "d" * 50, "e"]
    yield (
        "parquet-in-blocks/raw/b.parquet",
        parquet(
            {
                "id": ("int64", [1, 2, 3, 4, 5]),
                "n": ("string", ["1", "2", "x", "4", "5"]),
                "t": ("string", texts),
            }
        ),
    )


def same(path: str, committed: bytes, made: bytes) -> bool:
    """Whether a committed file is what is made here: byte for byte, Parquet row for row."""
    if made[:4] != b"PAR1" or made[-4:] != b"PAR1":
        return committed == made or (made[:4] == b"PAR1" and committed[:4] == b"PAR1")
    import pyarrow.parquet as pq

    return bool(pq.read_table(io.BytesIO(committed)).equals(pq.read_table(io.BytesIO(made))))


def many_objects(objects: int, records: tuple[int, int]) -> dict[str, bytes]:
    """Raw objects of some records each, for cases that need bulk: texts of fixed pseudo-random hex digits.

    Made while the case runs (``made`` in case.json), so that the repository does not carry them.
    """
    found = {}
    least, most = records
    for i in range(objects):
        texts = [hashlib.sha256(b"%d.%d" % (i, j)).hexdigest() for j in range(most)]
        count = least + int(texts[0][:8], 16) % (most - least + 1)
        lines = (json.dumps({"symbol": f"S{i:04d}", "text": text}) + "\n" for text in texts[:count])
        found[f"S{i:04d}.json"] = "".join(lines).encode()
    return found


if __name__ == "__main__":
    for name, made in files():
        target = CASES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or not same(name, target.read_bytes(), made):
            target.write_bytes(made)
