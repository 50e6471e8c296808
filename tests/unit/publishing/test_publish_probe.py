"""What a store honours, asked of stores that break one promise each; and what a run refuses for it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from briquette.errors import (
    Interrupted,
    NotFound,
    PreconditionFailed,
    StoreError,
    UnsafeStore,
    VerificationFailed,
)
from briquette.model import PublishMode
from briquette.publishing import publish as publishing
from briquette.publishing import store_probe
from briquette.publishing.publish import probe_meanwhile, remove_dataset
from briquette.publishing.snapshot import observe
from briquette.publishing.store_probe import LARGE, WITHOUT, probe_store, require_safe_store
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import ANY, Stored
from briquette.storage.memory import MemoryStore
from tests.unit.publishing.test_publish import (
    DS,
    IN_PLACE,
    NEW,
    OLD,
    VERSIONED,
    a_lister_sees,
    at,
    edition,
    part,
)

ABOVE = "prices/compacted/"
SMALL = tuple(promise for promise in WITHOUT if promise not in LARGE)


class Careless(MemoryStore):
    """A store that breaks the promises it is told to break, as such stores do."""

    def __init__(self, *broken: str, endpoint: str = "") -> None:
        super().__init__("memory://careless")
        self.broken, self.unproven_server = broken, endpoint
        self._seen_absent: set[str] = set()  # answers that are given once more when they are wrong
        self._seen_empty: set[str] = set()
        self._before: dict[str, bytes] = {}
        self._deleted: dict[str, Stored] = {}
        self._composing = threading.local()  # its tests run side by side

    def stat(self, key: str) -> Stored | None:
        found = super().stat(key)
        if found is None:
            self._seen_absent.add(key)
        return found

    def list(self, prefix: str) -> Iterator[Stored]:
        found = list(super().list(prefix))
        if store_probe.LIST in self.broken and prefix in self._seen_empty:
            found = []
        if not found:
            self._seen_empty.add(prefix)
        if store_probe.LIST_DELETED in self.broken:
            late = [key for key in list(self._deleted) if key.startswith(prefix)]
            found += [self._deleted.pop(key) for key in late]
        if store_probe.SAME_ETAG in self.broken:
            found = [replace(s, etag=f"listed {s.etag}") for s in found]
        return iter(found)

    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes:
        if store_probe.READ in self.broken and key in self._seen_absent:
            self._seen_absent.discard(key)
            raise self.missing(key)
        if store_probe.RANGE in self.broken and not self._is_composing():
            start, length = 0, None
        ignored = store_probe.COPY_MATCH if self._is_composing() else store_probe.GET_MATCH
        body = super().get(key, etag="" if ignored in self.broken else etag, start=start, length=length)
        return self._before.pop(key, body) if store_probe.READ_OVER in self.broken else body

    def put(self, key, data, condition=ANY, metadata=None, *, durable=True):  # type: ignore[no-untyped-def]
        if key in self._objects and condition == ANY:
            self._before[key] = self._objects[key].data
        ignored = store_probe.PUT_ABSENT if condition.absent else store_probe.PUT_MATCH
        if not self._is_composing() and ignored in self.broken:
            condition = ANY
        return super().put(key, data, condition, metadata or {})

    def compose(self, key, pieces, condition=ANY, metadata=None):  # type: ignore[no-untyped-def]
        if store_probe.COPY in self.broken:
            raise StoreError("no such operation", hint="")
        ignored = store_probe.COMPLETE_ABSENT if condition.absent else store_probe.COMPLETE_MATCH
        self._composing.now = True
        try:
            return super().compose(key, pieces, ANY if ignored in self.broken else condition, metadata or {})
        finally:
            self._composing.now = False

    def _is_composing(self) -> bool:
        return getattr(self._composing, "now", False)

    def delete(self, key, condition=ANY):  # type: ignore[no-untyped-def]
        if key in self._objects and condition == ANY:
            self._deleted[key] = self._objects[key].stored
        super().delete(key, ANY if store_probe.DELETE_MATCH in self.broken else condition)


class Unable(MemoryStore):
    """A store that does not know conditions at all and says so."""

    def put(self, key, data, condition=ANY, metadata=None, *, durable=True):  # type: ignore[no-untyped-def]
        if condition != ANY:
            raise StoreError("501 NotImplemented", hint="")
        return super().put(key, data, condition, metadata or {})


def keys(store: MemoryStore) -> list[str]:
    return sorted(store._objects)


def broken(honours: dict[str, bool]) -> list[str]:
    return [promise for promise, kept in honours.items() if not kept]


def test_a_store_that_keeps_every_promise() -> None:
    store = Careless()
    assert probe_store(store, "p/") == dict.fromkeys(WITHOUT, True)
    assert probe_store(store, "p/", multipart=False) == dict.fromkeys(SMALL, True)
    assert keys(store) == []


@pytest.mark.parametrize("promise", [p for p in WITHOUT if p != store_probe.COPY])
def test_one_broken_promise_is_named_and_no_other(promise: str) -> None:
    store = Careless(promise)
    assert broken(probe_store(store, "p/")) == [promise]
    assert keys(store) == []


@pytest.mark.parametrize("promise", SMALL)
def test_a_small_probe_finds_each_broken_promise_too(promise: str) -> None:
    assert broken(probe_store(Careless(promise), "p/", multipart=False)) == [promise]


def test_a_store_that_cannot_copy_keeps_no_promise_about_copies() -> None:
    assert broken(probe_store(Careless(store_probe.COPY), "p/")) == [p for p in WITHOUT if p in LARGE]


def test_a_store_that_refuses_all_conditions_does_not_honour_them() -> None:
    told = broken(probe_store(Unable("memory://unable"), "p/"))
    assert told == [
        store_probe.PUT_ABSENT,
        store_probe.PUT_MATCH,
        store_probe.COMPLETE_ABSENT,
        store_probe.COMPLETE_MATCH,
    ]


def test_a_refusal_that_writes_all_the_same_is_no_refusal() -> None:
    class Sly(MemoryStore):
        def put(self, key, data, condition=ANY, metadata=None, *, durable=True):  # type: ignore[no-untyped-def]
            try:
                return super().put(key, data, condition, metadata or {})
            except PreconditionFailed:
                super().put(key, data)
                raise

        def delete(self, key, condition=ANY):  # type: ignore[no-untyped-def]
            try:
                super().delete(key, condition)
            except PreconditionFailed:
                super().delete(key)
                raise

    told = broken(probe_store(Sly("memory://sly"), "p/", multipart=False))
    assert told == [store_probe.PUT_ABSENT, store_probe.PUT_MATCH, store_probe.DELETE_MATCH]


def test_a_store_without_etags_is_told_and_does_not_stop_the_probe() -> None:
    class Plain(MemoryStore):
        def put(self, key, data, condition=ANY, metadata=None, *, durable=True):  # type: ignore[no-untyped-def]
            return replace(super().put(key, data, condition, metadata or {}), etag="")

    told = broken(probe_store(Plain("memory://plain"), "p/"))
    assert {
        store_probe.SAME_ETAG,
        store_probe.PUT_MATCH,
        store_probe.DELETE_MATCH,
        store_probe.COMPLETE_MATCH,
    } <= set(told)


def test_a_store_that_cannot_be_written_to_is_an_error_and_no_broken_promise() -> None:
    store = Careless()

    def deny(verb: str, key: str) -> None:
        if verb == "PUT":
            raise StoreError("403 AccessDenied", hint="")

    store.requests.before = deny
    with pytest.raises(StoreError, match="AccessDenied"):
        probe_store(store, "p/")


@pytest.mark.parametrize("number", [1, 9, 40])
def test_a_run_that_is_interrupted_while_it_probes_is_interrupted(number: int) -> None:
    store = Careless(endpoint="http://interrupted")
    left = iter(range(number, 0, -1))

    def stop(verb: str, key: str) -> None:
        if next(left, 1) == 1:
            raise Interrupted("SIGTERM", hint="")

    store.requests.before = stop
    with pytest.raises(Interrupted):
        edition(OLD).publish(store, at(store))


def test_promises_are_tried_side_by_side() -> None:
    """One after the other they take forty round trips."""
    store = Careless()
    begun = threading.Barrier(store_probe._THREADS, timeout=10)  # broken, so an error, where they are not
    first = threading.local()
    first.seen = True  # this thread only begins and cleans up

    def meet(verb: str, key: str) -> None:
        if not getattr(first, "seen", False):
            first.seen = True
            begun.wait()

    store.requests.before = meet
    assert probe_store(store, "p/", multipart=False) == dict.fromkeys(SMALL, True)


def test_nothing_is_written_after_an_interrupted_probe_has_cleaned_up() -> None:
    store = Careless()

    def stop_one(verb: str, key: str) -> None:
        if verb == "HEAD" and key.endswith("/0/x"):
            raise Interrupted("SIGTERM", hint="")
        if verb == "PUT" and key.endswith("/5/x"):
            time.sleep(0.2)

    store.requests.before = stop_one
    with pytest.raises(Interrupted):
        probe_store(store, "p/", multipart=False)
    assert keys(store) == []


def test_a_promise_that_is_not_asked_about_is_not_tried() -> None:
    store = Careless()
    assert probe_store(store, "p/", multipart=False, promises=[store_probe.RANGE]) == {
        store_probe.RANGE: True
    }
    assert store.requests["PUT"] == 2


def test_the_probe_works_below_a_hidden_name_of_its_own() -> None:
    store = Careless()
    asked: list[str] = []
    store.requests.before = lambda verb, key: asked.append(key) if verb == "PUT" else None
    probe_store(store, "p/")
    probe_store(store, "p/")
    places = {re.match(r"p/_staging/probe-[0-9a-f]{16}/", key)[0] for key in asked}  # type: ignore[index]
    assert len(places) == 2
    large = 10 * 1024 * 1024 + 1
    assert large == store_probe._LARGE_BYTES, "an S3 server copies ranges of objects above 5 MiB"


@pytest.mark.parametrize(
    ("error", "kept"), [(PreconditionFailed, True), (StoreError, False), (NotFound, False), (None, False)]
)
def test_only_a_refusal_is_a_refusal(error: type[Exception] | None, kept: bool) -> None:
    def act() -> None:
        if error is not None:
            raise error("no", hint="")

    assert store_probe._refuses(act) is kept


# -- what a run refuses --------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endpoint was probed before."""
    monkeypatch.setattr(store_probe, "_SAFE", {})


