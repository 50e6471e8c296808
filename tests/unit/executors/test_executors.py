"""Every executor gives the same bytes: the executor is a scheduler, never a second meaning."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest

from briquette import compact
from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE, write_raw_day
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import WorkerLost
from briquette.executors.dask import DaskCluster, DaskThreads
from briquette.executors.serial import Serial
from briquette.model import Partition
from briquette.planning.target import resolve_target
from briquette.testing.executors import ExecutorTests

SPEC = {"split_bytes": 40_000, "split_objects": 300, "target_file_mb": 0.0625}
NAMES = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}
BINARIES = Path(sys.executable).parent


@pytest.fixture(scope="module")
def raw_day(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_raw_day(root, 1_500)
    return root


@pytest.fixture(scope="module")
def expected(raw_day, tmp_path_factory) -> list[str]:
    """The parts' SHA-256 as the serial executor makes them."""
    return checksums(raw_day, tmp_path_factory.mktemp("serial"), executor="serial")


def checksums(raw: Path, curated: Path, **options) -> list[str]:
    result = compact(raw=raw, curated=curated, **NAMES, **SPEC, options=RunOptions(**options))
    assert result.splits > 4
    assert len(result.manifest.files) > 1
    return [f.sha256 for f in result.manifest.files]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_dask_threads_give_the_bytes_of_the_serial_run(raw_day, expected, tmp_path, threads):
    assert checksums(raw_day, tmp_path, executor="dask", threads=threads) == expected


def test_two_dask_processes_give_the_bytes_of_the_serial_run(raw_day, expected, tmp_path):
    assert checksums(raw_day, tmp_path, executor="dask", workers=2) == expected


def test_a_real_scheduler_with_two_workers_gives_the_bytes_of_the_serial_run(raw_day, expected, tmp_path):
    with dask_cluster(workers=2) as address:
        assert checksums(raw_day, tmp_path, executor="dask", scheduler=address) == expected


def test_staged_row_groups_give_the_bytes_of_inline_ones(raw_day, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 1)
    assert checksums(raw_day, tmp_path, executor="dask") == expected
    assert not any((tmp_path / "market/prices/compacted/_staging").rglob("*split-*"))


def test_the_plan_does_not_depend_on_the_workers(raw_day, tmp_path):
    target = resolve_target(Partition(**NAMES), raw=str(raw_day), curated=str(tmp_path))
    spec = resolve_spec(target, None, dict(SPEC))
    plans = {make_plan(target, spec, RunOptions(workers=n, threads=n)).plan_id for n in (0, 1, 7)}
    assert len(plans) == 1


def test_a_plan_begun_by_one_executor_is_finished_by_another(raw_day, expected, tmp_path):
    """The first run dies after half of its splits; another executor publishes the same bytes."""
    target = resolve_target(Partition(**NAMES), raw=str(raw_day), curated=str(tmp_path))
    plan = make_plan(target, resolve_spec(target, None, dict(SPEC)), RunOptions())
    with pytest.raises(WorkerLost):
        run_plan(plan, executor=DiesHalfway())
    result = run_plan(plan, RunOptions(executor="dask"))
    assert [f.sha256 for f in result.manifest.files] == expected


class DiesHalfway:
    name = "dies"

    def map(self, function, tasks, on_result):
        for task in tasks[: len(tasks) // 2]:
            on_result(function(task))
        raise WorkerLost("half of the splits are done")


class TestSerial(ExecutorTests):
    @pytest.fixture
    def executor(self) -> Serial:
        return Serial()


class TestThreads(ExecutorTests):
    @pytest.fixture
    def executor(self) -> DaskThreads:
        return DaskThreads(3)


@pytest.fixture(scope="module")
def cluster_address() -> Iterator[str]:
    """A scheduler and two workers in processes of their own."""
    with dask_cluster(workers=2) as address:
        yield address


class TestDaskCluster(ExecutorTests):
    """Every test connects to the cluster anew."""

    @pytest.fixture
    def executor(self, cluster_address: str) -> DaskCluster:
        return DaskCluster(cluster_address)


def test_a_scheduler_that_is_not_there_is_a_clear_error_worth_a_retry(raw_day, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    quick = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with quick, pytest.raises(WorkerLost, match=re.escape(address)) as caught:
        checksums(raw_day, tmp_path, executor="dask", scheduler=address)
    assert caught.value.exit_code == 1


_CLUSTERS = itertools.count()


@contextmanager
def dask_cluster(workers: int):
    """`dask scheduler` and `dask worker` as a person starts them, on loopback and free ports."""
    environment = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "error"}
    file = Path(tempfile.gettempdir()) / f"briquette-scheduler-{os.getpid()}-{next(_CLUSTERS)}.json"
    file.unlink(missing_ok=True)
    dask = str(BINARIES / "dask")
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    started = [subprocess.Popen([dask, "scheduler", "--port", "0", *common], env=environment)]
    try:
        started += [
            subprocess.Popen(
                [dask, "worker", "--nthreads", "1", "--no-nanny", *common],
                env=environment,
            )
            for _ in range(workers)
        ]
        yield _address(file, workers)
    finally:
        for process in reversed(started):  # workers before their scheduler; a worker may hang on its way out
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        file.unlink(missing_ok=True)


def _address(file: Path, workers: int) -> str:
    from distributed import Client

    deadline = time.monotonic() + 240  # a busy machine takes a minute for the imports
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    with Client(address, timeout=120, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=240)
    return address
