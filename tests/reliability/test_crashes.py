"""A run that is killed before, after, or without hearing of, each step that changes something."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from briquette.storage.s3.retry import Retry
from tests.faults import FaultyWire
from tests.reliability.crash_scenes import FEWER, MORE, NOTHING, OTHER, SAME, Scene, Stage, die_at_every_step
from tests.reliability.dying import (
    AFTER,
    BEFORE,
    HALF,
    LOST,
    Death,
    DyingStore,
    dies_on_disk,
    dies_on_the_wire,
)
from tests.reliability.editions import VERSIONED
from tests.reliability.test_fault_matrix import use_multipart
from tests.servers import Bucket

pytestmark = pytest.mark.timeout(600)

EVERY_WAY = (BEFORE, AFTER, LOST)


@pytest.fixture
def disk_place(tmp_path: Path) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        yield Stage(str(tmp_path), dies_on_disk(patch, str(tmp_path)))


@pytest.fixture
def s3_place(faulty_s3: tuple[Bucket, FaultyWire], monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr("briquette.storage.s3.store.Retry", partial(Retry, first_seconds=0.001))
    bucket, wire = faulty_s3
    stage = Stage(bucket.url, Death())
    stage.death = dies_on_the_wire(wire, [stage.store])
    return stage


@pytest.fixture
def memory_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    monkeypatch.setattr("briquette.storage.memory.MemoryStore", DyingStore)
    monkeypatch.setattr(DyingStore, "death", Death())
    return Stage(f"memory://{tmp_path.name}", DyingStore.death)


def staged_and_uploaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small day travel as a large one does."""
    monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 1)
    use_multipart(monkeypatch)


def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which two directories cannot change places, so files are replaced one by one."""

    def refuse(left: str, right: str) -> None:
        raise OSError(errno.ENOSYS, "no renameat2")

    monkeypatch.setattr("briquette.storage.local.directory_swap._exchange", refuse)


# Each row: where, what, how it is prepared, the cases that it has at least, and whether it takes long.
Prepare = Callable[[pytest.MonkeyPatch], None] | None
SCENES: tuple[tuple[str, Scene, Prepare, int, bool], ...] = (
    ("disk", Scene(NOTHING, 1), None, 75, False),
    ("disk", Scene(NOTHING, 2), None, 90, True),
    ("disk", Scene(SAME, 1), None, 70, False),
    ("disk", Scene(SAME, 2), None, 90, True),
    ("disk", Scene(OTHER, 1), None, 70, True),
    ("disk", Scene(OTHER, 2), None, 90, True),
    ("disk", Scene(FEWER, 2), None, 90, True),
    ("disk", Scene(MORE, 1), None, 80, True),
    ("disk", Scene(MORE, 2, day=""), None, 95, False),
    ("disk", Scene(OTHER, 2), staged_and_uploaded, 130, True),
    ("disk", Scene(OTHER, 1, VERSIONED), None, 70, True),
    ("disk", Scene(MORE, 2, VERSIONED), None, 90, True),
    ("disk", Scene(OTHER, 1, atomic=False), without_exchange, 100, True),
    ("disk", Scene(MORE, 2, atomic=False), without_exchange, 150, True),
    ("memory", Scene(NOTHING, 1, atomic=False), None, 6, False),
    ("memory", Scene(NOTHING, 2, atomic=False), None, 12, False),
    ("memory", Scene(SAME, 1, atomic=False), None, 9, False),
    ("memory", Scene(SAME, 2, atomic=False), None, 12, False),
    ("memory", Scene(OTHER, 1, atomic=False), None, 9, False),
    ("memory", Scene(OTHER, 2, atomic=False), None, 12, False),
    ("memory", Scene(FEWER, 2, atomic=False), None, 12, False),
    ("memory", Scene(MORE, 1, atomic=False), None, 18, False),
    ("memory", Scene(MORE, 2, atomic=False), None, 18, False),
    ("memory", Scene(NOTHING, 2, VERSIONED, atomic=False), None, 9, False),
    ("memory", Scene(SAME, 2, VERSIONED, atomic=False), None, 3, False),
    ("memory", Scene(OTHER, 1, VERSIONED, atomic=False), None, 6, False),
    ("memory", Scene(MORE, 2, VERSIONED, atomic=False), None, 9, False),
    ("memory", Scene(MORE, 2, atomic=False), staged_and_uploaded, 40, False),
    ("s3", Scene(NOTHING, 1, atomic=False), None, 6, True),
    ("s3", Scene(NOTHING, 2, atomic=False), None, 12, True),
    ("s3", Scene(SAME, 1, atomic=False), None, 9, True),
    ("s3", Scene(SAME, 2, atomic=False), None, 12, True),
    ("s3", Scene(OTHER, 1, atomic=False), None, 9, False),
    ("s3", Scene(OTHER, 2, atomic=False), None, 12, True),
    ("s3", Scene(MORE, 1, atomic=False), None, 18, True),
    ("s3", Scene(MORE, 2, atomic=False), None, 18, False),
    ("s3", Scene(MORE, 2, VERSIONED, atomic=False), None, 9, True),
    ("s3", Scene(OTHER, 1, atomic=False), staged_and_uploaded, 50, True),
    ("s3", Scene(OTHER, 2, atomic=False), staged_and_uploaded, 60, True),
)
CASES, CASES_BY_DEFAULT = 1_600, 440  # what was asked for: 300


def _named(row: tuple[str, Scene, Prepare, int, bool]) -> str:
    where, scene, prepare, *_ = row
    how = f"-{prepare.__name__.replace('_', ' ')}" if prepare else ""
    return f"{where}-{scene.parts} over {scene.prior}{scene.day}-{scene.mode.value}{how}"


@pytest.mark.parametrize(
    ("where", "scene", "prepare", "at_least"),
    [pytest.param(*row[:4], id=_named(row), marks=[pytest.mark.slow] if row[4] else []) for row in SCENES],
)
def test_a_run_that_dies_at_any_step_harms_no_reader_and_is_repaired_by_the_next(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    scene: Scene,
    prepare: Prepare,
    at_least: int,
) -> None:
    if prepare:
        prepare(monkeypatch)
    stage: Stage = request.getfixturevalue(f"{where}_place")
    tally = die_at_every_step(stage, scene, (*EVERY_WAY, HALF) if where == "disk" else EVERY_WAY)
    assert tally.cases >= at_least, "it dies less often than it did: what became of its steps?"
    assert tally.seen["ended killed"] > tally.cases / 2
    if where == "s3":
        lost = tally.cases // len(EVERY_WAY)
        assert tally.seen["ended well"] == lost, "a lost reply costs S3's user nothing"
    if scene.lister_is_exact and (scene.atomic or scene.mode is VERSIONED):
        assert not tally.seen["torn"]
    elif scene.mode is not VERSIONED and scene.prior in (OTHER, FEWER, MORE):
        assert tally.seen["torn"], "nothing was torn, so nothing was repaired"
    if scene.prior != SAME:
        assert tally.seen["old"], "no reader saw the old dataset"
        assert tally.seen["new"], "no reader saw the new dataset"


def test_there_are_as_many_deaths_as_were_promised() -> None:
    assert sum(at_least for *_, at_least, _ in SCENES) >= CASES
    assert sum(at_least for *_, at_least, slow in SCENES if not slow) >= CASES_BY_DEFAULT
