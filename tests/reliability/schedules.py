"""Schedules of two writers, a lister and a manifest reader, and what must hold of each of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

import pytest

from briquette.errors import PublishConflict, SnapshotChanged
from briquette.model import Manifest, PublishMode
from briquette.planning.layout import Layout
from briquette.publishing.snapshot import Snapshot, observe
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import Store
from tests.reliability.editions import (
    ERROR,
    IN_PLACE,
    VERSIONED,
    ContentEtagStore,
    Edition,
    a_lister_reads,
    a_manifest_reader_reads,
    at,
    edition,
)
from tests.reliability.stepping import DeadError, Stepper, chooser

Publisher = Callable[[Edition, Store, Any, Snapshot, PublishMode], Manifest]


def the_publisher(one: Edition, store: Store, output: Any, seen: Snapshot, mode: PublishMode) -> Manifest:
    """The one under test."""
    return one.publish(store, output, mode=mode, seen=seen)


@dataclass(frozen=True)
class Scene:
    """What a seed stands for, besides the order of steps."""

    seed: int
    prior: Edition | None
    writers: tuple[Edition, Edition]
    mode: PublishMode
    together: bool  # both writers saw the place before either began
    patience: int  # how often a writer plans again after a conflict
    dies_at: dict[int, int]
    torn_at: int  # 0, or the step at which a run died before the scene begins

    @property
    def parts(self) -> int:
        return max(len(e.parts) for e in (*self.writers, *([self.prior] if self.prior else [])))


def scene(seed: int) -> Scene:
    """The scene of a seed."""
    draw = random.Random(seed ^ 0x5EED)
    count = draw.choice((1, 1, 2, 3))
    shared = draw.choice((0, 0, 1)) if count > 1 else 0  # a first part that no edition changes
    prior = draw.choice((None, 1, 1, 2))  # nothing, another edition, or the same as the first writer's
    same_plan = draw.random() < 0.1
    first = edition(2, count, first_part_of=shared)
    second = first if same_plan else edition(3, max(1, count - draw.choice((0, 0, 1))), first_part_of=shared)
    before = None if prior is None else first if prior == 2 else edition(1, count, b"r\n")
    return Scene(
        seed,
        before,
        (first, second),
        draw.choice((IN_PLACE, IN_PLACE, VERSIONED)),
        together=draw.random() < 0.5,
        patience=draw.choice((0, 0, 1)),
        dies_at={draw.randrange(2): draw.randrange(1, 16)} if draw.random() < 0.25 else {},
        torn_at=draw.randrange(4, 9) if draw.random() < 0.15 else 0,
    )


@dataclass
class Tally:
    """What happened over many schedules."""

    schedules: int = 0
    steps: int = 0
    seen: Counter[str] = field(default_factory=Counter)


@contextmanager
def stepper_for(store: Store) -> Iterator[Stepper]:
    """A scheduler of the store's requests; the locks of the disk become the scheduler's own."""
    stepper = Stepper(4)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("briquette.storage.local.store", "briquette.storage.local.directory_swap"):
            patch.setattr(f"{module}.locked_directory", lambda _: stepper.locked())
        patch.setattr("os.fsync", lambda _: None)  # power cuts are not the subject here
        try:
            yield stepper
        finally:
            store.requests.before = None
            stepper.close()


def play(
    stepper: Stepper, store: Store, seed: int, tally: Tally, publisher: Publisher = the_publisher
) -> list[tuple[int, str, str]]:
    """One schedule in an empty place; raises ``AssertionError`` with seed and trace. Returns the trace."""
    here = scene(seed)
    output = at(store)
    for stored in list(store.list("")):
        store.delete(stored.key)
    if here.prior is not None:
        here.prior.publish(store, output, mode=here.mode)
    if here.torn_at:
        _tear(stepper, store, here)
    shared = observe(store, output)
    wins: list[tuple[Snapshot, Manifest]] = []

    def writer(one: Edition) -> Callable[[], str]:
        def act() -> str:
            for attempt in range(here.patience + 1):
                seen = shared if here.together and not attempt else observe(store, output)
                try:
                    manifest = publisher(one, store, output, seen, here.mode)
                except PublishConflict:
                    continue
                wins.append((seen, manifest))
                return "won"
            return "conflict"

        return act

    actors = [
        *(writer(one) for one in here.writers),
        lambda: [a_lister_reads(store, output) for _ in range(3)],
        lambda: [a_manifest_reader_reads(store, output, attempts=3) for _ in range(2)],
    ]
    store.requests.before = stepper.step
    try:
        *written, listed, read = stepper.run(chooser(seed), actors, here.dies_at)
    finally:
        store.requests.before = None
    trace = list(stepper.trace)
    tally.schedules += 1
    tally.steps += len(trace)
    try:
        _check_writers(store, here, written, wins, tally)
        _check_readers(store, here, listed, read, tally)
    except Exception as error:
        steps = "\n".join(f"  {i:3} {'WVLM'[who]} {verb} {key}" for i, (who, verb, key) in enumerate(trace))
        raise AssertionError(
            f"schedule {seed} on {store.url}: {error!r}\n{here}\nwriters {written}\n{steps}\n"
            f"Replay it: REPLAY={seed} pytest -k test_one_schedule_again"
        ) from error
    return trace


def _tear(stepper: Stepper, store: Store, here: Scene) -> None:
    """Leave what a run leaves that dies in the middle."""
    torn = edition(4, len(here.writers[0].parts))
    store.requests.before = stepper.step
    stepper.run(
        lambda ready: ready[0],
        [lambda: torn.publish(store, at(store), mode=here.mode)],
        {0: here.torn_at},
    )
    store.requests.before = None


def _check_writers(
    store: Store, here: Scene, written: list[Any], wins: list[tuple[Snapshot, Manifest]], tally: Tally
) -> None:
    output = at(store)
    for i, outcome in enumerate(written):
        killed = isinstance(outcome, DeadError) and i in here.dies_at
        assert outcome in ("won", "conflict") or killed, f"writer {i} ended with {outcome!r}"
    # Whoever wrote the very bytes that it saw, where etags are of the content, has left the same state.
    saw = [_state(seen) for seen, manifest in wins if _state(seen) != _state_of(store, here, manifest)]
    for one, count in Counter(saw).items():
        assert count == 1, f"{count} writers replaced the same state {one}"
    on_disk = store.url.startswith("/")
    if not here.dies_at:
        if on_disk or here.mode is VERSIONED or here.parts == 1 or (here.together and not here.torn_at):
            assert wins, "nobody won"
        tally.seen["nobody won"] += not wins
    if not wins or here.dies_at:
        last = edition(9, 2)
        last.publish(store, output, mode=here.mode)
        assert a_manifest_reader_reads(store, output) == last.bodies, "a plain re-run did not repair"
    else:
        final = a_manifest_reader_reads(store, output)
        winners = [here.writers[i].bodies for i, outcome in enumerate(written) if outcome == "won"]
        if final == ERROR and isinstance(store, ContentEtagStore) and here.mode is IN_PLACE:
            # A run that was taken over cannot tell equal bytes of before and after: see docs/reliability.md.
            tally.seen["torn by equal bytes"] += 1
            edition(9, 2).publish(store, output, mode=here.mode)
        else:
            assert final in winners, "the dataset is not the last winner's"
    assert verify_dataset(store, output) == []
    tally.seen["wins"] += len(wins)
    tally.seen["conflicts"] += written.count("conflict")
    tally.seen["killed"] += sum(isinstance(o, DeadError) for o in written)


def _state(seen: Snapshot) -> tuple[Any, ...]:
    return seen.manifest_etag, tuple(sorted(seen.etags.items()))


def _state_of(store: Store, here: Scene, manifest: Manifest) -> tuple[Any, ...]:
    """The state after a publish, where etags tell it."""
    body = Layout.of(at(store)).manifest_body(manifest)
    etag = md5(body, usedforsecurity=False).hexdigest()
    return etag, tuple(sorted((f.key, f.etag) for f in manifest.files if here.mode is IN_PLACE))


def _check_readers(store: Store, here: Scene, listed: Any, read: Any, tally: Tally) -> None:
    assert isinstance(listed, list), f"the lister failed: {listed!r}"
    allowed_error = isinstance(read, SnapshotChanged)
    assert isinstance(read, list) or allowed_error, f"the manifest reader failed: {read!r}"
    before = edition(4, len(here.writers[0].parts)) if here.torn_at else None
    known = [e for e in (here.prior, before, *here.writers) if e is not None]
    versions = {e.bodies for e in known} | {()}
    files = {body for e in known for body in e.bodies}
    on_disk = store.url.startswith("/")
    for bodies in read if isinstance(read, list) else ():
        if bodies == ERROR:
            tally.seen["manifest reader told to look again"] += 1
            assert here.mode is IN_PLACE, "a versioned dataset always has all that its manifest pins"
            continue
        assert bodies in versions, "a manifest reader read a mixture"
        tally.seen["manifest reads"] += 1
    for bodies in listed:
        if here.mode is VERSIONED:
            assert bodies == (), "whoever lists sees nothing of versions"
        elif bodies == ERROR:
            assert here.parts > 1, "the only part vanished"
        elif here.parts == 1:
            assert bodies in versions, "a lister saw neither old nor new"
        else:
            assert set(bodies) <= files, "a lister saw a file that is not whole"
            tally.seen["listings that mix"] += bodies not in versions
        tally.seen["listings"] += 1
    if on_disk:
        tally.seen["on disk"] += 1
