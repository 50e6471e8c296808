"""Retries as the wire sees them: bounded in number and time, growing and jittered pauses, one layer only."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from briquette.compaction.options import RunOptions
from briquette.errors import StoreError
from briquette.model import RawObject
from briquette.planning.target import dataset_location
from briquette.publishing.verify import verify_dataset
from briquette.storage.opening import open_store
from briquette.storage.s3.retry import Retry
from tests.faults import Fault, FaultyWire
from tests.reliability.small_days import OBJECTS, SCHEMA, compact_day, write_day
from tests.servers import Bucket

pytestmark = pytest.mark.timeout(240)

ATTEMPTS, LONGEST = Retry().attempts, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
COMMAND = (sys.executable, "-m", "briquette", "compact", "--json")
SLACK_SECONDS = 1.5  # a request's own time, on a machine that does other things too
# What a store answers 503 to, for good: (operation, a text in the path).
DOWN = {
    "get": ("GetObject", "/raw/get/"),
    "put": ("PutObject", "/out/put/"),
    "list": ("ListObjectsV2", "raw%2Flist"),
}


class Outage:
    """Requests that are answered 503, and when each came."""

    def __init__(self, *down: tuple[str, str]) -> None:
        self.down, self.lock = down, threading.Lock()
        self.times: dict[tuple[str, str], list[float]] = defaultdict(list)

    def __call__(self, operation: str, path: str) -> Fault | None:
        if not any(operation == name and text in path for name, text in self.down):
            return None
        with self.lock:
            self.times[operation, path].append(time.monotonic())
        return Fault(operation, status=503, code="SlowDown")


def assert_one_layer(times: list[float]) -> None:
    """Seven requests at most, and pauses between them that grow as documented."""
    assert len(times) == ATTEMPTS
    for longest, (before, after) in zip(LONGEST, pairwise(times), strict=True):
        assert longest / 2 <= after - before <= longest + SLACK_SECONDS


def test_a_store_that_is_down_gets_seven_requests_with_growing_pauses_and_one_clear_error(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    """Three commands at once, as people start them; nothing is shortened."""
    bucket, wire = faulty_s3
    store = open_store(bucket.url)
    for name in DOWN:
        write_day(store, f"raw/{name}/")
    wire.break_()
    outage = Outage(*DOWN.values())
    wire.draw = outage
    started = time.monotonic()
    runs = {
        name: subprocess.Popen(
            [*COMMAND, "--input", f"{bucket.url}/raw/{name}", "--output", f"{bucket.url}/out/{name}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for name in DOWN
    }
    for name, run in runs.items():
        said, errors = run.communicate(timeout=120)
        assert run.returncode == 1, (name, errors)
        error = json.loads(said)["error"]
        assert error["name"] == "StoreError", (name, error)
        assert f"failed {ATTEMPTS} times" in error["message"]
        assert error["hint"]
    assert time.monotonic() - started < sum(LONGEST) + 30
    for name, (operation, text) in DOWN.items():
        asked = [times for (what, path), times in outage.times.items() if what == operation and text in path]
        assert asked, name
        for times in asked:
            assert_one_layer(times)
    gaps = {round(after - before, 4) for times in outage.times.values() for before, after in pairwise(times)}
    assert len(gaps) > len(outage.times)  # the first pauses alone differ from one another


@pytest.mark.slow
@pytest.mark.xdist_group("dask-processes")
def test_worker_processes_add_no_layer_of_retries(faulty_s3: tuple[Bucket, FaultyWire]) -> None:
    """Dask runs a task again when its worker died, not when the store is down."""
    import briquette

    bucket, wire = faulty_s3
    write_day(open_store(bucket.url), "raw/")
    wire.break_()
    outage = Outage(("GetObject", "/raw/"))
    wire.draw = outage
    with pytest.raises(StoreError, match=f"failed {ATTEMPTS} times"):
        briquette.compact(
            input=f"{bucket.url}/raw",
            output=f"{bucket.url}/out",
            schema=SCHEMA,
            options=RunOptions(executor="dask", workers=2),
            split_objects=1,
            split_bytes=1_000,
        )
    assert 1 <= len(outage.times) <= OBJECTS
    assert all(len(times) <= ATTEMPTS for times in outage.times.values())
    assert_one_layer(min(outage.times.values()))


# -- within one process, with short pauses -------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """A store without pauses, and an object in it."""

    store: Any
    item: RawObject
    body: bytes
    wire: FaultyWire


@pytest.fixture
def lab(faulty_s3: tuple[Bucket, FaultyWire], monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr("briquette.storage.s3.retry.time.sleep", lambda _: None)
    bucket, wire = faulty_s3
    store = open_store(bucket.url)
    body = random.Random(3).randbytes(4_000)
    stored = store.put("raw/a", body)
    wire.break_()
    return Lab(store, RawObject(stored.key, stored.size_bytes, stored.etag), body, wire)


READS = {
    "get": lambda store, item: store.get(item.key, etag=item.etag),
    "a range": lambda store, item: store.get(item.key, etag=item.etag, start=0, length=item.size_bytes),
    "many gets": lambda store, item: b"".join(store.get_many([item])),
    "a stream": lambda store, item: b"".join(store.open_chunks(item, 1_000)),
}


@pytest.mark.parametrize("read", READS)
def test_a_body_that_ends_early_is_asked_for_again_up_to_seven_times(lab: Lab, read: str) -> None:
    """No client below repeats a body: botocore and obstore both hand over what came."""
    lab.wire.break_(Fault("GetObject", keep_body=0.0, times=ATTEMPTS - 1))
    assert READS[read](lab.store, lab.item) == lab.body
    assert lab.wire.operations.count("GetObject") == ATTEMPTS
    lab.wire.break_(Fault("GetObject", keep_body=0.0, times=10_000))
    with pytest.raises(StoreError):
        READS[read](lab.store, lab.item)
    assert lab.wire.operations.count("GetObject") == ATTEMPTS


@pytest.mark.parametrize("read", READS)
def test_a_body_that_is_shorter_than_the_object_is_asked_for_again(lab: Lab, read: str) -> None:
    """And announced so: to the client below all is well."""
    lab.wire.break_(Fault("GetObject", keep_body=0.5, announce_less=True))
    assert READS[read](lab.store, lab.item) == lab.body
    assert lab.wire.operations.count("GetObject") == 2


@pytest.mark.parametrize("read", READS)
def test_refusals_and_cut_bodies_count_against_one_budget(lab: Lab, read: str) -> None:
    """A store that refuses six times and then cuts its answer short, over and over, is not asked 49 times."""
    asked = []

    def draw(operation: str, _path: str) -> Fault | None:
        if operation != "GetObject":
            return None
        asked.append(operation)
        cut = len(asked) % (ATTEMPTS - 1) == 0
        return Fault(operation, keep_body=0.0) if cut else Fault(operation, status=503, code="SlowDown")

    lab.wire.draw = draw
    with pytest.raises(StoreError):
        READS[read](lab.store, lab.item)
    assert len(asked) == ATTEMPTS


def test_a_conflict_that_comes_without_a_body_is_asked_again(lab: Lab) -> None:
    lab.wire.break_(Fault("HeadObject", status=409, code="OperationAborted"))
    found = lab.store.stat(lab.item.key)
    assert (found.size_bytes, found.etag) == (lab.item.size_bytes, lab.item.etag)
    assert lab.wire.operations == ["HeadObject", "HeadObject"]


def test_an_upload_is_abandoned_even_if_the_first_request_for_that_is_lost(lab: Lab) -> None:
    import boto3

    big = b"x" * (65 << 20)
    lab.wire.break_(
        Fault("UploadPart", status=403, code="AccessDenied"),
        Fault("AbortMultipartUpload", status=503, code="SlowDown", times=2),
    )
    with pytest.raises(StoreError, match="denied"):
        lab.store.put("big", big)
    assert lab.wire.operations.count("AbortMultipartUpload") == 3
    client = boto3.client("s3", endpoint_url=lab.wire.endpoint)
    assert client.list_multipart_uploads(Bucket=lab.store.bucket).get("Uploads", []) == []


def test_a_store_in_trouble_is_no_damage_of_the_dataset(lab: Lab) -> None:
    """The guard of a day once took a denied request for a broken manifest, and ended it for good (exit 4)."""
    write_day(lab.store, "raw/day/")
    compact_day(lab.store.url, day="/day")
    lab.wire.break_(Fault("GetObject", status=403, code="AccessDenied", only="/out/day/_manifest.json"))
    with pytest.raises(StoreError, match="denied"):
        verify_dataset(lab.store, dataset_location(f"{lab.store.url}/out/day"))
