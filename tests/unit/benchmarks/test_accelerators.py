"""The comparison of switches at a tiny scale: every variant runs and writes the same parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import accelerators
from benchmarks.accelerators import Run, Variant, compare, summary, variants
from benchmarks.corpus import corpus
from briquette.accelerators import Accelerator


def test_a_tiny_day_is_compared_and_reported(tmp_path: Path) -> None:
    folders = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert accelerators.main(["--days", "minute:0.001", "--rounds", "1", "--parsers", *folders]) == 0
    (results,) = (tmp_path / "out").glob("*.json")
    (day,) = json.loads(results.read_text())["days"]
    names = [line["variant"] for line in day["variants"]]
    assert names[0] == accelerators.FULL
    assert names[-1] == accelerators.WITHOUT_ALL
    assert day["variants"][0]["cpu_ratio"] == 1.0
    assert all(name in results.with_suffix(".md").read_text() for name in names)


def test_each_place_has_the_switches_that_matter_there() -> None:
    named = {
        on_s3: " ".join(v.name for v in variants("p", on_s3=on_s3, parsers=True)) for on_s3 in (True, False)
    }
    assert all(a in named[True] + named[False] for a in Accelerator)
    assert Accelerator.PREFETCH not in named[False]
    assert Accelerator.EARLY_PARTS not in named[True]


def test_other_parts_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = corpus("one", 1, tmp_path)
    monkeypatch.setattr(accelerators, "run_once", lambda variant, *_: Run(1.0, 1.0, variant.name))
    with pytest.raises(RuntimeError, match="the same parts"):
        compare([Variant("a", ""), Variant("b", "")], made, None, 1)


def test_ratios_are_taken_within_rounds() -> None:
    base = [Run(wall, 1.0, "") for wall in (1.0, 10.0, 2.0)]
    other = [Run(2 * run.wall, 3.0, "") for run in base]
    line = summary({"all": base, "off": other})[1]
    assert (line["wall_ratio"], line["cpu_ratio"], line["least_wall_seconds"]) == (2.0, 3.0, 2.0)
