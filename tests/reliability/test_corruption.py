"""Bytes that change between two steps are never published; where they change later, verify names them."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.datasets.verify import verify
from briquette.errors import BriquetteError, VerificationFailed
from briquette.model import SplitResult
from briquette.planning.target import dataset_location, resolve_target
from briquette.publishing.verify import verify_dataset
from briquette.storage.local import directory_swap, files, staged_file, store
from briquette.storage.local.store import LocalStore
from briquette.storage.opening import open_store
from tests.reliability.corruptions import (
    ADD,
    CUT,
    FLIP,
    KINDS,
    OF_A_GROUP,
    ZERO,
    DamagingExecutor,
    damage_file,
    damaged_group,
    damaged_once_written,
)
from tests.reliability.small_days import SCHEMA, published_rows, write_day

pytestmark = pytest.mark.timeout(300)

OPTIONS = RunOptions(executor="serial", force=True)
OF_GROUPS, OF_STAGED, OF_PARTS, OF_MANIFESTS = 600, 200, 150, 100
SIZE_KEPT = (FLIP, ZERO)


@pytest.fixture(autouse=True)
def a_disk_that_loses_bits_changes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can set the ctime of a file back, as such a disk does; so here it is in no etag."""

    def without_ctime(stat: os.stat_result) -> str:
        return f"{stat.st_mtime_ns:x}-{stat.st_ino:x}"

    for module in (files, store, staged_file, directory_swap):
        monkeypatch.setattr(module, "file_etag", without_ctime)


class Day:
    """A raw day on disk, its plan, and what a run without damage publishes."""

    def __init__(self, root: Path, *, staged: bool = False, publish: str = "in_place") -> None:
        self.root = root
        self.rows = write_day(open_store(str(root)), "raw/")
        self.output = root / "out" / "ds=2025-09-09"
        target = resolve_target(input_url=str(root / "raw"), output_url=str(self.output))
        spec = resolve_spec(target, SCHEMA, {"split_objects": 1, "publish": publish})
        self.plan = make_plan(target, replace(spec, target_part_bytes=1_000), OPTIONS)
        self.executor = DamagingExecutor({})
        if not staged:
            self.run()
            self.good = self.published()

    def run(self) -> Any:
        return run_plan(self.plan, OPTIONS, executor=self.executor)

    def published(self) -> dict[str, bytes]:
        files = (p for p in (self.root / "out").rglob("*.parquet"))
        return {p.name: p.read_bytes() for p in files if "swap-" not in str(p)}

    def endures(self, seen: Counter[str]) -> None:
        """Run: it ends by an error that says what to do, or publishes the right bytes; nothing else shows."""
        error: BriquetteError | None = None
        try:
            self.run()
        except BriquetteError as caught:
            error = caught
        assert error is None or error.hint, f"an error that does not say what to do: {error!r}"
        seen[type(error).__name__ if error else "published"] += 1
        assert self.published() == self.good
        place = dataset_location(str(self.output))
        assert verify_dataset(open_store(place.url), place, read_parts=False) == []


