"""What every executor must do, as tests: an executor of your own passes them by giving one fixture.

::

    import pytest
    from briquette.testing.executors import ExecutorTests
    from mine import MyExecutor

    class TestMyExecutor(ExecutorTests):
        @pytest.fixture
        def executor(self):
            return MyExecutor()

pytest has to be installed; nothing else in briquette imports it. The raw objects lie in ``tmp_path``, which
the executor's workers have to reach.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import CorruptObject, SourceChanged, WorkerLost
from briquette.executors import Executor, Result, Task
from briquette.executors.serial import Serial
from briquette.model import Field, Plan, Schema
from briquette.planning.target import resolve_target

SCHEMA = Schema((Field("symbol", "string", nullable=False), Field("price", "float64")))


class ExecutorTests:
    """The contract of ``briquette.executors.Executor``; each test gets an executor as ``executor``."""

    # -- mapping -------------------------------------------------------------------------------

    @pytest.mark.parametrize("count", [0, 1, 2, 40])
    def test_every_result_comes_once_and_in_the_calling_thread(self, executor: Executor, count: int) -> None:
        found: list[int] = []
        threads = set()

        def on_result(result: int) -> None:
            found.append(result)
            threads.add(threading.current_thread())

        executor.map(_square, range(count), on_result)
        assert sorted(found) == [n * n for n in range(count)]
        assert threads <= {threading.current_thread()}

    def test_results_of_megabytes_come_whole(self, executor: Executor) -> None:
        found: list[bytes] = []
        executor.map(_megabytes, [1, 2, 3], found.append)
        assert sorted(found) == [_megabytes(n) for n in (1, 2, 3)]

    def test_an_error_of_a_task_ends_the_map_with_its_own_type_and_words(self, executor: Executor) -> None:
        with pytest.raises(SourceChanged) as caught:
            executor.map(_refuses_seven, [1, 7, 2], _nothing)
        assert (caught.value.message, caught.value.hint) == ("object 7 changed.", "Plan again.")

    def test_what_a_callback_raises_ends_the_map(self, executor: Executor) -> None:
        def on_result(_: int) -> None:
            raise _EnoughError("the caller has had enough")

        with pytest.raises(_EnoughError, match="had enough"):
            executor.map(_square, range(4), on_result)

    def test_it_says_what_ran_in_one_word(self, executor: Executor) -> None:
        executor.map(_square, [1, 2], _nothing)
        assert executor.name.isidentifier()

    # -- runs ----------------------------------------------------------------------------------

    def test_a_run_publishes_the_bytes_of_the_serial_run(self, executor: Executor, tmp_path: Path) -> None:
        plan = _planned_day(tmp_path)
        assert _outcome(plan, executor, tmp_path) == _outcome(plan, Serial(), tmp_path)

    def test_row_groups_that_travel_by_the_store_give_the_same_bytes(
        self, executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 1)
        plan = _planned_day(tmp_path)
        assert _outcome(plan, executor, tmp_path) == _outcome(plan, Serial(), tmp_path)

    def test_a_plan_that_another_executor_began_is_finished(self, executor: Executor, tmp_path: Path) -> None:
        plan = _planned_day(tmp_path)
        expected = _outcome(plan, Serial(), tmp_path)
        with pytest.raises(WorkerLost):
            run_plan(plan, executor=_LostHalfway())
        assert _outcome(plan, executor, tmp_path) == expected

    def test_bad_input_ends_a_run_with_the_error_of_the_serial_run(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        plan = _planned_day(tmp_path, {"bad.json.gz": b"\x1f\x8b\x08 cut off"})
        said = []
        for one in (Serial(), executor):
            with pytest.raises(CorruptObject) as caught:
                run_plan(plan, executor=one)
            said.append((caught.value.name, caught.value.message, caught.value.hint, caught.value.exit_code))
        assert said[0] == said[1]
        assert "bad.json.gz" in said[0][1]


class _EnoughError(Exception):
    """What a callback raises here."""


class _LostHalfway:
    """An executor whose workers are gone after half of the tasks."""

    name = "lost"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        for task in tasks[: len(tasks) // 2]:
            on_result(function(task))
        raise WorkerLost("half of the splits are done.")


def _planned_day(folder: Path, more: dict[str, bytes] | None = None) -> Plan:
    """A plan of six splits, of which some records are rejected."""
    raw = folder / "raw"
    raw.mkdir()
    for i in range(12):
        records = [{"symbol": f"S{i:02d}{n:03d}", "price": n / 4} for n in range(50)]
        lines = [json.dumps(record) for record in records] + ['{"symbol": null}']
        (raw / f"{i:02d}.json").write_text("\n".join(lines))
    for name, body in (more or {}).items():
        (raw / name).write_bytes(body)
    target = resolve_target(input_url=str(raw), output_url=str(folder / "out"))
    spec = resolve_spec(target, SCHEMA, {"split_objects": 2, "max_reject_ratio": 1.0})
    plan = make_plan(target, spec, RunOptions())
    assert len(plan.splits) >= 6
    return plan


def _outcome(plan: Plan, executor: Executor, folder: Path) -> tuple[Any, ...]:
    """How a run of the plan ended and what it has published, which is removed again."""
    out = folder / "out"
    result = run_plan(plan, executor=executor)
    assert result.manifest is not None
    parts = {path.name: path.read_bytes() for path in sorted(out.rglob("*.parquet"))}
    rejects = [path.read_bytes() for path in sorted(out.rglob("*.jsonl"))]
    left = sorted(path.name for path in out.rglob("split-*"))
    assert (bool(parts), bool(rejects), left) == (True, True, [])
    shutil.rmtree(out)
    return result.status, parts, rejects, result.manifest.splits


def _square(number: int) -> int:
    return number * number


def _megabytes(number: int) -> bytes:
    return bytes([number]) * (number << 20)


def _refuses_seven(number: int) -> int:
    if number == 7:
        raise SourceChanged(f"object {number} changed.", hint="Plan again.")
    return number


def _nothing(_: object) -> None:
    pass