def test_an_unknown_endpoint_is_probed_once() -> None:
    store = Careless(endpoint="http://a")
    require_safe_store(store, "", multipart=False)
    asked = store.requests.writes
    assert asked > 0
    require_safe_store(store, "", multipart=False)
    assert store.requests.writes == asked
    require_safe_store(store, "", multipart=True)
    assert store.requests.writes > asked, "large parts are other promises"
    other = Careless(endpoint="http://b")
    require_safe_store(other, "", multipart=True)
    asked = other.requests.writes
    require_safe_store(other, "", multipart=False)
    assert other.requests.writes == asked, "the larger probe includes the smaller"


def test_a_known_store_is_not_probed() -> None:
    store = Careless(*WITHOUT)
    require_safe_store(store, "", multipart=True)
    assert store.requests.as_dict() == {}


def test_what_was_seen_for_a_first_publish_is_not_taken_for_more() -> None:
    store = Careless(store_probe.DELETE_MATCH, endpoint="http://first")
    require_safe_store(store, "", multipart=False, replaces=False)
    asked = store.requests.writes
    require_safe_store(store, "", multipart=False, replaces=False)
    assert store.requests.writes == asked
    with pytest.raises(UnsafeStore, match="DELETE If-Match"):
        require_safe_store(store, "", multipart=False, replaces=True)


