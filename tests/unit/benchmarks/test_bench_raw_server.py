"""The benchmarks' server of raw objects, asked by real clients: listing, ranges, latency, other buckets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks import suite
from benchmarks.corpus import corpus
from benchmarks.lab import CURATED, Lab, lab
from benchmarks.peers import PEERS
from benchmarks.raw_server import RAW_BUCKET

FILES = 2_100  # three pages


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("raw")
    for i in range(FILES):
        (folder / f"{i:05d}.json").write_bytes(b"0123456789" + str(i).encode())
    (folder / "deep").mkdir()
    (folder / "deep" / "a&b.json").write_bytes(b"deep")
    with lab(folder, latency_ms=0) as running:
        yield running


def client(servers: Lab) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=servers.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}),
    )


def test_every_file_is_listed_once_over_pages(servers: Lab) -> None:
    pages = client(servers).get_paginator("list_objects_v2").paginate(Bucket=RAW_BUCKET)
    found = [item for page in pages for item in page["Contents"]]
    assert [item["Key"] for item in found] == [*(f"{i:05d}.json" for i in range(FILES)), "deep/a&b.json"]
    assert found[-1]["Size"] == 4


def test_a_delimiter_folds_folders(servers: Lab) -> None:
    answer = client(servers).list_objects_v2(Bucket=RAW_BUCKET, Prefix="d", Delimiter="/")
    assert [p["Prefix"] for p in answer["CommonPrefixes"]] == ["deep/"]
    assert answer["KeyCount"] == 1


@pytest.mark.parametrize(("asked", "got"), [("2-4", b"234"), ("9-", b"97"), ("-3", b"897"), ("9-99", b"97")])
def test_ranges_are_what_was_asked_for(servers: Lab, asked: str, got: bytes) -> None:
    answer = client(servers).get_object(Bucket=RAW_BUCKET, Key="00007.json", Range=f"bytes={asked}")
    assert answer["Body"].read() == got
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_what_is_not_there_is_an_error_and_raw_is_read_only(servers: Lab) -> None:
    for call in (
        lambda: client(servers).get_object(Bucket=RAW_BUCKET, Key="none"),
        lambda: client(servers).put_object(Bucket=RAW_BUCKET, Key="new", Body=b""),
    ):
        with pytest.raises(ClientError):
            call()


def test_writes_and_their_conditions_go_through_to_the_server(servers: Lab) -> None:
    s3 = client(servers)
    body = b"x" * 300_000
    s3.put_object(Bucket=CURATED, Key="k/one", Body=body, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=CURATED, Key="k/one", Body=b"", IfNoneMatch="*")
    assert s3.get_object(Bucket=CURATED, Key="k/one")["Body"].read() == body


def test_each_answer_waits_for_the_latency(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(b"1")
    with lab(tmp_path, latency_ms=60) as slow:
        s3 = client(slow)
        s3.head_object(Bucket=RAW_BUCKET, Key="one.json")
        started = time.monotonic()
        s3.head_object(Bucket=RAW_BUCKET, Key="one.json")
        assert time.monotonic() - started >= 0.06  # a wait has a lower bound on any machine


def test_a_workload_on_s3_is_checked_like_one_on_disk(tmp_path: Path) -> None:
    made = corpus("tiny", 0.001, tmp_path)
    told = suite.run_workload(made, [PEERS["briquette"], PEERS["polars"]], 1, 60, latency_ms=1)
    for peer in told["peers"].values():
        (run,) = peer["runs"]
        assert run["wrong"] == ""
        assert run["output_bytes"] > 0
        assert run["server_cpu_seconds"] is not None
