"""RSI, stochastics, Williams %R, CCI and rates of change: how fast a price goes."""

from __future__ import annotations

import numpy as np

from briquette.prices.windows import (
    Floats,
    change,
    lagged,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_mean_distance,
    rolling_min,
    smooth,
    wilder,
    without_rounding,
)

CCI_SCALE = 0.015


def rsi(close: Floats, rows: int) -> Floats:
    """Wilder's relative strength over 14 changes: gains' share of all movement; missing without movement."""
    step = change(close, 1, len(close))
    gain = smooth(np.maximum(step, 0.0), wilder(14), rows)
    loss = smooth(np.maximum(-step, 0.0), wilder(14), rows)
    return 100.0 * ratio(gain, gain + loss)


def place_in_range(high: Floats, low: Floats, close: Floats, rows: int) -> Floats:
    """Fast stochastic %K: the close within the range of 14 bars; missing where the range has no width."""
    bottom = rolling_min(low, 14, rows)
    return 100.0 * ratio(lagged(close, 0, rows) - bottom, rolling_max(high, 14, rows) - bottom)


def fast_stochastic(high: Floats, low: Floats, close: Floats, rows: int) -> tuple[Floats, Floats]:
    """Fast %K over 14 bars, and its mean over 3."""
    k = place_in_range(high, low, close, rows + 2)
    return lagged(k, 0, rows), rolling_mean(k, 3, rows)


def slow_stochastic(high: Floats, low: Floats, close: Floats, rows: int) -> tuple[Floats, Floats]:
    """Slow %K, the mean over 3 of the fast one, and slow %D, the mean over 3 of that."""
    k = rolling_mean(place_in_range(high, low, close, rows + 4), 3, rows + 2)
    return lagged(k, 0, rows), rolling_mean(k, 3, rows)


def williams_r(high: Floats, low: Floats, close: Floats, rows: int) -> Floats:
    """Distance of the close from the top of the range of 14 bars, -100 to 0."""
    top = rolling_max(high, 14, rows)
    return -100.0 * ratio(top - lagged(close, 0, rows), top - rolling_min(low, 14, rows))


def cci(typical: Floats, rows: int) -> Floats:
    """Commodity channel index over 20 bars of the typical price; missing where it did not move."""
    now = lagged(typical, 0, rows)
    usual = without_rounding(rolling_mean_distance(typical, 20, rows), now)
    return ratio(now - rolling_mean(typical, 20, rows), CCI_SCALE * usual)


def rate_of_change(close: Floats, bars: int, rows: int) -> Floats:
    """Change over ``bars`` bars in percent of the earlier close."""
    return 100.0 * ratio(change(close, bars, rows), lagged(close, bars, rows))
