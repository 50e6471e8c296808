"""The story end to end on small inputs: any data, huge objects, late data, duplicates, limits."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.errors import (
    EmptyInput,
    LimitExceeded,
    RejectLimitExceeded,
    SourceChanged,
    UnsafePath,
    UsageError,
)
from briquette.model import Field, Limits, OnEmpty, Schema, Status
from briquette.storage.opening import open_store
from tests.invariants import assert_conserves

SCHEMA = Schema((Field("id", "int64"), Field("name", "string"), Field("price", "float64")))
SMALL = {"split_bytes": 4_096, "split_objects": 40}


def row(i: int, **changes: object) -> dict[str, object]:
    return {"id": i, "name": f"n{i % 7}", "price": i / 4, **changes}


def lines(rows) -> bytes:
    return b"".join(json.dumps(r).encode() + b"\n" for r in rows)


def land(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def crumbs(count: int) -> dict[str, bytes]:
    return {f"o{i:04d}.json": lines(row(i * 3 + j) for j in range(3)) for i in range(count)}


def published(output: Path) -> list[dict[str, object]]:
    return pq.read_table(sorted(output.glob("part-*.parquet"))).to_pylist()


def test_any_data_without_a_schema_is_inferred_and_compacted(tmp_path):
    raw = land(
        tmp_path / "raw", {"a.json": b'{"k": 1, "when": "2025-01-02T03:04:05Z"}\n', "b.csv": b"k,z\n2,x\n"}
    )
    result = compact(input=raw, output=tmp_path / "out")
    assert result.rejects == 0
    assert [f.type for f in result.manifest.spec.schema.fields] == ["int64", "timestamp[us, UTC]", "string"]
    assert [(r["k"], r["z"]) for r in published(tmp_path / "out")] == [(1, None), (2, "x")]


def test_many_splits_and_parts_keep_the_order_and_conserve_records(tmp_path):
    raw = land(tmp_path / "raw", crumbs(400))
    result = compact(input=raw, output=tmp_path / "out", schema=SCHEMA, target_file_mb=0.0625, **SMALL)
    assert result.splits > 10
    assert_conserves(result.manifest)
    assert [r["id"] for r in published(tmp_path / "out")] == list(range(1_200))


@pytest.mark.parametrize("compressed", [False, True])
def test_one_huge_object_gives_the_rows_and_reject_positions_of_a_whole_reading(tmp_path, compressed):
    text = b"".join(
        b'{"id": "x"}\n' if i % 100 == 50 else json.dumps(row(i)).encode() + b"\n" for i in range(4_000)
    )
    name, data = ("huge.json.gz", gzip.compress(text)) if compressed else ("huge.json", text)
    raw = land(tmp_path / "raw", {name: data, "z.json": lines([row(9_999)])})
    result = compact(input=raw, output=tmp_path / "out", schema=SCHEMA, **SMALL)
    assert result.splits == 2 if compressed else result.splits > 10
    assert_conserves(result.manifest)
    expected = [i for i in range(4_000) if i % 100 != 50]
    assert [r["id"] for r in published(tmp_path / "out")] == [*expected, 9_999]
    (rejects,) = (tmp_path / "out" / "_rejects").rglob("*.jsonl")
    said = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [r["position"] for r in said] == list(range(50, 4_000, 100))
    assert all(text[r["byte_offset"] :].startswith(b'{"id": "x"}') for r in said)


def test_a_late_object_decodes_only_the_splits_around_it_and_gives_the_bytes_of_a_fresh_run(tmp_path):
    raw = land(tmp_path / "raw", crumbs(400))
    compact(input=raw, output=tmp_path / "out", schema=SCHEMA, **SMALL)
    land(raw, {"o0200b.json": lines([row(77_777)])})
    again = compact(input=raw, output=tmp_path / "out", schema=SCHEMA, **SMALL)
    fresh = compact(input=raw, output=tmp_path / "fresh", schema=SCHEMA, **SMALL)
    assert again.status is Status.PUBLISHED
    assert again.splits - again.splits_reused <= 3
    assert again.splits_reused > 5
    assert fresh.splits_reused == 0
    assert [f.sha256 for f in again.manifest.files] == [f.sha256 for f in fresh.manifest.files]
    assert again.manifest.content_digest == fresh.manifest.content_digest
    assert_conserves(again.manifest)


def test_late_data_is_taken_over_between_several_parts_on_s3(tmp_path, s3):
    store = open_store(s3.url)
    for name, data in crumbs(300).items():
        store.put(f"raw/{name}", data)
    words = {"input": f"{s3.url}/raw", "schema": SCHEMA, "target_file_mb": 0.0625, **SMALL}
    compact(output=f"{s3.url}/out", **words)
    store.put("raw/o0100.json", lines([row(1, name="corrected")]))
    again = compact(output=f"{s3.url}/out", **words)
    fresh = compact(output=f"{s3.url}/fresh", **words)
    assert again.splits_reused > 3
    assert len(again.manifest.files) > 0
    assert [f.sha256 for f in again.manifest.files] == [f.sha256 for f in fresh.manifest.files]


def test_the_last_of_equal_keys_stays_also_across_splits(tmp_path):
    rng = random.Random(5)
    rows = [row(rng.randrange(300), name=f"v{n}") for n in range(1_500)]
    files = {f"o{i:03d}.json": lines(rows[i * 5 : i * 5 + 5]) for i in range(300)}
    raw = land(tmp_path / "raw", files)
    result = compact(input=raw, output=tmp_path / "out", schema=SCHEMA, unique_key=("id",), **SMALL)
    last = {r["id"]: n for n, r in enumerate(rows)}
    assert [r["name"] for r in published(tmp_path / "out")] == [f"v{n}" for n in sorted(last.values())]
    assert result.manifest.duplicates == 1_500 - len(last)
    assert result.splits > 5
    assert_conserves(result.manifest)


def test_a_null_in_the_key_is_never_a_duplicate(tmp_path):
    raw = land(tmp_path / "raw", {"a.json": lines([row(1), row(1), row(1, id=None), row(2, id=None)])})
    result = compact(input=raw, output=tmp_path / "out", schema=SCHEMA, unique_key=("id",))
    assert [r["id"] for r in published(tmp_path / "out")] == [1, None, None]
    assert result.manifest.duplicates == 1


def test_the_reject_file_stays_when_the_limit_stops_the_run(tmp_path):
    raw = land(tmp_path / "raw", {"a.json": b"oops\n" + lines([row(1)])})
    with pytest.raises(RejectLimitExceeded, match="1 of 2 records") as caught:
        compact(input=raw, output=tmp_path / "out", schema=SCHEMA)
    assert caught.value.exit_code == 5
    (rejects,) = (tmp_path / "out" / "_rejects").rglob("*.jsonl")
    assert json.loads(rejects.read_text())["raw"] == "oops"
    assert str(rejects) in caught.value.hint
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_raw_object_that_changes_after_the_listing_stops_the_run(tmp_path, monkeypatch):
    raw = land(tmp_path / "raw", crumbs(3))
    store = open_store(str(raw))

    def meddle(verb, key):
        if verb == "GET" and key == "o0000.json":
            (raw / "o0002.json").write_bytes(lines([row(1)]))

    monkeypatch.setattr(store.requests, "before", meddle)
    with pytest.raises(SourceChanged, match=r"o0002\.json"):
        compact(input=raw, output=tmp_path / "out", schema=SCHEMA, options=RunOptions(executor="serial"))
    assert not (tmp_path / "out" / "_manifest.json").exists()


def test_a_bomb_is_a_limit_and_not_the_end_of_the_machine(tmp_path):
    raw = land(tmp_path / "raw", {"bomb.json.gz": gzip.compress(b" " * 5_000_000)})
    with pytest.raises(LimitExceeded, match=r"bomb\.json\.gz") as caught:
        compact(input=raw, output=tmp_path / "out", schema=SCHEMA, limits=Limits(object_bytes=1_000_000))
    assert "object_bytes" in str(caught.value)


def test_nothing_to_compact_can_be_an_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(EmptyInput):
        compact(
            input=tmp_path / "raw",
            output=tmp_path / "out",
            schema=SCHEMA,
            options=RunOptions(on_empty=OnEmpty.FAIL),
        )


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"input": "a"},
        {"input": "a", "output": "b", "raw": "c"},
        {"raw": "a", "curated": "b"},
        {"raw": "a", "curated": "b", "ds": "2025-13-01"},
        {"raw": "a", "curated": "b", "ds": "2025-01-01", "domain": "market"},
        {"input": "a", "output": "b", "schema": SCHEMA, "codec": "lzma"},
        {"input": "a", "output": "b", "schema": SCHEMA, "unique_key": ("nope",)},
        {"input": "a", "output": "b", "schema": SCHEMA, "max_reject_ratio": 2},
        {"input": "a", "output": "b", "schema": SCHEMA, "colour": "red"},
        {"input": "ftp://a", "output": "b", "schema": SCHEMA},
    ],
)
def test_a_target_or_spec_that_makes_no_sense_is_a_usage_error(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        compact(**words)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("word", ["../../etc", "a/b", "", ".", "a\nb"])
def test_a_name_cannot_leave_its_folder(word, tmp_path):
    names = {"domain": "market", "table": word, "interval": "1d", "data_source": "x", "ds": "2025-01-01"}
    with pytest.raises((UsageError, UnsafePath)):
        compact(raw=tmp_path, curated=tmp_path, **names)
