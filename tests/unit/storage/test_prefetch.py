"""What is asked of S3 before a run is planned: the same answers, no more requests, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from briquette import cancellation, compact
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.prefetch import prefetch
from briquette.compaction.run import run_plan
from briquette.errors import Interrupted, SourceChanged, StoreError, VerificationFailed
from briquette.model import RawObject, Status
from briquette.planning.target import resolve_target
from briquette.storage.interface import Stored
from briquette.storage.opening import open_store
from briquette.storage.s3 import prefetch as prefetch_module
from briquette.storage.s3 import small_gets
from briquette.storage.s3.store import S3Store
from tests.reliability.small_days import SCHEMA, compact_day, published_rows, write_day
from tests.servers import Bucket
from tests.unit.storage.test_small_gets import BODY, ETAG, GOOD, Script, point_at, serving

__all__ = ["point_at"]  # a fixture

_pause = threading.Event().wait  # the pauses of retries are taken out of time.sleep
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
SERIAL = RunOptions(executor="serial")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Neither a thread of ours nor a connection, whatever happened."""
    yield
    names = ("briquette-list", "briquette-prefetch", "briquette-observe")
    assert [t.name for t in threading.enumerate() if t.name.startswith(names)] == []
    assert not small_gets._OPEN


# -- a run -------------------------------------------------------------------------------------------


def parts(store: Any, prefix: str) -> list[tuple[str, str]]:
    return [(s.key, s.etag) for s in store.list(prefix) if s.key.endswith(".parquet")]


def test_a_run_that_prefetches_asks_and_publishes_the_same(s3: Bucket) -> None:
    raw = open_store(s3.url)
    rows = write_day(raw, "raw/")
    compact_day(s3.url)  # and the endpoint is known from now on
    target = resolve_target(input_url=f"{s3.url}/raw", output_url=f"{s3.url}/plain")
    raw.requests.reset()
    plan = make_plan(target, resolve_spec(target, SCHEMA, {}), SERIAL)
    plain = run_plan(plan, SERIAL)
    asked = raw.requests.as_dict()
    raw.requests.reset()
    prefetched = compact(input=f"{s3.url}/raw", output=f"{s3.url}/prefetched", schema=SCHEMA, options=SERIAL)
    assert raw.requests.as_dict() == asked
    assert prefetched.input_fingerprint == plain.input_fingerprint
    assert [e for _, e in parts(raw, "prefetched/")] == [e for _, e in parts(raw, "plain/")]
    assert published_rows(f"{s3.url}/prefetched") == rows


def test_objects_are_fetched_before_the_plan_is_made_if_nothing_is_published(s3: Bucket) -> None:
    store = open_store(s3.url)
    write_day(store, "raw/")
    target = resolve_target(input_url=f"{s3.url}/raw", output_url=f"{s3.url}/out")
    spec = resolve_spec(target, SCHEMA, {})
    store.requests.reset()
    with prefetch(target, spec, SERIAL) as prefetched:
        assert prefetched is not None
        listed = list(prefetched.listed())
        prefetched.seen()
        until = time.monotonic() + 10
        while store.requests["GET"] < len(listed) and time.monotonic() < until:
            _pause(0.01)
        assert store.requests["GET"] == len(listed) == 4
        result = run_plan(make_plan(target, spec, SERIAL, prefetched), SERIAL, prefetched=prefetched)
    assert result.status is Status.PUBLISHED
    assert store.requests["LIST"] >= 2


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_prefetched_of_a_run_that_may_need_little(s3: Bucket, late: bool) -> None:
    """Unchanged, or with one late object: a plan has to say what is read."""
    store = open_store(s3.url)
    write_day(store, "raw/")
    options: dict[str, Any] = {"schema": SCHEMA, "options": SERIAL, "split_objects": 1}
    where = {"input": f"{s3.url}/raw", "output": f"{s3.url}/out"}
    compact(**where, **options)
    if late:
        store.put("raw/S9.json", b'{"symbol": "S9", "n": 1}\n')
    read: list[str] = []
    store.requests.before = lambda verb, key: read.append(key) if verb == "GET" and "raw/" in key else None
    result = compact(**where, **options)
    store.requests.before = None
    assert result.status is (Status.PUBLISHED if late else Status.UNCHANGED)
    assert read == (["raw/S9.json"] if late else [])


