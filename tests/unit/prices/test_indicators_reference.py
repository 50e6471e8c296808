"""Every indicator agrees with its formula in plain Python, and is null exactly where that has no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from briquette.prices.columns import SET_A, SET_B
from briquette.prices.indicators import compute_block, history
from briquette.prices.panel import PRICE_COLUMNS, Panel
from tests.unit.prices import plain_formulas as plain
from tests.unit.prices.histories import cut, random_panel, real_panel

FORMULAS = {"A": plain.set_a, "B": plain.set_b}


def own_bars(panel: Panel, symbol: int) -> list[plain.Bar]:
    arrays = dict(panel.arrays())
    wanted = [arrays.get(name) for name in (*PRICE_COLUMNS, "vwap", "market_return")]
    rows = [
        tuple(None if a is None or math.isnan(a[t, symbol]) else float(a[t, symbol]) for a in wanted)
        for t in range(len(panel.sessions))
    ]
    return [row for row in rows if row[plain.CLOSE] is not None]


def assert_agrees(panel: Panel, chosen, symbols) -> None:
    values = compute_block(panel, chosen)
    for symbol in symbols:
        bars = own_bars(panel, symbol)
        expected = FORMULAS[chosen.name](bars)
        assert set(expected) == set(values)
        for name, right in expected.items():
            got = float(values[name][symbol])
            if right is None:
                assert math.isnan(got), f"{name} of symbol {symbol} is {got}, and should be null"
                continue
            scale = max(abs(right), 1.0) if name not in ("obv", "adi") else 1e6
            assert abs(got - right) <= 1e-9 * scale, f"{name} of symbol {symbol} is {got}, not {right}"


@pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
@pytest.mark.parametrize("sessions", [1, 2, 14, 15, 20, 61, 130, 300])
def test_indicators_follow_their_formulas_from_the_first_bar_on(chosen, sessions):
    assert_agrees(random_panel(sessions, sessions, 3), chosen, range(3))


@pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
@pytest.mark.parametrize("seed", range(4))
def test_gaps_and_empty_cells_are_null_or_skipped_as_the_formulas_say(chosen, seed):
    panel = random_panel(seed, 280, 6, gaps=0.1, holes=0.004)
    traded = np.flatnonzero(panel.present[-1] & ~np.isnan(panel.close[-1]))
    assert len(traded) > 2
    assert_agrees(panel, chosen, traded.tolist())


@pytest.mark.parametrize("day", [90, 300])
def test_real_symbols_with_empty_cells_follow_the_formulas(day):
    panel = real_panel()
    holes = np.isnan(panel.open) | np.isnan(panel.high) | np.isnan(panel.low)
    odd = np.flatnonzero((holes & panel.present).any(axis=0))
    at = int(np.flatnonzero((holes & panel.present).any(axis=1))[0])
    for stop in (at + 1, at + 5, day):
        here = [s for s in odd.tolist() if panel.present[stop - 1, s]]
        assert here
        assert_agrees(cut(panel, max(stop - 90, 0), stop), SET_B, here[:4])


def test_vwap_is_passed_through():
    panel = random_panel(1, 30, 2)
    vwap = panel.close * 1.01
    arrays = {**dict(panel.arrays()), "vwap": vwap}
    values = compute_block(Panel(panel.sessions, panel.symbols, **arrays), SET_B)
    assert values["vwap_d"].tolist() == vwap[-1].tolist()


@pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
def test_a_day_of_a_history_is_what_that_day_alone_gives(chosen):
    panel = random_panel(7, 290, 5, gaps=0.1, holes=0.003)
    whole = history(panel, chosen)
    for stop in (1, 2, 30, 100, 251, 270, 290):
        day = compute_block(cut(panel, 0, stop), chosen)
        for name, values in day.items():
            if name == "ichimoku_chikou":
                assert np.isnan(values).all()
                continue
            here = np.where(panel.present[stop - 1], whole[name][stop - 1], np.nan)
            np.testing.assert_array_equal(values, here, err_msg=f"{name} after {stop} sessions")


def test_a_history_knows_the_lagging_span_of_old_bars():
    panel = random_panel(3, 60, 2)
    lagging = history(panel, SET_B)["ichimoku_chikou"]
    np.testing.assert_array_equal(lagging[:34], panel.close[26:])
    assert np.isnan(lagging[34:]).all()
