"""Every fault of wire and store, at every operation: right rows, or an error that says what to do."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest

from briquette.errors import EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_RETRYABLE, BriquetteError, StoreError
from briquette.model import Manifest, Piece, RawObject
from briquette.storage.s3.retry import Retry
from tests.faults import Fault, FaultyWire
from tests.reliability.small_days import compact_day, published_rows, visible_keys, write_day
from tests.servers import Bucket

pytestmark = pytest.mark.timeout(300)

FAULTS: dict[str, dict[str, Any]] = {
    "503 SlowDown": {"status": 503, "code": "SlowDown"},
    "500": {"status": 500, "code": "InternalError"},
    "timeout before it is applied": {"hang": True},
    "timeout after it is applied": {"hang": True, "lose_reply": True},
    "reset before it is applied": {"reset": True},
    "reset after it is applied": {"lose_reply": True},
    "reset in the middle of the body": {"keep_body": 0.5},
    "short body": {"keep_body": 0.5, "announce_less": True},
    "long body": {"add_bytes": 7},
    "bit flip in the answer": {"flip_reply": True},
    "bit flip in the request": {"flip_request": True},
    "403": {"status": 403, "code": "AccessDenied"},
    "404": {"status": 404, "code": "NoSuchKey"},
    "409": {"status": 409, "code": "ConditionalRequestConflict"},
    "412": {"status": 412, "code": "PreconditionFailed"},
}
OPERATIONS = (
    "ListObjectsV2",
    "GetObject",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "DeleteObject",
)
ANSWERED = (
    "ListObjectsV2",
    "GetObject",
    "CreateMultipartUpload",
    "UploadPartCopy",
    "CompleteMultipartUpload",
)
SENT = ("PutObject", "UploadPart", "CompleteMultipartUpload")
OF_ANSWERS = ("reset in the middle of the body", "short body", "long body", "bit flip in the answer")
CELLS = [
    (operation, name)
    for operation in OPERATIONS
    for name in FAULTS
    if (name not in OF_ANSWERS or operation in ANSWERED)
    and (name != "bit flip in the request" or operation in SENT)
]


def usual(operation: str, name: str) -> bool:
    """Whether a cell is in the usual run; the others are slow.

    It has every fault at a read, at a write of obstore's and at one of boto3's, and two faults, an answer and
    a lost one, at every operation.
    """
    return operation in ("GetObject", "PutObject", "CompleteMultipartUpload") or name in (
        "503 SlowDown",
        "reset after it is applied",
    )


class Lab:
    """A bucket behind a wire that can break, and a raw day in it."""

    def __init__(self, bucket: Bucket, wire: FaultyWire) -> None:
        self.url, self.wire, self.bucket = bucket.url, wire, bucket
        self.waiting = threading.Event()

    def fault(self, operation: str, name: str, times: int) -> Fault:
        how = dict(FAULTS[name])
        if how.pop("hang", False):
            how["hang"] = self.waiting
        return Fault(operation, **how, times=times)

    def uploads(self) -> list[Any]:
        client = boto3.client("s3", endpoint_url=self.bucket.endpoint)
        return client.list_multipart_uploads(Bucket=self.bucket.name).get("Uploads", [])


@pytest.fixture
def lab(faulty_s3: tuple[Bucket, FaultyWire], monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """As in life, but that pauses are short, and that nobody waits a minute for an answer."""
    monkeypatch.setattr("briquette.storage.s3.store.Retry", partial(Retry, first_seconds=0.001))
    monkeypatch.setattr("briquette.storage.s3.clients.READ_SECONDS", 0.2)
    made = Lab(*faulty_s3)
    yield made
    made.waiting.set()
    made.wire.break_()


def use_multipart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small objects travel as large ones do: row groups staged, parts uploaded and copied together."""
    monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 1)
    monkeypatch.setattr("briquette.storage.s3.store.MIN_COPY_BYTES", 100)
    monkeypatch.setattr("briquette.storage.s3.multipart.MIN_COPY_BYTES", 100)
    from briquette.storage.s3.multipart import plan_uploads

    small = partial(plan_uploads, min_bytes=100, upload_bytes=1_000, copy_bytes=100_000)
    monkeypatch.setattr("briquette.storage.s3.multipart.plan_uploads", small)


