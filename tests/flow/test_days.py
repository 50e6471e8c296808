"""``briquette run`` and ``backfill``: a day through all stages, and many days on their own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from briquette.datasets.read import open_dataset
from briquette.errors import CorruptObject, RejectLimitExceeded, SourceChanged
from briquette.model import Partition
from briquette.pipeline.backfill import backfill
from briquette.pipeline.run_day import DayResult, Step
from briquette.planning.target import daily
from tests.invariants import snapshot

DAYS = ("2024-01-15", "2024-01-16", "2024-01-17")
TWO_DAYS = ("--start", DAYS[0], "--end", DAYS[1])
SOURCE = ("--domain", "market", "--table", "prices", "--interval", "1d", "--data-source", "yahoo")


def land(raw: Path, ds: str, count: int = 120, **changes: object) -> None:
    year, month, day = ds.split("-")
    folder = raw / f"market/prices/interval=1d/data_source=yahoo/year={year}/month={month}/day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        record = {"symbol": f"S{i:04d}", "timestamp": f"{ds}T00:00:00", "adjusted_close": 5.0 + i}
        record |= {"open": 10.0 + i, "high": 12.0 + i, "low": 9.0 + i, "close": 10.0 + 2 * i, "volume": 100.0}
        (folder / f"S{i:04d}.json").write_text(json.dumps({**record, **changes}) + "\n")


def briquette(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = ("--raw", str(tmp_path / "raw"), "--curated", str(tmp_path / "curated"))
    command = [sys.executable, "-m", "briquette", *words, *SOURCE, *places]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def steps(document: dict) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in document["steps"]}


def test_a_day_goes_through_all_stages_and_again_writes_nothing(tmp_path):
    land(tmp_path / "raw", DAYS[0])
    told = briquette(tmp_path, "run", "--ds", DAYS[0])
    assert told.returncode == 0, told.stderr
    names = [line.split()[1] for line in told.stdout.splitlines()[:-1]]
    assert names == ["preflight", "compaction", "guard", "transform", "indicators"]
    assert told.stdout.splitlines()[-1] == f"PUBLISHED  market/prices/1d/yahoo/{DAYS[0]}"
    for place in ("prices/compacted", "prices", "indicators"):
        assert open_dataset(tmp_path / "curated/market" / place, DAYS[0]).manifest.rows == 120
    before = snapshot(tmp_path / "curated")
    document = json.loads(briquette(tmp_path, "run", "--ds", DAYS[0], "--json").stdout)
    assert (document["status"], document["rows"], document["files"]) == ("UNCHANGED", 120, 1)
    assert set(steps(document).values()) == {"DONE"}
    assert snapshot(tmp_path / "curated") == before


COUNTED = """
import sys
from dask.callbacks import Callback
seen = []
Callback(pretask=lambda key, *_: seen.append(str(key))).register()
from briquette.cli.main import main
try:
    main()
finally:
    print("tasks:", sum(key.startswith("split-") for key in seen), file=sys.stderr)
