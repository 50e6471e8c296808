"""Ray gives the bytes of the serial run: for conformance cases (many are slow) and a day of many splits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from briquette import compact
from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE, write_raw_day
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import SourceChanged, UsageError
from briquette.executors import open_executor
from briquette.executors.ray import RayCluster
from briquette.pipeline.transform import transform
from briquette.planning.target import resolve_target
from briquette.testing.executors import ExecutorTests
from tests.conformance.runs import Ending, Runs
from tests.conformance.selection import for_a_scheduler

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(300)]
CASES = Path(__file__).parents[2] / "conformance" / "cases"
# A case that changes its raw objects during the run can be run only once.
REPEATABLE = sorted(
    case.name
    for case in CASES.iterdir()
    if "after_listing" not in json.loads((case / "case.json").read_text())
)
SPEC = {"split_bytes": 40_000, "split_objects": 300, "target_file_mb": 0.0625}
NAMES = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}

# It asks for a token, as Ray does not listen on loopback alone, and ends with the pipe to its input.
HEAD = """
import json, sys, ray
here = ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
print(here.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A running Ray cluster of two cores, with the token of tests/conftest.py."""
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        address = head.stdout.readline().strip()
        assert address, "Ray did not start"
        yield address
    finally:
        head.stdin.close()
        head.wait(60)
        head.stdout.close()


@pytest.fixture(scope="module")
def connected(ray_address: str) -> Iterator[None]:
    """This process is connected once, so that a small case costs milliseconds."""
    import ray

    ray.init(address=ray_address, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def raw_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_raw_day(root, 1_500)
    return root


def what_came_out(ending: Ending) -> object:
    made = ending.result.manifest if ending.result else None
    return (
        ending.status,
        ending.exit_code,
        ending.part_bytes(),
        ending.rejects(),
        made and (made.content_digest, made.input_fingerprint, made.splits, made.extra_fields),
    )


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("name", [case for case in for_a_scheduler() if case.values[0] in REPEATABLE])
def test_a_conformance_case_ends_on_ray_as_it_ends_serially(name: str, tmp_path: Path) -> None:
    runs = Runs(CASES / name, tmp_path)
    serial = runs.run({"options": {"executor": "serial"}}, to="serial")
    assert what_came_out(runs.run({"options": {"executor": "ray"}}, to="ray")) == what_came_out(serial)


@pytest.mark.usefixtures("connected")
class TestRay(ExecutorTests):
    @pytest.fixture
    def executor(self) -> RayCluster:
        return RayCluster()


def test_a_day_of_many_splits_gives_the_bytes_of_the_serial_run_from_another_process(
    raw_day: Path, ray_address: str, tmp_path: Path
) -> None:
    serial = compact(
        raw=raw_day, curated=tmp_path / "a", **NAMES, **SPEC, options=RunOptions(executor="serial")
    )
    options = RunOptions(executor="ray", ray_address=ray_address)
    code = (
        "import json, sys\n"
        "from briquette import compact\n"
        "from briquette.compaction.options import RunOptions\n"
        f"result = compact(raw={str(raw_day)!r}, curated={str(tmp_path / 'b')!r}, **{NAMES!r}, **{SPEC!r},\n"
        f"    options=RunOptions(executor='ray', ray_address={options.ray_address!r}))\n"
        "print(json.dumps(result.to_dict()))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["executor"] == "ray"
    assert document["splits"]["all"] > 4
    sums = [f["sha256"] for f in document["outputs"]["files"]]
    assert len(sums) > 1
    assert sums == [f.sha256 for f in serial.manifest.files]


@pytest.mark.usefixtures("connected")
def test_a_transform_on_ray_publishes_the_parts_of_a_serial_run(raw_day: Path, tmp_path: Path) -> None:
    where = {"raw": raw_day, "curated": tmp_path, **NAMES}
    compact(**where, **SPEC)
    made = []
    for name in ("serial", "ray"):
        result = transform(**where, split_bytes=1 << 16, options=RunOptions(executor=name, force=True))
        assert (result.compaction.executor, result.compaction.splits > 2) == (name, True)
        made.append([f.sha256 for f in result.compaction.manifest.files])
    assert made[0] == made[1]


@pytest.mark.usefixtures("connected")
def test_an_error_of_a_split_on_ray_has_its_own_type_and_words(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "A.json").write_bytes(b'{"a": 1}\n')
    target = resolve_target(input_url=str(tmp_path / "raw"), output_url=str(tmp_path / "out"))
    options = RunOptions(executor="ray")
    plan = make_plan(target, resolve_spec(target, None, {}), options)
    (tmp_path / "raw" / "A.json").write_bytes(b'{"a": 2}\n')
    with pytest.raises(SourceChanged, match=r"A\.json") as caught:
        run_plan(plan, options)
    assert caught.value.hint.startswith("Run it again")


def test_addresses_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UsageError, match="one scheduler"):
        open_executor("auto", scheduler="tcp://x:1", ray_address="x:2")
    with pytest.raises(UsageError, match="does not go with"):
        open_executor("serial", ray_address="x:2")


@pytest.mark.slow  # Ray itself tries for half a minute
def test_a_cluster_that_is_not_there_is_named_and_worth_a_retry(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    code = (
        "from briquette.errors import WorkerLost\n"
        "from briquette.executors.ray import RayCluster\n"
        "try:\n"
        f"    RayCluster({address!r}).map(len, ['a'], print)\n"
        "except WorkerLost as error:\n"
        "    print(error.exit_code, error.message)\n"
    )
    environment = {
        **os.environ,
        "RAY_gcs_rpc_server_connect_timeout_s": "2",
        "RAY_NUM_REDIS_GET_RETRIES": "1",
    }
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert told.stdout.startswith(f"1 there is no Ray cluster to be reached at {address}"), told


def test_a_split_that_kills_its_worker_every_time_ends_the_run_worth_a_retry(ray_address: str) -> None:
    code = (
        "import os\n"
        "from briquette.errors import WorkerLost\n"
        "from briquette.executors.ray import RayCluster\n"
        "def die(task):\n"
        "    os._exit(1)\n"
        "try:\n"
        f"    RayCluster({ray_address!r}).map(die, ['a'], print)\n"
        "except WorkerLost as error:\n"
        "    print(error.exit_code, error.message)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.startswith(f"1 Ray on {ray_address} lost work (WorkerCrashedError"), told
