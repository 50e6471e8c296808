"""Every indicator that TA-Lib has agrees with it on real histories, to 1e-9 once seeds are forgotten.

TA-Lib seeds its recursions with simple means, briquette with the first value: both are compared after the
documented look-back. TA-Lib gets the whole history, briquette only what ``sessions_needed`` asks for.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache

import numpy as np
import pytest
import talib
from pyarrow import types

from briquette.prices.columns import ACCUMULATION_SESSIONS, SET_A, SET_B, sessions_needed
from briquette.prices.indicators import compute, compute_block, history
from tests.unit.prices.histories import History, cut, real_histories, real_panel

SYMBOLS = 120
DAYS = (800, 1258)  # rows of the panel: the ds that are compared
MORE_DAYS = (1000, 1150)
TOLERANCE = 1e-9

PRICE, PERCENT, RATIO, SHARES = "price", "percent", "ratio", "shares"


def oracle_b(h: History) -> dict[str, tuple[np.ndarray, str]]:
    """What TA-Lib says about set B, with the unit that 1e-9 is measured in."""
    o, high, low, c, v = h.open, h.high, h.low, h.close, h.volume
    upper, middle, lower = talib.BBANDS(c, 20, 2.0, 2.0)
    macd, signal, histogram = macd_of(c)
    slow_k, slow_d = talib.STOCH(high, low, c, 14, 3, 0, 3, 0)
    atr, cci, rsi = talib.ATR(high, low, c, 14), talib.CCI(high, low, c, 20), talib.RSI(c, 14)
    log_returns = np.concatenate([[np.nan], np.diff(talib.LN(c))])
    tenkan, kijun = talib.MIDPRICE(high, low, 9), talib.MIDPRICE(high, low, 26)
    sma = talib.SMA(c, 20)
    return {
        **{f"sma_{n}": (talib.SMA(c, n), PRICE) for n in (20, 60, 120)},
        **{f"ema_{n}": (talib.EMA(c, n), PRICE) for n in (20, 60)},
        "return_1d": (talib.ROC(c, 1), PERCENT),
        "return_5d": (talib.ROC(c, 5), PERCENT),
        "return_20d": (talib.ROC(c, 20), PERCENT),
        "log_return_1d": (log_returns, RATIO),
        "envelope_mid_20_3": (sma, PRICE),
        "envelope_upper_20_3": (sma * 1.03, PRICE),
        "envelope_lower_20_3": (sma * 0.97, PRICE),
        "rsi_14": (rsi, PERCENT),
        "rsi_ema6": (started(talib.EMA, rsi, 6), PERCENT),
        "macd_12_26": (macd, PRICE),
        "macd_signal_9": (signal, PRICE),
        "macd_hist_12_26_9": (histogram, PRICE),
        "macd_pct_12_26": (100.0 * macd / c, PERCENT),
        "bollinger_upper_20_2": (upper, PRICE),
        "bollinger_middle_20_2": (middle, PRICE),
        "bollinger_lower_20_2": (lower, PRICE),
        "bb_width_20_2": (100.0 * (upper - lower) / middle, PERCENT),
        "bb_percent_b_20_2": ((c - lower) / (upper - lower), RATIO),
        "williams_r_14": (talib.WILLR(high, low, c, 14), PERCENT),
        "slow_k_14_3": (slow_k, PERCENT),
        "slow_d_14_3": (slow_d, PERCENT),
        "ichimoku_tenkan": (tenkan, PRICE),
        "ichimoku_kijun": (kijun, PRICE),
        "ichimoku_senkou_a": (shifted((tenkan + kijun) / 2.0, 26), PRICE),
        "ichimoku_senkou_b": (shifted(talib.MIDPRICE(high, low, 52), 26), PRICE),
        "atr_14": (atr, PRICE),
        "atrp_14": (talib.NATR(high, low, c, 14), PERCENT),
        "adx_14": (talib.ADX(high, low, c, 14), PERCENT),
        "plus_di_14": (talib.PLUS_DI(high, low, c, 14), PERCENT),
        "minus_di_14": (talib.MINUS_DI(high, low, c, 14), PERCENT),
        "cci_20": (cci, PERCENT),
        "cci_signal_10": (started(talib.EMA, cci, 10), PERCENT),
        "obv": (over_window(talib.OBV(c, v)), SHARES),
        "adi": (over_window(talib.AD(high, low, c, v)), SHARES),
        "cmf_20": (talib.CMF(high, low, c, v, 20), RATIO),
        "mfi_14": (talib.MFI(high, low, c, v, 14), PERCENT),
        **{f"roc_{n}": (talib.ROC(c, n), PERCENT) for n in (6, 12, 20)},
        **{f"realized_vol_{n}d": (100.0 * sample_deviation(log_returns, n), PERCENT) for n in (10, 20, 60)},
        "realized_vol_20d_ann": (100.0 * sample_deviation(log_returns, 20) * 252.0**0.5, PERCENT),
        "parkinson_vol_20": (parkinson(high, low), PERCENT),
        "gk_vol_20": (garman_klass(o, high, low, c), PERCENT),
        "rvol_20": (v / talib.SMA(v, 20), RATIO),
    }


def oracle_a(h: History) -> dict[str, tuple[np.ndarray, str]]:
    high, low, c, v = h.high, h.low, h.close, h.volume
    upper, middle, lower = talib.BBANDS(c, 20, 2.0, 2.0)
    macd, signal, histogram = macd_of(c)
    fast_k, fast_d = talib.STOCHF(high, low, c, 14, 3, 0)
    log_returns = np.concatenate([[np.nan], np.diff(talib.LN(c))])
    return {
        **{f"sma_{n}": (talib.SMA(c, n), PRICE) for n in (20, 50, 200)},
        **{f"ema_{n}": (talib.EMA(c, n), PRICE) for n in (12, 26)},
        "rsi_14": (talib.RSI(c, 14), PERCENT),
        "macd": (macd, PRICE),
        "macd_signal": (signal, PRICE),
        "macd_histogram": (histogram, PRICE),
        "bollinger_upper": (upper, PRICE),
        "bollinger_middle": (middle, PRICE),
        "bollinger_lower": (lower, PRICE),
        "williams_r": (talib.WILLR(high, low, c, 14), PERCENT),
        "stochastic_k": (fast_k, PERCENT),
        "stochastic_d": (fast_d, PERCENT),
        "atr_14": (talib.ATR(high, low, c, 14), PRICE),
        "adx_14": (talib.ADX(high, low, c, 14), PERCENT),
        "obv": (over_window(talib.OBV(c, v)), SHARES),
        "realized_volatility_20d": (started(talib.STDDEV, log_returns, 20), RATIO),
    }


def macd_of(close):
    """From TA-Lib's own means: its MACD starts the fast mean late, so that both begin on one bar."""
    line = talib.EMA(close, 12) - talib.EMA(close, 26)
    signal = started(talib.EMA, line, 9)
    return line, signal, line - signal


