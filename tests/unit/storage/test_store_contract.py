"""What real servers honour: local disk, two S3 servers, and one behind a wire that answers like a third."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from briquette.cli.doctor import examine
from briquette.cli.text import examination_text
from briquette.errors import StoreError, UnsafeStore
from briquette.model import Piece
from briquette.publishing import store_probe
from briquette.publishing.store_probe import COMPLETE_MATCH, COPY, COPY_MATCH, LARGE, WITHOUT, probe_store
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import Store
from briquette.storage.opening import open_store
from tests.faults import FaultyWire
from tests.invariants import stands
from tests.servers import Bucket, environment, moto, new_bucket
from tests.unit.publishing.test_publish import NEW, OLD, a_lister_sees, at, edition

# Found by trying; a server that learns more makes this fail, and that is good news.
MOTO_BREAKS = [COPY_MATCH, COMPLETE_MATCH]
CONDITIONS = [promise for promise in WITHOUT if "If-" in promise and promise != COPY_MATCH]


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture
def moto_s3(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in environment(moto_server).items():
        monkeypatch.setenv(name, value)
    return new_bucket(moto_server)


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endpoint was probed before."""
    monkeypatch.setattr(store_probe, "_SAFE", {})


def broken(honours: dict[str, bool]) -> list[str]:
    return [promise for promise, kept in honours.items() if not kept]


def doctor(url: str, *options: str) -> tuple[int, str]:
    """The command as a person runs it: exit code and standard output."""
    run = "from briquette.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, "doctor", "--curated", url, *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def large_part(store: Store, key: str) -> tuple[Piece, ...]:
    stored = store.put(key, bytes(11 << 20))
    return (Piece(4, b"PAR1"), Piece(stored.size_bytes, key=stored.key, etag=stored.etag))


# -- stores as they are --------------------------------------------------------------------------


def test_doctor_names_every_promise_of_a_good_store_in_text_and_for_machines(s3: Bucket) -> None:
    code, text = doctor(f"{s3.url}/out")
    assert code == 0
    assert f"{s3.url}/out  safe to publish to" in text
    for promise in WITHOUT:
        assert re.search(rf"^  {re.escape(promise)}  +yes$", text, re.MULTILINE), promise
    code, told = doctor(f"{s3.url}/out", "--json")
    (place,) = json.loads(told)["stores"]
    assert (code, place["ok"], place["broken"]) == (0, True, {})
    assert place["honours"] == dict.fromkeys(WITHOUT, True)


def test_doctor_says_what_moto_ignores_and_what_comes_of_it(moto_s3: Bucket) -> None:
    code, text = doctor(f"{moto_s3.url}/out")
    assert code == 1
    assert f"{moto_s3.url}/out  NOT safe: publishing needs --unsafe-store" in text
    for promise, without in WITHOUT.items():
        said = f"NO  {without}" if promise in MOTO_BREAKS else "yes"
        assert re.search(rf"^  {re.escape(promise)}  +{re.escape(said)}$", text, re.MULTILINE), promise
    code, told = doctor(f"{moto_s3.url}/out", "--json")
    (place,) = json.loads(told)["stores"]
    assert (code, place["ok"]) == (1, False)
    assert place["broken"] == {promise: WITHOUT[promise] for promise in MOTO_BREAKS}
    assert broken(place["honours"]) == MOTO_BREAKS
    assert list(open_store(moto_s3.url).list("")) == []


def test_on_moto_small_parts_are_published_and_large_ones_refused_unless_asked(moto_s3: Bucket) -> None:
    store = open_store(moto_s3.url)
    edition(OLD, 2).publish(store, at(store))
    edition(NEW, 3).publish(store, at(store))
    assert verify_dataset(store, at(store)) == []
    with pytest.raises(UnsafeStore) as caught:
        store_probe.require_safe_store(store, "", multipart=True)
    for promise in MOTO_BREAKS:
        assert f"{promise} ({WITHOUT[promise]})" in caught.value.message
    assert "--unsafe-store and let no two runs publish" in caught.value.hint
    assert a_lister_sees(store, at(store)) == [{NEW}] * 3


