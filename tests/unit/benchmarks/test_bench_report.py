"""What the suite makes of its runs: targets, dollars, the page; and every installed peer's rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks import costs, figures, page, suite
from benchmarks.bounds import why_missed
from benchmarks.corpus import corpus
from benchmarks.peers import PEERS
from benchmarks.steady import STEPS, steady_state
from benchmarks.targets import TARGETS, target_rows

# Not arrow: now and then its dataset does not end, for a cause not found yet; the suite shows that as it is.
QUICK = ("briquette", "duckdb", "polars", "datafusion", "chdb", "dask_frame")
SHAPES = ("tiny", "minute-csv", "mixed", "wide", "nested")
# What a peer cannot do: dask's Parquet writer turns lists into text. The suite shows that as it is.
CANNOT = {("dask_frame", "nested")}


@pytest.mark.parametrize(("name", "workload"), [p for p in product(QUICK, SHAPES) if p not in CANNOT])
def test_a_peer_writes_the_rows_of_the_raw_day(workload: str, name: str, tmp_path: Path) -> None:
    made = corpus(workload, 0.002 if workload != "mixed" else 0.003, tmp_path)
    assert suite.run_once(PEERS[name], made, 0, 100).wrong == ""


def test_a_peer_that_loses_the_nesting_is_shown_as_such(tmp_path: Path) -> None:
    made = corpus("nested", 0.002, tmp_path)
    assert suite.run_once(PEERS["dask_frame"], made, 0, 100).wrong.startswith("unreadable")


def some_document(**walls: float) -> dict[str, Any]:
    rest = {"peak_bytes": 5, "output_bytes": 9, "output_files": 1, "own_seconds": None, "wrong": ""}
    peers = {
        name: {"runs": [{"round": 0, "wall_seconds": wall, "cpu_seconds": wall} | rest]}
        for name, wall in walls.items()
    }
    told = {"files": 3, "bytes": 4_000_000, "rows": 5, "bad_records": 0}
    load = {"load_before": (0, 0, 0), "load_after": (0, 0, 0)}
    tiny = {"workload": "tiny", "about": "a <day>", "scale": 1.0, "input": told, "peers": peers} | load
    document = figures.machine() | {"rounds": 1, "versions": {}, "workloads": [tiny]}
    figures.complete(document)
    document["targets"] = target_rows(document)
    document["costs"] = costs.cost_table(costs.rates(document, "tiny"), costs.rates(document, "tiny"))
    return document


def test_targets_are_judged_against_the_fastest_rival_and_not_against_a_baseline() -> None:
    rows = target_rows(some_document(briquette=1.0, duckdb=9.0, polars=2.0, spark=90.0))
    spark, fastest = rows[:2]
    assert (spark["measured"], spark["met"]) == (90.0, True)
    assert (fastest["peer"], fastest["measured"], fastest["met"]) == ("polars", 2.0, False)
    assert all(row["met"] is None for row in rows[2 : 2 * len(TARGETS)])


def test_a_target_stays_open_where_the_input_was_made_smaller() -> None:
    document = some_document(briquette=1.0, polars=9.0)
    document["workloads"][0]["scale"] = 0.1
    assert target_rows(document)[1]["met"] is None


def test_the_page_is_one_well_formed_file_without_script_or_other_addresses() -> None:
    text = page.html(some_document(briquette=1.0, duckdb=3.0, spark=90.0))
    body = text.partition("\n")[2].replace('<meta charset="utf-8">', "")
    body = body.replace('<meta name="viewport" content="width=device-width, initial-scale=1">', "")
    ET.fromstring(body)
    assert "a &lt;day&gt;" in text
    assert "3.00x" in text
    assert "(bar cut)" in text
    for word in ("<script", "http:", "https:", "src=", "url("):
        assert word not in text


def test_dollars_follow_the_stated_formula() -> None:
    machine = costs.Machine("two dollars an hour", 2, 2.0, minimum_seconds=60)
    run = costs.run_dollars(machine, files=10_000, size_bytes=3_600_000_000, bytes_per_vcpu_second=1e6)
    assert run["compute_dollars"] == pytest.approx(1.0)  # 1,800 s
    assert run["request_dollars"] == pytest.approx(0.004 + (6 + 1 + 10) * 0.000005)
    short = costs.run_dollars(machine, files=1, size_bytes=1, bytes_per_vcpu_second=1e6)
    assert short["compute_dollars"] == pytest.approx(2.0 / 60)  # the minimum


def test_the_plain_spark_job_is_priced_on_glue_only() -> None:
    rows = some_document(briquette=1.0, duckdb=2.0, spark=50.0)["costs"]["rows"]
    places = {(row["peer"], row["machine"].partition(" ")[0].rstrip(",")) for row in rows}
    assert ("spark", "Glue") in places
    assert ("spark", "Fargate") not in places
    assert ("duckdb", "Glue") not in places


def test_the_steps_of_the_kernel_share_its_time() -> None:
    told = steady_state(scale=0.001)
    assert set(told["shares"]) == set(STEPS)
    assert sum(told["shares"].values()) == pytest.approx(1)


def test_the_command_writes_its_three_files(tmp_path: Path) -> None:
    words = ["--workloads", "tiny", "--peers", "briquette", "--rounds", "1", "--scale", "0.002"]
    command = [
        sys.executable,
        "-m",
        "briquette.cli.main",
        "bench",
        *words,
        "--store",
        "disk",
        "--no-probes",
        "--json",
    ]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["workloads"][0]["workload"] == "tiny"
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".json", ".md", ".html"}


def test_help_loads_nothing_of_the_benchmarks() -> None:
    program = "import sys, briquette.cli.main; print([m for m in sys.modules if m.startswith('benchmarks')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missed_target_of_time_is_told_with_what_the_run_costs() -> None:
    peers = {
        "briquette": {"wall_seconds": 1.5, "cpu_seconds": 2.5},
        "duckdb": {"wall_seconds": 2.0, "cpu_seconds": 4.0},
    }
    document: dict[str, Any] = {
        "machine": {"cores": 2},
        "workloads": [{"workload": "1gb", "peers": peers, "input": {"bytes": 1_000}}],
        "probes": {
            "steady": {"floor_cpu_seconds": {"zstd": 0.08, "sha256": 0.01}, "bytes": 100},
            "cost_curve": {"start_cpu_seconds": 0.2},
            "scaling": [{"workload": "1gb", "seconds": {"1": 2.2, "2": 1.3}, "speed_up": 1.69}],
        },
        "targets": [
            {"what": "1gb", "target": 2.5, "peer": "duckdb", "met": False},
            {"what": "1gb", "target": 25, "peer": "spark", "met": True},
            {"what": "output size", "target": 1.05, "peer": "", "met": False},
            {"what": "1 to 2 workers, 1gb", "target": 1.8, "peer": "", "met": False},
            {"what": "1 to 2 workers, large", "target": 1.8, "peer": "", "met": None},
        ],
    }
    wall, scaling = why_missed(document)
    assert wall.startswith(
        "1gb, 2.5 times DuckDB: that is 0.80 s. The run spends 2.50 s of CPU time, 1.25 s if"
    )
    assert "0.20 s of it is starting up" in wall
    assert "0.90 s is libzstd and SHA-256" in wall
    assert scaling.startswith("1gb, one worker to two: 2.20 s and 1.30 s.")
    assert "1.83 times as fast" in scaling  # 2.2 / (0.2 + 2.0 / 2)
    assert why_missed(document | {"probes": None}) == []


def test_the_page_says_memory_in_gigabytes_and_leaves_out_what_was_not_run() -> None:
    document = some_document(briquette=1.0, duckdb=3.0)
    document["machine"]["memory"] = "24684092 kB"
    text = page.html(document)
    assert "25.3 GB" in text
    assert "kB" not in text
    assert text.count(">open<") == 1  # PySpark's, of the workload that was run
    assert "targets are about what this run left out" in text
    assert "minute-csv" not in text
    assert "25.3 GB" in figures.markdown(document)


def test_a_peer_without_a_time_says_why_where_its_bar_would_be() -> None:
    document = some_document(briquette=1.0, duckdb=3.0)
    document["workloads"][0]["peers"]["duckdb"] |= {"wall_seconds": None, "wrong": "did not end <in> time"}
    text = page.html(document)
    assert '<span class="track"><span>did not end &lt;in&gt; time</span></span>' in text


def test_the_longest_label_of_a_bar_has_room() -> None:
    """The bar ends where the label begins, whatever both are: no drawing of a fixed width cuts it off."""
    text = page.html(some_document(briquette=0.2, duckdb=38.0, spark=3_456.78))
    shares = [float(share) for share in re.findall(r"--share:([0-9.]+)", text)]
    assert shares == [0.1, 1.0, 1.0]
    assert "3456.78 s · 17283.90x (bar cut)" in text
    assert "calc((100% - 12.5rem) * var(--share))" in text
