"""What a command says: one suggestion, options checked before reading, logs and times that are true."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from briquette.cli.demo import run_demo
from briquette.compaction.api import compact
from briquette.compaction.options import RunOptions
from briquette.errors import UsageError
from briquette.executors import FEW_SPLITS
from tests.flow.test_cli import ROOT, SCHEMA, briquette, document
from tests.flow.test_compaction import crumbs, land, lines, row


def logged(text: str) -> list[dict]:
    """Every line of stderr, each of which must be a JSON object."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def places(tmp_path) -> tuple[object, ...]:
    land(tmp_path / "raw", crumbs(3))
    return ("--input", tmp_path / "raw", "--output", tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("compct",), "compact"),
        (("config", "shw"), "show"),
        (("--verson",), "--version"),
        (("compact", "--inputt", "x"), "--input"),
        (("config", "show", "--env", "dev", "--set", "compaction_codek=zstd"), "compaction_codec"),
    ],
)
def test_one_suggestion_is_made_and_made_once(words, meant):
    done = briquette(*words)
    assert done.returncode == 2
    assert re.findall(r"Did you mean ([^?]*)\?", done.stderr) == [meant]
    assert done.stderr.count("Did you mean") == 1
    assert "Traceback" not in done.stderr


def test_a_column_that_was_nearly_meant_is_suggested(places):
    done = briquette("compact", *places, "--unique-key", "idd")
    assert (done.returncode, done.stderr.count("Did you mean id?")) == (2, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--codec", "lzma"),
        ("--publish", "inplace"),
        ("--extra-fields", "keep"),
        ("--target-file-mb", "0"),
        ("--target-file-mb", "-1"),
        ("--target-file-mb", "nan"),
        ("--target-file-mb", "1e300"),
        ("--max-reject-ratio", "2"),
        ("--max-reject-ratio", "nan"),
        ("--memory-limit", "1MB"),
        ("--memory-limit", "200MB", "--workers", "4"),
        ("--executor", "dusk"),
        ("--executor", "serial", "--scheduler", "tcp://h:1"),
        ("--scheduler", "tcp://h:1", "--ray-address", "h:1"),
        ("--workers", "-1"),
        ("--on-empty", "explode"),
        ("--batch-manifest", "burn"),
        ("--log-format", "xml"),
    ],
    ids=" ".join,
)
def test_options_are_checked_before_anything_is_read(tmp_path, words):
    land(tmp_path / "raw", {"a.json.gz": b"\x1f\x8b\x08\x00cut"})  # whoever read it would say CorruptObject
    done = briquette("compact", "--input", tmp_path / "raw", "--output", tmp_path / "out", *words)
    assert done.returncode == 2, done.stderr
    assert "CorruptObject" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_for_the_answer_is_checked_before_anything_is_read(tmp_path):
    land(tmp_path / "raw", {"a.json.gz": b"\x1f\x8b\x08\x00cut"})
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "s.toml", tmp_path / "raw"):
        done = briquette("infer", "--input", tmp_path / "raw", "--out", out)
        assert (done.returncode, "cannot be written" in done.stderr) == (2, True), done.stderr


def test_a_stored_plan_goes_with_no_other_target_or_spec(places, tmp_path):
    briquette("plan", *places, "--out", tmp_path / "plan.json")
    for more in (("--codec", "gzip"), places):
        done = briquette("compact", "--plan", tmp_path / "plan.json", *more)
        assert (done.returncode, "a stored plan already says" in done.stderr) == (2, True)
    assert briquette("compact", "--plan", tmp_path / "plan.json").returncode == 0


def test_the_library_checks_its_options_first_too(tmp_path):
    land(tmp_path / "raw", {"a.json.gz": b"\x1f\x8b\x08\x00cut"})
    for options, spec in (
        (RunOptions(executor="dusk"), {}),
        (RunOptions(memory_limit_bytes=1_000_000), {}),
        (RunOptions(), {"codec": "lzma"}),
        (RunOptions(), {"publish": "inplace"}),
        (RunOptions(), {"target_file_mb": 0}),
    ):
        with pytest.raises(UsageError):
            compact(input=tmp_path / "raw", output=tmp_path / "out", options=options, **spec)


def test_a_limit_that_one_split_may_pass_is_said(places):
    done = briquette("compact", *places, "--memory-limit", "200MB")
    assert done.returncode == 0
    assert "more than the memory limit of 200 MB" in done.stderr


