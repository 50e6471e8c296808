"""Compression by content, formats by name and content, and caps that hold before memory is spent."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
import zlib

import pytest

from briquette.decoding.decode import decode_objects
from briquette.decoding.stream import decode_stream
from briquette.decoding.text.compression import one_member
from briquette.decoding.text.object_text import decompress, decompress_stream
from briquette.errors import CorruptObject, LimitExceeded, UnsupportedFormat
from briquette.model import CompactionSpec, Field, Limits, Schema

from .generators import compress

SPEC = CompactionSpec(Schema((Field("a", "int64"),)))
TEXT = b'{"a":1}\n' * 5_000
KINDS = ("gzip", "zstd", "bz2", "xz")


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.jsonl.zst", "a.ndjson.xz", "A.JSON.BZ2"])
def test_compression_is_known_by_content_whatever_the_name_says(kind: str, name: str) -> None:
    assert decode_objects([(name, compress(TEXT, kind)), (name, TEXT)], SPEC).object_records == (5_000, 5_000)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_of_several_members_are_read_whole(kind: str) -> None:
    data = compress(TEXT, kind) + compress(b"", "gzip" if kind == "gzip" else "") + compress(TEXT, kind)
    assert decompress("k", data, Limits()) == TEXT * 2
    for size in (1, 1_000):
        assert b"".join(decompress_stream("k", in_pieces(data, size), Limits())) == TEXT * 2


def test_zeros_behind_the_last_gzip_member_are_padding_and_anything_else_is_damage() -> None:
    data = gzip.compress(TEXT)
    assert decompress("k", data + b"\0" * 1_000, Limits()) == TEXT
    assert b"".join(decompress_stream("k", in_pieces(data + b"\0" * 1_000, 7), Limits())) == TEXT
    for tail in (b"x", b"\0\0x", b"\0" + data):
        with pytest.raises(CorruptObject):
            decompress("k", data + tail, Limits())
    with pytest.raises(CorruptObject):  # however the bytes come
        list(decompress_stream("k", [data, b"\0\0", data], Limits()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_cut_anywhere_is_an_error_and_never_a_short_text(kind: str) -> None:
    data = compress(TEXT, kind)
    for end in {*range(10, len(data), max(1, len(data) // 40)), len(data) - 1}:
        with pytest.raises(CorruptObject, match="k"):
            decompress("k", data[:end], Limits())


@pytest.mark.parametrize("kind", ["gzip", "bz2", "xz"])
def test_a_changed_byte_is_found_by_the_checksum(kind: str) -> None:
    data = bytearray(compress(TEXT, kind))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(CorruptObject):
        decompress("k", bytes(data), Limits())


def test_a_wrong_gzip_length_is_found() -> None:
    data = bytearray(gzip.compress(TEXT))
    data[-1] ^= 1
    with pytest.raises(CorruptObject):
        decompress("k", bytes(data), Limits())


def damaged(how: random.Random) -> bytes:
    """A gzip member, most often with something wrong with it."""
    numbers = [how.randrange(10 ** how.randrange(1, 9)) for _ in range(how.randrange(60))]
    text = b"".join(b'{"a":%d}\n' % n for n in numbers)
    packer = zlib.compressobj(how.choice((0, 1, 6, 9)), zlib.DEFLATED, 31, 8, how.choice((0, 2, 4)))
    raw = bytearray(packer.compress(text) + packer.flush())
    match how.randrange(6):
        case 0:
            raw[3:4], raw[10:10] = b"\x08", b"name.json\0"
        case 1:
            del raw[how.randrange(len(raw)) :]
        case 2:
            raw[how.randrange(len(raw))] ^= 1 << how.randrange(8)
        case 3:
            raw += how.randbytes(how.randrange(1, 20))
        case 4:
            raw[3] = how.randrange(256)
    return bytes(raw)


def test_the_quicker_gzip_reader_takes_what_zlib_takes_and_gives_no_other_text() -> None:
    how = random.Random(5)
    taken = 0
    for raw in (damaged(how) for _ in range(20_000)):
        quick = one_member(raw, 1 << 20)
        plain = zlib.decompressobj(wbits=31)
        try:
            text = plain.decompress(raw)
            whole = plain.eof and not plain.unused_data
        except zlib.error:
            whole = False
        if whole:
            assert quick == text
        elif quick is not None:  # damage where it does no harm: the member's checksum says so
            assert struct.pack("<II", zlib.crc32(quick), len(quick)) == raw[-8:]
        taken += whole
    assert 5_000 < taken < 15_000


def test_a_member_with_an_unusual_header_is_read_as_zlib_reads_it() -> None:
    usual = gzip.compress(TEXT)
    extra = usual[:3] + b"\x04" + usual[4:10] + b"\x02\0ab" + usual[10:]
    assert decompress("k", extra, Limits()) == TEXT
    head = usual[:3] + b"\x02" + usual[4:10]
    checked = head + struct.pack("<H", zlib.crc32(head) & 0xFFFF) + usual[10:]
    assert decompress("k", checked, Limits()) == TEXT
    wrong_checksum, reserved_flag = head + b"\0\0" + usual[10:], usual[:3] + b"\x80" + usual[4:]
    for odd in (wrong_checksum, reserved_flag):
        with pytest.raises(CorruptObject):
            decompress("k", odd, Limits())


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_a_bomb_stops_at_the_cap(kind: str) -> None:
    limits = Limits(object_bytes=3 << 20)
    bomb = compress(b"\0" * (64 << 20), kind)
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match="3145728 bytes"):
        decompress("k", bomb, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    assert decompress("k", compress(b"x" * (3 << 20), kind), limits) == b"x" * (3 << 20)


def test_text_that_only_begins_like_bzip2_is_plain() -> None:
    assert decompress("a.csv", b"BZh9,price\n", Limits()) == b"BZh9,price\n"


@pytest.mark.parametrize("text", [b"", b" \n", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "a", "a.txt"])
def test_nothing_is_no_records(text: bytes, name: str) -> None:
    assert decode_objects([(name, text)], SPEC).object_records == (0,)
    assert [b.object_records for b in decode_stream(name, [text], SPEC, block_bytes=10)] == [(0,)]


def test_an_unknown_format_is_an_error_that_says_what_is_read() -> None:
    with pytest.raises(UnsupportedFormat, match=r"day/notes\.txt.*\.json"):
        decode_objects([("day/notes.txt", b"hello")], SPEC)


def test_raw_deflate_and_other_archives_are_not_guessed() -> None:
    with pytest.raises(UnsupportedFormat):
        decode_objects([("a.bin", zlib.compress(TEXT))], SPEC)
