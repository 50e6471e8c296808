"""The suite at a tiny scale: raw days that stay the same, rows that are checked, figures that are derived."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import figures, suite
from benchmarks.corpus import WORKLOADS, corpus, good_rows, raw_files, ticker
from benchmarks.measure import measure
from benchmarks.peers import PEERS
from benchmarks.rows import summarise


def first_table() -> pa.Table:
    return good_rows(list(raw_files(WORKLOADS["minute"], scale=0.001)))


def test_two_peers_write_the_same_rows_and_the_suite_says_so(tmp_path: Path) -> None:
    small = [
        "--workloads",
        "tiny,minute-gz",
        "--scale",
        "0.002",
        "--peers",
        "briquette,duckdb",
        "--rounds",
        "1",
    ]
    folders = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    code = suite.main([*small, *folders])
    (results,) = (tmp_path / "out").glob("*.json")
    document = json.loads(results.read_text(encoding="utf-8"))
    for workload in document["workloads"]:
        assert set(workload["peers"]) == {"briquette", "duckdb"}
        for name, peer in workload["peers"].items():
            assert peer["wrong"] == "", name
            assert peer["output_bytes"] > 0
            assert peer["cpu_seconds"] > 0
        assert workload["peers"]["duckdb"]["wall_ratio"] > 0
    assert code == 0
    table = results.with_suffix(".md").read_text(encoding="utf-8")
    assert table.count("| equal |") == 4
    assert str(tmp_path) not in table + results.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tiny", "061dd41a4f69bc1c"),
        ("minute-csv", "ccd3937c02170f2d"),
        ("dirty", "329cb7e716534eeb"),
        ("mixed", "cff240698fcc6054"),
        ("huge", "6d3d8215506ad37a"),
        ("wide", "0090d510bbbc0474"),
        ("nested", "0ba53fcb8f8202e1"),
    ],
)
def test_a_raw_day_is_the_same_bytes_on_every_machine(name: str, digest: str) -> None:
    files = list(raw_files(WORKLOADS[name], scale=0.002))
    text = b"".join(file.name.encode() + b"\0" + file.text for file in files)
    assert hashlib.sha256(text).hexdigest()[:16] == digest


def test_the_formats_of_the_minute_day_hold_the_same_rows(tmp_path: Path) -> None:
    made = [corpus(name, 0.002, tmp_path) for name in ("minute", "minute-csv", "minute-gz")]
    assert len({one.expected for one in made}) == 1
    assert made[0].expected.rows == 4 * 390


def test_a_cached_raw_day_is_taken_as_it_is(tmp_path: Path) -> None:
    made = corpus("tiny", 0.002, tmp_path)
    marks = {file: file.stat().st_mtime_ns for file in made.folder.iterdir()}
    assert corpus("tiny", 0.002, tmp_path) == made
    assert marks == {file: file.stat().st_mtime_ns for file in made.folder.iterdir()}


def test_symbols_are_unique() -> None:
    assert len({ticker(i) for i in range(100_000)}) == 100_000


def test_rows_are_the_same_in_any_order_and_in_any_number_of_pieces() -> None:
    table = first_table()
    turned = table.take(list(range(table.num_rows))[::-1]).select(table.column_names[::-1])
    pieces = summarise(turned.slice(0, 300)) + summarise(turned.slice(300))
    assert summarise(table).differences(pieces) == []


def test_rows_that_are_not_the_same_are_told_apart() -> None:
    table = first_table()
    truth = summarise(table)

    def with_column(name: str, values: list[object]) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, pa.array(values, table.schema.field(name).type))

    opens, lows = table["open"].to_pylist(), table["low"].to_pylist()
    swapped = with_column("open", [opens[1], opens[0], *opens[2:]])
    nudged = with_column("low", [lows[0] + 1e-9, *lows[1:]])
    nulled = with_column("low", [None, *lows[1:]])
    renamed = with_column("symbol", ["other", *table["symbol"].to_pylist()[1:]])
    for wrong in (table.slice(1), swapped, nudged, nulled, renamed):
        assert truth.differences(summarise(wrong))


def test_a_peer_that_writes_wrong_rows_is_shown_as_such_and_not_run_again(tmp_path: Path) -> None:
    made = corpus("tiny", 0.001, tmp_path)
    claims_more = replace(made, expected=replace(made.expected, rows=made.expected.rows + 1))
    told = suite.run_workload(claims_more, [PEERS["duckdb"]], rounds=3, timeout_seconds=60)
    (run,) = told["peers"]["duckdb"]["runs"]
    assert run["wrong"] == "10 rows instead of 11"


def test_what_a_command_starts_is_measured_with_it(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}])"
    told = measure([sys.executable, "-c", orphan], cwd=tmp_path, timeout_seconds=60)
    assert told["exit_code"] == 0
    assert told["cpu_seconds"] >= 0.3


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    told = measure([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path, timeout_seconds=0.5)
    assert told["timed_out"]
    assert told["exit_code"] < 0


def some_runs(*walls: float, wrong: str = "") -> dict[str, object]:
    rest = {"peak_bytes": 1, "output_bytes": 1, "output_files": 1, "own_seconds": None, "wrong": wrong}
    return {"runs": [{"round": i, "wall_seconds": w, "cpu_seconds": w} | rest for i, w in enumerate(walls)]}


def test_ratios_are_taken_within_a_round_and_then_their_median() -> None:
    peers = {"briquette": some_runs(1.0, 2.0, 4.0), "duckdb": some_runs(3.0, 4.0)}
    done = figures.complete({"workloads": [{"peers": peers}]})["workloads"][0]["peers"]
    assert done["duckdb"]["wall_ratio"] == 2.5
    assert done["briquette"]["wall_seconds"] == 2.0


def test_a_run_that_went_wrong_counts_for_nothing() -> None:
    peers = {"briquette": some_runs(1.0), "polars": some_runs(0.1, wrong="9 rows instead of 10")}
    done = figures.complete({"workloads": [{"peers": peers}]})["workloads"][0]["peers"]
    assert done["polars"]["wall_ratio"] is None
    assert done["polars"]["wall_seconds"] is None
    assert done["polars"]["wrong"] == "9 rows instead of 10"


def test_messages_in_results_name_no_folder_of_this_machine() -> None:
    assert figures.without_places('no file "/srv/me/x/part.parquet"') == 'no file "…/part.parquet"'
    assert figures.without_places("see https://duckdb.org/docs/data") == "see https://duckdb.org/docs/data"