def started(function, values, *options):
    """A TA-Lib function over a series that begins with NaN."""
    first = int(np.flatnonzero(~np.isnan(values))[0])
    return np.concatenate([np.full(first, np.nan), function(values[first:], *options)])


def shifted(values, bars):
    return np.concatenate([np.full(bars, np.nan), values[:-bars]])


def over_window(values):
    return values - shifted(values, ACCUMULATION_SESSIONS)


def sample_deviation(values, window):
    return started(talib.STDDEV, values, window) * (window / (window - 1)) ** 0.5


def parkinson(high, low):
    return 100.0 * np.sqrt(252.0 * talib.SMA(talib.LN(high / low) ** 2, 20) / (4.0 * np.log(2.0)))


def garman_klass(o, high, low, c):
    terms = 0.5 * talib.LN(high / low) ** 2 - (2.0 * np.log(2.0) - 1.0) * talib.LN(c / o) ** 2
    variance = 252.0 * talib.SMA(terms, 20)
    return 100.0 * np.copysign(np.sqrt(np.abs(variance)), variance)  # below zero where the bars contradict


def unit(kind: str, h: History, day: int) -> float:
    recent = slice(day + 1 - ACCUMULATION_SESSIONS, day + 1)
    read = slice(max(day + 1 - sessions_needed(SET_B), 0), day + 1)
    return {
        PRICE: float(h.close[read].max()),  # a seed's error is as large as the prices it was made of
        PERCENT: 100.0,
        RATIO: 1.0,
        SHARES: float(h.volume[recent].sum()),
    }[kind]


@cache
def histories() -> list[History]:
    return real_histories(SYMBOLS)


@cache
def oracles(name: str) -> list[dict[str, tuple[np.ndarray, str]]]:
    return [{"A": oracle_a, "B": oracle_b}[name](h) for h in histories()]


