"""Objects and records that are one reject: keys that nobody can use, texts without a declared column."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette import serialization
from briquette.compaction.api import compact
from briquette.compaction.new_plan import make_plan
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.decoding.decode import decode_objects, decode_records_only
from briquette.decoding.stream import decode_stream
from briquette.errors import RejectLimitExceeded
from briquette.model import CompactionSpec, ExtraFields, Field, Schema, Status
from briquette.planning.target import resolve_target
from briquette.storage.opening import open_store
from tests.servers import Bucket

SCHEMA = Schema((Field("id", "int64"), Field("city", "string")))
SPEC = CompactionSpec(SCHEMA)
BOTH = pytest.mark.parametrize("decode", [decode_objects, decode_records_only])
UNSAFE = "its key has an empty, '.' or '..' segment or a control character"


def rejects_of(result: Any) -> list[dict[str, Any]]:
    store = open_store(result.output.url)
    body = store.get(result.manifest.rejects_file.key)
    return [json.loads(line) for line in body.splitlines()]


# -- keys ------------------------------------------------------------------------------------------


def test_a_broken_name_on_disk_is_one_reject_and_weighs_its_size(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(40):
        (raw / f"{i:02d}.json").write_bytes(b'{"id":1}\n')
    for name in (b"a\xff.json", b"b\nc.json", b"d\x1b[31m.json"):
        with open(os.path.join(os.fsencode(raw), name), "wb") as file:
            file.write(b'{"id":2}\n')
    result = compact(input=raw, output=tmp_path / "out", schema=SCHEMA, max_reject_ratio=0.1)
    assert (result.status, result.manifest.rows, result.manifest.rejects) == (Status.PUBLISHED, 40, 3)
    assert [(r["key"], r["reason"]) for r in rejects_of(result)] == [
        ("a\\xff.json", "its name is not UTF-8"),
        ("b\nc.json", UNSAFE),
        ("d\x1b[31m.json", UNSAFE),
    ]
    assert compact(input=raw, output=tmp_path / "out", schema=SCHEMA, max_reject_ratio=0.1).status is (
        Status.UNCHANGED
    )
    with pytest.raises(RejectLimitExceeded, match=r"3 of 43 records .* 27 of 387 bytes"):
        compact(input=raw, output=tmp_path / "other", schema=SCHEMA)


def test_a_huge_object_with_a_broken_name_is_not_opened(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.json").write_bytes(b'{"id":1}\n' * 40_000)
    (raw / "b\n.json").write_bytes(b'{"id":2}\n' * 10_000)
    result = compact(
        input=raw, output=tmp_path / "out", schema=SCHEMA, max_reject_ratio=0.3, split_bytes=10_000
    )
    assert (result.manifest.rows, result.manifest.rejects) == (40_000, 1)


def test_a_key_on_s3_that_cannot_be_used_is_one_reject(s3: Bucket) -> None:
    import boto3

    client = boto3.client("s3")
    for key in ("raw/a.json", "raw/b\x07.json", "raw/c\nd.json", "raw/e//f.json"):
        client.put_object(Bucket=s3.name, Key=key, Body=b'{"id":1}\n')
    result = compact(input=f"{s3.url}/raw", output=f"{s3.url}/out", schema=SCHEMA, max_reject_ratio=0.8)
    assert (result.manifest.rows, result.manifest.rejects) == (1, 3)
    assert {(r["key"], r["reason"]) for r in rejects_of(result)} == {
        ("raw/b\x07.json", UNSAFE),
        ("raw/c\nd.json", UNSAFE),
        ("raw/e//f.json", UNSAFE),
    }


def test_a_plan_with_refused_objects_survives_its_document(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.json").write_bytes(b'{"id":1}\n')
    (raw / "b\n.json").write_bytes(b'{"id":2}\n')
    target = resolve_target(input_url=str(raw), output_url=str(tmp_path / "out"))
    plan = make_plan(target, replace(SPEC, max_reject_ratio=0.5), RunOptions())
    again = serialization.plan_from_bytes(serialization.plan_to_bytes(plan))
    assert again == plan
    assert [o.refused for o in again.listing] == ["", UNSAFE]
    assert run_plan(again).manifest.rejects == 1  # type: ignore[union-attr]


def test_whether_an_object_is_refused_is_part_of_the_fingerprint() -> None:
    from briquette.model import RawObject

    read, refused = (RawObject("a", 1, "e", refused=why) for why in ("", "x"))
    assert serialization.listing_bytes([read]) != serialization.listing_bytes([refused])


# -- texts without a declared column ---------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("size", [30, 100_000])
def test_a_refused_csv_object_weighs_all_of_its_text(decode: Any, size: int) -> None:
    text = b"x;y\n" + b"1;2\n" * size
    found = decode([("a.csv", gzip.compress(text))], SPEC)
    assert (found.table.num_rows, found.object_records) == (0, (1,))
    assert (found.reject_bytes, found.decoded_bytes) == (len(text), len(text))
    (reject,) = found.rejects
    assert (reject.position, reject.byte_offset, reject.raw) == (0, 0, b"x;y")


@pytest.mark.parametrize("block", [1, 7, 1_000])
@pytest.mark.parametrize("header", [b"x;y\n", b"\xff\xfex\n", "città\n".encode("latin-1")])
def test_a_stream_refuses_as_the_whole_object(block: int, header: bytes) -> None:
    text = header + b"1;2\n" * 3_000
    whole = decode_objects([("a.csv", text)], SPEC)
    chunks = [text[i : i + 333] for i in range(0, len(text), 333)]
    (streamed,) = decode_stream("a.csv", chunks, SPEC, block_bytes=block)
    assert streamed.rejects == whole.rejects
    assert streamed.object_records == whole.object_records == (1,)
    assert streamed.reject_bytes == whole.reject_bytes == whole.decoded_bytes == streamed.decoded_bytes


def test_a_refused_stream_is_read_to_its_end() -> None:
    from briquette.errors import CorruptObject

    cut = gzip.compress(b"x;y\n" + os.urandom(20_000))[:-9]
    with pytest.raises(CorruptObject):
        list(decode_stream("a.csv.gz", [cut], SPEC, block_bytes=100))


@BOTH
@pytest.mark.parametrize("filler", [b"", b'{"id":3,"z":1}\n' * 200])
def test_json_records_without_a_declared_field_are_rejects_on_every_lane(decode: Any, filler: bytes) -> None:
    text = filler + b'{"id":1}\n{"id":null,"x":1}\n{"x":1}\n{}\n' + filler
    found = decode([("a.json", text)], SPEC)
    assert [r.raw for r in found.rejects] == [b'{"x":1}']
    assert found.object_records[0] == found.table.num_rows + 1 == text.count(b"\n")


@BOTH
def test_other_policies_speak_for_themselves(decode: Any) -> None:
    text = [("a.json", b'{"x":1}\n')]
    assert decode(text, replace(SPEC, extra_fields=ExtraFields.RESCUE)).table.num_rows == 1
    (reject,) = decode(text, replace(SPEC, extra_fields=ExtraFields.REJECT)).rejects
    assert reject.reason == "unknown field x"


def test_a_reason_shows_few_and_short_names() -> None:
    (reject,) = decode_objects(
        [("a.json", json.dumps({f"{i}" * 90: i for i in range(9)}).encode())], SPEC
    ).rejects
    assert len(reject.reason) < 300
    assert "…" in reject.reason


@BOTH
def test_a_parquet_object_without_a_declared_column_is_one_reject(decode: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"ID": [1, 2, 3], "x": ["a", "b", "c"]}), tmp_path / "a.parquet")
    body = (tmp_path / "a.parquet").read_bytes()
    found = decode([("a.parquet", body)], SPEC)
    (reject,) = found.rejects
    assert reject.reason == "no column of it is in the schema: 'ID', 'x'; did you mean 'id' by 'ID'?"
    assert (reject.raw, found.object_records, found.reject_bytes) == (b"ID, x", (1,), len(body))


@BOTH
def test_a_parquet_reject_weighs_its_share_of_the_file(decode: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1", "x", "3", "4"]}), tmp_path / "a.parquet")
    body = (tmp_path / "a.parquet").read_bytes()
    found = decode([("a.parquet", body)], SPEC)
    assert (found.table.num_rows, len(found.rejects), found.reject_bytes) == (3, 1, len(body) // 4)


# -- the limit -------------------------------------------------------------------------------------


def lines(count: int, bad: bytes = b"") -> bytes:
    return b"".join(b'{"id":%d}\n' % (100 + i) for i in range(count)) + bad


def test_one_reject_that_holds_most_of_the_text_is_above_the_limit(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.json").write_bytes(lines(100, b'{"id":"' + b"x" * 2_000 + b'"}\n'))
    with pytest.raises(RejectLimitExceeded) as raised:
        compact(input=tmp_path / "raw", output=tmp_path / "out", schema=SCHEMA)
    assert "2009 of 3110 bytes (64.6%)" in str(raised.value)
    assert "The first: 'a.json', record 100: field id:" in str(raised.value)
    assert not (tmp_path / "out" / "_manifest.json").exists()


def test_a_split_taken_over_weighs_what_it_weighed_when_it_was_read(tmp_path: Path) -> None:
    """Late data with as many rejects as the whole day may have, but not that data alone."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(30):
        (raw / f"{i:02d}.json.gz").write_bytes(gzip.compress(lines(100)))
    options = {"schema": SCHEMA, "split_bytes": 2_000, "output": tmp_path / "out", "input": raw}
    first = compact(**options)
    assert len(first.manifest.splits) > 2
    text = 30 * len(lines(100))
    assert sum(s.decoded_bytes for s in first.manifest.splits) == text
    (raw / "99.json").write_bytes(lines(1, b'{"id":"' + b"x" * (text // 25) + b'"}\n'))
    late = compact(**options)
    assert late.status is Status.PUBLISHED
    assert late.splits_reused > 0
    assert late.manifest.rejects == 1


def test_a_manifest_from_before_the_bytes_were_kept_is_read(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.json").write_bytes(lines(3))
    made = compact(input=tmp_path / "raw", output=tmp_path / "out", schema=SCHEMA).manifest
    document = json.loads(serialization.manifest_to_bytes(made))
    for split in document["manifest"]["splits"]:
        del split["decoded_bytes"]
    document["format_version"] = 1
    old = serialization.manifest_from_bytes(json.dumps(document).encode())
    assert [s.decoded_bytes for s in old.splits] == [0]
    assert replace(old, splits=made.splits) == made


def test_inference_counts_a_header_that_is_not_utf8_as_a_reject() -> None:
    from briquette.inference.infer import infer_schema

    found = infer_schema([("a.csv", "città\n1\n".encode("latin-1")), ("b.csv", b"id\n1\n")])
    assert [f.name for f in found.schema.fields] == ["id"]
    assert (found.records, found.rejects) == (2, 1)
