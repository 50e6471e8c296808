"""Indicators worked out by hand, what is null and why, and the columns of the contract."""

from __future__ import annotations

import math
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from briquette.errors import SchemaError, UsageError
from briquette.prices.columns import SET_A, SET_B, indicator_set, sessions_needed
from briquette.prices.indicators import _void_impossible, compute, compute_block, history
from briquette.prices.panel import Panel, panel_from_columns, panel_from_tables
from briquette.prices.typed import typed_column
from tests.unit.prices.histories import cut, names, one_symbol, random_panel, weekdays

NAN = float("nan")

# The contract: file order and Arrow types; ds is in the path.
CONTRACT_A = """
symbol string, date date32[day], open double, high double, low double, close double, volume double,
sma_20 d12.4, sma_50 d12.4, sma_200 d12.4, ema_12 d12.4, ema_26 d12.4, rsi_14 d5.2, macd d10.6,
macd_signal d10.6, macd_histogram d10.6, bollinger_upper d12.4, bollinger_middle d12.4, bollinger_lower d12.4,
williams_r d6.2, stochastic_k d5.2, stochastic_d d5.2, atr_14 d8.4, adx_14 d5.2, obv int64,
realized_volatility_20d d6.4
"""
CONTRACT_B = """
date date32[day], symbol string, sma_20 d12.4, sma_60 d12.4, sma_120 d12.4, ema_20 d12.4, ema_60 d12.4,
return_1d float, return_5d float, return_20d float, log_return_1d float, envelope_mid_20_3 d12.4,
envelope_upper_20_3 d12.4, envelope_lower_20_3 d12.4, rsi_14 double, rsi_ema6 double, macd_12_26 d10.6,
macd_signal_9 d10.6, macd_hist_12_26_9 d10.6, macd_pct_12_26 float, bollinger_middle_20_2 d12.4,
bollinger_upper_20_2 d12.4, bollinger_lower_20_2 d12.4, bb_width_20_2 float, bb_percent_b_20_2 float,
williams_r_14 float, slow_k_14_3 float, slow_d_14_3 float, ichimoku_tenkan d12.4, ichimoku_kijun d12.4,
ichimoku_senkou_a d12.4, ichimoku_senkou_b d12.4, ichimoku_chikou d12.4, atr_14 d8.4, atrp_14 float,
adx_14 float, plus_di_14 float, minus_di_14 float, cci_20 float, cci_signal_10 float, obv int64, cmf_20 float,
adi int64, mfi_14 float, roc_6 float, roc_12 float, roc_20 float, realized_vol_10d float,
realized_vol_20d float, realized_vol_60d float, realized_vol_20d_ann float, parkinson_vol_20 float,
gk_vol_20 float, vwap_d d12.4, rvol_20 float, beta_60 float, corr_mkt_60 float, is_validated int16,
quality_score int16, batch_id int64, created_at timestamp[us, tz=UTC], updated_at timestamp[us, tz=UTC]
"""


def contract(text: str) -> list[tuple[str, str]]:
    fields = []
    for part in text.replace("us, tz", "us; tz").split(","):
        name, _, kind = part.strip().replace("\n", " ").replace("us; tz", "us, tz").partition(" ")
        if kind.startswith("d") and kind[1].isdigit():
            kind = "decimal128({}, {})".format(*kind[1:].split("."))
        fields.append((name, kind))
    return fields


def value(panel: Panel, name: str, chosen=SET_B) -> float:
    return float(compute_block(panel, chosen)[name][0])


def row(panel: Panel, chosen=SET_B) -> dict[str, object]:
    (only,) = compute(panel, chosen).table.to_pylist()
    return only


# -- the columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("chosen", "text", "count"), [(SET_A, CONTRACT_A, 26), (SET_B, CONTRACT_B, 62)])
def test_columns_have_the_names_types_and_order_of_the_contract(chosen, text, count):
    table = compute(random_panel(1, 260, 3), chosen, batch_id=7).table
    assert [(f.name, str(f.type)) for f in table.schema] == contract(text)
    assert table.num_columns == count
    table.validate(full=True)


def test_a_day_has_its_date_the_callers_batch_and_no_clock():
    table = compute(random_panel(1, 260, 3), SET_B, batch_id=1_758_000_000_000_000).table
    assert set(table["date"].to_pylist()) == {weekdays(260)[-1]}
    assert set(table["batch_id"].to_pylist()) == {1_758_000_000_000_000}
    assert table["created_at"].null_count == table["updated_at"].null_count == 3
    assert compute(random_panel(1, 260, 3), SET_B, batch_id=1_758_000_000_000_000).table.equals(table)