def test_a_server_that_ignores_every_condition_is_refused_unless_asked(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    bucket, wire = faulty_s3
    store = open_store(bucket.url)
    wire.strip_headers = ("if-match", "if-none-match")
    assert broken(probe_store(store, "")) == CONDITIONS
    with pytest.raises(UnsafeStore, match="PUT If-None-Match") as caught:
        edition(OLD, 2).publish(store, at(store))
    assert all(promise in caught.value.message for promise in CONDITIONS if promise not in LARGE)
    assert list(store.list("")) == []
    for version, parts in ((OLD, 3), (NEW, 2)):
        edition(version, parts).publish(store, at(store), unsafe_store=True)
        assert a_lister_sees(store, at(store)) == [{version}] * parts
        assert verify_dataset(store, at(store)) == []


def test_a_server_that_only_ignores_conditions_of_deletes_takes_a_first_part_and_no_more(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    bucket, wire = faulty_s3
    store = open_store(bucket.url)
    wire.strip_headers = ("if-match on delete",)
    examined = examine(curated_url=bucket.url)
    assert list(examined["stores"][0]["broken"]) == [store_probe.DELETE_MATCH]
    assert "NOT safe: only a first publish of one part is; replacing it" in examination_text(examined)
    edition(OLD).publish(store, at(store))
    with pytest.raises(UnsafeStore, match="DELETE If-Match"):
        edition(NEW).publish(store, at(store))
    with pytest.raises(UnsafeStore, match="DELETE If-Match"):
        edition(NEW, 2).publish(store, at(store, "another/"))
    assert a_lister_sees(store, at(store)) == [{OLD}]
    edition(NEW, 2).publish(store, at(store), unsafe_store=True)
    assert a_lister_sees(store, at(store)) == [{NEW}, {NEW}]


# -- servers that answer in another way ----------------------------------------------------------


def test_etags_that_a_listing_spells_without_quotes_are_those_of_put_and_head(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    """As rclone's S3 server lists them: without this no run there could publish over anything."""
    bucket, wire = faulty_s3

    def unquoted(operation: str, body: bytes) -> bytes:
        bare = re.sub(rb"<ETag>(?:&quot;|\")(.*?)(?:&quot;|\")</ETag>", rb"<ETag>\1</ETag>", body)
        assert b"<ETag>" not in body or bare != body
        return bare if operation == "ListObjectsV2" else body

    wire.rewrite = unquoted
    store = open_store(bucket.url)
    assert broken(probe_store(store, "")) == []
    put = store.put("k", b"x")
    empty = store.put("none/e", b"")  # an empty object is listed by the other client
    assert [s.etag for s in store.list("k")] == [s.etag for s in store.list("")][:1] == [put.etag]
    assert [s.etag for s in store.list("none/")] == [empty.etag]
    store.delete("k")
    store.delete("none/e")
    for version in (OLD, NEW):
        edition(version, 2).publish(store, at(store))
        assert stands(store, at(store))
        assert verify_dataset(store, at(store)) == []


def test_a_server_that_does_not_copy_ranges_into_uploads_is_named_and_not_crashed_on(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    """As rclone's S3 server answers: 200 and a result without an etag."""
    bucket, wire = faulty_s3

    def without_etag(operation: str, body: bytes) -> bytes:
        return re.sub(rb"<ETag>.*?</ETag>", b"", body) if operation == "UploadPartCopy" else body

    wire.rewrite = without_etag
    store = open_store(bucket.url)
    with pytest.raises(StoreError, match="did not copy a range") as caught:
        store.compose("out", large_part(store, "staged"))
    assert "briquette doctor" in caught.value.hint
    assert store.stat("out") is None
    told = examine(curated_url=bucket.url)["stores"][0]
    assert list(told["broken"]) == [
        promise for promise in WITHOUT if promise in LARGE and promise != COPY_MATCH
    ]
    assert COPY in told["broken"]


def test_a_place_that_cannot_be_written_to_is_an_error_and_no_broken_promise(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told = examine(curated_url=str(tmp_path / "file"))["stores"][0]
    assert (told["ok"], told["honours"]) == (False, {})
    assert "file" in told["verdict"]
