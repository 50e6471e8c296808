"""Workers that die, hang or are told to stop: the bytes of an undisturbed run, or one clear error."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from briquette.compaction.options import RunOptions
from briquette.errors import WorkerLost
from briquette.executors import open_executor
from briquette.storage.opening import open_store
from tests.faults import Fault, FaultyWire
from tests.reliability.small_days import SCHEMA, published_rows, visible_keys, write_day
from tests.servers import Bucket

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("dask-processes")]
MANY_SPLITS = {"split_objects": 1, "split_bytes": 1_000}


def compact(url: str, out: str, executor: str = "serial", **options: Any) -> list[str]:
    """The SHA-256 of the parts, from splits of one object each."""
    import briquette

    result = briquette.compact(
        input=f"{url}/raw",
        output=f"{url}/{out}",
        schema=SCHEMA,
        options=RunOptions(executor=executor, **options),
        **MANY_SPLITS,
    )
    assert result.manifest is not None
    assert result.splits > 4
    return [f.sha256 for f in result.manifest.files]


# -- Dask workers --------------------------------------------------------------------------------

# What a worker does with a task; the path says whether it was here before.


def die_once(task: tuple[str, int]) -> int:
    flag, number = task
    if number == 3 and _first_time(flag):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die_always(task: tuple[str, int]) -> int:
    if task[1] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task[1]


def take_memory(task: tuple[str, int]) -> int:
    held = [bytes(8 << 20)]
    while task[1] == 3:
        held.append(os.urandom(8 << 20))
        time.sleep(0.005)
    return task[1]


def wait(task: tuple[str, int]) -> int:
    Path(task[0]).touch()
    time.sleep(60)
    return task[1]


def _first_time(flag: str) -> bool:
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def mapped(function: Callable[[Any], int], flag: Path, **options: Any) -> list[int]:
    found: list[int] = []
    tasks = [(str(flag), i) for i in range(8)]
    open_executor("dask", **options).map(function, tasks, found.append)
    return sorted(found)


def test_the_task_of_a_killed_worker_runs_again_and_is_reported_once(tmp_path: Path) -> None:
    assert mapped(die_once, tmp_path / "flag", workers=2) == [i * i for i in range(8)]


@pytest.mark.slow
def test_a_split_that_kills_every_worker_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerLost, match="killed its worker") as caught:
        mapped(die_always, tmp_path / "flag", workers=2)
    assert caught.value.exit_code == 1
    assert "run again" in caught.value.hint


@pytest.mark.slow
def test_a_split_that_passes_the_workers_memory_limit_is_one_clear_error(tmp_path: Path) -> None:
    """The nanny kills the worker at 95 % of its limit; after Dask's allowed failures the run ends."""
    with pytest.raises(WorkerLost, match="killed its worker") as caught:
        mapped(take_memory, tmp_path / "flag", workers=1, memory_limit_bytes=400 << 20)
    assert caught.value.exit_code == 1