def test_sets_are_found_by_name():
    assert indicator_set("a") is SET_A
    with pytest.raises(UsageError, match="no indicator set 'C'"):
        indicator_set("C")


def test_look_back_is_in_sessions_and_covers_every_window_and_warm_up():
    assert sessions_needed(SET_A) >= 251  # of OBV; sma_200 is no longer starved
    # The mean over 60 bars forgets (59/61)**n: below 1e-9 at n = 622.
    assert sessions_needed(SET_B) == 1 + math.ceil(math.log(1e-9) / math.log(59 / 61))
    assert sessions_needed(SET_B, 1e-6) == 1 + math.ceil(math.log(1e-6) / math.log(59 / 61))


# -- by hand -----------------------------------------------------------------------------------------


def test_a_straight_line():
    # closes 1, 2, ..., 200; high one above, low one below, volume 10
    close = np.arange(1.0, 201.0)
    panel = one_symbol(close, high=close + 1, low=close - 1, open_=close, volume=np.full(200, 10.0))
    a, b = row(panel, SET_A), row(panel)
    assert a["sma_200"] == Decimal("100.5000")  # (1 + 200) / 2
    assert a["sma_50"] == Decimal("175.5000")  # (151 + 200) / 2
    assert b["sma_20"] == Decimal("190.5000")  # (181 + 200) / 2
    assert b["envelope_upper_20_3"] == Decimal("196.2150")  # 190.5 * 1.03
    assert b["rsi_14"] == 100.0  # only gains
    assert b["mfi_14"] == 100.0
    # highest high of 14 is 201, lowest low 186: (200 - 186) / (201 - 186) = 14/15 on every bar
    assert b["slow_k_14_3"] == b["slow_d_14_3"] == pytest.approx(100 * 14 / 15, abs=5e-6)
    assert b["williams_r_14"] == pytest.approx(-100 / 15, abs=5e-6)
    assert a["stochastic_k"] == Decimal("93.33")
    # true range: max(2, |high - close before| = 2, 0) = 2; movement up 1, down none: DI 50 and 0, ADX 100
    assert a["atr_14"] == Decimal("2.0000")
    assert b["plus_di_14"] == pytest.approx(50, abs=0.01)
    assert b["minus_di_14"] == 0.0
    assert b["adx_14"] == pytest.approx(100, abs=1e-6)
    assert b["obv"] == 199 * 10  # 199 rises
    assert b["adi"] == 0  # the close is in the middle of each bar
    assert b["cmf_20"] == 0.0
    assert b["rvol_20"] == 1.0
    assert b["ichimoku_tenkan"] == Decimal("196.0000")  # highs to 201, lows from 191
    assert b["ichimoku_kijun"] == Decimal("187.5000")  # 201 and 174
    # 26 bars ago, at close 174: tenkan (175 + 165)/2 = 170, kijun (175 + 148)/2 = 161.5
    assert b["ichimoku_senkou_a"] == Decimal("165.7500")
    assert b["ichimoku_senkou_b"] == Decimal("148.5000")  # 175 and 122
    assert b["ichimoku_chikou"] is None
    assert b["return_1d"] == pytest.approx(100 / 199, abs=5e-7)
    assert b["roc_6"] == pytest.approx(600 / 194, abs=5e-7)
    # typical price = close; distance of 200 to 190.5 is 9.5, mean distance of 20 steps 5: 9.5 / 0.075
    assert b["cci_20"] == pytest.approx(9.5 / 0.075, abs=1e-5)
    # variance of 1..20 is (400 - 1)/12 = 33.25
    assert b["bollinger_upper_20_2"] == Decimal(str(round(190.5 + 2 * 33.25**0.5, 4)))
    assert b["bb_percent_b_20_2"] == pytest.approx((9.5 + 2 * 33.25**0.5) / (4 * 33.25**0.5), abs=5e-7)
    assert b["is_validated"] == 1
    assert b["quality_score"] == 100


def test_rsi_by_hand():
    # changes +1, -1: gain 1 then 13/14, loss 0 then 1/14: 13/14 of all movement
    assert value(one_symbol([10, 11, 10]), "rsi_14") == pytest.approx(100 * 13 / 14, rel=1e-14)