"""


def test_a_day_whose_engine_is_dask_is_scheduled_by_dask(tmp_path):
    land(tmp_path / "raw", DAYS[0])
    places = ("--raw", str(tmp_path / "raw"), "--curated", str(tmp_path / "curated"))
    command = [sys.executable, "-c", COUNTED, "run", "--ds", DAYS[0], *SOURCE, *places, "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["engine"] == "dask"
    assert told.stderr.splitlines()[-1] == "tasks: 3"  # compaction, transform, indicators: a split of each


def test_an_empty_day_skips_the_later_stages_and_says_nothing_to_do(tmp_path):
    (tmp_path / "raw").mkdir()
    told = briquette(tmp_path, "run", "--ds", DAYS[0], "--json")
    assert told.returncode == 3
    document = json.loads(told.stdout)
    assert document["status"] == "EMPTY"
    assert steps(document) == {
        "preflight": "DONE",
        "compaction": "DONE",
        "guard": "DONE",
        "transform": "SKIPPED",
        "indicators": "SKIPPED",
    }
    assert not (tmp_path / "curated").exists()


def test_a_day_that_became_empty_does_not_pass_on_what_was_published_before(tmp_path):
    """Upstream's guard found yesterday's output there and processed it again."""
    land(tmp_path / "raw", DAYS[0])
    assert briquette(tmp_path, "run", "--ds", DAYS[0]).returncode == 0
    for file in (tmp_path / "raw").rglob("*.json"):
        file.unlink()
    document = json.loads(briquette(tmp_path, "run", "--ds", DAYS[0], "--json").stdout)
    assert document["status"] == "EMPTY"
    assert steps(document)["transform"] == "SKIPPED"
    guard = next(step for step in document["steps"] if step["name"] == "guard")
    assert "not of this run" in guard["message"]


def test_a_day_of_bad_quality_fails_in_the_transform_with_its_exit_code(tmp_path):
    land(tmp_path / "raw", DAYS[0], close=-1.0)
    told = briquette(tmp_path, "run", "--ds", DAYS[0], "--json")
    assert told.returncode == 5
    document = json.loads(told.stdout)
    assert (document["status"], document["error"], document["step"]) == (
        "FAILED",
        "DataQualityFailed",
        "transform",
    )
    assert "indicators" not in steps(document)
    assert "120 negative close" in document["cause"]


def test_bad_input_fails_in_the_compaction_with_a_next_step(tmp_path):
    land(tmp_path / "raw", DAYS[0])
    next((tmp_path / "raw").rglob("S0007.json")).write_bytes(b"\x1f\x8b\x08cut")
    told = briquette(tmp_path, "run", "--ds", DAYS[0])
    assert told.returncode == 4
    assert "FAIL  compaction" in told.stdout
    assert "S0007.json" in told.stdout


def test_a_backfill_goes_on_after_a_day_that_fails_and_is_resumed_by_running_it_again(tmp_path):
    for ds in DAYS:
        land(tmp_path / "raw", ds)
    spoiled = (
        tmp_path / "raw/market/prices/interval=1d/data_source=yahoo/year=2024/month=01/day=16/S0000.json"
    )
    good = spoiled.read_bytes()
    spoiled.write_bytes(b"\x1f\x8b\x08cut")
    words = ("backfill", "--start", "2024-01-14", "--end", DAYS[2], "--stages", "all")
    told = briquette(tmp_path, *words)
    assert told.returncode == 4
    lines = told.stdout.splitlines()
    assert [line.split()[1:3] for line in lines[:4]] == [  # indicators come once every day is transformed
        ["2024-01-14", "EMPTY"],
        [DAYS[1], "FAILED"],
        [DAYS[0], "PUBLISHED"],
        [DAYS[2], "PUBLISHED"],
    ]
    assert lines[4].startswith("4 days: 2 published, 0 unchanged, 1 empty, 1 failed; 240 rows in 2 parts")
    assert lines[5].split()[:2] == [DAYS[1], "CorruptObject:"]
    spoiled.write_bytes(good)
    again = json.loads(briquette(tmp_path, *words, "--json").stdout)
    assert again["ok"]
    assert [d["status"] for d in again["partitions"]] == ["EMPTY", "UNCHANGED", "PUBLISHED", "UNCHANGED"]
    assert again["stats"]["rowCount"] == 360
    later = json.loads(briquette(tmp_path, *words, "--json").stdout)
    # The indicators of the last day look back at the day that was mended; after that nothing is left.
    assert [d["status"] for d in later["partitions"]] == ["EMPTY", "UNCHANGED", "UNCHANGED", "UNCHANGED"]
    assert later["stats"]["bytesWritten"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--start", "2024-01-15"), "from --start to --end"),
        (("--start", "2024-01-16", "--end", "2024-01-15"), "Swap them"),
        (("--start", "2024-02-30", "--end", "2024-03-01"), "not a date"),
        (("--start", "2024-01-15", "--end", "2024-01-16", "--stages", "most"), "Use compaction or all"),
        (("--start", "2024-01-15", "--end", "2024-01-16", "--set", "C"), "Choose A or B"),
    ],
)
def test_a_backfill_that_cannot_be_meant_is_a_usage_error(tmp_path, words, said):
    told = briquette(tmp_path, "backfill", *words)
    assert told.returncode == 2
    assert said in told.stderr


# -- many days, without the stages -------------------------------------------------------------------


def targets(count: int):
    names = {"domain": "m", "table": "p", "interval": "1d", "data_source": "s"}
    return [
        daily(Partition(**names, ds=f"2024-01-{i + 1:02d}"), raw="/r", curated="/c") for i in range(count)
    ]


def ended(ds: str, status: str = "PUBLISHED", error=None) -> DayResult:
    return DayResult(ds, "FAILED" if error else status, (Step("compaction", "DONE", ""),), 1, 1, 1, error)


def test_days_run_side_by_side_and_are_reported_in_their_order():
    both = threading.Barrier(2, timeout=30)

    def run(target):
        both.wait()  # passes only while two days run at once
        return ended(target.partition.ds)

    heard = []
    result = backfill(targets(6), run, days_at_once=2, on_day=heard.append)
    assert [day.ds for day in result.days] == [f"2024-01-{i:02d}" for i in range(1, 7)]
    assert len(heard) == 6
    assert threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize(
    ("days", "code"),
    [
        ([ended("a"), ended("b", "EMPTY")], 0),
        ([ended("a", "EMPTY"), ended("b", "EMPTY")], 3),
        ([ended("a"), ended("b", error=CorruptObject("x"))], 4),
        ([ended("a", error=RejectLimitExceeded("x")), ended("b", error=CorruptObject("x"))], 4),
        ([ended("a", error=RejectLimitExceeded("x")), ended("b", error=SourceChanged("x"))], 1),
    ],
)
def test_the_exit_code_of_a_backfill_says_who_should_act(days, code):
    waiting = iter(days)
    assert backfill(targets(len(days)), lambda _: next(waiting)).exit_code == code


def test_a_defect_in_a_day_ends_the_backfill():
    def run(target):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        backfill(targets(3), run)
