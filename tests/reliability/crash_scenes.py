"""A whole run that dies at each of its steps in turn, and what must hold after every one of these deaths."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import run_plan
from briquette.errors import BriquetteError, SnapshotChanged
from briquette.model import Location, PublishMode, Status
from briquette.planning.target import dataset_location, resolve_target
from briquette.publishing.clean_up import janitor
from briquette.publishing.snapshot import read_manifest
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import Store
from briquette.storage.opening import open_store
from tests.invariants import stands
from tests.reliability.dying import HALF, Death, KilledError
from tests.reliability.editions import (
    ERROR,
    IN_PLACE,
    VERSIONED,
    Bodies,
    a_lister_reads,
    a_manifest_reader_reads,
)
from tests.reliability.small_days import SCHEMA, Rows, published_rows, write_day

TARGET_BYTES = {1: 1 << 20, 2: 1_000, 4: 500}  # that make of the small day so many parts
NOTHING, SAME, OTHER, FEWER, MORE = (
    "nothing",
    "the same",
    "another",
    "another of one part",
    "another of four parts",
)


@dataclass(frozen=True)
class Scene:
    """What lies there when a run begins, and what it makes."""

    prior: str
    parts: int  # 1, 2 or 4
    mode: PublishMode = IN_PLACE
    atomic: bool = True  # any number of files changes in one step, as a directory on disk does
    day: str = "/ds=2025-09-09"

    @property
    def prior_parts(self) -> int:
        return {NOTHING: 0, FEWER: 1, MORE: 4}.get(self.prior, self.parts)

    @property
    def lister_is_exact(self) -> bool:
        """C13: always on disk; on S3 where the old and the new dataset have one part each."""
        return self.atomic or max(self.parts, self.prior_parts) == 1


@dataclass
class Tally:
    """What happened to all the runs of a scene."""

    cases: int = 0
    seen: Counter[str] = field(default_factory=Counter)


class Remembering:
    """Serial, but a split that stages nothing is decoded once: the kernel is not the subject here."""

    name, in_process = "serial", True

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Any] = {}

    def map(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], on_result: Callable[[Any], None]
    ) -> None:
        for task in tasks:
            key = (task.split_index, task.raw_url, task.objects, task.spec)
            result = self._found.get(key) or function(task)
            if all(group.body.data is not None for group in result.row_groups):
                self._found[key] = result
            on_result(result)


class Stage:
    """Two raw days at a place, and the datasets that they make."""

    def __init__(self, url: str, death: Death) -> None:
        self.url, self.death = url.rstrip("/"), death
        self.store = open_store(url)
        self._executor = Remembering()
        self.rows: dict[str, Rows] = {
            day: write_day(self.store, f"{day}/", shift=shift) for day, shift in (("old", 0), ("new", 7))
        }

    def run(self, day: str, scene: Scene, out: str, *, force: bool = False) -> CompactionResult:
        options = RunOptions(executor="serial", force=force)
        target = resolve_target(input_url=f"{self.url}/{day}", output_url=f"{self.url}/{out}{scene.day}")
        spec = resolve_spec(target, SCHEMA, {"split_objects": 1, "publish": scene.mode.value})
        spec = replace(spec, target_part_bytes=TARGET_BYTES[scene.parts])
        return run_plan(make_plan(target, spec, options), options, executor=self._executor)

    def prepare(self, scene: Scene, out: str) -> None:
        if scene.prior != NOTHING:
            day = "new" if scene.prior == SAME else "old"
            self.run(day, replace(scene, parts=scene.prior_parts), out)

    def place(self, scene: Scene, out: str) -> tuple[Store, Location]:
        output = dataset_location(f"{self.url}/{out}{scene.day}")
        return open_store(output.url), output


def die_at_every_step(stage: Stage, scene: Scene, hows: tuple[str, ...]) -> Tally:
    """Play the scene once to count its steps, then once for each step and way to die; assert what holds."""
    tally = Tally()
    stage.run("new", scene, "warm")  # whatever a process does only once is no step
    stage.prepare(scene, "whole")
    old = a_manifest_reader_reads(*stage.place(scene, "whole"))
    with stage.death.at(0, ""):
        done = stage.run("new", scene, "whole", force=True)
    steps = stage.death.steps
    new = a_manifest_reader_reads(*stage.place(scene, "whole"))
    assert done.status is Status.PUBLISHED
    assert len(new) == scene.parts, f"the scene has {len(new)} parts"
    assert isinstance(old, tuple)
    assert isinstance(new, tuple)
    for number, step in enumerate(steps, 1):
        for how in hows:
            if how == HALF and not step.startswith("write "):
                continue
            tally.cases += 1
            try:
                _die_once(stage, scene, (number, how), (old, new), tally)
            except (AssertionError, BriquetteError) as error:
                raise AssertionError(f"{scene}: killed {how} step {number}, {step}: {error!r}") from error
    return tally


def _die_once(
    stage: Stage, scene: Scene, when: tuple[int, str], known: tuple[Bodies, Bodies], tally: Tally
) -> None:
    out = "c{}-{}".format(*when).replace(" ", "-")
    stage.prepare(scene, out)
    ended = "killed"
    try:
        with stage.death.at(*when):
            stage.run("new", scene, out, force=True)
        ended = "well"
    except KilledError:
        pass
    except BriquetteError as error:
        ended = "by an error" if error.hint else f"without a hint: {error}"
    assert ended in ("killed", "well", "by an error")
    assert stage.death.fired, "it did not come to this step"
    tally.seen[f"ended {ended}"] += 1
    check_readers(stage, scene, out, known, tally, published=ended == "well")
    check_repair(stage, scene, out, known[1], tally)


def check_readers(
    stage: Stage,
    scene: Scene,
    out: str,
    known: tuple[Bodies, Bodies],
    tally: Tally,
    *,
    published: bool = False,
) -> None:
    """Whoever looks after the death sees the old dataset or the new one, as far as C13 promises it."""
    store, output = stage.place(scene, out)
    old, new = known
    listed = a_lister_reads(store, output)
    pinned = a_manifest_reader_reads(store, output)
    if published:
        assert pinned == new, "the run said that it had published"
    if scene.mode is VERSIONED:
        assert listed == (), "whoever lists sees nothing of versions"
    elif scene.lister_is_exact:
        assert listed in (old, new), "whoever lists sees neither the old dataset nor the new one"
    else:
        assert isinstance(listed, tuple)
        assert set(listed) <= {*old, *new}, "a visible file is no part of either"
    if scene.atomic or scene.mode is VERSIONED:
        assert pinned in (old, new), "a manifest reader is in trouble"
    else:
        assert pinned in (old, new, ERROR), "a manifest reader reads a mixture"
    if old == ():
        assert pinned in (old, new), "a manifest names parts that are not there yet"
    if scene.mode is not VERSIONED and listed == old:
        assert pinned == old, "no part has changed, but the manifest has"
    whole = scene.mode is VERSIONED or listed == pinned
    tally.seen["torn"] += not whole
    tally.seen["old"] += pinned == old != new
    tally.seen["new"] += pinned == new != old
    problems = verify_dataset(store, output)
    if read_manifest(store, output) is not None:
        assert whole == (problems == []), f"verify says {problems} of what readers see"
    if pinned == ERROR:
        with pytest.raises(SnapshotChanged):
            published_rows(f"{stage.url}/{out}{scene.day}")


def check_repair(stage: Stage, scene: Scene, out: str, new: Bodies, tally: Tally) -> None:
    """The same command again ends well, with the right rows and nothing else to be seen."""
    store, output = stage.place(scene, out)
    again = stage.run("new", scene, out)
    assert again.status in (Status.PUBLISHED, Status.UNCHANGED)
    tally.seen[f"run again: {again.status.value}"] += 1
    assert a_manifest_reader_reads(store, output) == new
    assert a_lister_reads(store, output) == (new if scene.mode is IN_PLACE else ())
    assert verify_dataset(store, output) == []
    assert stands(store, output)
    assert published_rows(f"{stage.url}/{out}{scene.day}") == stage.rows["new"]
    assert stage.run("new", scene, out).status is Status.UNCHANGED
    janitor(store, output, older_than_seconds=-1)
    assert sorted(_all_names(stage, out)) == sorted(_wanted_names(stage, scene, out))


def _all_names(stage: Stage, out: str) -> Iterator[str]:
    """Every file below a case's own folder, hidden ones too, also those that the store does not list."""
    if not stage.url.startswith("/"):
        yield from (s.key for s in stage.store.list(f"{out}/"))
        return
    for folder, _, names in os.walk(f"{stage.url}/{out}"):
        yield from (os.path.relpath(os.path.join(folder, name), stage.url) for name in names)


def _wanted_names(stage: Stage, scene: Scene, out: str) -> Iterator[str]:
    store, output = stage.place(scene, out)
    found = read_manifest(store, output)
    assert found is not None
    above = os.path.relpath(output.url, stage.url) + "/" if stage.url.startswith("/") else ""
    yield from (above + key for key in (f"{output.prefix}_manifest.json", *(f.key for f in found[0].files)))