def test_macd_by_hand():
    # from 10 to 23: fast 10 + 13 * 2/13 = 12, slow 10 + 13 * 2/27
    line = 2 - 26 / 27
    panel = one_symbol([10, 23])
    assert value(panel, "macd_12_26") == pytest.approx(line, rel=1e-12)
    assert value(panel, "macd_signal_9") == pytest.approx(0.2 * line, rel=1e-12)
    assert value(panel, "macd_pct_12_26") == pytest.approx(100 * line / 23, rel=1e-12)


def test_slow_k_is_the_mean_of_three_fast_ones():
    # range 0..10 throughout; the last closes 2, 5, 8 are at 20, 50 and 80 %
    close = [5.0] * 15 + [2, 5, 8]
    panel = one_symbol(close, high=[10.0] * 18, low=[0.0] * 18)
    assert value(panel, "slow_k_14_3") == pytest.approx(50)
    # slow %K of the three last bars: (50+50+20)/3, (50+20+50)/3, 50
    assert value(panel, "slow_d_14_3") == pytest.approx((40 + 40 + 50) / 3)
    assert value(panel, "stochastic_k", SET_A) == pytest.approx(80)


def test_money_flow_is_the_risers_share():
    # prices go up and down by 1 with volume 1, one rise trades 10: rises 6*11 + 110, falls 7*10
    volume = [1.0] * 15
    close = [11.0 if i % 2 else 10.0 for i in range(15)]
    volume[13] = 10.0
    rises, falls = 11.0 * 6 + 110.0, 10.0 * 7
    panel = one_symbol(close, volume=volume)
    assert value(panel, "mfi_14") == pytest.approx(100 * rises / (rises + falls), rel=1e-12)


def test_typical_prices_that_are_equal_on_paper_are_no_movement():
    # 10.07 + 9.99 + 10.03 = 10.11 + 9.95 + 10.03 = 30.09; as doubles their thirds differ in the last bit
    wide, narrow = [10.11, 9.95], [10.07, 9.99]
    high, low = zip(*[wide, narrow] * 10, strict=True)
    panel = one_symbol([10.03] * 20, high=high, low=low)
    assert (sum((*wide, 10.03)) / 3) != (sum((*narrow, 10.03)) / 3)
    assert math.isnan(value(panel, "mfi_14"))
    assert math.isnan(value(panel, "cci_20"))


def test_a_bar_without_range_moves_no_money_but_counts_as_traded():
    # 19 bars that close at their top with volume 1000, one without range: 19 of 20 parts
    close = [10.0] * 20
    panel = one_symbol(close, high=close, low=[9.0] * 10 + [10.0] + [9.0] * 9)
    assert value(panel, "cmf_20") == 19 / 20
    assert value(panel, "adi") == 19_000


def test_accumulation_starts_over_after_250_bars():
    rising = np.arange(1.0, 402.0)
    panel = one_symbol(rising, high=rising, low=rising - 1, volume=np.full(401, 3.0))
    assert value(panel, "obv") == value(panel, "adi") == 750.0  # closes at the top of every bar
    assert value(cut(panel, 0, 100), "obv") == 99 * 3.0  # shorter: the classic value
    assert value(cut(panel, 0, 100), "adi") == 100 * 3.0


def test_beta_of_twice_the_market_is_two():
    market = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 0.01, 80)))
    returns = np.diff(market) / market[:-1]
    close = 50 * np.concatenate([[1.0], np.cumprod(1 + 2 * returns)])
    fractions = np.concatenate([[NAN], returns])
    by_close = one_symbol(close, market_close=market)
    by_return = one_symbol(close, market_return=fractions)
    for panel in (by_close, by_return):
        assert value(panel, "beta_60") == pytest.approx(2.0, rel=1e-9)
        assert value(panel, "corr_mkt_60") == pytest.approx(1.0, rel=1e-12)
    assert math.isnan(value(one_symbol(close), "beta_60"))


def test_market_returns_beyond_ten_are_percentages():
    chance = np.random.default_rng(6)
    market, close = chance.normal(0, 0.01, 80), 50 * np.exp(np.cumsum(chance.normal(0, 0.01, 80)))
    market[3] = 0.11
    fraction, percent = (one_symbol(close, market_return=m) for m in (market, market * 100))
    assert value(percent, "beta_60") == pytest.approx(value(fraction, "beta_60"), rel=1e-12)