def ours(chosen, day: int) -> dict[str, np.ndarray]:
    panel = real_panel()
    with_look_back = cut(panel, day + 1 - sessions_needed(chosen), day + 1)
    wanted = [panel.symbols.index(h.symbol).as_py() for h in histories()]
    return {name: values[wanted] for name, values in compute_block(with_look_back, chosen).items()}


@pytest.mark.parametrize("day", [*DAYS, *(pytest.param(d, marks=pytest.mark.slow) for d in MORE_DAYS)])
@pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
def test_indicators_of_a_day_agree_with_talib(chosen, day):
    values = ours(chosen, day)
    wrong = []
    for i, (h, oracle) in enumerate(zip(histories(), oracles(chosen.name), strict=True)):
        for name, (expected, kind) in oracle.items():
            gap = abs(values[name][i] - expected[day])
            allowed = TOLERANCE * max(unit(kind, h, day), abs(expected[day]))
            if not gap <= allowed:
                wrong.append(f"{h.symbol} {name}: {values[name][i]!r}, TA-Lib {expected[day]!r}")
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:20])


def test_the_oracle_covers_every_indicator_it_can():
    cannot = {"ichimoku_chikou", "vwap_d", "beta_60", "corr_mkt_60"}
    prices = {"open", "high", "low", "close", "volume"}
    h = histories()[0]
    assert set(oracle_b(h)) == {c.name for c in SET_B.indicators} - cannot
    assert set(oracle_a(h)) == {c.name for c in SET_A.indicators} - prices


def test_whole_histories_agree_with_talib_after_warm_up():
    chosen = histories()[:8]
    panel = real_panel()
    wanted = [panel.symbols.index(h.symbol).as_py() for h in chosen]
    values = history(panel, SET_B)
    for h, i in zip(chosen, wanted, strict=True):
        for name, (expected, kind) in oracle_b(h).items():
            late = slice(800, None)
            scale = np.maximum(unit(kind, h, 1258), np.abs(expected[late]))
            assert (np.abs(values[name][late, i] - expected[late]) <= TOLERANCE * scale).all(), (
                h.symbol,
                name,
            )


def test_beta_and_correlation_agree_with_talib():
    """TA-Lib's BETA and CORREL have no fewest pairs; with whole histories that is no difference."""
    market, *others = histories()[:60]
    panel = real_panel()
    at = panel.symbols.index(market.symbol).as_py()
    arrays = dict(panel.arrays())
    arrays["market_close"] = np.repeat(panel.close[:, [at]], len(panel.symbols), axis=1)
    values = history(type(panel)(panel.sessions, panel.symbols, **arrays), SET_B)
    market_returns = np.diff(market.close) / market.close[:-1]
    for h in others:
        i = panel.symbols.index(h.symbol).as_py()
        own = np.diff(h.close) / h.close[:-1]
        np.testing.assert_allclose(
            values["corr_mkt_60"][100:, i], talib.CORREL(market_returns, own, 60)[99:], rtol=0, atol=1e-9
        )
        np.testing.assert_allclose(
            values["beta_60"][100:, i], talib.BETA(market.close, h.close, 60)[100:], rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(values["beta_60"][100:, at], 1.0, rtol=1e-9)


@pytest.mark.parametrize("chosen", [SET_A, SET_B], ids=["A", "B"])
def test_typed_columns_are_within_half_a_unit_of_talib(chosen):
    day = 1258
    panel = real_panel()
    table = compute(cut(panel, day + 1 - sessions_needed(chosen), day + 1), chosen).table
    row_of = {symbol: i for i, symbol in enumerate(table["symbol"].to_pylist())}
    for h, oracle in zip(histories(), oracles(chosen.name), strict=True):
        for name, (expected, kind) in oracle.items():
            value, kept = table[name][row_of[h.symbol]].as_py(), table.schema.field(name).type
            slack = 2 * TOLERANCE * max(unit(kind, h, day), abs(expected[day]))
            if types.is_decimal(kept):
                assert isinstance(value, Decimal)
                half = 0.5 * 10.0**-kept.scale
            elif types.is_integer(kept):
                half = 0.5
            elif types.is_float32(kept):
                half = 0.5e-6 + abs(expected[day]) * 2.0**-24
            else:
                half = 0.0
            assert abs(float(value) - expected[day]) <= half + slack, (h.symbol, name)
