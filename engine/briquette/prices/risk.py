"""Volatilities, beta and correlation with the market."""

from __future__ import annotations

import math

import numpy as np

from briquette.prices.windows import Floats, change, lagged, log_ratio, ratio, rolling_deviation, rolling_mean

SESSIONS_A_YEAR = 252.0
MARKET_WINDOW_BARS = 60
FEWEST_MARKET_PAIRS = 30


def realized_volatility(log_returns: Floats, window: int, rows: int, ddof: int) -> Floats:
    """Standard deviation of ``window`` log returns, as a fraction and not annualised."""
    return rolling_deviation(log_returns, window, rows, ddof)


def parkinson_volatility(high: Floats, low: Floats, rows: int) -> Floats:
    """Annual volatility in percent from the ranges of 20 bars."""
    spread = log_ratio(lagged(high, 0, rows + 19), lagged(low, 0, rows + 19))
    variance = rolling_mean(spread * spread, 20, rows) / (4.0 * math.log(2.0))
    return np.sqrt(variance * SESSIONS_A_YEAR) * 100.0


def garman_klass_volatility(open_: Floats, high: Floats, low: Floats, close: Floats, rows: int) -> Floats:
    """Annual volatility in percent from range and body of 20 bars.

    Bars whose open or close lies outside the range can make the variance negative; the result is then
    negative too, which the check of impossible values sees.
    """
    recent = rows + 19
    spread = log_ratio(lagged(high, 0, recent), lagged(low, 0, recent))
    body = log_ratio(lagged(close, 0, recent), lagged(open_, 0, recent))
    variance = rolling_mean(0.5 * spread * spread - (2.0 * math.log(2.0) - 1.0) * body * body, 20, rows)
    return np.copysign(np.sqrt(np.abs(variance) * SESSIONS_A_YEAR) * 100.0, variance)


def beta_and_correlation(close: Floats, market_return: Floats | None, rows: int) -> tuple[Floats, Floats]:
    """Slope and correlation of a symbol's returns on the market's, over the pairs among 60 bars.

    Missing with fewer than 30 pairs or a market that did not move; the correlation also where the symbol
    did not move.
    """
    if market_return is None:
        nothing = np.full((rows, close.shape[1]), np.nan)
        return nothing, nothing.copy()
    bars = rows + MARKET_WINDOW_BARS - 1
    own = ratio(change(close, 1, bars), lagged(close, 1, bars))
    market = lagged(market_return, 0, bars)
    paired = ~(np.isnan(own) | np.isnan(market))
    count, own_mean, market_mean = (np.zeros((rows, close.shape[1])) for _ in range(3))
    ends = [np.full_like(count, -np.inf) for _ in range(4)]
    x = np.where(paired, market, 0.0)
    y = np.where(paired, own, 0.0)
    windows = [slice(k, k + rows) for k in range(MARKET_WINDOW_BARS)]
    for w in windows:
        count += paired[w]
        market_mean += x[w]
        own_mean += y[w]
        for end, values in zip(ends, (market, -market, own, -own), strict=True):
            np.maximum(end, values[w], out=end, where=paired[w])
    market_mean, own_mean = ratio(market_mean, count), ratio(own_mean, count)
    together, market_square, own_square = (np.zeros_like(count) for _ in range(3))
    for w in windows:
        dx = np.where(paired[w], x[w] - market_mean, 0.0)
        dy = np.where(paired[w], y[w] - own_mean, 0.0)
        together += dx * dy
        market_square += dx * dx
        own_square += dy * dy
    # What did not move has a sum of squares of rounding errors: ask the ends, not the sum.
    still_market, still_own = ends[0] + ends[1] <= 0.0, ends[2] + ends[3] <= 0.0
    few = count < FEWEST_MARKET_PAIRS
    together[few | still_market] = np.nan
    beta = ratio(together, market_square)
    together[still_own] = np.nan
    return beta, ratio(together, np.sqrt(market_square * own_square))