def test_fewer_than_thirty_pairs_have_no_beta():
    chance = np.random.default_rng(7)
    market, close = chance.normal(0, 0.01, 80), 50 * np.exp(np.cumsum(chance.normal(0, 0.01, 80)))
    market[20:51] = NAN  # 29 pairs are left of the last 60
    assert math.isnan(value(one_symbol(close, market_return=market), "beta_60"))
    market[50] = 0.01
    assert math.isfinite(value(one_symbol(close, market_return=market), "beta_60"))


# -- what has no answer is null ------------------------------------------------------------------------


def test_a_constant_price_has_no_oscillators_and_no_warning():
    table = row(one_symbol([12.34] * 300, volume=[0.0] * 300, market_return=[0.01] * 300))
    no_movement = ["rsi_14", "rsi_ema6", "bb_percent_b_20_2", "williams_r_14", "slow_k_14_3", "slow_d_14_3"]
    no_movement += ["adx_14", "plus_di_14", "minus_di_14", "cci_20", "cci_signal_10"]
    no_trade = ["mfi_14", "cmf_20", "rvol_20"]
    no_market = ["beta_60", "corr_mkt_60"]
    never = ["ichimoku_chikou", "vwap_d", "created_at", "updated_at"]
    assert {n for n, v in table.items() if v is None} == {*no_movement, *no_trade, *no_market, *never}
    assert table["sma_120"] == table["ema_60"] == table["bollinger_lower_20_2"] == Decimal("12.3400")
    for name in ("macd_12_26", "atr_14", "realized_vol_60d", "parkinson_vol_20", "gk_vol_20", "obv", "adi"):
        assert table[name] == 0, name
    assert table["quality_score"] == 100


def test_a_first_bar_has_what_needs_no_past():
    known = {n for n, v in row(one_symbol([10.0], high=[11.0], low=[9.0])).items() if v is not None}
    assert known == {
        "date", "symbol", "ema_20", "ema_60", "macd_12_26", "macd_signal_9", "macd_hist_12_26_9",
        "macd_pct_12_26", "atr_14", "atrp_14", "plus_di_14", "minus_di_14", "obv", "adi",
        "is_validated", "quality_score", "batch_id",
    }  # fmt: skip


def test_prices_that_are_not_positive_have_no_logarithm():
    panel = one_symbol([1.0] * 30 + [0.0, 1.0], low=[1.0] * 30 + [-1.0, 1.0])
    values = compute_block(panel, SET_B)
    for name in ("log_return_1d", "return_1d", "realized_vol_10d", "parkinson_vol_20", "gk_vol_20"):
        assert math.isnan(values[name][0]), name


def test_a_symbol_without_a_close_that_day_has_a_row_of_nulls():
    panel = random_panel(2, 100, 3)
    close = panel.close.copy()
    close[-1, 1] = NAN
    arrays = {**dict(panel.arrays()), "close": close}
    rows = compute(Panel(panel.sessions, panel.symbols, **arrays), SET_B, batch_id=4).table.to_pylist()
    empty = {n: v for n, v in rows[1].items() if v is not None}
    assert empty == {
        "date": panel.sessions[-1], "symbol": "S0001", "is_validated": 0, "quality_score": 0, "batch_id": 4,
    }  # fmt: skip
    assert rows[0]["ema_20"] is not None


def test_symbols_without_a_record_that_day_have_no_row():
    panel = random_panel(3, 60, 40, gaps=0.3)
    table = compute(panel, SET_B).table
    assert table["symbol"].to_pylist() == [
        s for s, here in zip(panel.symbols.to_pylist(), panel.present[-1], strict=True) if here
    ]
    nobody = Panel(
        panel.sessions, panel.symbols, **{**dict(panel.arrays()), "present": panel.present & False}
    )
    assert compute(nobody, SET_B).table.num_rows == 0
    assert compute(nobody, SET_B).table.schema == SET_B.schema


def test_a_panel_without_sessions_is_refused():
    with pytest.raises(UsageError, match="no last day"):
        compute(cut(random_panel(1, 5, 2), 0, 0), SET_B)


# -- legitimate, impossible, too large -------------------------------------------------------------------


def test_a_breakout_and_a_steep_beta_are_kept_and_cost_no_quality():
    chance = np.random.default_rng(8)
    market = chance.normal(0, 0.001, 80)
    close = 100 * np.cumprod(1 + 5 * market)
    close[-1] *= 1.4
    table = row(one_symbol(close, market_return=market))
    assert table["bb_percent_b_20_2"] > 1
    assert abs(table["beta_60"]) > 3
    assert (table["is_validated"], table["quality_score"]) == (1, 100)


