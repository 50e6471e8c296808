"""Parts that are written while later splits are still being made."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from briquette.accelerators import Accelerator
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.encoding.row_groups import encode
from briquette.errors import StoreError, VerificationFailed
from briquette.model import (
    CompactionSpec,
    Field,
    Location,
    PublishMode,
    RowGroup,
    Schema,
    SplitResult,
    Status,
)
from briquette.parquet.packing import pack_row_groups
from briquette.parquet.splice import added_bytes, splice
from briquette.planning.target import resolve_target
from briquette.publishing.directory_swap import drafting as drafting_on_disk
from briquette.publishing.early_parts import Drafts
from briquette.publishing.publish import drafting
from briquette.publishing.verify import verify_dataset
from briquette.storage.local import directory_swap
from briquette.storage.local.store import LocalStore
from briquette.storage.opening import open_store

PLAN_ID = "0123456789abcdef" * 4
OUTPUT = "prices/ds=2025-09-09/"
SPLITS = 9


def groups_of(splits: int, rows: int = 40) -> list[tuple[RowGroup, ...]]:
    """The row groups of each split; the third of four has none, the fourth has two."""
    draw = np.random.default_rng(7)

    def some(n: int) -> tuple[RowGroup, ...]:
        return encode(pa.table({"a": draw.integers(0, 1 << 60, n)}), CompactionSpec(Schema(())))

    return [() if i % 4 == 2 else some(rows) * (2 if i % 4 == 3 else 1) for i in range(splits)]


def result_of(index: int, groups: tuple[RowGroup, ...]) -> SplitResult:
    return SplitResult(index, 0, 0, 0, (), groups, "", (), (), 0, 0, 0)


def target_of(groups: Sequence[tuple[RowGroup, ...]], row_groups: int) -> int:
    """So many row groups make a part."""
    return row_groups * added_bytes(groups[0][0]) + 100


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    found = open_store(str(tmp_path))
    assert isinstance(found, LocalStore)
    return found


@pytest.fixture
def begin(store: LocalStore) -> Iterator[Any]:
    """Drafts of so many splits; closed at the end as a run does."""
    opened: list[Any] = []

    def one(target: int, order: Sequence[int]) -> Drafts:
        opened.append(
            drafting(store, Location(store.url, OUTPUT), PLAN_ID, target, order, PublishMode.IN_PLACE)
        )
        drafts = opened[-1].__enter__()
        assert isinstance(drafts, Drafts)
        return drafts

    yield one
    for context in opened:
        context.__exit__(None, None, None)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.002)


def test_nothing_is_begun_where_it_is_switched_off(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(Accelerator.EARLY_PARTS, "off")
    place = Location(store.url, OUTPUT)
    with drafting(store, place, PLAN_ID, 1, range(SPLITS), PublishMode.IN_PLACE) as drafts:
        assert drafts is None


@pytest.mark.parametrize("per_part", [1, 3, 4, 100])
@pytest.mark.parametrize("order", [range(SPLITS), range(SPLITS - 1, -1, -1), (3, 1, 0, 8, 2, 7, 5, 4, 6)])
def test_parts_are_those_of_all_row_groups_at_once(
    store: LocalStore, begin: Any, per_part: int, order: Sequence[int]
) -> None:
    groups = groups_of(SPLITS)
    target = target_of(groups, per_part)
    drafts = begin(target, range(SPLITS))
    for index in order:
        drafts.take(result_of(index, groups[index]))
    flat = [g for some in groups for g in some]
    parts = drafts.complete(flat)
    wanted = [splice(flat[a:b]) for a, b in pack_row_groups(flat, target)]
    assert parts == tuple(wanted)
    assert len(wanted) == {1: 9, 3: 3, 4: 3, 100: 1}[per_part], "the case is not what it is meant to be"
    directory, stored = drafts.hand_over()
    assert [Path(directory.path_of(f"part-{i:05d}.parquet")).read_bytes() for i in range(len(wanted))] == [
        part.to_bytes() for part in wanted
    ]
    assert [s.size_bytes for s in stored] == [p.size_bytes for p in wanted]
    assert [s.key for s in stored] == [f"{OUTPUT}part-{i:05d}.parquet" for i in range(len(wanted))]
    assert list(drafts.hashes) == [hashlib.sha256(p.to_bytes()).hexdigest() for p in wanted]
    assert all(s.metadata == {"briquette-plan": PLAN_ID} for s in stored)
    directory.clear(lambda _: True)


def test_a_part_is_written_before_the_last_split_is_made(tmp_path: Path, begin: Any) -> None:
    groups = groups_of(SPLITS)
    target = target_of(groups, 3)
    drafts = begin(target, range(SPLITS))
    for index in range(SPLITS - 1):
        drafts.take(result_of(index, groups[index]))
    flat = [g for some in groups for g in some]
    first = splice(flat[slice(*pack_row_groups(flat, target)[0])])
    until(lambda: any((tmp_path / f).stat().st_size == first.size_bytes for f in files(tmp_path)))
    assert not (tmp_path / OUTPUT).exists(), "a draft is visible"


@pytest.mark.parametrize("what", ["one less", "one more", "another", "another order", "none", "never"])
def test_other_row_groups_than_were_taken_leave_nothing_behind(tmp_path: Path, begin: Any, what: str) -> None:
    groups = groups_of(4)
    flat = [g for some in groups for g in some]
    drafts = begin(target_of(groups, 2), range(4))
    if what != "never":
        for index in range(4):
            drafts.take(result_of(index, groups[index]))
        until(lambda: files(tmp_path))
    copy = replace(flat[1])
    asked = {
        "one less": flat[:-1],
        "one more": [*flat, flat[0]],
        "another": [flat[0], copy, *flat[2:]],
        "another order": [flat[1], flat[0], *flat[2:]],
        "none": [],
        "never": flat,
    }
    assert drafts.complete(asked[what]) is None
    assert files(tmp_path) == []


def test_given_up_in_the_middle_of_a_part_nothing_stays(tmp_path: Path, store: LocalStore) -> None:
    groups = groups_of(3)
    with drafting_on_disk(store, swap_layout(), PLAN_ID, 1 << 20, range(3)) as drafts:
        drafts.take(result_of(0, groups[0]))
        until(lambda: files(tmp_path))
    assert files(tmp_path) == []
    assert "briquette-drafts" not in {thread.name for thread in threading.enumerate()}


def swap_layout() -> Any:
    from briquette.planning.layout import Layout

    return Layout.of(Location("", OUTPUT))


def test_no_directory_no_drafts(store: LocalStore, begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise directory_swap.SwapUnavailable("not here")

    monkeypatch.setattr("briquette.storage.local.directory_swap.SwapDirectory", refuse)
    groups = groups_of(2)
    drafts = begin(1 << 20, range(2))
    for index in range(2):
        drafts.take(result_of(index, groups[index]))
    assert drafts.complete([g for some in groups for g in some]) is None


def test_a_disk_that_fails_at_the_last_moment_is_told(
    tmp_path: Path, begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = groups_of(2)
    drafts = begin(1 << 20, range(2))
    sync = threading.Event()

    def failing(fd: int) -> None:
        assert sync.wait(30)
        raise OSError(28, "No space left on device")

    for index in range(2):
        drafts.take(result_of(index, groups[index]))
    until(lambda: files(tmp_path))  # the folders are made and synced
    monkeypatch.setattr("briquette.storage.local.store.os.fsync", failing)
    assert drafts.complete([g for some in groups for g in some]) is not None
    sync.set()
    with pytest.raises(StoreError, match="No space left"):
        drafts.hand_over()


def test_a_damaged_row_group_is_not_made_a_part(begin: Any) -> None:
    groups = groups_of(2)
    damaged = tuple(replace(g, rows=g.rows + 1) for g in groups[1])
    drafts = begin(1 << 20, range(2))
    for index, some in enumerate((groups[0], damaged)):
        drafts.take(result_of(index, some))
    assert drafts.complete([*groups[0], *damaged]) is None
    with pytest.raises(VerificationFailed, match="not what its split made"):
        splice([*groups[0], *damaged])


def test_a_store_of_objects_and_a_versioned_dataset_have_no_drafts(store: LocalStore) -> None:
    place = Location(store.url, OUTPUT)
    with drafting(store, place, PLAN_ID, 1 << 20, range(2), PublishMode.VERSIONED) as none:
        assert none is None
    memory = open_store("memory://drafts")
    with drafting(
        memory, Location("memory://drafts", OUTPUT), PLAN_ID, 1, range(2), PublishMode.IN_PLACE
    ) as none:
        assert none is None


# -- whole runs ----------------------------------------------------------------------------------

SCHEMA = Schema((Field("n", "int64"), Field("x", "float64")))


class Slow:
    """Serial; before the last split it waits for whatever the test waits for."""

    name = "serial"

    def __init__(self, wait: Any) -> None:
        self._wait = wait

    def map(self, function: Any, tasks: Sequence[Any], on_result: Any) -> None:
        for number, task in enumerate(tasks, 1):
            if number == len(tasks):
                self._wait()
            on_result(function(task))


def run(raw: Path, out: Path, wait: Any = lambda: None, *, target: int = 2_500, **more: Any) -> Any:
    place = resolve_target(input_url=str(raw), output_url=str(out))
    spec = replace(resolve_spec(place, SCHEMA, {"split_objects": 1} | more), target_part_bytes=target)
    options = RunOptions(executor="serial")
    return run_plan(make_plan(place, spec, options), options, executor=Slow(wait))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    draw = np.random.default_rng(3)
    for i in range(12):
        lines = (f'{{"n": {n}, "x": {n / 7}}}\n' for n in draw.integers(0, 1 << 50, 60))
        (folder / f"{i:02d}.json").write_text("".join(lines))
    return folder


def drafted(out: Path) -> list[str]:
    return [f for f in files(out.parent) if "part-" in f and not f.startswith(out.name + "/")]


def test_a_run_on_disk_writes_parts_while_it_works(raw: Path, tmp_path: Path) -> None:
    early, late = tmp_path / "a" / "ds=2025-09-09", tmp_path / "b" / "ds=2025-09-09"
    result = run(raw, early, lambda: until(lambda: len(drafted(early)) > 1))
    assert result.status is Status.PUBLISHED
    assert result.manifest.files[1:], "one part says nothing"
    with pytest.MonkeyPatch.context() as patch:
        # As in a store that cannot begin parts early.
        none = drafting(
            open_store("memory://none"), Location("memory://none", ""), "", 1, (), PublishMode.IN_PLACE
        )
        patch.setattr("briquette.compaction.run.publish.drafting", lambda *_: none)
        run(raw, late, lambda: (not drafted(late)) or pytest.fail("drafts though there are none"))
    assert files(early) == files(late)
    for name in files(early):
        if name.endswith(".parquet"):
            assert (early / name).read_bytes() == (late / name).read_bytes()
    assert drafted(early) == []
    place = open_store(str(tmp_path / "a"))
    assert verify_dataset(place, Location(place.url, "ds=2025-09-09/")) == []


@pytest.mark.parametrize("why", ["unique", "versioned", "one part", "kept"])
def test_a_run_that_cannot_begin_early_does_not(raw: Path, tmp_path: Path, why: str) -> None:
    out = tmp_path / "c" / "ds=2025-09-09"
    more: dict[str, dict[str, Any]] = {
        "unique": {"unique_key": ("n",)},
        "versioned": {"publish": "versioned"},
        "one part": {"target": 1 << 20},
        "kept": {},
    }
    if why == "kept":
        run(raw, out, **more[why])
        (raw / "05.json").write_text('{"n": 1, "x": 2.5}\n')
    before = drafted(out)
    seen: list[list[str]] = []
    result = run(raw, out, lambda: (time.sleep(0.1), seen.append(drafted(out))), **more[why])
    assert result.status is Status.PUBLISHED
    assert seen == [before]


def test_a_run_that_fails_leaves_no_drafts(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "d" / "ds=2025-09-09"

    def fail() -> None:
        until(lambda: drafted(out))
        raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="the disk is gone"):
        run(raw, out, fail)
    assert files(out.parent) == []


def test_a_file_changed_while_others_are_made_is_never_published(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "e" / "ds=2025-09-09"

    def change() -> None:
        until(lambda: len(drafted(out)) > 1)
        first = out.parent / drafted(out)[0]
        body = bytearray(first.read_bytes())
        body[40] ^= 1
        time.sleep(0.02)
        first.write_bytes(body)

    with pytest.raises(VerificationFailed):
        run(raw, out, change)
    assert files(out.parent) == []