def test_json_logs_tell_a_run_with_the_time_of_each_line(places):
    done = briquette("compact", *places, "--log-format", "json", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    told = logged(done.stderr)
    assert [line["message"] for line in told] == ["planned", "published"]
    assert told[-1]["rows"] == 9
    for line in told:
        at = datetime.fromisoformat(line["timestamp"])
        assert at.utcoffset().total_seconds() == 0
        assert abs(at.timestamp() - time.time()) < 600


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("compact", "--input", "nowhere", "--output", "out"), "UsageError"),
        (("compact", "--colour", "red"), "UsageError"),
        (("inspect", "nowhere"), "NoDataset"),
    ],
)
def test_errors_are_json_where_logs_are(words, name, tmp_path):
    for more in (("--log-format", "json"), ("--log-format=json", "--json")):
        done = briquette(*words, *more, cwd=tmp_path)
        [line] = logged(done.stderr)
        assert (line["level"], line["error"]["name"], line["error"]["exit_code"]) == ("ERROR", name, 2)
        assert line["timestamp"].endswith("Z")
        assert ("--json" in more) == bool(done.stdout)
        if done.stdout:
            assert document(done)["error"]["name"] == name


@pytest.mark.parametrize(
    ("executor", "splits", "ran"),
    [
        ("auto", FEW_SPLITS, "threads"),
        ("auto", FEW_SPLITS + 1, "dask"),
        ("dask", 1, "dask"),
        ("threads", FEW_SPLITS + 1, "threads"),
        ("serial", 2, "serial"),
    ],
)
def test_the_executor_that_is_printed_is_the_one_that_ran(executor, splits, ran):
    code = (
        "import sys\n"
        "from briquette.executors import open_executor\n"
        f"executor = open_executor({executor!r}, splits={splits}, concurrency=2)\n"
        f"executor.map(abs, list(range({splits})), lambda _: None)\n"
        "print(executor.name, 'dask.threaded' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == [ran, str(ran == "dask")]


def test_dask_schedules_every_split_of_the_demo(tmp_path):
    from dask.callbacks import Callback

    seen: list[str] = []
    with Callback(pretask=lambda key, *_: seen.append(str(key))):
        document = run_demo(tmp_path / "demo", 40, say=lambda _: None)
    assert document["compact"]["executor"] == "dask"
    splits = [key for key in seen if key.startswith("split-")]  # the rest is the frame that is read back
    assert len(splits) == document["compact"]["splits"]["all"] > 0


def test_nothing_is_said_to_have_run_where_nothing_ran(places):
    assert document(briquette("compact", *places, "--json"))["executor"] == "threads"
    assert document(briquette("compact", *places, "--json"))["executor"] == "none"


def test_the_time_that_is_printed_counts_from_the_start_of_the_process(places):
    # A process that began 1,000 s ago, whatever its work took: what is printed is what a user waited.
    code = (
        "from briquette.cli.main import main; from briquette.cli import output; output.BEGAN -= 1000; main()"
    )
    command = [sys.executable, "-c", code, "compact", *map(str, places), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert 1000 < document(done)["seconds"] < 2000


def stopped(command: list[object], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a command that has begun to read; its exit code and stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "briquette", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        assert process.stderr
        first = process.stderr.readline()  # "planned": signals are taken, and the splits are still to come
        os.killpg(process.pid, number)
        rest = process.communicate(timeout=100)[1]
    assert "planned" in first, first + rest
    return process.returncode, rest


def test_ctrl_c_says_what_sigterm_says(tmp_path):
    (tmp_path / "s.toml").write_text(SCHEMA)
    body = lines([row(i) for i in range(20_000)])
    land(tmp_path / "raw", {f"{i:03}.json": body for i in range(120)})
    places = ("--input", tmp_path / "raw", "--output", tmp_path / "out", "--schema", tmp_path / "s.toml")
    words = ["compact", *places, "--threads", 1, "--log-format", "json"]
    code, said = stopped(words, signal.SIGTERM)
    again, by_hand = stopped(words, signal.SIGINT)
    assert (code, again) == (143, 130), said + by_hand
    [term], [interrupt] = logged(said), logged(by_hand)
    assert term["error"]["name"] == interrupt["error"]["name"] == "Interrupted"
    assert term["message"] == interrupt["message"].replace("Ctrl-C", "SIGTERM")
    assert not list(Path(tmp_path / "out").glob("*.parquet"))


def test_workers_of_a_script_without_a_main_guard_do_not_run_it_again(tmp_path):
    land(tmp_path / "raw", crumbs(3))
    (tmp_path / "s.toml").write_text(SCHEMA)
    script = tmp_path / "script.py"
    script.write_text(
        "from briquette import compact\n"
        "from briquette.compaction.options import RunOptions\n"
        "print('once')\n"
        "done = compact(input='raw', output='out', schema='s.toml', options=RunOptions(workers=1))\n"
        "print(done.status, done.executor)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "once\nPUBLISHED dask\n"), done.stderr