def test_the_lower_band_of_a_wild_penny_stock_may_be_below_zero():
    table = row(one_symbol([0.01] * 19 + [1.0]))
    assert table["bollinger_lower_20_2"] < 0
    assert table["quality_score"] == 100


def test_impossible_values_are_null_counted_and_cost_quality():
    # A close far above its own high: %K beyond 100, %R above 0, more flow than volume, a wide body.
    flat = [10.0] * 29
    panel = one_symbol([*flat, 40.0], open_=[*flat, 10.0], high=[11.0] * 30, low=[9.0] * 30)
    day = compute(panel, SET_B)
    (table,) = day.table.to_pylist()
    wrong = dict(day.impossible)
    assert wrong == dict.fromkeys(("slow_k_14_3", "slow_d_14_3", "williams_r_14", "cmf_20", "gk_vol_20"), 1)
    assert all(table[name] is None for name in wrong)
    assert table["is_validated"] == 0
    assert table["quality_score"] == round((1 - len(wrong) / len(SET_B.checked)) * 100)


def test_rounding_beyond_an_end_is_put_back_and_is_no_violation():
    rsi = next(c for c in SET_B.columns if c.name == "rsi_14")
    values = {"rsi_14": np.array([100.00000000000001, -1e-15, 100.001, 50.0, NAN])}
    found = _void_impossible(values, [rsi])
    np.testing.assert_array_equal(values["rsi_14"], [100.0, 0.0, NAN, 50.0, NAN])
    assert found["rsi_14"].tolist() == [False, False, True, False, False]


def test_set_a_voids_impossible_values_too():
    day = compute(one_symbol([10.0] * 29 + [30.0], high=[11.0] * 30, low=[9.0] * 30), SET_A)
    assert {"stochastic_k", "williams_r"} <= dict(day.impossible).keys()
    assert day.table["williams_r"].to_pylist() == [None]


def test_a_price_with_more_digits_than_its_type_is_null_and_counted():
    day = compute(one_symbol([300_000.0 + 20_000.0 * (i % 2) for i in range(300)]), SET_B)
    (table,) = day.table.to_pylist()
    assert dict(day.too_large) == {"atr_14": 1}  # 20,000 needs nine digits, decimal(8,4) has eight
    assert table["atr_14"] is None
    assert table["sma_20"] == Decimal("310000.0000")
    assert table["quality_score"] == 100  # right, only too large
    assert dict(compute(one_symbol([1e9] * 30), SET_B).too_large)["sma_20"] == 1


def test_prices_near_the_largest_double_give_nulls_and_no_warning():
    table = row(one_symbol([1e308, 1.5e308] * 40, volume=[1e300] * 80))
    assert table["sma_20"] is None
    assert table["rvol_20"] == 1.0


@given(st.floats(-1e9, 1e9), st.sampled_from([(12, 4), (10, 6), (8, 4), (6, 4), (6, 2), (5, 2)]))
@example(0.00005, (12, 4))
@example(1.00015, (12, 4))
@example(2.5e-7, (10, 6))
@example(-1e8, (12, 4))
@example(99999999.99995, (12, 4))
@example(99999999.99994, (12, 4))
@example(0.125, (5, 2))
@example(-0.135, (5, 2))
def test_decimals_are_rounded_half_to_even_exactly(number, kind):
    column, beyond = typed_column(np.array([number, NAN]), pa.decimal128(*kind))
    right = Decimal(number).quantize(Decimal(1).scaleb(-kind[1]), ROUND_HALF_EVEN)
    fits = abs(right) < Decimal(10) ** (kind[0] - kind[1])
    assert column.to_pylist() == [right if fits else None, None]
    assert beyond == (not fits)
    column.validate(full=True)


@given(st.floats(allow_nan=False))
@example(3.5e38)
@example(1e300)
def test_floats_keep_six_places_and_never_become_infinite(number):
    column, beyond = typed_column(np.array([number]), pa.float32())
    if beyond:
        assert abs(number) > 3.4e38
        assert column.to_pylist() == [None]
    else:
        assert abs(column[0].as_py() - number) <= 0.5e-6 + abs(number) * 2.0**-23


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int64(), pa.decimal128(5, 2)])
def test_zero_has_no_sign(kind):
    column, _ = typed_column(np.array([-0.0, -1e-9 if kind == pa.float32() else 0.0]), kind)
    assert [math.copysign(1, v) for v in column.to_pylist()] == [1, 1]


