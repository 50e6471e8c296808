"""Every store against the contract (``briquette.testing.stores``), and what only one of them has to do."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.errors import (
    BriquetteError,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    UnsafePath,
)
from briquette.model import Piece
from briquette.storage.interface import ANY, IF_ABSENT, Condition, Store, check_writable, if_match
from briquette.storage.memory import MemoryStore
from briquette.storage.opening import open_store
from briquette.storage.s3.multipart import plan_uploads
from briquette.storage.s3.plain import PlainS3Store
from briquette.storage.s3.retry import Retry
from briquette.testing.stores import StoreTests, keys, pinned
from tests.faults import Fault, FaultyWire
from tests.servers import Bucket

MIB = 1 << 20


class TestDisk(StoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(str(tmp_path))


class TestS3(StoreTests):
    @pytest.fixture
    def store(self, s3: Bucket) -> Store:
        return open_store(s3.url)


class TestS3WithoutObstore(StoreTests):
    """As in a Lambda, by boto3 alone."""

    @pytest.fixture
    def store(self, s3: Bucket) -> Store:
        return PlainS3Store(s3.name)


class TestMemory(StoreTests):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore("memory://here")


def test_stores_of_the_same_meaning_say_how_they_differ(tmp_path: Path, s3: Bucket) -> None:
    disk, cloud, memory = open_store(str(tmp_path)), open_store(s3.url), MemoryStore("memory://here")
    assert [store.directories is not None for store in (disk, cloud, memory)] == [True, False, False]
    assert [store.requests_take_time for store in (disk, cloud, memory)] == [False, True, False]
    assert [store.metadata_follows_bytes for store in (disk, cloud, memory)] == [False, True, True]
    assert [store.checks_its_bytes for store in (disk, cloud, memory)] == [False, True, True]
    assert [store.unproven_server for store in (disk, cloud, memory)] == ["", s3.endpoint, ""]


# -- names ---------------------------------------------------------------------------------------


def test_a_key_outside_the_output_prefix_is_refused() -> None:
    assert check_writable("out/ds=1/part", "out/ds=1/") == "out/ds=1/part"
    with pytest.raises(UnsafePath, match="outside"):
        check_writable("out/ds=2/part", "out/ds=1/")


def test_opening_the_same_url_again_is_the_same_store(store_url: str) -> None:
    assert open_store(store_url) is open_store(store_url)


# -- disk ----------------------------------------------------------------------------------------


def test_links_cannot_lead_a_write_out_of_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "door").symlink_to(outside)
    store = open_store(str(tmp_path / "root"))
    (outside / "precious").write_text("mine")
    with pytest.raises(UnsafePath, match="symbolic link"):
        store.put("door/k", b"x")
    with pytest.raises(UnsafePath, match="symbolic link"):
        store.delete("door/precious")
    assert [p.name for p in outside.iterdir()] == ["precious"]


def test_a_root_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    open_store(str(tmp_path / "link")).put("d/k", b"x")
    assert (tmp_path / "real/d/k").read_bytes() == b"x"


def test_links_among_raw_files_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/k").write_text("x")
    (tmp_path / "root/a/loop").symlink_to(tmp_path / "root")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/l").write_text("y")
    (tmp_path / "root/more").symlink_to(tmp_path / "elsewhere")
    assert keys(open_store(str(tmp_path / "root"))) == ["a/k", "more/l"]


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"a" * MIB)
    store = open_store(str(tmp_path))
    item = pinned(next(iter(store.list(""))))
    chunks = store.open_chunks(item, 1 << 16)
    next(chunks)
    with path.open("ab") as more:
        more.write(b"b")
    with pytest.raises(SourceChanged):
        list(chunks)


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xfe")
    for name in (b"/\xff.json", b"/\xfe/a.json", b"/\xc3\xa9.json"):
        with open(os.fsencode(tmp_path) + name, "wb"):
            pass
    found = {s.key: s.refused for s in open_store(str(tmp_path)).list("")}
    assert found == {
        "\\xff.json": "its name is not UTF-8",
        "\\xfe/a.json": "its name is not UTF-8",
        "é.json": "",
    }


def test_ten_thousand_files_are_listed_in_order(tmp_path: Path) -> None:
    for i in range(10_000):
        os.close(os.open(f"{tmp_path}/{i:05d}.json", os.O_CREAT | os.O_WRONLY))
    store = open_store(str(tmp_path))
    assert keys(store) == [f"{i:05d}.json" for i in range(10_000)]


def test_small_files_are_read_by_one_thread_at_a_time(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    halves = [[pinned(store.put(f"{half}{i:03d}", b"small")) for i in range(50)] for half in "ab"]
    order: list[str] = []

    def note(_verb: str, key: str) -> None:
        order.append(key[0])
        time.sleep(0.0002)  # as a system call does, this lets the other thread go on if it may

    store.requests.before = note
    with ThreadPoolExecutor(2) as threads:
        assert [len(b) for b in threads.map(lambda half: list(store.get_many(half)), halves)] == [50, 50]
    assert "".join(order) in ("a" * 50 + "b" * 50, "b" * 50 + "a" * 50)


def test_small_files_that_are_waited_for_are_read_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("briquette.storage.local.store._TURN", 10)
    store = open_store(str(tmp_path))
    halves = [[pinned(store.put(f"{half}{i:03d}", b"small")) for i in range(30)] for half in "ab"]
    both = threading.Barrier(2)

    def note(_verb: str, key: str) -> None:
        time.sleep(0.0005)  # a disk that is asked
        if int(key[1:]) >= 20:
            both.wait(timeout=10)

    store.requests.before = note
    with ThreadPoolExecutor(2) as threads:
        assert [len(b) for b in threads.map(lambda half: list(store.get_many(half)), halves)] == [30, 30]


def test_large_files_are_read_by_several_threads_at_once(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    items = [pinned(store.put(name, bytes(MIB))) for name in "ab"]
    both = threading.Barrier(2)
    store.requests.before = lambda *_: both.wait(timeout=10) and None
    with ThreadPoolExecutor(2) as threads:
        bodies = threads.map(lambda item: b"".join(store.get_many([item])), items)
        assert [len(b) for b in bodies] == [MIB, MIB]


# -- S3 ------------------------------------------------------------------------------------------


def test_keys_that_only_s3_can_hold_are_listed_and_read(s3: Bucket) -> None:
    import boto3

    client = boto3.client("s3")
    for key in ("raw/a//b.json", "raw/./c.json", "raw/d.json", "raw/sub/", "raw/%41.json"):
        client.put_object(Bucket=s3.name, Key=key, Body=b"" if key.endswith("/") else key.encode())
    store = open_store(s3.url)
    found = list(store.list("raw/"))
    assert [f.key for f in found] == ["raw/%41.json", "raw/./c.json", "raw/a//b.json", "raw/d.json"]
    assert list(store.get_many([pinned(f) for f in found])) == [f.key.encode() for f in found]
    assert store.get("raw/a//b.json", start=4, length=1) == b"a"


def test_more_than_one_page_is_listed(s3: Bucket) -> None:
    store = open_store(s3.url)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: store.put(f"raw/{i:05d}", b"x"), range(1_205)))
    assert len(keys(store, "raw/")) == 1_205
    assert len(keys(store, "raw/0")) == 1_205


def test_large_ranges_are_copied_inside_s3_and_small_neighbours_joined(s3: Bucket) -> None:
    store = open_store(s3.url)
    big = store.put("staging/big", os.urandom(20 * MIB))
    small = [store.put(f"staging/{i}", b"s" * 1000) for i in range(4)]
    store.requests.reset()
    ranges = [Piece(s.size_bytes, key=s.key, etag=s.etag) for s in (*small, big, *small)]
    store.compose("out/part", ranges, IF_ABSENT)
    made = store.requests.as_dict()
    assert made == {"CREATE_UPLOAD": 1, "GET": 9, "UPLOAD": 2, "COPY": 1, "COMPLETE": 1}


def test_a_missing_bucket_is_named(s3: Bucket) -> None:
    store = open_store(f"{s3.url}-none")
    for act in (lambda: keys(store), lambda: store.get("k"), lambda: store.put("k", b"x")):
        with pytest.raises(StoreError, match="bucket does not exist"):
            act()


def test_missing_credentials_are_an_error_with_a_hint(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match="no AWS credentials"):
        open_store(s3.url).get("k")


def test_a_profile_is_enough_to_reach_a_bucket(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n"
        "aws_access_key_id = test\naws_secret_access_key = test\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    store = open_store(s3.url)
    stored = store.put("k", b"x", IF_ABSENT)
    store.delete("k", if_match(stored.etag))
    assert keys(store) == []


def test_after_a_fork_s3_fails_with_a_hint_instead_of_hanging(s3: Bucket) -> None:
    store = open_store(s3.url)
    store.put("k", b"x")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            open_store(s3.url).get("k")
        except BriquetteError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    with os.fdopen(reader, "rb") as told:
        assert b"spawn" in told.read()


# -- S3 over a bad wire --------------------------------------------------------------------------


@pytest.fixture
def broken(faulty_s3: tuple[Bucket, FaultyWire]) -> tuple[Store, FaultyWire]:
    from briquette.storage.s3.store import S3Store

    bucket, wire = faulty_s3
    return S3Store(bucket.name, Retry(attempts=4, first_seconds=0.01)), wire


FAULTS = {
    "503 twice": {"status": 503, "code": "SlowDown", "times": 2},
    "500 once": {"status": 500},
    "connection reset": {"reset": True},
    "reply lost": {"lose_reply": True},
}
GET_FAULTS = {**FAULTS, "body cut in the middle": {"keep_body": 0.3}, "body cut at once": {"keep_body": 0.0}}


@pytest.mark.parametrize("fault", GET_FAULTS)
def test_a_get_survives_a_fault_and_gives_every_byte(broken: tuple[Store, FaultyWire], fault: str) -> None:
    store, wire = broken
    body = os.urandom(2 * MIB)
    item = pinned(store.put("k", body))
    wire.break_(Fault("GetObject", **GET_FAULTS[fault]))
    assert list(store.get_many([item])) == [body]
    assert wire.fired >= 1


def test_what_the_store_counts_is_what_the_wire_sees(broken: tuple[Store, FaultyWire]) -> None:
    store, wire = broken
    objects = [pinned(store.put(f"raw/{i}", b"x" * i)) for i in range(40)]
    wire.break_()
    store.requests.reset()
    assert [len(b) for b in store.get_many(objects)] == list(range(40))
    assert wire.operations == ["GetObject"] * 40
    assert store.requests.as_dict() == {"GET": 40}


def test_a_stream_goes_on_where_the_body_broke(broken: tuple[Store, FaultyWire]) -> None:
    store, wire = broken
    body = os.urandom(4 * MIB)
    item = pinned(store.put("k", body))
    wire.break_(Fault("GetObject", keep_body=0.3))
    store.requests.reset()
    assert b"".join(store.open_chunks(item, 1 << 18)) == body
    assert store.requests["GET"] == 2


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("condition", [ANY, IF_ABSENT], ids=str)
def test_a_put_survives_a_fault(broken: tuple[Store, FaultyWire], fault: str, condition: Condition) -> None:
    store, wire = broken
    wire.break_(Fault("PutObject", **FAULTS[fault]))
    stored = store.put("k", b"body", condition)
    assert wire.fired >= 1
    assert store.get("k", etag=stored.etag) == b"body"


def test_a_store_that_stays_down_is_an_error_that_names_the_object(broken: tuple[Store, FaultyWire]) -> None:
    store, wire = broken
    store.put("raw/k", b"x")
    wire.break_(Fault("GetObject", status=503, code="SlowDown", times=99))
    with pytest.raises(StoreError, match=r"raw/k failed 4 times; the last time: 503 SlowDown"):
        store.get("raw/k")
    assert wire.operations == ["GetObject"] * 4


def test_what_another_try_cannot_mend_is_asked_once(broken: tuple[Store, FaultyWire]) -> None:
    store, wire = broken
    wire.break_(Fault("GetObject", status=403, code="AccessDenied", times=99))
    with pytest.raises(StoreError, match="403 AccessDenied"):
        store.get("raw/k")
    assert wire.operations == ["GetObject"]


def test_another_writers_success_is_not_taken_for_our_own(broken: tuple[Store, FaultyWire]) -> None:
    store, wire = broken
    store.put("k", b"theirs", IF_ABSENT)
    wire.break_(Fault("PutObject", reset=True))
    with pytest.raises(PreconditionFailed):
        store.put("k", b"ours", IF_ABSENT)
    assert store.get("k") == b"theirs"


STEPS = ("CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", ["500 once", "connection reset", "reply lost"])
def test_a_large_part_survives_a_fault_in_every_step(
    broken: tuple[Store, FaultyWire], step: str, fault: str
) -> None:
    store, wire = broken
    body = os.urandom(12 * MIB)
    staged = store.put("staging/a", body)
    wire.break_(Fault(step, **FAULTS[fault]))
    pieces = (Piece(4, b"PAR1"), Piece(staged.size_bytes, key=staged.key, etag=staged.etag), Piece(1, b"."))
    made = store.compose("out/part", pieces, IF_ABSENT)
    assert wire.fired == 1
    assert store.get("out/part", etag=made.etag) == b"PAR1" + body + b"."


def test_a_conflict_while_completing_sends_the_upload_again(broken: tuple[Store, FaultyWire]) -> None:
    store, wire = broken
    body = os.urandom(12 * MIB)
    staged = store.put("staging/a", body)
    wire.break_(Fault("CompleteMultipartUpload", status=409, code="ConditionalRequestConflict"))
    made = store.compose("out/part", (Piece(staged.size_bytes, key=staged.key, etag=staged.etag),), IF_ABSENT)
    assert wire.operations.count("CreateMultipartUpload") == 2
    assert store.get("out/part", etag=made.etag) == body


def test_a_large_part_that_fails_leaves_no_upload_behind(broken: tuple[Store, FaultyWire]) -> None:
    import boto3

    store, wire = broken
    staged = store.put("staging/a", os.urandom(12 * MIB))
    wire.break_(Fault("UploadPartCopy", status=503, times=99))
    with pytest.raises(StoreError, match="staging/a"):
        store.compose("out/part", (Piece(staged.size_bytes, key=staged.key, etag=staged.etag),), IF_ABSENT)
    listed = boto3.client("s3").list_multipart_uploads(Bucket=store.url.removeprefix("s3://"))
    assert not listed.get("Uploads")


# -- cutting a part into uploads -----------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 90)), max_size=30))
def test_uploads_hold_every_byte_in_order_and_only_the_last_may_be_small(
    shape: list[tuple[bool, int]],
) -> None:
    blob = os.urandom(64)
    source = (blob * 50)[: 90 * 30]
    pieces, expected, at = [], [], 0
    for inline, size in shape:
        body = source[at : at + size]
        pieces.append(Piece(size, body) if inline else Piece(size, key="s", offset=at, etag="e"))
        expected.append(body)
        at += size
    uploads = plan_uploads(pieces, min_bytes=5, upload_bytes=16, copy_bytes=40)
    made = [
        b"".join(p.data if p.data is not None else source[p.offset : p.offset + p.size_bytes] for p in u)
        for u in uploads
    ]
    assert b"".join(made) == b"".join(expected)
    assert all(len(m) >= 5 for m in made[:-1])
    assert all(len(m) <= 80 for m in made)
    assert all(m for m in made)