SCHEDULER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A cluster of one worker in a session of its own, so that all of it can be ended."""
    script = tmp_path / "cluster.py"
    script.write_text(SCHEDULER)
    started = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    try:
        assert started.stdout is not None
        yield started.stdout.readline().strip(), started
    finally:
        import contextlib

        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(20)
        for pipe in (started.stdin, started.stdout):
            assert pipe is not None
            pipe.close()


def test_a_scheduler_lost_in_the_middle_is_one_clear_error(
    cluster: tuple[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    import dask

    address, started = cluster
    flag = tmp_path / "flag"

    def end_it() -> None:
        until = time.monotonic() + 60
        while not flag.exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(started.pid, signal.SIGKILL)

    killer = threading.Thread(target=end_it)
    killer.start()
    quick = {"distributed.comm.timeouts.connect": "2s", "distributed.client.scheduler-info-interval": "1s"}
    with dask.config.set(quick), pytest.raises(WorkerLost, match="was lost") as caught:
        mapped(wait, flag, scheduler=address)
    killer.join()
    assert caught.value.exit_code == 1


# -- tasks that run twice ------------------------------------------------------------------------


class Twice:
    """Runs every task two times, as a cluster does when it takes a slow worker for a dead one."""

    name = "twice"

    def map(self, function: Callable[[Any], Any], tasks: Any, on_result: Callable[[Any], None]) -> None:
        for task in tasks:
            first, second = function(task), function(task)
            assert first.row_groups[0].sha256 == second.row_groups[0].sha256
            on_result(second)


@pytest.mark.parametrize("staged", [False, True], ids=["inline", "staged"])
def test_tasks_that_run_twice_change_no_byte(
    store_url: str, staged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if staged:
        monkeypatch.setattr("briquette.planning.plan.INLINE_SPLIT_BYTES", 1)
    rows = write_day(open_store(store_url), "raw/")
    once = compact(store_url, "once")
    monkeypatch.setattr("briquette.compaction.run.open_executor", lambda *_, **__: Twice())
    assert compact(store_url, "twice") == once
    assert published_rows(f"{store_url}/twice") == rows


# -- SIGTERM -------------------------------------------------------------------------------------


def command(url: str, *more: str) -> list[str]:
    here = [sys.executable, "-m", "briquette", "compact", "--input", f"{url}/raw", "--output", f"{url}/out"]
    return [*here, "--json", *more]


def stop_in(lab: tuple[Bucket, FaultyWire], operation: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command, hold its first request of this kind, send SIGTERM, and let the request go."""
    bucket, wire = lab
    held = threading.Event()
    wire.break_(Fault(operation, hold=held, only=f"/{bucket.name}"))
    begun = subprocess.Popen(
        command(bucket.url, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not wire.fired and time.monotonic() < until:
        time.sleep(0.02)
    assert wire.fired, f"the run asked for no {operation}"
    begun.send_signal(signal.SIGTERM)
    time.sleep(0.2)  # the handler runs in the main thread as soon as that has the interpreter
    held.set()
    said, errors = begun.communicate(timeout=60)
    return subprocess.CompletedProcess(begun.args, begun.returncode, said, errors)


@pytest.fixture
def big_day(faulty_s3: tuple[Bucket, FaultyWire]) -> tuple[Bucket, FaultyWire]:
    """A raw day whose one part is large enough to be uploaded in pieces."""
    store = open_store(faulty_s3[0].url)
    for i in range(3):
        lines = "".join(
            f'{{"text": "{random.Random(i * 9_999 + k).randbytes(4_000).hex()}"}}\n' for k in range(5_500)
        )
        store.put(f"raw/{i}.json", lines.encode())
    return faulty_s3


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["GetObject", "CreateMultipartUpload", "UploadPart"])
def test_sigterm_leaves_nothing_visible_and_no_upload(
    big_day: tuple[Bucket, FaultyWire], operation: str
) -> None:
    """As Fargate Spot sends it: exit 143, and the next run is as the first would have been."""
    import boto3

    bucket, wire = big_day
    done = stop_in(big_day, operation, "--codec", "none")
    assert done.returncode == 143, done.stderr
    assert json.loads(done.stdout)["error"]["name"] == "Interrupted"
    wire.break_()
    assert [k for k in visible_keys(bucket.url) if k.startswith("out/")] == []
    client = boto3.client("s3", endpoint_url=bucket.endpoint)
    assert not client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")
    again = subprocess.run(
        command(bucket.url, "--codec", "none"), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    staged = [s.key for s in open_store(bucket.url).list("out/_staging/")]
    assert staged == []


def test_sigterm_once_readers_see_the_change_lets_the_publish_end(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    bucket, wire = faulty_s3
    rows = write_day(open_store(bucket.url), "raw/")
    wire.break_()
    url = bucket.url
    held = threading.Event()
    wire.break_(Fault("PutObject", hold=held, only="/out/part-00000.parquet"))
    begun = subprocess.Popen(command(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not wire.fired and time.monotonic() < until:
        time.sleep(0.02)
    begun.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    held.set()
    _, errors = begun.communicate(timeout=60)
    assert begun.returncode == 0, errors
    assert published_rows(f"{url}/out") == rows


def test_sigterm_on_disk_leaves_nothing_visible_and_the_next_run_clears_the_rest(tmp_path: Path) -> None:
    """Told at its first read, and at its first hidden write."""
    store = open_store(str(tmp_path))
    rows = write_day(store, "raw/")
    for step in ("GET", "STAGE"):
        stopped = subprocess.run(
            [sys.executable, "-c", STOP_AT, step, *command(str(tmp_path))[3:]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert stopped.returncode == 143, stopped.stderr
        assert [k for k in visible_keys(str(tmp_path)) if k.startswith("out/")] == []
    assert subprocess.run(command(str(tmp_path)), capture_output=True, check=False).returncode == 0
    assert published_rows(str(tmp_path / "out")) == rows
    left = [str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert sorted(left) == ["out/_manifest.json", "out/part-00000.parquet"]


# The command as it is, told to stop by a signal when it first asks a store for argv[1].
STOP_AT = """
import os, signal, sys
from briquette.storage.interface import Requests
from briquette.cli import main
step, told, note = sys.argv.pop(1), [], Requests.note
def noted(self, verb, key):
    if verb == step and not told:
        told.append(verb)
        os.kill(os.getpid(), signal.SIGTERM)
    note(self, verb, key)
Requests.note = noted
main.main()
"""