def test_whole_numbers_are_rounded_and_never_wrap():
    column, beyond = typed_column(np.array([2.5, -3.5, 9.3e18, -1e300, NAN]), pa.int64())
    assert column.to_pylist() == [2, -4, None, None, None]
    assert beyond == 2


# -- the panel -----------------------------------------------------------------------------------------------


def day_table(**columns) -> pa.Table:
    count = len(columns["symbol"])
    prices = {name: [1.0] * count for name in ("open", "high", "low", "close", "volume")}
    return pa.table({**prices, **columns})


def test_daily_tables_become_a_panel_sorted_by_symbol():
    days = [
        (date(2025, 9, 8), day_table(symbol=["B", "a"], close=[2.0, None])),
        (date(2025, 9, 9), day_table(symbol=pa.array(["É", "B"]).dictionary_encode(), close=[7, 3])),
    ]
    placed = panel_from_tables(days)
    panel = placed.panel
    assert panel.symbols.to_pylist() == ["B", "a", "É"]  # by bytes
    np.testing.assert_array_equal(panel.present, [[True, True, False], [True, False, True]])
    np.testing.assert_array_equal(panel.close, [[2, NAN, NAN], [3, NAN, 7]])
    assert placed.duplicates == ()
    assert placed.without_symbol == 0
    today = panel_from_tables(days, only_last_session=True).panel
    assert today.symbols.to_pylist() == ["B", "É"]
    np.testing.assert_array_equal(today.close, [[2, NAN], [3, 7]])


def test_duplicates_and_records_without_symbol_are_told():
    days = [
        (date(2025, 9, 8), day_table(symbol=["A", None, "A", "B", "A"], close=[1.0, 2, 3, 4, 5])),
        (date(2025, 9, 9), day_table(symbol=["A"], close=[6.0])),
    ]
    placed = panel_from_tables(days)
    assert placed.duplicates == ((date(2025, 9, 8), "A"), (date(2025, 9, 8), "A"))
    assert placed.without_symbol == 1
    np.testing.assert_array_equal(placed.panel.close, [[5, 4], [6, NAN]])  # the last one stands
    assert panel_from_tables(days, only_last_session=True).without_symbol == 1


def test_values_that_are_not_finite_are_missing():
    day = (date(2025, 9, 9), day_table(symbol=["A", "B"], close=[math.inf, NAN]))
    assert np.isnan(panel_from_tables([day]).panel.close).all()


def test_the_first_benchmark_column_there_is_counts():
    first = day_table(symbol=["A"], spy_close=[400.0], market_close=[None], vwap_d=[2.0])
    second = day_table(symbol=["A"], market_close=[10.0], benchmark_return=[0.5], market_return_1d=[0.25])
    panel = panel_from_tables([(date(2025, 9, 8), first), (date(2025, 9, 9), second)]).panel
    np.testing.assert_array_equal(panel.market_return, [[NAN], [0.25]])
    assert panel.market_close is None
    np.testing.assert_array_equal(panel.vwap, [[2.0], [NAN]])


def test_a_missing_column_is_named_with_its_day():
    table = day_table(symbol=["A"]).drop_columns(["volume"])
    with pytest.raises(SchemaError, match="the prices of 2025-09-09 lack volume"):
        panel_from_tables([(date(2025, 9, 9), table)])
    with pytest.raises(SchemaError, match="lack open, high, low, volume"):
        panel_from_columns([], names(0), np.empty(0, int), np.empty(0, int), {"close": np.empty(0)})


def test_sessions_out_of_order_and_crooked_arrays_are_refused():
    days = [(date(2025, 9, 9), day_table(symbol=["A"])), (date(2025, 9, 8), day_table(symbol=["A"]))]
    with pytest.raises(SchemaError, match="ascending"):
        panel_from_tables(days)
    panel = random_panel(1, 5, 2)
    with pytest.raises(SchemaError, match="close has shape"):
        Panel(panel.sessions, panel.symbols, **{**dict(panel.arrays()), "close": panel.close[:3]})


def test_no_days_are_an_empty_panel():
    assert panel_from_tables([]).panel.sessions == ()


def test_history_of_an_unknown_set_is_refused():
    other = type(SET_A)("C", SET_A.columns)
    with pytest.raises(UsageError, match="no formulas"):
        history(random_panel(1, 5, 2), other)
