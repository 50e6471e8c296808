"""The container's entry point, as Fargate starts it: a process of its own over a real S3 server."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from briquette.aws.container_command import own_memory, parse
from briquette.cli.demo import DAY_PREFIX, DS, raw_day
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import UsageError
from briquette.model import Partition
from briquette.planning.target import daily
from briquette.serialization import plan_to_bytes
from briquette.storage.opening import open_store

ROOT = Path(__file__).resolve().parents[2]
WORDS = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "yahoo_finance", "ds": DS}
OUTPUT = f"market/prices/compacted/ds={DS}/"

# The container, to which SIGTERM comes at its nth request of a verb, for a key with that ending.
STOPPED = """
import os, runpy, signal, sys
import briquette.storage.interface, briquette.storage.s3.store
briquette.storage.s3.store.SINGLE_PUT_BYTES = 6 << 20  # not 64 MiB: a smaller part is uploaded, too
verb, left, ending = sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1)
note = briquette.storage.interface.Requests.note
def noted(self, asked, key):
    global left
    note(self, asked, key)
    if asked == verb and key.endswith(ending):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
briquette.storage.interface.Requests.note = noted
runpy.run_module("briquette.aws.container", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Ended:
    code: int
    lines: list[dict[str, Any]]
    errors: str

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "_aws" in line]