def test_a_store_that_breaks_promises_is_refused_each_time_with_their_names() -> None:
    store = Careless(store_probe.GET_MATCH, store_probe.PUT_MATCH, endpoint="http://c")
    for _ in range(2):
        with pytest.raises(UnsafeStore) as caught:
            edition(OLD).publish(store, at(store))
        assert caught.value.message == (
            "The store at http://c does not honour: "
            f"PUT If-Match ({WITHOUT[store_probe.PUT_MATCH]}); "
            f"GET If-Match ({WITHOUT[store_probe.GET_MATCH]}). "
            "Nothing was published."
        )
        assert caught.value.hint.endswith(
            "pass --unsafe-store and let no two runs publish the same partition at once."
        )
        assert "briquette doctor" in caught.value.hint
    assert keys(store) == []


@pytest.mark.parametrize("promise", sorted(store_probe.CONSISTENCY))
def test_where_a_store_is_late_the_advice_is_to_wait(promise: str) -> None:
    store = Careless(promise, endpoint="http://late")
    with pytest.raises(UnsafeStore, match=re.escape(promise)) as caught:
        require_safe_store(store, "", multipart=False)
    assert caught.value.hint.endswith(
        "pass --unsafe-store and let nobody publish or read the partition until the store has settled."
    )


def test_a_store_is_probed_while_the_work_is_done_and_not_again() -> None:
    store = Careless(endpoint="http://meanwhile")
    output = at(store)
    asked = threading.Event()
    store.requests.before = lambda verb, key: asked.set() if "/probe-" in key else None
    with probe_meanwhile(store, output, unsafe_store=False):
        assert asked.wait(10)
    assert keys(store) == []
    probed: list[str] = []
    store.requests.before = lambda verb, key: probed.append(key) if "/probe-" in key else None
    edition(OLD).publish(store, output)
    assert probed == []


