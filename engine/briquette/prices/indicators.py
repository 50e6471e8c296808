"""The indicators of one day: one row for each symbol that has a record on the panel's last session.

``compute_block`` is the pure function that an executor maps over blocks of symbols; ``compute`` maps it,
checks the values and gives the table. docs/indicators.md says what every column means and when it is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from briquette.errors import UsageError
from briquette.prices import momentum, movement, risk, trend
from briquette.prices import volume as trading
from briquette.prices.columns import QUALITY, SET_A, SET_B, Column, IndicatorSet
from briquette.prices.panel import Bars, Panel, own_bars
from briquette.prices.typed import typed_column
from briquette.prices.windows import Floats, lagged, log_ratio, ratio, rolling_mean, smooth, span

# The arrays of a block then stay in a core's cache; results do not depend on it.
BLOCK_SYMBOLS = 1024
# A share of a range's width by which rounding may leave it.
ROUNDING = 1e-9

ENVELOPE = 0.03

Values = dict[str, Floats]
Map = Callable[[Callable[[Panel], Values], Iterable[Panel]], Iterable[Values]]


@dataclass(frozen=True, slots=True)
class IndicatorDay:
    """The table of a day, and how many values of which columns had to become null."""

    table: pa.Table
    impossible: tuple[tuple[str, int], ...]  # outside what the indicator can be; these lower quality_score
    too_large: tuple[tuple[str, int], ...]  # right, but more digits than the column's type holds


def compute(
    panel: Panel,
    chosen: IndicatorSet,
    *,
    batch_id: int = 0,
    block_symbols: int = BLOCK_SYMBOLS,
    map_blocks: Map = map,
) -> IndicatorDay:
    """The indicators of the panel's last session, a row for each symbol with a record on it.

    A symbol without a close that day gets a row of nulls with is_validated and quality_score 0. ``batch_id``
    is the caller's: the same run again must give the same one.
    """
    if not panel.sessions:
        raise UsageError("a panel without sessions has no last day.", hint="Read at least the day itself.")
    today = panel.of_last_session()
    pieces = list(map_blocks(partial(compute_block, chosen=chosen), today.blocks(block_symbols)))
    values = {
        c.name: np.concatenate([piece[c.name] for piece in pieces] or [np.empty(0)])
        for c in chosen.indicators
    }
    has_bar = ~np.isnan(today.close[-1])
    impossible = _void_impossible(values, chosen.checked)
    violations = sum(impossible.values(), np.zeros(len(has_bar), dtype=np.int64))
    score = np.rint((1.0 - violations / max(len(chosen.checked), 1)) * 100.0)
    quality = {
        "is_validated": (has_bar & (violations == 0)).astype(np.int16),
        "quality_score": np.where(has_bar, score, 0.0).astype(np.int16),
    }
    arrays: list[Any] = []
    too_large: list[tuple[str, int]] = []
    for column in chosen.columns:
        if column.name in values:
            array, beyond = typed_column(values[column.name], column.type)
            too_large += [(column.name, beyond)] if beyond else []
        else:
            array = _plain_column(column, today, quality, batch_id)
        arrays.append(array)
    return IndicatorDay(
        pa.table(arrays, schema=chosen.schema),
        tuple((name, int(mask.sum())) for name, mask in impossible.items() if mask.any()),
        tuple(too_large),
    )


def _plain_column(
    column: Column, today: Panel, quality: Mapping[str, npt.NDArray[np.int16]], batch_id: int
) -> pa.Array:
    rows = len(today.symbols)
    if column.name == "symbol":
        return today.symbols
    if column.name == "date":
        return pa.repeat(pa.scalar(today.sessions[-1], pa.date32()), rows)
    if column.name in QUALITY:
        return pa.array(quality[column.name])
    if column.name == "batch_id":
        return pa.repeat(pa.scalar(batch_id, column.type), rows)
    return pa.nulls(rows, column.type)  # created_at and updated_at: a clock would make two runs differ


def _void_impossible(values: Values, checked: Iterable[Column]) -> dict[str, npt.NDArray[np.bool_]]:
    """Put NaN for what an indicator cannot be; rounding just beyond an end is put back onto it."""
    found = {}
    for column in checked:
        least = -np.inf if column.least is None else column.least
        most = np.inf if column.most is None else column.most
        slack = ROUNDING * (most - least) if np.isfinite(most - least) else 0.0
        held = values[column.name]
        wrong = (held < least - slack) | (held > most + slack)
        values[column.name] = np.where(wrong, np.nan, np.clip(held, least, most))
        found[column.name] = wrong
    return found


def compute_block(panel: Panel, chosen: IndicatorSet) -> Values:
    """Every indicator of the last session before checks and types: name -> [symbols]; NaN is null."""
    bars = own_bars(panel)
    has_bar = ~np.isnan(panel.close[-1])
    return {
        name: np.where(has_bar, values[-1], np.nan) for name, values in _formulas(bars, chosen, 1).items()
    }


def history(panel: Panel, chosen: IndicatorSet) -> Values:
    """Every indicator of every session before checks and types: name -> [sessions x symbols].

    For tests and studies: a day's row here is what ``compute_block`` gives for the panel cut after that day.
    (But for the lagging span of Ichimoku, which a history knows and a day cannot.)
    """
    bars = own_bars(panel)
    return {name: bars.in_sessions(values) for name, values in _formulas(bars, chosen, len(bars)).items()}


def _formulas(bars: Bars, chosen: IndicatorSet, rows: int) -> Values:
    if chosen.name not in _FORMULAS:
        raise UsageError(f"there are no formulas for indicator set {chosen.name!r}.", hint="Choose A or B.")
    # Prices near the largest double overflow; what is not finite becomes null with the types.
    with np.errstate(over="ignore", invalid="ignore"):
        values = _FORMULAS[chosen.name](bars, rows)
    return {column.name: values[column.name] for column in chosen.indicators}


def _set_a(bars: Bars, rows: int) -> Values:
    open_, high, low, close, volume = bars.open, bars.high, bars.low, bars.close, bars.volume
    bands = trend.bollinger(close, rows)
    macd = trend.macd(close, rows)
    stochastic_k, stochastic_d = momentum.fast_stochastic(high, low, close, rows)
    ranges = movement.true_range(high, low, close)
    returns = _log_returns(close, rows + 19)
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    return {
        **{name: lagged(values, 0, rows) for name, values in columns.items()},
        **{f"sma_{n}": rolling_mean(close, n, rows) for n in (20, 50, 200)},
        "ema_12": macd.fast,
        "ema_26": macd.slow,
        "rsi_14": momentum.rsi(close, rows),
        "macd": macd.line,
        "macd_signal": macd.signal,
        "macd_histogram": macd.histogram,
        "bollinger_upper": bands.upper,
        "bollinger_middle": bands.middle,
        "bollinger_lower": bands.lower,
        "williams_r": momentum.williams_r(high, low, close, rows),
        "stochastic_k": stochastic_k,
        "stochastic_d": stochastic_d,
        "atr_14": movement.average_true_range(ranges, rows),
        "adx_14": movement.directions(high, low, close, ranges, rows).adx,
        "obv": trading.on_balance_volume(close, volume, rows),
        "realized_volatility_20d": risk.realized_volatility(returns, 20, rows, ddof=0),
    }


def _set_b(bars: Bars, rows: int) -> Values:
    return {
        **_trend_b(bars, rows),
        **_momentum_b(bars, rows),
        **_volume_b(bars, rows),
        **_risk_b(bars, rows),
    }


def _trend_b(bars: Bars, rows: int) -> Values:
    close = bars.close
    now = lagged(close, 0, rows)
    bands = trend.bollinger(close, rows)
    width = bands.upper - bands.lower
    macd = trend.macd(close, rows)
    return {
        "sma_20": bands.middle,
        "sma_60": rolling_mean(close, 60, rows),
        "sma_120": rolling_mean(close, 120, rows),
        "ema_20": smooth(close, span(20), rows),
        "ema_60": smooth(close, span(60), rows),
        "envelope_mid_20_3": bands.middle,
        "envelope_upper_20_3": bands.middle * (1.0 + ENVELOPE),
        "envelope_lower_20_3": bands.middle * (1.0 - ENVELOPE),
        "bollinger_middle_20_2": bands.middle,
        "bollinger_upper_20_2": bands.upper,
        "bollinger_lower_20_2": bands.lower,
        "bb_width_20_2": 100.0 * ratio(width, bands.middle),
        "bb_percent_b_20_2": ratio(now - bands.lower, width),
        **trend.ichimoku(bars.high, bars.low, close, rows),
        "macd_12_26": macd.line,
        "macd_signal_9": macd.signal,
        "macd_hist_12_26_9": macd.histogram,
        "macd_pct_12_26": 100.0 * ratio(macd.line, now),
        "vwap_d": np.full_like(now, np.nan) if bars.vwap is None else lagged(bars.vwap, 0, rows),
    }


def _momentum_b(bars: Bars, rows: int) -> Values:
    high, low, close = bars.high, bars.low, bars.close
    now = lagged(close, 0, rows)
    rsi = momentum.rsi(close, len(bars))
    slow_k, slow_d = momentum.slow_stochastic(high, low, close, rows)
    # Bars before the twentieth have no CCI; leaving them out changes nothing.
    cci = momentum.cci(_typical(bars), max(len(bars) - 19, rows))
    ranges = movement.true_range(high, low, close)
    atr = movement.average_true_range(ranges, rows)
    directions = movement.directions(high, low, close, ranges, rows)
    return {
        "return_1d": momentum.rate_of_change(close, 1, rows),
        "return_5d": momentum.rate_of_change(close, 5, rows),
        "return_20d": momentum.rate_of_change(close, 20, rows),
        "log_return_1d": _log_returns(close, rows),
        "rsi_14": lagged(rsi, 0, rows),
        "rsi_ema6": smooth(rsi, span(6), rows),
        "williams_r_14": momentum.williams_r(high, low, close, rows),
        "slow_k_14_3": slow_k,
        "slow_d_14_3": slow_d,
        "atr_14": atr,
        "atrp_14": 100.0 * ratio(atr, now),
        "adx_14": directions.adx,
        "plus_di_14": directions.plus,
        "minus_di_14": directions.minus,
        "cci_20": lagged(cci, 0, rows),
        "cci_signal_10": smooth(cci, span(10), rows),
        **{f"roc_{n}": momentum.rate_of_change(close, n, rows) for n in (6, 12, 20)},
    }


def _volume_b(bars: Bars, rows: int) -> Values:
    high, low, close, volume = bars.high, bars.low, bars.close, bars.volume
    flow = trading.money_flow_volume(high, low, close, volume)
    return {
        "obv": trading.on_balance_volume(close, volume, rows),
        "adi": trading.accumulation_distribution(flow, close, rows),
        "cmf_20": trading.chaikin_money_flow(flow, volume, rows),
        "mfi_14": trading.money_flow_index(_typical(bars), volume, rows),
        "rvol_20": trading.relative_volume(volume, rows),
    }


def _risk_b(bars: Bars, rows: int) -> Values:
    open_, high, low, close = bars.open, bars.high, bars.low, bars.close
    returns = _log_returns(close, rows + 59)
    month = risk.realized_volatility(returns, 20, rows, ddof=1) * 100.0
    beta, correlation = risk.beta_and_correlation(close, bars.market_return, rows)
    return {
        "realized_vol_10d": risk.realized_volatility(returns, 10, rows, ddof=1) * 100.0,
        "realized_vol_20d": month,
        "realized_vol_60d": risk.realized_volatility(returns, 60, rows, ddof=1) * 100.0,
        "realized_vol_20d_ann": month * np.sqrt(risk.SESSIONS_A_YEAR),
        "parkinson_vol_20": risk.parkinson_volatility(high, low, rows),
        "gk_vol_20": risk.garman_klass_volatility(open_, high, low, close, rows),
        "beta_60": beta,
        "corr_mkt_60": correlation,
    }


def _log_returns(close: Floats, rows: int) -> Floats:
    return log_ratio(lagged(close, 0, rows), lagged(close, 1, rows))


def _typical(bars: Bars) -> Floats:
    return (bars.high + bars.low + bars.close) / 3.0


_FORMULAS: dict[str, Callable[[Bars, int], Values]] = {SET_A.name: _set_a, SET_B.name: _set_b}
