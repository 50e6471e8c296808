"""Two writers, a lister and a manifest reader in every order that a seed can think of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from briquette.errors import PublishConflict
from briquette.model import Manifest, PublishMode
from briquette.planning.layout import PLAN, Layout
from briquette.publishing.part_hashes import published
from briquette.publishing.publish import remove_dataset
from briquette.publishing.snapshot import Snapshot, observe, read_manifest
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import Store
from briquette.storage.local.store import LocalStore
from briquette.storage.memory import MemoryStore
from tests.reliability.editions import (
    DS,
    ContentEtagStore,
    Edition,
    a_lister_reads,
    a_manifest_reader_reads,
    at,
    edition,
)
from tests.reliability.schedules import Publisher, Tally, play, stepper_for, the_publisher
from tests.reliability.stepping import Stepper

SCHEDULES = 10_000
CHUNKS = 20
CHUNKS_BY_DEFAULT = 4  # 2,000 schedules; the others are slow
ON_DISK = 300


def stores() -> tuple[MemoryStore, MemoryStore]:
    """Etags that never repeat, and etags of the content, as S3 has them."""
    return MemoryStore("memory://schedules"), ContentEtagStore("memory://schedules-s3")


@pytest.mark.parametrize(
    "chunk",
    [pytest.param(n, marks=() if n < CHUNKS_BY_DEFAULT else pytest.mark.slow) for n in range(CHUNKS)],
)
def test_every_schedule_keeps_the_promises(chunk: int) -> None:
    tally = Tally()
    each = SCHEDULES // CHUNKS // 2
    for kind, store in enumerate(stores()):
        with stepper_for(store) as stepper:
            for i in range(each):
                play(stepper, store, (chunk * 2 + kind) * each + i, tally)
    assert tally.schedules == 2 * each
    assert tally.seen["wins"] > tally.schedules / 2
    assert tally.seen["conflicts"] > tally.schedules / 10
    assert tally.seen["killed"] > tally.schedules / 20
    assert tally.seen["manifest reads"] > tally.schedules
    assert tally.seen["nobody won"] == 0, "of two live writers one always wins"
    assert tally.seen["torn by equal bytes"] <= 2, "it takes equal bytes, and a writer that stalls twice"


@pytest.mark.parametrize("chunk", range(2))
def test_every_schedule_keeps_the_promises_on_disk(tmp_path: Path, chunk: int) -> None:
    store, tally = LocalStore(str(tmp_path)), Tally()
    with stepper_for(store) as stepper:
        for i in range(ON_DISK // 2):
            play(stepper, store, 1_000_000 + chunk * ON_DISK + i, tally)
    assert tally.seen["manifest reads"] > ON_DISK / 2
    assert tally.seen["conflicts"] > ON_DISK / 20


@pytest.mark.parametrize("seed", [int(os.environ.get("REPLAY", "7"))])
def test_one_schedule_again(seed: int) -> None:
    for store in stores():
        with stepper_for(store) as stepper:
            traces = [play(stepper, store, seed, Tally()) for _ in range(2)]
        assert traces[0] == traces[1], "the same seed is the same schedule"
        assert len({who for who, *_ in traces[0]}) > 2


# -- what the schedules found, one by one ---------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("prior", [None, 1])
def test_a_run_that_saw_another_in_the_middle_does_not_harm_what_that_one_published(
    prior: int | None, parts: int
) -> None:
    for store in stores():
        output = at(store)
        if prior is not None:
            edition(prior, parts).publish(store, output)
        begun = observe(store, output)
        snapshots: list[Snapshot] = []

        def look(verb: str, key: str, store: Store = store, snapshots: list[Snapshot] = snapshots) -> None:
            if verb in ("PUT", "DELETE"):
                store.requests.before = None
                snapshots.append(observe(store, at(store)))
                store.requests.before = look

        store.requests.before = look
        edition(2, parts).publish(store, output, seen=begun)
        store.requests.before = None
        assert len(snapshots) > parts
        for seen in snapshots:
            with pytest.raises(PublishConflict):
                edition(3, parts).publish(store, output, seen=seen)
            assert a_manifest_reader_reads(store, output) == edition(2, parts).bodies
            assert a_lister_reads(store, output) == edition(2, parts).bodies
        assert verify_dataset(store, output) == []


@pytest.mark.parametrize("parts", [2, 3])
def test_whoever_takes_over_from_a_run_at_work_wins_and_the_other_is_told(parts: int) -> None:
    for store in stores():
        for number in range(1, 20):
            output = at(store, f"t{number}/{DS}")
            edition(1, 3).publish(store, output)
            seen = observe(store, output)
            _do_ahead_of_write(number, store, lambda: edition(3, 1).publish(store, output))  # noqa: B023
            try:
                edition(2, parts).publish(store, output, seen=seen)
            except PublishConflict:
                winner = edition(3, 1)
            else:
                winner = edition(2, parts)
                assert store.requests.before is not None, "the other came before the end and lost"
            assert (winner is edition(3, 1)) == (store.requests.before is None)
            store.requests.before = None
            assert verify_dataset(store, output) == []
            assert a_lister_reads(store, output) == winner.bodies
            if winner is not edition(3, 1):
                break
        assert number == 6, "the claim, three parts written or deleted, the manifest"


def _do_ahead_of_write(number: int, store: Store, act: Callable[[], object]) -> None:
    """Have ``act`` done, once, ahead of the write ``number`` of what follows."""
    writes = iter(range(1, 100))

    def before(verb: str, key: str) -> None:
        if verb in ("PUT", "DELETE") and next(writes) == number:
            store.requests.before = None
            act()

    store.requests.before = before


def test_the_claim_of_a_first_run_that_died_is_no_dataset(tmp_path: Path) -> None:
    for store in (*stores(), LocalStore(str(tmp_path))):
        key = f"{DS}_manifest.json"
        store.put(key, b"\n")
        output = at(store)
        assert read_manifest(store, output) is None
        assert verify_dataset(store, output) == [f"{key}: there is no manifest"]
        remove_dataset(store, observe(store, output))
        store.put(key, b"\n")
        edition(2, 2).publish(store, output)
        assert verify_dataset(store, output) == []


# -- the harness can fail ------------------------------------------------------------------------


def delete_then_write(one: Edition, store: Store, output: Any, seen: Snapshot, mode: PublishMode) -> Manifest:
    """What most engines do for `overwrite`."""
    for old in seen.visible:
        store.delete(old.key)
    return _write(one, store, output)


def unconditional_write(
    one: Edition, store: Store, output: Any, seen: Snapshot, mode: PublishMode
) -> Manifest:
    """The right order, without a condition on any write."""
    return _write(one, store, output)


def manifest_first(one: Edition, store: Store, output: Any, seen: Snapshot, mode: PublishMode) -> Manifest:
    """A manifest that names files which are not there yet, pinned by nothing."""
    manifest = _write(one, store, output)
    if seen.manifest_etag:
        store.delete(Layout.of(output).part_key(0))
        store.put(Layout.of(output).part_key(0), one.bodies[0])
    return manifest


def _write(one: Edition, store: Store, output: Any) -> Manifest:
    layout = Layout.of(output)
    files = []
    for i, part in enumerate(one.parts):
        stored = store.put(layout.part_key(i), part.to_bytes(), metadata={PLAN: one.plan_id})
        files.append(published(stored, part, ""))
    manifest = one.manifest(tuple(files), None)
    store.put(layout.manifest_key, layout.manifest_body(manifest))
    return manifest


@pytest.mark.parametrize("wrong", [delete_then_write, unconditional_write, manifest_first])
def test_a_wrong_publisher_is_caught_within_fifty_schedules(wrong: Any) -> None:
    for store in stores():
        with stepper_for(store) as stepper, pytest.raises(AssertionError, match="Replay it") as caught:
            _play_all(stepper, store, wrong)
        assert "PUT prices/compacted/ds=2025-09-09/part-00000.parquet" in str(caught.value)


def test_a_writer_that_swallows_its_conflict_is_caught() -> None:
    def swallow(one: Edition, store: Store, output: Any, seen: Snapshot, mode: PublishMode) -> Manifest:
        try:
            return the_publisher(one, store, output, seen, mode)
        except PublishConflict:
            return one.manifest((), None)

    store = stores()[0]
    with stepper_for(store) as stepper, pytest.raises(AssertionError, match="replaced the same state"):
        _play_all(stepper, store, swallow)


def _play_all(stepper: Stepper, store: Store, publisher: Publisher) -> None:
    for seed in range(50):
        play(stepper, store, seed, Tally(), publisher)