@pytest.mark.parametrize(
    "times", [1, pytest.param(10_000, marks=pytest.mark.slow)], ids=lambda n: "once" if n == 1 else "for good"
)
@pytest.mark.parametrize(
    ("operation", "name"),
    [pytest.param(*cell, marks=() if usual(*cell) else pytest.mark.slow) for cell in CELLS],
)
def test_a_fault_costs_a_retry_or_a_typed_error_and_never_a_row(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, operation: str, name: str, times: int
) -> None:
    use_multipart(monkeypatch)
    old = write_day(_store(lab), "raw/")
    compact_day(lab.url)
    new = write_day(_store(lab), "raw/", shift=7)
    lab.wire.break_(lab.fault(operation, name, times))
    manifest, error = run(lab)
    assert lab.wire.fired, f"the run asked for no {operation}"
    assert_bounded(lab)
    lab.wire.break_()
    if error is None:
        assert manifest is not None
        assert published_rows(f"{lab.url}/out") == new
    else:
        assert error.message
        assert error.hint
        assert error.exit_code in (EXIT_RETRYABLE, EXIT_BAD_INPUT, EXIT_REFUSED)
        assert name == "403" or error.exit_code != EXIT_REFUSED
        assert published_rows(f"{lab.url}/out") in (old, new)
    assert compact_day(lab.url).manifest is not None
    assert published_rows(f"{lab.url}/out") == new
    assert [k for k in visible_keys(lab.url) if k.startswith("out/")] == ["out/part-00000.parquet"]


def run(lab: Lab, day: str = "") -> tuple[Manifest | None, BriquetteError | None]:
    try:
        return compact_day(lab.url, day=day).manifest, None
    except BriquetteError as error:
        return None, error


def assert_bounded(lab: Lab) -> None:
    """One thing is asked as often as one layer of retries asks it; a conflict sends an upload three times."""
    most = Retry().attempts
    for (operation, path), count in Counter(lab.wire.seen).items():
        plain = path.partition("?")[0] if "uploadId" not in path else path
        assert count <= 3 * most, (operation, plain, count)


VERBS: dict[str, tuple[str, Callable[[Any, RawObject], Any]]] = {
    "list": ("ListObjectsV2", lambda store, _: list(store.list("raw/"))),
    "stat": ("HeadObject", lambda store, item: store.stat(item.key)),
    "get": ("GetObject", lambda store, item: store.get(item.key)),
    "many gets": ("GetObject", lambda store, item: list(store.get_many([item]))),
    "a stream": ("GetObject", lambda store, item: list(store.open_chunks(item, 100))),
    "put": ("PutObject", lambda store, _: store.put("out", b"x")),
    "begin an upload": ("CreateMultipartUpload", lambda store, item: store.compose("out", pieces_of(item))),
    "upload a part": ("UploadPart", lambda store, item: store.compose("out", pieces_of(item))),
    "copy a part": ("UploadPartCopy", lambda store, item: store.compose("out", pieces_of(item))),
    "end an upload": ("CompleteMultipartUpload", lambda store, item: store.compose("out", pieces_of(item))),
    "delete": ("DeleteObject", lambda store, item: store.delete(item.key)),
}


def pieces_of(item: RawObject) -> tuple[Piece, ...]:
    return Piece(item.size_bytes, key=item.key, etag=item.etag), Piece(3, b"end")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["503 SlowDown", "reset before it is applied"])