def test_of_what_is_known_already_nothing_is_tried_again() -> None:
    """That there are several parts, or large ones, is known only after the work."""
    store = Careless(endpoint="http://more")
    require_safe_store(store, ABOVE, multipart=False, replaces=False)
    store.requests.reset()
    require_safe_store(store, ABOVE, multipart=False, replaces=True)
    assert store.requests.as_dict() == {"PUT": 2, "DELETE": 3, "GET": 1, "HEAD": 1, "LIST": 1}


def test_what_is_not_needed_may_be_found_broken_meanwhile() -> None:
    store = Careless(store_probe.DELETE_MATCH, endpoint="http://not-needed")
    with probe_meanwhile(store, at(store), unsafe_store=False):
        pass
    probed: list[str] = []
    store.requests.before = lambda verb, key: probed.append(key) if "/probe-" in key else None
    edition(OLD).publish(store, at(store))
    assert probed == []
    with pytest.raises(UnsafeStore, match="DELETE If-Match"):
        edition(NEW).publish(store, at(store))


@pytest.mark.parametrize("promise", [p for p in SMALL if p != store_probe.DELETE_MATCH])
def test_what_a_probe_found_meanwhile_is_told_by_the_publish(promise: str) -> None:
    store = Careless(promise, endpoint="http://meanwhile-broken")
    with probe_meanwhile(store, at(store), unsafe_store=False):
        pass
    with pytest.raises(UnsafeStore, match=re.escape(promise)):
        edition(OLD).publish(store, at(store))
    assert keys(store) == []


def test_work_that_fails_waits_for_its_probe_to_clean_up() -> None:
    store = Careless(endpoint="http://failed")
    begun = threading.Event()

    def slowly(verb: str, key: str) -> None:
        begun.set()
        time.sleep(0.01)

    store.requests.before = slowly

    def work() -> None:
        with probe_meanwhile(store, at(store), unsafe_store=False):
            begun.wait(10)
            raise ValueError("the work")

    with pytest.raises(ValueError, match="the work"):
        work()
    assert store.requests["PUT"] > 10
    assert keys(store) == []


@pytest.mark.parametrize(("endpoint", "unsafe"), [("", False), ("http://told", True)])
def test_nothing_is_probed_meanwhile_on_a_known_store_or_where_nobody_asks(
    endpoint: str, unsafe: bool
) -> None:
    store = Careless(endpoint=endpoint)
    with probe_meanwhile(store, at(store), unsafe_store=unsafe):
        pass
    assert store.requests.as_dict() == {}


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
@pytest.mark.parametrize("promise", SMALL)
def test_several_parts_and_a_replacement_are_refused_where_any_promise_is_broken(
    promise: str, mode: PublishMode
) -> None:
    store = Careless(promise, endpoint="http://d")
    output = at(store)
    with pytest.raises(UnsafeStore, match=re.escape(promise)):
        edition(OLD, 2).publish(store, output, seen=observe(store, output), mode=mode)
    assert keys(store) == []
    plain = MemoryStore("memory://careless")
    edition(OLD).publish(plain, output, mode=mode)
    store._objects = plain._objects
    seen = observe(plain, output)
    before = keys(store)
    with pytest.raises(UnsafeStore, match=re.escape(promise)):
        edition(NEW).publish(store, output, seen=seen, mode=mode)
    assert keys(store) == before
    assert verify_dataset(plain, output) == []


