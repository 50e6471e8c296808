"""OBV, accumulation/distribution, money flows and relative volume: what trading says about a price."""

from __future__ import annotations

import numpy as np

from briquette.prices.columns import ACCUMULATION_SESSIONS
from briquette.prices.windows import (
    Floats,
    change,
    lagged,
    ratio,
    rolling_mean,
    rolling_sum,
    without_rounding,
)


def accumulated(flow: Floats, rows: int) -> Floats:
    """Sum of the last 250 bars' flows; a bar without one, and the time before the first, add nothing."""
    known = np.where(np.isnan(flow), 0.0, flow)
    padded = np.concatenate([np.zeros((ACCUMULATION_SESSIONS, flow.shape[1])), known])
    return rolling_sum(padded, ACCUMULATION_SESSIONS, rows)


def on_balance_volume(close: Floats, volume: Floats, rows: int) -> Floats:
    """Volume of the bars that closed higher, less that of those that closed lower, over 250 bars."""
    recent = min(len(close), rows + ACCUMULATION_SESSIONS)
    total = accumulated(np.sign(change(close, 1, recent)) * lagged(volume, 0, recent), rows)
    return np.where(np.isnan(lagged(close, 0, rows)), np.nan, total)


def money_flow_volume(high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    """Volume weighted with the close's place in the bar, from -1 to 1; nothing for a bar without range."""
    weight = ratio((close - low) - (high - close), high - low)
    weight[high == low] = 0.0
    return weight * volume


def accumulation_distribution(flow: Floats, close: Floats, rows: int) -> Floats:
    """Money flow volume of 250 bars, added up."""
    return np.where(np.isnan(lagged(close, 0, rows)), np.nan, accumulated(flow, rows))


def chaikin_money_flow(flow: Floats, volume: Floats, rows: int) -> Floats:
    """Money flow volume of 20 bars in parts of their volume; missing where nothing was traded."""
    return ratio(rolling_sum(flow, 20, rows), rolling_sum(volume, 20, rows))


def money_flow_index(typical: Floats, volume: Floats, rows: int) -> Floats:
    """Share of money that changed hands at a rising typical price, over 14 changes, in percent."""
    recent = rows + 14
    flow = lagged(typical, 0, recent) * lagged(volume, 0, recent)
    step = without_rounding(change(typical, 1, recent), lagged(typical, 0, recent))
    unknown = np.isnan(step) | np.isnan(flow)
    rising = np.where(unknown, np.nan, np.where(step > 0.0, flow, 0.0))
    falling = np.where(unknown, np.nan, np.where(step < 0.0, flow, 0.0))
    gained = rolling_sum(rising, 14, rows)
    return 100.0 * ratio(gained, gained + rolling_sum(falling, 14, rows))


def relative_volume(volume: Floats, rows: int) -> Floats:
    """Volume in multiples of its mean over 20 bars."""
    return ratio(lagged(volume, 0, rows), rolling_mean(volume, 20, rows))
