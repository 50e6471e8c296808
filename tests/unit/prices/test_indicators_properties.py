"""What must not matter does not: neighbours, order, blocks, dates, units of price, where reading starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.prices.columns import SET_A, SET_B, sessions_needed
from briquette.prices.indicators import compute, compute_block
from briquette.prices.panel import PRICE_COLUMNS, Panel
from tests.unit.prices.histories import cut, names, random_panel, weekdays

SETS = pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
seeds = st.integers(0, 2**32 - 1)
panels = st.builds(
    random_panel,
    seeds,
    st.integers(1, 90),
    st.integers(1, 6),
    gaps=st.sampled_from([0.0, 0.1, 0.4]),
    holes=st.sampled_from([0.0, 0.02]),
)


def with_columns(panel: Panel, **columns) -> Panel:
    return Panel(panel.sessions, panel.symbols, **{**dict(panel.arrays()), **columns})


def chosen_symbols(panel: Panel, places: list[int]) -> Panel:
    arrays = {name: values[:, places] for name, values in panel.arrays()}
    return Panel(panel.sessions, panel.symbols.take(pa.array(places, pa.int64())), **arrays)


def rows_by_symbol(panel: Panel, chosen, **options) -> dict[str, dict[str, object]]:
    return {row["symbol"]: row for row in compute(panel, chosen, **options).table.to_pylist()}


@SETS
@settings(max_examples=40)
@given(panel=panels, block=st.integers(1, 7))
def test_the_size_of_a_block_changes_no_bit(chosen, panel, block):
    whole, in_blocks = compute(panel, chosen), compute(panel, chosen, block_symbols=block)
    assert in_blocks.table.equals(whole.table)
    assert (in_blocks.impossible, in_blocks.too_large) == (whole.impossible, whole.too_large)


@SETS
def test_blocks_may_be_mapped_by_an_executor(chosen):
    panel = random_panel(11, 120, 9, gaps=0.1)
    with ThreadPoolExecutor(3) as threads:
        mapped = compute(panel, chosen, block_symbols=2, map_blocks=threads.map)
    assert mapped.table.equals(compute(panel, chosen).table)


@SETS
@settings(max_examples=40)
@given(panel=panels, choice=st.randoms(use_true_random=False))
def test_a_symbols_row_depends_on_no_other_symbol(chosen, panel, choice):
    places = [i for i in range(len(panel.symbols)) if choice.random() < 0.6]
    alone = rows_by_symbol(chosen_symbols(panel, places), chosen)
    together = rows_by_symbol(panel, chosen)
    assert alone == {symbol: together[symbol] for symbol in alone}


@SETS
@settings(max_examples=25)
@given(panel=panels, choice=st.randoms(use_true_random=False))
def test_permuted_symbols_keep_their_rows(chosen, panel, choice):
    places = list(range(len(panel.symbols)))
    choice.shuffle(places)
    assert rows_by_symbol(chosen_symbols(panel, places), chosen) == rows_by_symbol(panel, chosen)


@SETS
@settings(max_examples=25)
@given(panel=panels, first=st.dates(date(1990, 1, 1), date(2040, 1, 1)))
def test_shifted_dates_change_only_the_date(chosen, panel, first):
    shifted = Panel(weekdays(len(panel.sessions), first), panel.symbols, **dict(panel.arrays()))
    ours, theirs = compute(panel, chosen).table, compute(shifted, chosen).table
    assert ours.drop_columns(["date"]).equals(theirs.drop_columns(["date"]))


@SETS
@settings(max_examples=40)
@given(panel=panels, at=st.data())
def test_sessions_without_a_bar_change_nothing(chosen, panel, at):
    """The whole market rests for a session, or one symbol does: windows count a symbol's own bars."""
    place = at.draw(st.integers(0, len(panel.sessions) - 1))
    arrays = {
        name: np.insert(values, place, False if name == "present" else np.nan, axis=0)
        for name, values in panel.arrays()
    }
    rested = Panel(weekdays(len(panel.sessions) + 1), panel.symbols, **arrays)
    ours, theirs = compute(panel, chosen).table, compute(rested, chosen).table
    assert ours.drop_columns(["date"]).equals(theirs.drop_columns(["date"]))


