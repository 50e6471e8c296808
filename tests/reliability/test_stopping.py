"""SIGTERM with several runs in one process: one that readers have seen ends, the others stop, none is cut."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from briquette import cancellation
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import Interrupted
from briquette.model import Location, Partition, Plan, RawObject
from briquette.planning.target import resolve_target
from briquette.publishing.publish import running
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import Store
from briquette.storage.opening import open_store

FIRST, SECOND = "2025-09-08", "2025-09-09"
WORDS = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "y"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """What SIGTERM sets; of this test alone."""
    event = threading.Event()
    monkeypatch.setattr(cancellation, "_asked", event)
    monkeypatch.setattr(cancellation, "_obeyed", threading.Event())
    return event


def place(kind: str, tmp_path: Path) -> str:
    return str(tmp_path) if kind == "disk" else f"memory://stopping-{tmp_path.name}-{tmp_path.parent.name}"


def planned(root: str, ds: str) -> Plan:
    """A day of two parts: its publish has more than one visible write in every store but the disk."""
    store, (year, month, day) = open_store(root), ds.split("-")
    prefix = f"raw/market/prices/interval=1d/data_source=y/year={year}/month={month}/day={day}"
    for symbol in ("A", "B"):
        lines = "".join(
            f'{{"symbol": "{symbol}", "timestamp": "{ds}T00:00:00", "close": {i}.25, "open": {i}.5}}\n'
            for i in range(9_000)
        )
        store.put(f"{prefix}/{symbol}.json", lines.encode())
    target = resolve_target(Partition(**WORDS, ds=ds), raw=f"{root}/raw", curated=f"{root}/curated")
    spec = resolve_spec(target, None, {"target_file_mb": 0.0625, "split_objects": 1, "codec": "none"})
    return make_plan(target, spec, RunOptions())


def run(plan: Plan) -> str:
    try:
        return run_plan(plan, RunOptions(executor="serial")).status.value
    except Interrupted as error:
        return error.name


def held_at(store: Store, wanted: Callable[[str, str], bool]) -> tuple[threading.Event, threading.Event]:
    """The first request that is wanted waits: ``reached`` says that it came, ``go`` lets it on."""
    reached, go = threading.Event(), threading.Event()

    def before(verb: str, key: str) -> None:
        if wanted(verb, key) and not reached.is_set():
            reached.set()
            assert go.wait(30)

    store.requests.before = before
    return reached, go


@pytest.mark.parametrize("mode", ["between-its-writes", "before-its-manifest"])
def test_a_publish_that_readers_see_ends_though_another_day_begins_after_the_signal(
    told: threading.Event, tmp_path: Path, mode: str
) -> None:
    """The fault of old: the day that begins next forgot that this one was publishing, and cut it in two."""
    root = place("memory", tmp_path)
    store, first, second = open_store(root), planned(root, FIRST), planned(root, SECOND)
    ending = "part-00001.parquet" if mode == "between-its-writes" else "_manifest.json"
    manifests = []

    def wanted(verb: str, key: str) -> bool:
        if verb != "PUT" or f"ds={FIRST}" not in key or not key.endswith(ending):
            return False
        manifests.append(key)  # the first is the claim
        return ending.startswith("part") or len(manifests) == 2

    reached, go = held_at(store, wanted)
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(run, first)
        assert reached.wait(30)
        told.set()
        other = threads.submit(run, second).result()
        go.set()
        assert (one.result(), other) == ("PUBLISHED", "Interrupted")
    told.clear()
    assert verify_dataset(store, first.output) == []
    assert [k.key for k in store.list(second.output.prefix)] == []
    assert (run(first), run(second)) == ("UNCHANGED", "PUBLISHED")


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_day_that_publishes_does_not_shield_its_neighbour(
    told: threading.Event, tmp_path: Path, kind: str
) -> None:
    root = place(kind, tmp_path)
    first, second = planned(root, FIRST), planned(root, SECOND)
    visible = ("SWAP", "PUT") if kind == "disk" else ("PUT",)

    def neighbour(verb: str, key: str) -> bool:
        return verb == "GET" and f"day={SECOND[-2:]}/" in key

    reached, go = held_at(open_store(second.raw.url), neighbour)
    curated = open_store(first.output.url)
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(run, second)
        assert reached.wait(30)
        begun = held_at(
            curated, lambda verb, key: verb in visible and f"ds={FIRST}/" in key and "/_" not in key
        )
        one = threads.submit(run, first)
        assert begun[0].wait(30)
        begun[1].set()
        assert one.result() == "PUBLISHED"
        told.set()
        go.set()
        assert other.result() == "Interrupted"
    told.clear()
    assert verify_dataset(curated, first.output) == []
    assert not [k.key for k in curated.list(second.output.prefix)]


def test_requests_of_a_publish_are_let_through_from_any_thread_and_no_others(
    told: threading.Event, tmp_path: Path
) -> None:
    store = open_store(place("memory", tmp_path))
    item = store.put(f"out/_staging/ds={FIRST}/a", b"1")
    with running(store, Location(store.url, f"out/ds={FIRST}/")), ThreadPoolExecutor(1) as elsewhere:
        told.set()
        refused = (
            lambda: store.get(item.key),
            lambda: store.put(f"out/ds={FIRST}/part-00000.parquet", b"2"),
        )
        for act in refused:
            with pytest.raises(Interrupted):
                elsewhere.submit(act).result()
        told.clear()
        store.put(f"out/ds={FIRST}/part-00000.parquet", b"2")
        told.set()
        elsewhere.submit(store.put, f"out/ds={FIRST}/_manifest.json", b"3").result()
        assert list(store.get_many([RawObject(item.key, 1, item.etag)])) == [b"1"]
        for key in (f"out/ds={SECOND}/part-00000.parquet", f"out/_staging/ds={SECOND}/a", "out/raw"):
            with pytest.raises(Interrupted):
                elsewhere.submit(store.put, key, b"4").result()
        with cancellation.finishing():
            store.put("artifacts/_schema/latest.json", b"5")
    with pytest.raises(Interrupted), running(store, Location(store.url, f"out/ds={SECOND}/")):
        raise AssertionError("a run began after the signal")
    assert cancellation.obeyed()