@pytest.mark.parametrize("what", OF_A_GROUP)
def test_a_row_group_that_changed_on_its_way_to_the_driver_is_never_published(
    tmp_path: Path, what: str
) -> None:
    day, draw, seen = Day(tmp_path), random.Random(what), Counter[str]()
    for _ in range(OF_GROUPS // len(OF_A_GROUP)):
        hit, kind = draw.randrange(4), draw.choice(KINDS)

        def change(result: SplitResult, hit: int = hit, kind: str = kind) -> SplitResult:
            if result.split_index != hit:
                return result
            (group,) = result.row_groups
            return replace(result, row_groups=(damaged_group(group, what, kind, draw),))

        day.executor.change = change
        day.endures(seen)
    assert seen == {"VerificationFailed": OF_GROUPS // len(OF_A_GROUP)}
    day.executor.change = lambda result: result
    day.run()
    assert published_rows(str(day.output)) == day.rows


@pytest.mark.parametrize("publish", ["in_place", "versioned"])
def test_a_staged_row_group_that_changed_is_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: str
) -> None:
    """Half of them without another time of change, so that only its bytes can tell."""
    Day(tmp_path, publish=publish)
    monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 0)
    monkeypatch.setattr("briquette.compaction.map_splits.inline_limit_bytes", lambda _: 0)
    day, draw, seen = Day(tmp_path, publish=publish), random.Random(publish), Counter[str]()
    staging = tmp_path / "out" / "_staging"
    for number in range(OF_STAGED // 2):
        day.executor = DamagingExecutor({})
        hit, kind = draw.randrange(4), draw.choice(KINDS)

        def change(
            result: SplitResult, hit: int = hit, kind: str = kind, quietly: bool = number % 2 == 0
        ) -> Any:
            assert result.row_groups[0].body.data is None, "it was not staged"
            if result.split_index == hit:
                path = staging.parent / result.row_groups[0].body.key
                damage_file(path, kind, draw, quietly=quietly)
            return result

        day.executor.change = change
        day.endures(seen)
    assert seen["published"] <= seen.total() / 10, "an addition behind the last byte harms nothing"
    assert seen["VerificationFailed"] >= seen.total() / 4


@pytest.mark.parametrize("quietly", [True, False])
def test_a_part_that_changed_after_it_was_written_is_never_published(tmp_path: Path, quietly: bool) -> None:
    day, draw, seen = Day(tmp_path), random.Random(quietly), Counter[str]()
    for _ in range(OF_PARTS // 2):
        name = f"part-0000{draw.randrange(2)}.parquet"
        with damaged_once_written(name, draw.choice(KINDS), draw, quietly=quietly) as hit:
            day.endures(seen)
        assert hit
    assert seen == {"VerificationFailed": OF_PARTS // 2}


@pytest.mark.parametrize("quietly", [True, False])
def test_a_manifest_that_changed_after_it_was_written_is_never_published(
    tmp_path: Path, quietly: bool
) -> None:
    day, draw, seen = Day(tmp_path), random.Random(quietly), Counter[str]()
    for _ in range(OF_MANIFESTS // 2):
        with damaged_once_written("_manifest.json", draw.choice(KINDS), draw, quietly=quietly) as hit:
            day.endures(seen)
        assert hit
    assert seen == {"VerificationFailed": OF_MANIFESTS // 2}


def test_a_file_that_changes_between_its_check_and_its_publication_is_never_published(tmp_path: Path) -> None:
    day, draw, seen = Day(tmp_path), random.Random(7), Counter[str]()
    shown = LocalStore.list

    for name in ("part-00001.parquet", "_manifest.json"):
        with pytest.MonkeyPatch.context() as patch:
            from briquette.storage.local import directory_swap

            def sync(folder: str, name: str = name) -> None:
                found = Path(folder) / name
                if "swap-" in folder and found.exists():
                    damage_file(found, FLIP, draw, quietly=False)

            patch.setattr(directory_swap, "sync_folder", sync)
            day.endures(seen)
    assert LocalStore.list is shown
    assert seen == {"VerificationFailed": 2}


def test_at_least_a_thousand_corruptions_are_tried() -> None:
    assert OF_GROUPS % len(OF_A_GROUP) == 0
    assert OF_GROUPS + OF_STAGED + OF_PARTS + OF_MANIFESTS >= 1_000


def test_a_published_part_that_lost_a_bit_is_not_taken_over_into_the_next(tmp_path: Path) -> None:
    """Late data: the splits that did not change are not decoded again, unless their part is damaged."""
    day = Day(tmp_path)
    damage_file(day.output / "part-00000.parquet", FLIP, random.Random(3), quietly=True)
    store = open_store(str(tmp_path))
    store.put("raw/S9.json", b'{"symbol": "S9", "n": 1}\n')
    target = resolve_target(input_url=str(tmp_path / "raw"), output_url=str(day.output))
    result = run_plan(make_plan(target, day.plan.spec, OPTIONS), RunOptions(executor="serial"))
    assert result.splits_reused == 0
    assert published_rows(str(day.output)) == [*day.rows, ("S9", 1)]
    store.put("raw/S9.json", b'{"symbol": "S9", "n": 2}\n')
    result = run_plan(make_plan(target, day.plan.spec, OPTIONS), RunOptions(executor="serial"))
    assert result.splits_reused == 4


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", [FLIP, ZERO, CUT, ADD])
def test_verify_names_the_published_file_that_changed_and_what_differs(
    tmp_path: Path, deep: bool, kind: str
) -> None:
    day, draw = Day(tmp_path), random.Random(kind)
    assert verify(str(day.output), deep=deep, options=OPTIONS).ok
    for name in ("part-00000.parquet", "part-00001.parquet"):
        for quietly in (True, False):
            for _ in range(3):
                day.run()
                damage_file(day.output / name, kind, draw, quietly=quietly)
                said = verify(str(day.output), deep=deep, options=OPTIONS).problems
                assert said
                assert all(name in problem for problem in said), said
                wanted = "SHA-256" if kind in SIZE_KEPT else "bytes"
                assert any(wanted in problem for problem in said), said


def test_verify_says_when_the_manifest_itself_changed(tmp_path: Path) -> None:
    day, draw = Day(tmp_path), random.Random(1)
    manifest = day.output / "_manifest.json"
    seen: Counter[bool] = Counter()
    for _ in range(60):
        day.run()
        damage_file(manifest, draw.choice(KINDS), draw, quietly=True)
        said = ""
        try:
            said = " ".join(verify(str(day.output), options=OPTIONS).problems)
        except VerificationFailed as error:
            said = error.message
        seen[bool(said)] += 1
        assert not said or "_manifest.json" in said or "part-0000" in said
        manifest.unlink()
    assert seen[True] > 45, "what is left is text that nothing can be compared with"
