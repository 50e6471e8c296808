"""A second fault injector that is not ours, microburst, between the engine and a real S3 server.

Each case asserts what came of it and, by microburst's own audit log, that its fault really struck.
"""

from __future__ import annotations

import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from briquette.errors import StoreError
from briquette.model import Piece, RawObject
from briquette.storage.interface import Condition
from briquette.storage.opening import open_store
from briquette.storage.s3.retry import Retry
from tests.conftest import _point_at
from tests.reliability.small_days import compact_day, published_rows, visible_keys, write_day
from tests.reliability.test_fault_matrix import use_multipart
from tests.servers import Bucket, microburst, new_bucket

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("microburst")]

PAST = "latency:1ms"
HELD_MS, READ_SECONDS = 1_500, 0.5  # held for longer than anybody waits here


@dataclass(frozen=True)
class Burst:
    """A running microburst: its rules, and what they did."""

    endpoint: str

    def rule(self, *rules: dict[str, Any]) -> None:
        self._ask("DELETE", "fired")
        self._ask("POST", "rules", [{"service": "s3", **rule} for rule in rules])

    def fired(self) -> list[dict[str, Any]]:
        """What struck, but not what only led rules past a request."""
        return [event for event in self._ask("GET", "fired") if event["action"] != PAST]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.endpoint}/_microburst/{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def burst(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Burst]:
    with microburst(s3_server, tmp_path_factory.mktemp("microburst")) as endpoint:
        new_bucket(endpoint)  # the first request loads the model of S3, and takes long
        yield Burst(endpoint)


@pytest.fixture
def bucket(s3: Bucket, burst: Burst, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket behind microburst, which behaves until it has rules; pauses are short."""
    burst.rule()
    _point_at(burst.endpoint, monkeypatch)
    monkeypatch.setattr("briquette.storage.s3.store.Retry", partial(Retry, first_seconds=0.001))
    monkeypatch.setattr("briquette.storage.s3.clients.READ_SECONDS", READ_SECONDS)
    use_multipart(monkeypatch)
    return s3


BODY = random.Random(11).randbytes(20_000)
SLOW_DOWN = {"error": {"code": "SlowDown", "status": 503}}
FAULTS: dict[str, dict[str, Any]] = {
    "SlowDown twice": {**SLOW_DOWN, "times": 2},
    "SlowDown six times": {**SLOW_DOWN, "times": 6},
    "500 once": {"error": {"code": "InternalError", "status": 500}, "times": 1},
    "reset once": {"reset": True, "times": 1},
    "held, then 504": {"timeout_ms": HELD_MS, "times": 1},
    "latency": {"latency": 150, "times": 1},
    "upload cut after 1000 bytes": {"request": {"cut_upload": {"after_bytes": 1_000}}, "times": 1},
    "body truncated": {"response": {"truncate_frac": 0.5}, "times": 1},
    "body aborted": {"response": {"abort_frac": 0.3}, "times": 1},
    "16 bytes corrupt": {"response": {"corrupt_bytes": 16}, "times": 1},
}
OF_UPLOADS = ("upload cut after 1000 bytes",)
OF_BODIES = ("body truncated", "body aborted", "16 bytes corrupt")
READS: dict[str, Callable[[Any, RawObject], bytes]] = {
    "get": lambda store, item: store.get(item.key, etag=item.etag),
    "many gets": lambda store, item: b"".join(store.get_many([item])),
    "a stream": lambda store, item: b"".join(store.open_chunks(item, 5_000)),
}


@pytest.mark.parametrize(
    ("how", "name"),
    [(how, n) for how in READS for n in FAULTS if n in OF_BODIES or (how == "get" and n not in OF_UPLOADS)],
)
def test_a_read_ends_with_the_right_bytes(bucket: Bucket, burst: Burst, how: str, name: str) -> None:
    store = open_store(bucket.url)
    stored = store.put("raw/a", BODY)
    item = RawObject(stored.key, stored.size_bytes, stored.etag)
    burst.rule({"operation": "GetObject", **FAULTS[name]})
    started = time.monotonic()
    if (name, how) == ("16 bytes corrupt", "a stream"):  # its caller has the bytes already
        with pytest.raises(StoreError, match="damaged"):
            READS[how](store, item)
    else:
        assert READS[how](store, item) == BODY
    took = time.monotonic() - started
    assert [event["operation"] for event in burst.fired()] == ["GetObject"] * FAULTS[name]["times"]
    assert took >= FAULTS[name].get("latency", 0) / 1_000


@dataclass(frozen=True)
class Request:
    """A request of a write, by what microburst calls it and what its path then holds.

    Microburst takes UploadPart for PutObject and CompleteMultipartUpload for CreateMultipartUpload.
    """

    called: str
    marker: str = "/out"
    past: tuple[dict[str, Any], ...] = ()  # rules ahead, for requests that the fault shall not strike


ATTEMPT = {
    "operation": "CreateMultipartUpload",
    "headers": {"x-amz-meta-briquette-attempt": ""},
    "latency": 1,
}
REQUESTS = {
    "PutObject": Request("PutObject"),
    "CreateMultipartUpload": Request("CreateMultipartUpload", "/out?uploads"),
    "UploadPart": Request("PutObject", "partNumber="),
    "CompleteMultipartUpload": Request("CreateMultipartUpload", "/out?uploadId=", (ATTEMPT,)),
}


WRITES = [
    (operation, name)
    for operation in REQUESTS
    for name in FAULTS
    if name not in OF_BODIES and (name not in OF_UPLOADS or operation in ("PutObject", "UploadPart"))
]


@pytest.mark.parametrize(("operation", "name"), WRITES)
def test_a_write_is_there_once_and_whole(bucket: Bucket, burst: Burst, operation: str, name: str) -> None:
    store, request = open_store(bucket.url), REQUESTS[operation]
    source = store.put("raw/a", BODY[:10_000])
    pieces = (Piece(10_000, key=source.key, etag=source.etag), Piece(10_000, BODY[10_000:]))
    burst.rule(*request.past, {"operation": request.called, **FAULTS[name]})
    stored = store.put("out", BODY) if operation == "PutObject" else store.compose("out", pieces)
    fired = burst.fired()
    burst.rule()
    assert len(fired) == FAULTS[name]["times"]
    assert [event["path"] for event in fired if request.marker not in event["path"]] == []
    assert store.get("out", etag=stored.etag) == BODY
    uploads = store.connection.control.list_multipart_uploads(Bucket=bucket.name)
    assert uploads.get("Uploads", []) == []


LOST = {"response": {"abort_bytes": 0}, "times": 1}


@pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
def test_a_write_whose_answer_is_lost_is_known_as_our_own(
    bucket: Bucket, burst: Burst, operation: str
) -> None:
    """With a condition: the second try meets what the first one wrote."""
    store, request = open_store(bucket.url), REQUESTS[operation]
    source = store.put("raw/a", BODY[:10_000])
    pieces = (Piece(10_000, key=source.key, etag=source.etag), Piece(10_000, BODY[10_000:]))
    burst.rule(*request.past, {"operation": request.called, **LOST})
    if operation == "PutObject":
        stored = store.put("out", BODY, Condition(absent=True))
    else:
        stored = store.compose("out", pieces, Condition(absent=True))
    assert [event["operation"] for event in burst.fired()] == [request.called]
    burst.rule()
    assert store.get("out", etag=stored.etag) == BODY


@pytest.mark.parametrize("operation", ["GetObject", "PutObject", "ListObjectsV2"])
def test_a_store_that_slows_down_for_good_is_one_clear_error_after_seven_requests(
    bucket: Bucket, burst: Burst, operation: str
) -> None:
    store = open_store(bucket.url)
    store.put("raw/a", BODY)
    ask = {
        "GetObject": lambda: store.get("raw/a"),
        "PutObject": lambda: store.put("out", BODY),
        "ListObjectsV2": lambda: list(store.list("raw/")),
    }
    burst.rule({"operation": operation, **SLOW_DOWN})
    with pytest.raises(StoreError, match="503 SlowDown") as caught:
        ask[operation]()
    assert caught.value.hint
    assert len(burst.fired()) == Retry().attempts


def test_a_day_is_compacted_through_all_of_it_at_once(bucket: Bucket, burst: Burst) -> None:
    rows = write_day(open_store(bucket.url), "raw/")
    mixed = {
        "GetObject": ("SlowDown twice", "500 once", "body truncated", "body aborted", "16 bytes corrupt"),
        "PutObject": ("SlowDown twice", "500 once", "reset once", "held, then 504", *OF_UPLOADS),
        "ListObjectsV2": ("reset once", "body aborted"),
    }
    burst.rule(*({"operation": what, **FAULTS[name]} for what, names in mixed.items() for name in names))
    result = compact_day(bucket.url)
    struck = Counter(event["operation"] for event in burst.fired())
    burst.rule()
    assert result.manifest is not None
    assert min(struck[name] for name in mixed) >= 2, struck
    assert published_rows(f"{bucket.url}/out") == rows
    assert [k for k in visible_keys(bucket.url) if k.startswith("out/")] == ["out/part-00000.parquet"]