def test_a_request_is_sent_seven_times_and_by_one_layer_only(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, verb: str, name: str
) -> None:
    use_multipart(monkeypatch)
    store = _store(lab)
    stored = store.put("raw/a", bytes(300))
    operation, ask = VERBS[verb]
    lab.wire.break_(lab.fault(operation, name, 10_000))
    with pytest.raises(StoreError) as caught:
        ask(store, RawObject(stored.key, stored.size_bytes, stored.etag))
    assert caught.value.hint
    assert lab.wire.operations.count(operation) == Retry().attempts
    assert lab.uploads() == []


def test_the_pauses_between_grow_and_no_two_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr("briquette.storage.s3.retry.time.sleep", paused.append)
    retry = Retry()
    for _ in range(50):
        for attempt in range(1, retry.attempts):
            retry.pause(attempt)
    rounds = [paused[i : i + retry.attempts - 1] for i in range(0, len(paused), retry.attempts - 1)]
    for i, longest in enumerate((0.1, 0.2, 0.4, 0.8, 1.6, 3.2)):
        of_this = [r[i] for r in rounds]
        assert all(longest / 2 <= pause <= longest for pause in of_this)
        assert len(set(of_this)) > 40
    assert max(sum(r) for r in rounds) <= 6.3


def test_a_damaged_body_on_a_wire_without_tls_is_fetched_again(lab: Lab) -> None:
    store = _store(lab)
    body = random.Random(1).randbytes(5_000)
    stored = store.put("raw/a", body)
    item = RawObject(stored.key, stored.size_bytes, stored.etag)
    for read in (lambda: store.get("raw/a"), lambda: b"".join(store.get_many([item]))):
        lab.wire.break_(lab.fault("GetObject", "bit flip in the answer", 1))
        assert read() == body
        assert lab.wire.operations.count("GetObject") == 2
    lab.wire.break_(lab.fault("GetObject", "bit flip in the answer", 1))
    with pytest.raises(StoreError, match="damaged"):
        list(store.open_chunks(item, 100))


def test_an_etag_that_is_no_md5_is_found_out_by_reading_twice(lab: Lab) -> None:
    """As with SSE-KMS: 32 hexadecimal digits that say nothing of the bytes."""
    from briquette.storage.s3.etag_check import EtagCheck
    from briquette.storage.s3.retry import TransientError

    check, etag = EtagCheck("http://somewhere"), '"' + "0f" * 16 + '"'
    with pytest.raises(TransientError):
        check.check(etag, b"body")
    check.check(etag, b"body")
    check.check('"' + "0e" * 16 + '"', b"other")  # no object of this store has proved otherwise
    EtagCheck("https://somewhere").check(etag, b"body")


@pytest.mark.parametrize("days", [12, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_backfill_over_a_bad_wire_ends_with_every_row(lab: Lab, days: int) -> None:
    """One request in twenty goes wrong, in ways drawn from a seed; a person runs it until it is well."""
    store = _store(lab)
    names = [f"/d{i:03d}" for i in range(days)]
    expected = {name: write_day(store, f"raw{name}/", shift=i) for i, name in enumerate(names)}
    lab.wire.break_()
    drawn, lock = random.Random(5), threading.Lock()
    lab.waiting.set()  # a request that hangs is dropped at once: waiting proves nothing here

    def draw(operation: str, _path: str) -> Fault | None:
        with lock:
            if drawn.random() >= 0.05:
                return None
            return lab.fault(operation, drawn.choice(list(FAULTS)), 1)

    lab.wire.draw = draw
    waiting, rounds = names, 0
    while waiting:
        rounds += 1
        assert rounds <= 10
        waiting = [name for name in waiting if not _ended_well(lab, name)]
    fired = lab.wire.fired
    lab.wire.break_()
    assert fired > days / 3
    assert {name: published_rows(f"{lab.url}/out{name}") for name in names} == expected
    assert lab.uploads() == []


def _ended_well(lab: Lab, day: str) -> bool:
    manifest, error = run(lab, day)
    assert error is None or error.hint
    return manifest is not None


def _store(lab: Lab) -> Any:
    from briquette.storage.opening import open_store

    return open_store(lab.url)
