"""URLs of places and of objects, the odd ones too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from briquette.datasets.inspect import inspect
from briquette.errors import UnsafePath, UsageError
from briquette.model import Field, Location, Schema
from briquette.pipeline.schema_record import record_schema
from briquette.storage.opening import open_object
from briquette.storage.urls import above, below, bucket_of, is_remote, parse_object_url, parse_url


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The working directory, which relative paths begin at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    return str(tmp_path)


def test_a_url_names_a_store_and_a_prefix(here: str) -> None:
    places = {
        "raw/day": Location(f"{here}/raw/day"),
        "raw/day/": Location(f"{here}/raw/day"),
        "./raw//day": Location(f"{here}/raw/day"),
        ".": Location(here),
        "~/raw": Location(f"{here}/home/raw"),
        "/data/a b": Location("/data/a b"),
        "/data/a%20b": Location("/data/a%20b"),
        "/": Location("/"),
        f"file://{here}/a%20b": Location(f"{here}/a b"),
        f"file:{here}/a": Location(f"{here}/a"),
        "file://localhost/data/raw%231/": Location("/data/raw#1"),
        r"C:\data\raw": Location(rf"{here}/C:\data\raw"),
        "C:/data/raw": Location(f"{here}/C:/data/raw"),
        "s3://bucket": Location("s3://bucket"),
        "s3://bucket/": Location("s3://bucket"),
        "s3://bucket/a/b/": Location("s3://bucket", "a/b/"),
        "s3a://bucket/a/b": Location("s3://bucket", "a/b/"),
        "s3://bucket/a b/c%20d": Location("s3://bucket", "a b/c%20d/"),
        "memory://x": Location("memory://x"),
        "memory://x/y/": Location("memory://x", "y/"),
    }
    assert {url: parse_url(url) for url in places} == places


WRONG = [
    *("s3://", "s3:///a", "s3://key:secret@bucket/a", "s3://b:9/a", "s3://b c/a", "http://x/y", "S3://b/a"),
    *("file://host/x", "file://", "file:///a?b", "file:///a#b", "file:///a%00b"),
]
UNSAFE = ["s3://bucket/a/../b", "s3://bucket/a//b", "s3://bucket/a\nb", "s3://bucket/a\\b", "", "a\x00b"]


@pytest.mark.parametrize("read", [parse_url, parse_object_url, open_object], ids=lambda f: f.__name__)
def test_a_url_that_names_nothing_safe_is_refused(read) -> None:
    for wrong in WRONG:
        with pytest.raises(UsageError):
            read(wrong)
    for unsafe in UNSAFE:
        with pytest.raises(UnsafePath):
            read(unsafe)


def test_a_url_with_a_credential_is_refused_without_repeating_it() -> None:
    for read in (parse_url, parse_object_url):
        with pytest.raises(UsageError) as caught:
            read("s3://key:secret@bucket/a")
        assert "secret" not in str(caught.value)


def test_the_url_of_an_object_is_its_place_and_its_name(here: str) -> None:
    objects = {
        "plan.json": (Location(here), "plan.json"),
        "a/plan.json": (Location(f"{here}/a"), "plan.json"),
        "a/../plan.json": (Location(here), "plan.json"),
        "~/plan.json": (Location(f"{here}/home"), "plan.json"),
        "/plan.json": (Location("/"), "plan.json"),
        "/a b/the plan.json": (Location("/a b"), "the plan.json"),
        "/a/the%20plan.json": (Location("/a"), "the%20plan.json"),
        "file:///a%20b/the%20plan.json": (Location("/a b"), "the plan.json"),
        "file:///plan.json": (Location("/"), "plan.json"),
        r"C:\plan.json": (Location(here), r"C:\plan.json"),
        "C:/a/plan.json": (Location(f"{here}/C:/a"), "plan.json"),
        "s3://b/plan.json": (Location("s3://b"), "plan.json"),
        "s3a://b/a/b/the%20plan.json": (Location("s3://b", "a/b/"), "the%20plan.json"),
        "memory://x/a/k": (Location("memory://x", "a/"), "k"),
    }
    assert {url: parse_object_url(url) for url in objects} == objects


@pytest.mark.parametrize(
    "url",
    ["s3://bucket", "s3://bucket/", "s3://bucket/a/", "a/", ".", "..", "a/..", "a/.", "/", "memory://x"],
)
def test_the_url_of_a_place_names_no_object(url: str) -> None:
    with pytest.raises(UsageError, match="names no object"):
        parse_object_url(url)


def test_an_object_is_written_and_read_where_its_url_says(here: str) -> None:
    store, key = open_object(f"file://{here}/out/the%20result.json")
    store.put(key, b"{}")
    assert Path(here, "out/the result.json").read_bytes() == b"{}"
    assert open_object("out/the result.json") == (store, key)


def test_a_schema_is_recorded_where_its_url_says(here: str) -> None:
    schema = Schema((Field("symbol", "string"),))
    for url, path in (
        (f"file://{here}/one%20table/latest%201.json", "one table/latest 1.json"),
        ("latest.json", "latest.json"),
    ):
        assert record_schema(url, schema, "zstd")
        assert not record_schema(url, schema, "zstd")
        assert json.loads(Path(here, path).read_text())["columns"]


def test_a_file_is_inspected_by_any_spelling_of_its_url(here: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1, 2]}), "the file.parquet")
    for url in ("the file.parquet", f"{here}/the file.parquet", f"file://{here}/the%20file.parquet"):
        assert inspect(url)["files"][0] == inspect("./the file.parquet")["files"][0]
        assert inspect(url)["files"][0]["rows"] == 2


def test_places_are_joined_and_split() -> None:
    table = Location("s3://b", "a/prices/")
    day = below(table, "/compacted/", "", "ds=2025-09-09")
    assert day == Location("s3://b", "a/prices/compacted/ds=2025-09-09/")
    assert above(day) == (Location("s3://b", "a/prices/compacted/"), "ds=2025-09-09")
    assert above(Location("/data", "ds=1/")) == (Location("/data"), "ds=1")
    assert above(Location("/data")) == (Location("/data"), "")


def test_stores_without_paths_and_buckets_are_told_apart() -> None:
    urls = ("s3://b/a", "s3a://b", "memory://b", "/b", "file:///b", "b")
    assert [is_remote(parse_url(url)) for url in urls] == [True, True, True, False, False, False]
    assert [bucket_of(url) for url in (*urls, "")] == ["b", "b", "", "", "", "", ""]
