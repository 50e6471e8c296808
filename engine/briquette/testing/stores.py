"""What every store must do, as tests: a store of your own passes them by giving one fixture.

::

    import pytest
    from briquette.testing.stores import StoreTests
    from mine import MyStore

    class TestMyStore(StoreTests):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(str(tmp_path))  # a new, empty store

pytest has to be installed; nothing else in briquette imports it. The tests take about two seconds on local
disk, and write less than 100 MB.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from briquette.errors import NotFound, PreconditionFailed, SourceChanged, UnsafePath
from briquette.model import Piece, RawObject
from briquette.publishing.store_probe import WITHOUT, probe_store
from briquette.storage.interface import IF_ABSENT, Store, Stored, if_match

MIB = 1 << 20


def digest(body: bytes) -> str:
    """What large bodies are compared by: pytest would work for minutes on their difference."""
    return hashlib.sha256(body).hexdigest()


NAMES = ("a/b", "a-b", "a.b", "a0", "B", "é", "z", "a/ü%20&x=1+ y.json", "\U0001f9f1", "\uff5e")
UNSAFE_KEYS = (
    *("", "/etc/passwd", "../up", "a/../../b", "a//b", "a/./b", "a/", "..", "a\\..\\b", "a\nb", "a\x00b"),
    *("a\x7f", "é" * 600),
)


class StoreTests:
    """The contract of ``briquette.storage.interface.Store``; each test gets an empty store as ``store``."""

    # -- listing -------------------------------------------------------------------------------

    def test_a_listing_is_sorted_by_the_bytes_of_the_whole_key(self, store: Store) -> None:
        for name in NAMES:
            store.put(f"raw/{name}", name.encode())
        assert keys(store, "raw/") == sorted((f"raw/{n}" for n in NAMES), key=str.encode)

    def test_a_listing_pins_size_and_etag_as_reads_and_writes_see_them(self, store: Store) -> None:
        written = store.put("d/one", b"12345")
        assert list(store.list("d/")) == [written] == [store.stat("d/one")]
        assert written.size_bytes == 5
        assert written.etag

    def test_a_prefix_is_a_prefix_of_the_text_not_of_folders(self, store: Store) -> None:
        for name in ("p/a", "p/ab/c", "p/b", "pa"):
            store.put(name, b"x")
        assert keys(store, "p/a") == ["p/a", "p/ab/c"]
        assert keys(store, "p/") == ["p/a", "p/ab/c", "p/b"]
        assert keys(store, "p") == ["p/a", "p/ab/c", "p/b", "pa"]

    def test_a_listing_of_nothing_is_empty(self, store: Store) -> None:
        assert keys(store, "no/such/folder/") == []
        assert keys(store) == []

    def test_objects_that_are_not_committed_are_not_listed(self, store: Store) -> None:
        staged = store.stage("d/part", (Piece(3, b"abc"),))
        assert keys(store) == []
        staged.abort()
        assert keys(store) == []

    def test_empty_objects_are_listed(self, store: Store) -> None:
        store.put("d/empty", b"")
        store.put("d/full", b"x")
        assert [(s.key, s.size_bytes) for s in store.list("d/")] == [("d/empty", 0), ("d/full", 1)]
        assert store.get("d/empty") == b""

    def test_the_name_of_an_object_instead_of_a_prefix_is_explained(self, store: Store) -> None:
        store.put("d/one.json", b"x")
        assert store.why_nothing("nothing/here/") == ("", "")
        why, what_to_do = store.why_nothing("d/one.json/")
        assert "d/one.json" in why
        assert what_to_do

    # -- reading -------------------------------------------------------------------------------

    def test_a_range_gives_those_bytes_and_no_error_past_the_end(self, store: Store) -> None:
        store.put("k", b"0123456789")
        assert store.get("k", start=2, length=3) == b"234"
        assert store.get("k", start=7) == b"789"
        assert store.get("k", start=8, length=100) == b"89"
        assert store.get("k", start=50, length=5) == b""
        assert store.get("k", length=0) == b""

    def test_reading_what_is_not_there_is_not_found(self, store: Store) -> None:
        assert store.stat("none") is None
        with pytest.raises(NotFound, match="none"):
            store.get("none")

    def test_a_pinned_read_refuses_another_version(self, store: Store) -> None:
        old = store.put("k", b"old")
        assert store.get("k", etag=old.etag) == b"old"
        store.put("k", b"new!")
        with pytest.raises(PreconditionFailed):
            store.get("k", etag=old.etag)

    def test_many_objects_come_in_order_with_one_get_each_and_no_head(self, store: Store) -> None:
        objects = [pinned(store.put(f"raw/{i:04d}", b"%d" % i * (i % 50))) for i in range(300)]
        objects.append(pinned(store.put("raw/large", bytes(MIB))))
        store.requests.reset()
        bodies = list(store.get_many(objects))
        assert bodies[:-1] == [b"%d" % i * (i % 50) for i in range(300)]
        assert digest(bodies[-1]) == digest(bytes(MIB))
        assert store.requests.as_dict() == {"GET": 301}

    @pytest.mark.parametrize("change", ["rewritten", "removed", "other size in the plan"])
    def test_a_raw_object_that_changed_since_the_listing_is_never_read_silently(
        self, store: Store, change: str
    ) -> None:
        objects = [pinned(store.put(f"raw/{i}", b"%d" % i)) for i in range(5)]
        if change == "rewritten":
            store.put("raw/3", b"9")
        elif change == "removed":
            store.delete("raw/3")
        else:
            objects[3] = replace(objects[3], size_bytes=2)
        with pytest.raises(SourceChanged, match="raw/3"):
            list(store.get_many(objects))

    def test_a_huge_object_streams_in_chunks_with_one_get(self, store: Store) -> None:
        body = os.urandom(3 * MIB + 17)
        item = pinned(store.put("raw/huge", body))
        store.requests.reset()
        chunks = list(store.open_chunks(item, MIB))
        assert digest(b"".join(chunks)) == digest(body)
        assert len(chunks) > 1
        assert store.requests.as_dict() == {"GET": 1}
        some = b"".join(store.open_chunks(item, MIB, start=MIB, length=MIB + 1))
        assert digest(some) == digest(body[MIB : 2 * MIB + 1])

    def test_streaming_an_object_that_changed_is_an_error(self, store: Store) -> None:
        item = pinned(store.put("raw/huge", b"old"))
        store.put("raw/huge", b"new")
        with pytest.raises(SourceChanged, match="raw/huge"):
            list(store.open_chunks(item, MIB))

    def test_the_hash_of_an_object_is_that_of_its_pinned_bytes(self, store: Store) -> None:
        item = pinned(store.put("k", b"abc"))
        assert store.sha256(item) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        store.put("k", b"abd")
        with pytest.raises(SourceChanged, match="k"):
            store.sha256(item)

    def test_an_object_as_a_file_is_one_state_of_it(self, store: Store) -> None:
        body = os.urandom(3 * MIB)
        store.put("k", body)
        handle, now = store.open_file("k", changed=_ChangedError())
        with handle:
            assert (now.key, now.size_bytes) == ("k", len(body))
            assert (handle.read(10), handle.tell()) == (body[:10], 10)
            assert handle.seek(-5, os.SEEK_END) == len(body) - 5
            assert handle.read() == body[-5:]
            assert handle.read(1) == b""
            store.put("k", bytes(3 * MIB))
            handle.seek(MIB)
            try:
                found = handle.read(2 * MIB)
            except _ChangedError:
                return
            assert digest(found) == digest(body[MIB:])

    def test_an_object_that_is_not_there_cannot_be_opened_as_a_file(self, store: Store) -> None:
        with pytest.raises(_ChangedError):
            store.open_file("none", changed=_ChangedError())

    def test_what_is_prefetched_is_what_is_listed_and_read(self, store: Store) -> None:
        objects = [pinned(store.put(f"raw/{i:02d}", b"%d" % i)) for i in range(20)]
        store.put("other/x", b"x")
        with store.prefetch("raw/", lambda stored: stored.key != "raw/07") as prefetch:
            assert prefetch is not None or not store.requests_take_time
            if prefetch is not None:
                prefetch.fetch()
                assert [pinned(found) for found in prefetch.listed()] == objects
            assert list(store.get_many(objects)) == [b"%d" % i for i in range(20)]

    # -- writing -------------------------------------------------------------------------------

    def test_a_write_if_absent_never_replaces(self, store: Store) -> None:
        store.put("d/k", b"first", IF_ABSENT)
        with pytest.raises(PreconditionFailed, match="d/k"):
            store.put("d/k", b"second", IF_ABSENT)
        assert store.get("d/k") == b"first"

    def test_a_write_if_match_replaces_only_that_version(self, store: Store) -> None:
        first = store.put("k", b"first")
        second = store.put("k", b"second", if_match(first.etag))
        with pytest.raises(PreconditionFailed):
            store.put("k", b"third", if_match(first.etag))
        assert store.get("k", etag=second.etag) == b"second"

    def test_a_write_if_match_over_nothing_is_refused(self, store: Store) -> None:
        gone = store.put("k", b"first")
        store.delete("k")
        with pytest.raises(PreconditionFailed):
            store.put("k", b"second", if_match(gone.etag))
        assert store.stat("k") is None

    @pytest.mark.parametrize("over", ["nothing", "an old version"])
    def test_exactly_one_of_many_conditional_writers_wins(self, store: Store, over: str) -> None:
        condition = if_match(store.put("k", b"old").etag) if over == "an old version" else IF_ABSENT
        barrier = threading.Barrier(12)

        def write(i: int) -> int | None:
            barrier.wait()
            try:
                store.put("k", b"writer %d" % i, condition)
            except PreconditionFailed:
                return None
            return i

        with ThreadPoolExecutor(12) as threads:
            won = [i for i in threads.map(write, range(12)) if i is not None]
        assert len(won) == 1
        assert store.get("k") == b"writer %d" % won[0]

    def test_metadata_comes_back_with_stat(self, store: Store) -> None:
        store.put("k", b"x", IF_ABSENT, {"briquette-plan": "p1"})
        found = store.stat("k")
        assert found is not None
        assert found.metadata["briquette-plan"] == "p1"

    def test_deleting_is_conditional_and_repeatable(self, store: Store) -> None:
        old = store.put("d/k", b"old")
        store.put("d/k", b"newer")
        with pytest.raises(PreconditionFailed):
            store.delete("d/k", if_match(old.etag))
        assert store.get("d/k") == b"newer"
        store.delete("d/k")
        store.delete("d/k")
        store.delete("no/such/folder/k")
        assert store.stat("d/k") is None

    def test_composing_joins_inline_bytes_and_pinned_ranges(self, store: Store) -> None:
        left = store.put("staging/left", b"0123456789")
        right = store.put("staging/right", b"abcdefghij")
        pieces = (
            Piece(4, b"PAR1"),
            Piece(3, key=left.key, offset=2, etag=left.etag),
            Piece(5, key=right.key, offset=5, etag=right.etag),
            Piece(1, b"!"),
        )
        made = store.compose("out/part", pieces, IF_ABSENT, {"briquette-plan": "p1"})
        assert store.get("out/part", etag=made.etag) == b"PAR1234fghij!"
        assert made.size_bytes == 13
        with pytest.raises(PreconditionFailed):
            store.compose("out/part", pieces, IF_ABSENT)

    def test_composing_from_a_range_that_changed_makes_nothing_visible(self, store: Store) -> None:
        old = store.put("staging/left", b"0123456789")
        store.put("staging/left", b"9876543210!")
        with pytest.raises(PreconditionFailed, match="staging/left"):
            store.compose("out/part", (Piece(10, key=old.key, etag=old.etag),))
        assert keys(store, "out/") == []

    def test_large_parts_are_composed_of_large_ranges(self, store: Store) -> None:
        sizes = (6 * MIB, 7 * MIB, 100, 9 * MIB)
        bodies = [os.urandom(size) for size in sizes]
        staged = [store.put(f"staging/{i}", body) for i, body in enumerate(bodies)]
        ranges = [Piece(s.size_bytes - 10, key=s.key, offset=10, etag=s.etag) for s in staged]
        pieces = (Piece(4, b"PAR1"), *ranges, Piece(6, b"footer"))
        made = store.compose("out/part", pieces, IF_ABSENT, {"plan": "p"})
        expected = b"PAR1" + b"".join(b[10:] for b in bodies) + b"footer"
        assert digest(store.get("out/part", etag=made.etag)) == digest(expected)
        assert made.size_bytes == len(expected)
        found = store.stat("out/part")
        assert found == made
        assert found.metadata["plan"] == "p"
        with pytest.raises(PreconditionFailed):
            store.compose("out/part", (Piece(4, b"PAR1"), *ranges), IF_ABSENT)
        again = store.compose("out/part", (Piece(4, b"PAR2"), *ranges), if_match(made.etag))
        assert store.get("out/part", etag=again.etag, length=4) == b"PAR2"

    def test_a_stopped_request_changes_nothing(self, store: Store) -> None:
        def stop(verb: str, _key: str) -> None:
            raise InterruptedError(verb)

        store.put("k", b"old")
        store.requests.before = stop
        for act in (
            lambda: store.put("k", b"new"),
            lambda: store.delete("k"),
            lambda: store.put("l", b"new", IF_ABSENT),
        ):
            with pytest.raises(InterruptedError):
                act()
        store.requests.before = None
        assert keys(store) == ["k"]
        assert store.get("k") == b"old"

    @pytest.mark.parametrize("key", UNSAFE_KEYS)
    def test_a_key_that_could_lead_elsewhere_is_never_written(self, store: Store, key: str) -> None:
        for act in (
            lambda: store.put(key, b"x"),
            lambda: store.compose(key, (Piece(1, b"x"),), IF_ABSENT),
            lambda: store.delete(key),
        ):
            with pytest.raises(UnsafePath):
                act()
        assert store.requests.writes == 0

    # -- what a publish relies on --------------------------------------------------------------

    def test_a_publish_can_rely_on_every_promise_and_trying_them_leaves_nothing(self, store: Store) -> None:
        assert probe_store(store, "some/place/") == dict.fromkeys(WITHOUT, True)
        assert keys(store) == []

    def test_a_directory_is_exchanged_as_a_whole_where_directories_are_real(self, store: Store) -> None:
        directories = store.directories
        if directories is None:
            return
        store.put("live/old", b"old")
        expected = {stored.key: stored.etag for stored in store.list("live/")}
        workshop = os.path.join(directories.root, "_workshop")
        next_state = directories.begin_next("live/", workshop, "next-")
        added = next_state.add("new", (Piece(3, b"new"),), dict)
        assert keys(store, "live/") == ["live/old"]
        next_state.exchange(expected, lambda: {s.key: s.etag for s in store.list("live/")})
        next_state.clear(lambda name: name == "old")
        assert [(s.key, s.etag) for s in store.list("live/")] == [("live/new", added.etag)]
        assert store.get("live/new") == b"new"


def keys(store: Store, prefix: str = "") -> list[str]:
    """The keys that a store lists."""
    return [stored.key for stored in store.list(prefix)]


def pinned(stored: Stored) -> RawObject:
    """An object as a plan pins it."""
    return RawObject(stored.key, stored.size_bytes, stored.etag)


class _ChangedError(Exception):
    """What ``open_file`` is told to raise."""
