"""The benchmark of the indicators at a tiny scale: bars that stay the same, figures that say what ran."""

from __future__ import annotations

import json
import sys

from benchmarks import indicators
from briquette.prices.columns import SET_B


def figures(monkeypatch, capsys, *options: str) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", ["indicators", "--symbols", "30", "--sessions", "90", *options])
    indicators.main()
    return json.loads(capsys.readouterr().out)


def test_it_measures_a_whole_day_of_the_set(monkeypatch, capsys):
    told = figures(monkeypatch, capsys)
    assert (told["set"], told["rows"], told["columns"]) == ("B", 30, len(SET_B.columns))
    assert told["impossible"] == told["too_large"] == {}
    assert told["compute_cpu_seconds"] >= 0


def test_blocks_do_not_change_the_result(monkeypatch, capsys):
    whole, in_blocks = (figures(monkeypatch, capsys, "--block-symbols", n) for n in ("1024", "7"))
    assert whole["sha256"] == in_blocks["sha256"]


def test_the_bars_stay_the_same():
    first, again = (indicators.daily_tables(12, 20, 0.2) for _ in range(2))
    assert [(day, table.to_pydict()) for day, table in first] == [
        (day, table.to_pydict()) for day, table in again
    ]
    assert len(first) == 20
    assert first[-1][1].num_rows == 12