@pytest.mark.parametrize(
    "elsewhere",
    [{"workers": 2}, {"scheduler": "tcp://h:1"}, {"executor": "ray"}, {"memory_limit_bytes": 1 << 30}],
)
def test_nothing_is_prefetched_for_other_processes_or_above_a_limit(
    s3: Bucket, elsewhere: dict[str, Any]
) -> None:
    store = open_store(s3.url)
    write_day(store, "raw/")
    target = resolve_target(input_url=f"{s3.url}/raw", output_url=f"{s3.url}/out")
    store.requests.reset()
    with prefetch(target, resolve_spec(target, SCHEMA, {}), replace(SERIAL, **elsewhere)) as prefetched:
        assert prefetched is not None
        assert len(list(prefetched.listed())) == 4
        assert prefetched.seen().manifest is None
    assert store.requests.as_dict() == {"LIST": 2}


def test_disk_is_not_asked_before(tmp_path: Path) -> None:
    target = resolve_target(input_url=str(tmp_path / "in"), output_url=str(tmp_path / "out"))
    with prefetch(target, resolve_spec(target, SCHEMA, {}), SERIAL) as prefetched:
        assert prefetched is None


def test_errors_are_raised_where_the_answer_is_wanted(s3: Bucket) -> None:
    store = open_store(s3.url)
    write_day(store, "raw/")
    store.put("out/_manifest.json", b"no manifest")
    target = resolve_target(input_url=f"{s3.url}/raw", output_url=f"{s3.url}/out")
    with prefetch(target, resolve_spec(target, SCHEMA, {}), SERIAL) as prefetched:
        assert prefetched is not None
        assert len(list(prefetched.listed())) == 4
        with pytest.raises(VerificationFailed):
            prefetched.seen()
    nowhere = resolve_target(input_url="s3://no-such-bucket/raw", output_url=f"{s3.url}/out2")
    with prefetch(nowhere, resolve_spec(nowhere, SCHEMA, {}), SERIAL) as prefetched:
        assert prefetched is not None
        with pytest.raises(StoreError, match="bucket does not exist"):
            prefetched.listed()


# -- listing and bodies, against scripted servers ----------------------------------------------------


def listed(count: int) -> list[Stored]:
    return [Stored(f"k{i}", len(BODY), ETAG) for i in range(count)]


def planned(count: int) -> list[RawObject]:
    return [RawObject(s.key, s.size_bytes, s.etag) for s in listed(count)]


class Pages:
    """A listing in pages; ``turn`` is called before each but the first."""

    def __init__(self, *pages: list[Stored], turn: Callable[[], object] = lambda: None) -> None:
        self.pages, self.turn = pages, turn
        self.shown = 0

    def list(self, prefix: str, watch: Callable[[list[Stored]], None]) -> Iterator[Stored]:
        assert prefix == ""
        for page in self.pages:
            if self.shown:
                self.turn()
            self.shown += 1
            watch(page)
        return (s for page in self.pages for s in page)


def opened(script: Script, point_at: Callable[[str], None], pages: Pages) -> S3Store:
    point_at(f"http://127.0.0.1:{script.port}")
    store = open_store("s3://raw")
    assert isinstance(store, S3Store)
    store.list = pages.list  # type: ignore[method-assign, assignment]
    return store


def test_bodies_come_while_the_listing_is_made_each_by_one_request(point_at: Callable[[str], None]) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        first_page = threading.Event()

        def wait_for_bodies() -> None:
            until = time.monotonic() + 10
            while len(script.requests) < 40 and time.monotonic() < until:
                _pause(0.01)
            first_page.set()

        store = opened(script, point_at, Pages(listed(40), listed(100)[40:], turn=wait_for_bodies))
        with store.prefetch("", lambda _: True) as fetched:
            fetched.fetch()
            assert len(list(fetched.listed())) == 100
            assert first_page.is_set()
            halves = [store.get_many(planned(100)[60:]), store.get_many(planned(100)[:60])]
            assert [list(half) for half in halves] == [[BODY] * 40, [BODY] * 60]
        assert sorted(script.paths) == sorted(f"/raw/k{i}" for i in range(100))
        assert store.requests.as_dict() == {"GET": 100}