def test_a_first_publish_of_one_part_needs_no_conditional_delete() -> None:
    store = Careless(store_probe.DELETE_MATCH, endpoint="http://e")
    deleted: list[str] = []

    def note(verb: str, key: str) -> None:
        if verb == "DELETE" and "/probe-" not in key:
            deleted.append(key)

    store.requests.before = note
    edition(OLD, rejects=b"r\n").publish(store, at(store))
    assert deleted == []
    assert verify_dataset(store, at(store)) == []
    with pytest.raises(UnsafeStore, match="DELETE If-Match"):
        edition(NEW).publish(store, at(store))
    assert a_lister_sees(store, at(store)) == [{OLD}]


@pytest.mark.parametrize("change", ["a part without a manifest", "a manifest alone"])
def test_what_a_crashed_run_left_is_a_replacement(change: str) -> None:
    store = Careless(store_probe.DELETE_MATCH, endpoint="http://f")
    edition(OLD).publish(store, at(store))
    store.delete(f"{DS}_manifest.json" if change.startswith("a part") else f"{DS}part-00000.parquet")
    with pytest.raises(UnsafeStore):
        edition(NEW).publish(store, at(store))


def test_a_removal_is_refused_unless_asked_where_a_store_could_remove_another_runs_work() -> None:
    store = Careless(store_probe.DELETE_MATCH, endpoint="http://g")
    edition(OLD).publish(store, at(store))
    seen = observe(store, at(store))
    with pytest.raises(UnsafeStore, match="DELETE If-Match"):
        remove_dataset(store, seen)
    assert verify_dataset(store, at(store)) == []
    remove_dataset(store, seen, unsafe_store=True)
    assert keys(store) == []


@pytest.mark.parametrize("promise", sorted(LARGE))
def test_a_removal_needs_no_promise_about_large_parts(promise: str) -> None:
    store = Careless(promise, endpoint="http://i")
    edition(OLD).publish(store, at(store))
    remove_dataset(store, observe(store, at(store)))
    assert keys(store) == []


@pytest.mark.parametrize(
    "promise", [p for p in WITHOUT if p not in store_probe.CONSISTENCY | {store_probe.RANGE}]
)
def test_told_to_a_run_publishes_on_an_unsafe_store_without_a_probe(promise: str) -> None:
    store = Careless(promise, endpoint="http://h")
    probed: list[str] = []
    store.requests.before = lambda verb, key: probed.append(key) if "/probe-" in key else None
    for version, parts in ((OLD, 2), (NEW, 1)):
        edition(version, parts).publish(store, at(store), unsafe_store=True)
        assert a_lister_sees(store, at(store)) == [{version}] * parts
        assert verify_dataset(store, at(store)) == []
    assert probed == []


@pytest.mark.parametrize(("size", "large"), [(10_485_760, False), (10_485_761, True)])
def test_large_parts_ask_for_more_promises(monkeypatch: pytest.MonkeyPatch, size: int, large: bool) -> None:
    memory = MemoryStore("memory://curated")
    asked: list[tuple[str, bool, bool]] = []
    monkeypatch.setattr(publishing, "check_footers", lambda store, parts: None)
    monkeypatch.setattr(
        publishing,
        "require_safe_store",
        lambda store, prefix, multipart, replaces: asked.append((prefix, multipart, replaces)),
    )
    sizes = (1, size)
    parts = tuple(replace(part(OLD, i), size_bytes=n) for i, n in enumerate(sizes))
    with pytest.raises(VerificationFailed):
        replace(edition(OLD), parts=parts).publish(memory, at(memory))
    assert asked == [(ABOVE, large, True)]
