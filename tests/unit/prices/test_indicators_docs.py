"""docs/indicators.md says what the code does: every column, its type, bars, warm-up and range."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from briquette.prices.columns import SET_A, SET_B, sessions_needed
from briquette.prices.indicators import history
from briquette.prices.windows import warm_up
from tests.unit.prices.histories import random_panel

PAGE = (Path(__file__).parents[3] / "docs" / "indicators.md").read_text(encoding="utf-8")
WORDS = {"float": "float", "double": "double", "int64": "bigint"}
SETS = pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
# These answer before their windows are full, or never on the day.
SOONER = {"obv", "adi", "beta_60", "corr_mkt_60"}


def documented(name: str) -> dict[str, list[str]]:
    section = PAGE.split(f"## Set {name}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", section.replace("\\|", "¦"), re.MULTILINE)
    return {column: [cell.strip() for cell in rest.split(" |")] for column, rest in lines}


@SETS
def test_every_indicator_is_documented_in_order(chosen):
    passed_through = {"open", "high", "low", "close", "volume"}
    assert list(documented(chosen.name)) == [
        c.name for c in chosen.indicators if c.name not in passed_through
    ]


@SETS
def test_documented_types_bars_warm_up_and_ranges_are_the_codes(chosen):
    columns = {c.name: c for c in chosen.indicators}
    for name, (kind, _formula, bars, warm, _null, bounds) in documented(chosen.name).items():
        column = columns[name]
        assert kind == WORDS.get(str(column.type), str(column.type).replace("decimal128", "decimal")), name
        assert (int(bars), int(warm)) == (column.bars, warm_up(column.alphas)), name
        least, most = column.least, column.most
        if least is None:
            said = ""
        elif most is None:
            said = f"≥ {least:g}"
        else:
            said = f"{least:g}..{most:g}".replace("-", "−")
        assert bounds == said, name


@SETS
def test_the_bars_of_a_column_are_those_it_is_null_without(chosen):
    panel = random_panel(5, 270, 4)
    for column in chosen.indicators:
        if column.name in SOONER | {"vwap_d", "ichimoku_chikou"}:
            continue
        known = ~np.isnan(history(panel, chosen)[column.name])
        assert not known[: column.bars - 1].any(), column.name
        if column.name != "adx_14":  # an inside bar has no direction
            assert known[column.bars - 1 :].all(), column.name


def test_look_backs_on_the_page_are_the_codes():
    assert f"{sessions_needed(SET_A)} for A, {sessions_needed(SET_B)} for B" in PAGE
    assert f"`sessions_needed(SET_B, seed_influence=1e-6)` is {sessions_needed(SET_B, 1e-6)}" in PAGE
    assert f"1e-4 gives {sessions_needed(SET_B, 1e-4)}" in PAGE
    assert f"set B checks {len(SET_B.checked)} columns" in PAGE
