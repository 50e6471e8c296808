"""Spark is a scheduler, never a second meaning: bytes, errors, and plans that another executor began."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import SourceChanged, WorkerLost
from briquette.executors.dask import DaskThreads
from briquette.executors.serial import Serial
from briquette.model import Field, Partition, Schema
from briquette.planning.target import resolve_target
from briquette.testing.executors import ExecutorTests
from tests.spark.local import COMPACTED_PREFIX

NAMES = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}
SPEC = {"split_bytes": 20_000, "split_objects": 150, "target_file_mb": 0.0625}


def planned(raw: Path, curated: Path):
    target = resolve_target(Partition(**NAMES), raw=str(raw), curated=str(curated))
    return make_plan(target, resolve_spec(target, None, dict(SPEC)), RunOptions())


def checksums(result) -> list[str]:
    return [f.sha256 for f in result.manifest.files]


@pytest.fixture(scope="module")
def expected(raw_day, tmp_path_factory) -> list[str]:
    """The parts' SHA-256 as the serial executor makes them."""
    result = run_plan(planned(raw_day, tmp_path_factory.mktemp("serial")), executor=Serial())
    assert result.splits > 3
    return checksums(result)


class TestSpark(ExecutorTests):
    """With the session's ``executor``."""


# -- bytes -------------------------------------------------------------------------------------------


def test_spark_gives_the_bytes_of_the_serial_run(raw_day, expected, tmp_path, executor):
    result = run_plan(planned(raw_day, tmp_path), executor=executor)
    assert checksums(result) == expected
    assert result.executor == "spark"


def test_a_plan_that_dask_began_is_finished_by_spark(raw_day, expected, tmp_path, executor, monkeypatch):
    """Half of the splits are done and staged when Dask is lost; Spark publishes the serial run's bytes."""
    monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 1)
    plan = planned(raw_day, tmp_path)
    with pytest.raises(WorkerLost):
        run_plan(plan, executor=DaskThatIsLostHalfway())
    staged = list((tmp_path / COMPACTED_PREFIX).rglob("_staging/**/split-*"))
    assert len(staged) == len(plan.splits) // 2
    assert not list(tmp_path.rglob("part-*.parquet"))
    assert checksums(run_plan(plan, executor=executor)) == expected


class DaskThatIsLostHalfway:
    name = "dask"

    def map(self, function, tasks, on_result):
        DaskThreads(2).map(function, tasks[: len(tasks) // 2], on_result)
        raise WorkerLost("the Dask scheduler was lost.")


symbols = st.text("ABCXYZ.-", min_size=1, max_size=4)
prices = st.one_of(
    st.none(), st.floats(allow_infinity=False), st.integers(-9, 10**9), st.sampled_from(["", "x", "1.50"])
)
records = st.fixed_dictionaries({"symbol": symbols, "price": prices}, optional={"more": st.integers(0, 9)})
days = st.lists(st.lists(records, max_size=4), min_size=3, max_size=9)


@given(objects=days, per_split=st.integers(1, 3))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_partition_gives_the_same_bytes_on_every_executor(tmp_path, executor, objects, per_split):
    raw, curated = tmp_path / "raw", tmp_path / "curated"
    for folder in (raw, curated):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for i, lines in enumerate(objects):
        (raw / f"{i:02}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    schema = Schema((Field("symbol", "string", nullable=False), Field("price", "float64")))
    target = resolve_target(input_url=str(raw), output_url=str(curated))
    spec = resolve_spec(target, schema, {"split_objects": per_split, "max_reject_ratio": 1.0})
    plan = make_plan(target, spec, RunOptions())
    endings = []
    for one in (Serial(), DaskThreads(2), executor):
        result = run_plan(plan, executor=one)
        parts = {p.name: p.read_bytes() for p in sorted(curated.rglob("*.parquet"))}
        rejects = [p.read_bytes() for p in curated.rglob("*.jsonl")]
        endings.append((result.status, parts, rejects, result.manifest and result.manifest.splits))
        shutil.rmtree(curated)
        curated.mkdir()
    assert endings[1] == endings[0]
    assert endings[2] == endings[0]


# -- errors ------------------------------------------------------------------------------------------


def test_an_error_of_ours_is_not_tried_again(tmp_path, executor):
    attempts = tmp_path / "attempts"

    def refuse(task: int) -> int:
        with attempts.open("a") as file:
            file.write(f"{task}\n")
        raise SourceChanged(f"object {task} changed.", hint="Plan again.")

    with pytest.raises(SourceChanged) as caught:
        executor.map(refuse, [1, 2, 3], print)
    assert (caught.value.message, caught.value.hint) == ("object 1 changed.", "Plan again.")
    assert sorted(attempts.read_text().split()) == ["1", "2", "3"]


def test_a_worker_that_dies_once_is_replaced(tmp_path, executor):
    died = tmp_path / "died"

    def die_once(task: int) -> int:
        if task == 2 and not died.exists():
            died.touch()
            os._exit(9)
        return task * 10

    found = []
    executor.map(die_once, [1, 2, 3], found.append)
    assert found == [10, 20, 30]
    assert died.exists()


def test_memory_that_never_suffices_is_a_lost_worker_with_the_cause_in_one_line(executor):
    def fill(task: int) -> int:
        raise MemoryError(f"no room for split {task}\nsecond line")

    with pytest.raises(WorkerLost) as caught:
        executor.map(fill, [7], print)
    said = "Spark could not finish 1 splits: MemoryError: no room for split 7 (attempt 2)."
    assert caught.value.message == said
    assert caught.value.exit_code == 1


def test_a_worker_that_always_dies_is_a_lost_worker(executor):
    with pytest.raises(WorkerLost, match="Python worker exited unexpectedly"):
        executor.map(os._exit, [9], print)


def test_no_splits_are_no_work_for_spark(executor):
    executor.map(os._exit, [], print)


def test_results_come_in_the_order_of_the_tasks(executor):
    found: list[int] = []
    executor.map(abs, [-3, 1, -2], found.append)
    assert found == [3, 1, 2]