@settings(max_examples=40)
@given(panel=panels, power=st.integers(-20, 20))
def test_twice_the_price_is_twice_the_average_and_the_same_oscillator(panel, power):
    factor = 2.0**power
    prices = [c for c in PRICE_COLUMNS if c != "volume"]
    scaled = with_columns(panel, **{c: getattr(panel, c) * factor for c in prices})
    ours, theirs = compute_block(panel, SET_B), compute_block(scaled, SET_B)
    in_money = (
        "sma",
        "ema",
        "envelope",
        "bollinger",
        "ichimoku",
        "macd_12",
        "macd_signal",
        "macd_hist",
        "atr_",
    )
    for name, values in ours.items():
        expected = values * factor if name.startswith(in_money) else values
        np.testing.assert_array_equal(theirs[name], expected, err_msg=name)


@settings(max_examples=40)
@given(panel=panels, power=st.integers(-10, 10))
def test_volume_in_other_units_changes_only_what_counts_shares(panel, power):
    factor = 2.0**power
    scaled = with_columns(panel, volume=panel.volume * factor)
    ours, theirs = compute_block(panel, SET_B), compute_block(scaled, SET_B)
    for name, values in ours.items():
        expected = values * factor if name in ("obv", "adi") else values
        np.testing.assert_array_equal(theirs[name], expected, err_msg=name)


@SETS
@pytest.mark.parametrize("seed", range(3))
def test_reading_from_an_earlier_session_changes_nothing_after_warm_up(chosen, seed):
    needed = sessions_needed(chosen)
    panel = random_panel(seed, needed + 150, 12)
    late = compute_block(cut(panel, 150, needed + 150), chosen)
    for start in (0, 40, 149):
        early = compute_block(cut(panel, start, needed + 150), chosen)
        for name, values in early.items():
            scale = 100.0 * (1.0 + np.abs(values))  # seeds were wrong by as much as prices move
            assert not (np.abs(values - late[name]) > 1e-9 * scale).any(), name
            assert np.isnan(values).tolist() == np.isnan(late[name]).tolist(), name


@SETS
@settings(max_examples=30)
@given(panel=panels)
def test_a_typed_value_is_the_computed_one_within_half_a_unit(chosen, panel):
    today = panel.of_last_session()
    day = compute(panel, chosen)
    gone = {name for name, _ in (*day.impossible, *day.too_large)}
    for name, values in compute_block(today, chosen).items():
        if name in gone:
            continue
        kept = np.array([np.nan if v is None else float(v) for v in day.table[name].to_pylist()])
        kind = day.table.schema.field(name).type
        unit = 10.0**-kind.scale if pa.types.is_decimal(kind) else 1.0 if kind == pa.int64() else 1e-6
        np.testing.assert_allclose(kept, values, rtol=1e-7, atol=unit * 0.500001, err_msg=name)


@SETS
@settings(max_examples=25)
@given(panel=panels)
def test_values_lie_within_their_bounds_and_scores_say_how_many_did(chosen, panel):
    day = compute(panel, chosen)
    for column in chosen.checked:
        held = [float(v) for v in day.table[column.name].to_pylist() if v is not None]
        assert all(v >= column.least for v in held if column.least is not None)
        assert all(v <= column.most for v in held if column.most is not None)
    if chosen is SET_B:
        for row in day.table.to_pylist():
            assert (row["is_validated"] == 1) == (row["quality_score"] == 100)


def test_no_symbols_make_an_empty_table():
    empty = random_panel(1, 20, 3).block(0, 0)
    table = compute(empty, SET_B).table
    assert table.num_rows == 0
    assert table.schema == SET_B.schema
    assert len(names(0)) == 0
