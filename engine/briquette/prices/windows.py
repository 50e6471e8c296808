"""Windows over bars: [bars x symbols] arrays, newest bar last, NaN for what is missing and all it touches.

Every function is told how many trailing ``rows`` to give: 1 for today, all for a history. The arithmetic adds
whole rows, oldest first, so a symbol's result is the same bit for bit whichever symbols stand beside it and
however many rows are asked for. (``np.sum`` would add in pairs when the block is one symbol wide.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_WARM_UP_BARS = 100_000
ROUNDING = 1e-13  # some hundred units of a double's last place


def lagged(values: Floats, bars_ago: int, rows: int) -> Floats:
    """The last ``rows`` rows as they were ``bars_ago`` bars earlier; NaN before the first bar.

    >>> lagged(np.array([[1.0], [2.0], [3.0]]), 1, 3).ravel()
    array([nan,  1.,  2.])
    """
    stop = len(values) - bars_ago
    start = stop - rows
    if start >= 0:
        return values[start:stop]
    padded = np.full((rows, values.shape[1]), np.nan)
    if stop > 0:
        padded[rows - stop :] = values[:stop]
    return padded


def change(values: Floats, bars: int, rows: int) -> Floats:
    """Difference to the value ``bars`` bars earlier."""
    return lagged(values, 0, rows) - lagged(values, bars, rows)


def without_rounding(difference: Floats, scale: Floats) -> Floats:
    """The difference, or zero where it is no more than rounding of numbers as large as ``scale``.

    Typical prices are thirds: two that are equal on paper may differ in the last bit. That is no movement.
    """
    return np.where(np.abs(difference) <= ROUNDING * np.abs(scale), 0.0, difference)


def ratio(above: Floats, below: Floats) -> Floats:
    """Quotient; NaN where the divisor is zero, because no number is right there."""
    quotient = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=quotient, where=below != 0.0)
    return quotient


def log_ratio(above: Floats, below: Floats) -> Floats:
    """Natural logarithm of a quotient of prices; NaN unless both are positive."""
    logs = np.full(above.shape, np.nan)
    np.log(ratio(above, below), out=logs, where=(above > 0.0) & (below > 0.0))
    return logs


def rolling_sum(values: Floats, window: int, rows: int) -> Floats:
    """Sum of the last ``window`` values."""
    total = lagged(values, window - 1, rows).copy()
    for ago in range(window - 2, -1, -1):
        total += lagged(values, ago, rows)
    return total


def rolling_mean(values: Floats, window: int, rows: int) -> Floats:
    """Mean of the last ``window`` values; exactly the value itself where they are all equal.

    The differences to the newest value are added, not the values: a constant price then has a mean without
    rounding and a standard deviation of exactly zero, and bands of no width can be told from narrow ones.
    """
    newest = lagged(values, 0, rows)
    total = np.zeros_like(newest)
    for ago in range(window - 1, 0, -1):
        total += lagged(values, ago, rows) - newest
    return newest + total / window


def rolling_deviation(values: Floats, window: int, rows: int, ddof: int) -> Floats:
    """Standard deviation of the last ``window`` values, in two passes; divisor ``window - ddof``."""
    mean = rolling_mean(values, window, rows)
    total = np.zeros_like(mean)
    for ago in range(window - 1, -1, -1):
        distance = lagged(values, ago, rows) - mean
        total += distance * distance
    return np.sqrt(total / (window - ddof))


def rolling_mean_distance(values: Floats, window: int, rows: int) -> Floats:
    """Mean absolute distance of the last ``window`` values to their mean."""
    mean = rolling_mean(values, window, rows)
    total = np.zeros_like(mean)
    for ago in range(window - 1, -1, -1):
        total += np.abs(lagged(values, ago, rows) - mean)
    return total / window


def rolling_max(values: Floats, window: int, rows: int, bars_ago: int = 0) -> Floats:
    """Largest of the ``window`` values that end ``bars_ago`` bars before each row."""
    return _extreme(np.maximum, values, window, rows, bars_ago)


def rolling_min(values: Floats, window: int, rows: int, bars_ago: int = 0) -> Floats:
    """Smallest of the ``window`` values that end ``bars_ago`` bars before each row."""
    return _extreme(np.minimum, values, window, rows, bars_ago)


def _extreme(choose: Callable[..., Floats], values: Floats, window: int, rows: int, bars_ago: int) -> Floats:
    found = lagged(values, bars_ago, rows).copy()
    for ago in range(1, window):
        choose(found, lagged(values, bars_ago + ago, rows), out=found)  # NaN wins in both
    return found


# -- recursions ----------------------------------------------------------------------------------


def smooth(values: Floats, alpha: float, rows: int) -> Floats:
    """Exponential smoothing seeded with the first value: s += alpha * (x - s).

    A missing value is skipped: the state is carried over it, unchanged. Before the first value the result
    is NaN. A span of n is alpha = 2 / (n + 1), Wilder's smoothing over n is alpha = 1 / n.
    """
    bars, symbols = values.shape
    result = np.full((rows, symbols), np.nan)
    state = np.full(symbols, np.nan)
    step = np.empty(symbols)
    has_gap: npt.NDArray[np.bool_] = np.asarray(np.isnan(values).any(axis=1))
    started = False
    for bar in range(bars):
        row = values[bar]
        np.subtract(row, state, out=step)
        step *= alpha
        if started and not has_gap[bar]:
            state += step
        else:
            step += state
            np.copyto(state, step, where=~np.isnan(step))
            np.copyto(state, row, where=np.isnan(state))
            started = not np.isnan(state).any()
        if bar >= bars - rows:
            result[bar - bars + rows] = state
    return result


def span(bars: int) -> float:
    """Smoothing factor of an exponential mean over ``bars``: 2 / (bars + 1)."""
    return 2.0 / (bars + 1)


def wilder(bars: int) -> float:
    """Smoothing factor of Wilder's mean over ``bars``: 1 / bars."""
    return 1.0 / bars


def warm_up(alphas: tuple[float, ...], influence: float = 1e-9) -> int:
    """Bars after which a seed's weight stays below ``influence``, for smoothings one after another.

    An error of 1 in the first seed is followed through the stages, each seeded with its first input.

    >>> warm_up((span(20),)), warm_up((wilder(14), wilder(14)))
    (208, 323)
    """
    if not alphas:
        return 0
    errors = [1.0] * len(alphas)  # every stage starts from the wrong seed
    for bar in range(1, MOST_WARM_UP_BARS):
        came = 0.0  # the values themselves are right
        for stage, alpha in enumerate(alphas):
            errors[stage] += alpha * (came - errors[stage])
            came = errors[stage]
        if came < influence:
            return bar
    raise AssertionError(f"smoothing factors {alphas} do not forget their seed")