def run(*command: str, python: tuple[str, ...] = ("-m", "briquette.aws.container")) -> Ended:
    """Every line of the output must be JSON: CloudWatch makes metrics and fields of nothing else."""
    ended = subprocess.run(
        [sys.executable, *python, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ENVIRONMENT": "staging"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Ended(ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr)


@dataclass(frozen=True)
class Day:
    """A raw day in a bucket, its plan, and where its result goes."""

    bucket: str

    @property
    def result_uri(self) -> str:
        return f"s3://{self.bucket}/artifacts/_runs/{DS}/run.json"

    @property
    def store(self) -> Any:
        return open_store(f"s3://{self.bucket}")

    @property
    def result(self) -> dict[str, Any]:
        return json.loads(self.store.get(f"artifacts/_runs/{DS}/run.json"))

    @property
    def visible(self) -> list[str]:
        return [found.key for found in self.store.list(f"curated/{OUTPUT}")]

    def land(self, count: int = 30) -> None:
        for file in raw_day(count):
            self.store.put(f"raw/{DAY_PREFIX}/{file.name}", file.data)

    def target(self, *more: str) -> tuple[str, ...]:
        places = {"raw": f"s3://{self.bucket}/raw", "curated": f"s3://{self.bucket}/curated", **WORDS}
        words = (w for name, value in places.items() for w in (f"--{name.replace('_', '-')}", value))
        return ("compact", *words, "--result-uri", self.result_uri, *more)

    def planned(self) -> tuple[Any, tuple[str, ...]]:
        """A stored plan, and the command that executes it."""
        place = daily(
            Partition(**WORDS),
            raw=f"s3://{self.bucket}/raw",
            curated=f"s3://{self.bucket}/curated",
            compacted_subdir="compacted",
        )
        plan = make_plan(place, resolve_spec(place, "market.prices", {}), RunOptions())
        self.store.put("artifacts/plan.json", plan_to_bytes(plan))
        uri = f"s3://{self.bucket}/artifacts/plan.json"
        return plan, ("compact", "--plan-uri", uri, "--result-uri", self.result_uri)


@pytest.fixture
def day(s3) -> Day:
    return Day(s3.name)


def test_a_stored_plan_is_executed_and_its_result_left_where_it_was_asked_for(day):
    day.land()
    plan, command = day.planned()
    ended = run(*command)
    assert (ended.code, ended.errors) == (0, "")
    result = day.result
    assert (result["status"], result["engine"], result["error"]) == ("PUBLISHED", "dask", None)
    assert (result["plan_id"], result["executor"]) == (plan.plan_id, "dask")
    (file,) = result["outputs"]["files"]
    assert hashlib.sha256(day.store.get(file["key"])).hexdigest() == file["sha256"]


def test_what_was_done_is_said_in_metrics_of_the_environment_and_the_table(day):
    day.land()
    _, command = day.planned()
    (metrics,) = run(*command).metrics
    assert (metrics["Environment"], metrics["Table"]) == ("staging", "market.prices")
    assert (metrics["InputFiles"], metrics["Rows"], metrics["OutputFiles"]) == (30, 30, 1)


def test_the_same_plan_again_is_unchanged(day):
    day.land()
    _, command = day.planned()
    run(*command)
    ended = run(*command)
    assert (ended.code, day.result["status"]) == (0, "UNCHANGED")


def test_without_a_plan_the_words_of_the_target_do(day):
    day.land()
    ended = run(*day.target("--codec", "snappy", "--target-file-mb", "64", "--memory-limit", "2GB"))
    assert (ended.code, day.result["status"]) == (0, "PUBLISHED")


def test_a_table_without_a_declared_schema_is_compacted_by_an_inferred_one(day):
    prefix = DAY_PREFIX.replace("market/prices", "market/quotes")
    day.store.put(f"raw/{prefix}/a.json", b'{"who": "AAPL", "bid": 1.5}\n')
    words = ["quotes" if word == "prices" else word for word in day.target()]
    assert run(*words).code == 0
    assert day.result["rows"] == 1


def test_nothing_to_do_is_exit_code_3(day):
    ended = run(*day.target())
    assert (ended.code, day.result["status"]) == (3, "EMPTY")


def test_a_corrupt_object_is_exit_code_4_and_named_in_the_result(day):
    day.land()
    day.store.put(f"raw/{DAY_PREFIX}/ZZZ.json.gz", gzip.compress(b"{}\n" * 99)[:-9])
    ended = run(*day.target())
    assert ended.code == 4
    error = day.result["error"]
    assert (error["name"], error["exit_code"]) == ("CorruptObject", 4)
    assert "ZZZ.json.gz" in error["message"]
    assert any(line.get("level") == "ERROR" for line in ended.lines)
    assert day.visible == []


@pytest.mark.parametrize(
    "command",
    [
        ("compact", "--plan", "x"),
        ("backfill",),
        (),
        ("compact", "--result-uri", "x"),
        ("compact", "--plan-uri", "x", "--raw", "y"),
        ("compact", "--raw", "x", "--ds", "2025-01-01"),
    ],
    ids=["abbreviated", "other-command", "nothing", "no-target", "two-targets", "half-a-target"],
)
def test_a_command_that_makes_no_sense_is_refused(command):
    with pytest.raises(UsageError):
        parse(command)


def test_a_refused_command_is_exit_code_2_and_one_line_of_json():
    ended = run("compact", "--nonsense", "x")
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert ended.lines[0]["error"]["name"] == "UsageError"


def test_splits_may_fill_a_share_of_what_the_container_has(tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("8589934592\n")
    assert own_memory(limit) == 6_871_947_673
    limit.write_text("max\n")
    assert own_memory(limit) is None
    assert own_memory(tmp_path / "nothing") is None


# -- SIGTERM -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "count"), [("LIST", 1), ("GET", 1), ("GET", 17)])
def test_stopped_while_it_reads_it_ends_143_and_publishes_nothing(day, verb, count):
    day.land()
    ended = run(*day.target(), python=("-c", STOPPED, verb, str(count), ""))
    assert ended.code == 128 + signal.SIGTERM
    assert day.visible == []
    assert (day.result["status"], day.result["error"]["name"]) == ("FAILED", "Interrupted")


def test_stopped_while_it_uploads_it_leaves_no_upload_behind(day):
    prefix = DAY_PREFIX.replace("market/prices", "market/texts")
    for n in range(8):  # 16 MiB
        body = json.dumps({"text": os.urandom(1 << 20).hex()}).encode() + b"\n"
        day.store.put(f"raw/{prefix}/{n:02}.json", body)
    words = ["texts" if word == "prices" else word for word in day.target()]
    ended = run(*words, "--codec", "none", python=("-c", STOPPED, "UPLOAD", "1", ""))
    assert ended.code == 128 + signal.SIGTERM
    assert not [found.key for found in day.store.list("curated/") if "/_" not in found.key]
    assert "Uploads" not in boto3.client("s3").list_multipart_uploads(Bucket=day.bucket)


def test_stopped_after_the_first_visible_write_it_finishes_the_publish(day):
    day.land()
    plan, command = day.planned()
    ended = run(*command, python=("-c", STOPPED, "PUT", "1", ".parquet"))
    assert (ended.code, day.result["status"]) == (0, "PUBLISHED")
    assert run_plan(plan).status.value == "UNCHANGED"
    assert any(line.get("message") == "told to stop" for line in ended.lines)
