"""True range, ATR and the directional indicators: how much a price moves, and which way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from briquette.prices.windows import Floats, lagged, ratio, smooth, wilder


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """Largest of high - low and the distances of both to the close before; high - low on the first bar."""
    before = lagged(close, 1, len(close))
    beyond = np.fmax(np.abs(high - before), np.abs(low - before))
    widest = np.fmax(np.abs(high - low), beyond)
    widest[np.isnan(high) | np.isnan(low)] = np.nan
    return widest


def average_true_range(ranges: Floats, rows: int) -> Floats:
    """Wilder's mean of the true range over 14 bars."""
    return smooth(ranges, wilder(14), rows)


@dataclass(frozen=True, slots=True)
class Directions:
    """Directional indicators over 14 bars."""

    adx: Floats
    plus: Floats
    minus: Floats


def directions(high: Floats, low: Floats, close: Floats, ranges: Floats, rows: int) -> Directions:
    """+DI, -DI and ADX: movement up and down in percent of the true range, and how much one outweighs.

    A bar whose high or low, or those of the bar before, are missing is skipped in all three.
    """
    bars = len(high)
    up = high - lagged(high, 1, bars)
    down = lagged(low, 1, bars) - low
    first = np.isnan(lagged(close, 1, bars)) & ~np.isnan(ranges)
    unknown = (np.isnan(up) | np.isnan(down)) & ~first
    moved_up = np.where((up > down) & (up > 0.0), up, 0.0)
    moved_down = np.where((down > up) & (down > 0.0), down, 0.0)
    for values in (moved_up, moved_down):
        values[unknown] = np.nan
    scale = smooth(np.where(unknown, np.nan, ranges), wilder(14), bars)
    plus = 100.0 * ratio(smooth(moved_up, wilder(14), bars), scale)
    minus = 100.0 * ratio(smooth(moved_down, wilder(14), bars), scale)
    index = 100.0 * ratio(np.abs(plus - minus), plus + minus)
    return Directions(smooth(index, wilder(14), rows), lagged(plus, 0, rows), lagged(minus, 0, rows))