def test_what_is_not_wanted_too_much_or_in_another_state_is_fetched_as_always(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch_module, "PREFETCH_BYTES", 5 * len(BODY))
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        seen = [Stored("k0", len(BODY), '"older"'), *listed(20)[1:]]
        store = opened(script, point_at, Pages(seen))
        with store.prefetch("", lambda s: s.key != "k3") as fetched:
            fetched.fetch()
            list(fetched.listed())
            until = time.monotonic() + 10
            while store.requests["GET"] < 5 and time.monotonic() < until:
                _pause(0.01)
            _pause(0.1)
            assert set(script.paths) == {f"/raw/k{i}" for i in (0, 1, 2, 4, 5)}
            assert list(store.get_many(planned(20))) == [BODY] * 20
            assert list(store.get_many(planned(2))) == [BODY] * 2  # handed out once, and then as always
    first = [request for request in script.requests if b"/raw/k0 " in request]
    assert sum(ETAG.encode() in request for request in first) == 2  # the planned state, and not the listed
    assert script.paths.count("/raw/k1") == 2
    assert script.paths.count("/raw/k5") == script.paths.count("/raw/k7") == 1


def test_an_object_that_changed_since_it_was_listed_ends_the_run_as_always(
    point_at: Callable[[str], None],
) -> None:
    with serving(Script(lambda n: [GONE if n == 3 or n >= 20 else GOOD + BODY])) as script:
        store = opened(script, point_at, Pages(listed(20)))
        with store.prefetch("", lambda _: True) as fetched:
            fetched.fetch()
            fetched.listed()
            with pytest.raises(SourceChanged):
                list(store.get_many(planned(20)))


def test_failures_are_repeated_the_strict_way_and_counted_from_the_first(
    point_at: Callable[[str], None],
) -> None:
    bad = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
    with serving(Script(lambda n: [bad])) as script:
        store = opened(script, point_at, Pages(listed(1)))
        with store.prefetch("", lambda _: True) as fetched:
            fetched.fetch()
            fetched.listed()
            with pytest.raises(StoreError, match="failed 7 times"):
                list(store.get_many(planned(1)))
        assert len(script.requests) == 7


def test_a_run_that_ends_early_does_not_wait_for_a_silent_server_or_a_long_listing(
    point_at: Callable[[str], None],
) -> None:
    with serving(Script(lambda n: [])) as script:
        pages = Pages(*[listed(10)] * 1_000, turn=lambda: _pause(0.01))
        store = opened(script, point_at, pages)
        started = time.monotonic()
        with store.prefetch("", lambda _: True) as fetched:
            fetched.fetch()
            while not script.requests:
                _pause(0.01)
        assert time.monotonic() - started < 4
        assert pages.shown < 1_000
        with pytest.raises(Interrupted):
            fetched.listed()


def test_a_listing_that_fails_in_its_middle_and_begins_anew_fetches_each_object_once(
    point_at: Callable[[str], None],
) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        store = opened(script, point_at, Pages(listed(10), listed(10), listed(20)[10:]))
        with store.prefetch("", lambda _: True) as fetched:
            fetched.fetch()
            fetched.listed()
            assert list(store.get_many(planned(20))) == [BODY] * 20
        assert sorted(script.paths) == sorted(f"/raw/k{i}" for i in range(20))


def test_a_process_that_was_told_to_stop_says_so_where_the_bodies_are_wanted(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        store = opened(script, point_at, Pages(listed(10)))
        asked = threading.Event()
        asked.set()
        monkeypatch.setattr(cancellation, "_asked", asked)
        with store.prefetch("", lambda _: True) as fetched:
            fetched.fetch()
            fetched.listed()
            with pytest.raises(Interrupted):
                list(store.get_many(planned(10)))
        assert script.requests == []


def test_two_runs_on_one_bucket_take_their_own(point_at: Callable[[str], None]) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        store = opened(script, point_at, Pages(listed(10)))
        with store.prefetch("", lambda _: True) as one:
            one.fetch()
            one.listed()
            store.list = Pages(listed(30)[10:]).list  # type: ignore[method-assign, assignment]
            with store.prefetch("", lambda _: True) as other:
                other.fetch()
                other.listed()
                assert list(store.get_many(planned(30))) == [BODY] * 30
                assert len(script.requests) == 30
