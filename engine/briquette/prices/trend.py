"""Means, bands, Ichimoku and MACD: where a price goes.

Every formula takes own bars ([bars x symbols], newest last) and the number of trailing rows wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from briquette.prices.windows import (
    Floats,
    lagged,
    rolling_deviation,
    rolling_max,
    rolling_mean,
    rolling_min,
    smooth,
    span,
)

ICHIMOKU_SHIFT_BARS = 26
BAND_DEVIATIONS = 2.0


@dataclass(frozen=True, slots=True)
class Bands:
    """Bollinger's bands over 20 bars."""

    upper: Floats
    middle: Floats
    lower: Floats


def bollinger(close: Floats, rows: int) -> Bands:
    """Mean over 20 closes and two population deviations (ddof 0) to both sides."""
    middle = rolling_mean(close, 20, rows)
    width = BAND_DEVIATIONS * rolling_deviation(close, 20, rows, ddof=0)
    return Bands(middle + width, middle, middle - width)


def middle_of_range(high: Floats, low: Floats, window: int, rows: int, bars_ago: int = 0) -> Floats:
    """Middle between the highest high and the lowest low of ``window`` bars, ``bars_ago`` bars earlier."""
    top = rolling_max(high, window, rows, bars_ago)
    return (top + rolling_min(low, window, rows, bars_ago)) / 2.0


def ichimoku(high: Floats, low: Floats, close: Floats, rows: int) -> dict[str, Floats]:
    """Conversion line, base line, the two leading spans as they stand over today, and the lagging span.

    The lagging span of a bar is the close 26 bars later: it is missing on the 26 newest bars.
    """
    shift = ICHIMOKU_SHIFT_BARS
    conversion = middle_of_range(high, low, 9, rows, shift)
    base = middle_of_range(high, low, 26, rows, shift)
    later = lagged(close, 0, rows).copy()
    later[: max(rows - shift, 0)] = later[shift:]
    later[max(rows - shift, 0) :] = float("nan")
    return {
        "ichimoku_tenkan": middle_of_range(high, low, 9, rows),
        "ichimoku_kijun": middle_of_range(high, low, 26, rows),
        "ichimoku_senkou_a": (conversion + base) / 2.0,
        "ichimoku_senkou_b": middle_of_range(high, low, 52, rows, shift),
        "ichimoku_chikou": later,
    }


@dataclass(frozen=True, slots=True)
class Macd:
    """Difference of two exponential means, its own mean, and the distance between the two."""

    line: Floats
    signal: Floats
    histogram: Floats
    fast: Floats  # the exponential means over 12 and 26 bars
    slow: Floats


def macd(close: Floats, rows: int) -> Macd:
    """Exponential means over 12 and 26 bars; the signal is the one over 9 bars of their difference."""
    bars = len(close)
    fast, slow = smooth(close, span(12), bars), smooth(close, span(26), bars)
    line = fast - slow
    signal = smooth(line, span(9), rows)
    now = lagged(line, 0, rows)
    return Macd(now, signal, now - signal, lagged(fast, 0, rows), lagged(slow, 0, rows))
