"""Windows over bars: small cases worked out by hand, and what holds for all numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette.prices.windows import (
    change,
    lagged,
    log_ratio,
    ratio,
    rolling_deviation,
    rolling_max,
    rolling_mean,
    rolling_mean_distance,
    rolling_min,
    rolling_sum,
    smooth,
    span,
    warm_up,
    wilder,
    without_rounding,
)

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_lagged_rows_are_missing_before_the_first_bar():
    values = column(1, 2, 3)
    np.testing.assert_array_equal(lagged(values, 0, 3), values)
    np.testing.assert_array_equal(lagged(values, 2, 2), column(NAN, 1))
    np.testing.assert_array_equal(lagged(values, 9, 2), column(NAN, NAN))
    np.testing.assert_array_equal(lagged(values, 0, 5), column(NAN, NAN, 1, 2, 3))


def test_sum_mean_and_extremes_of_three():
    values = column(4, 1, 7, 1)
    np.testing.assert_array_equal(rolling_sum(values, 3, 4), column(NAN, NAN, 12, 9))
    np.testing.assert_array_equal(rolling_mean(values, 3, 4), column(NAN, NAN, 4, 3))
    np.testing.assert_array_equal(rolling_max(values, 3, 4), column(NAN, NAN, 7, 7))
    np.testing.assert_array_equal(rolling_min(values, 3, 4), column(NAN, NAN, 1, 1))
    np.testing.assert_array_equal(rolling_max(values, 2, 2, bars_ago=1), column(4, 7))
    np.testing.assert_array_equal(change(values, 2, 4), column(NAN, NAN, 3, 0))


def test_deviation_and_mean_distance():
    # mean 5; squares 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32, distances 3 + 1 + 1 + 1 + 0 + 0 + 2 + 4 = 12
    values = column(2, 4, 4, 4, 5, 5, 7, 9)
    assert rolling_deviation(values, 8, 1, ddof=0).item() == 2.0
    assert rolling_deviation(values, 8, 1, ddof=1).item() == pytest.approx((32 / 7) ** 0.5, rel=1e-15)
    assert rolling_mean_distance(values, 8, 1).item() == 1.5


def test_a_missing_value_spreads_over_its_window_and_no_further():
    values = column(1, NAN, 3, 4, 5)
    for function in (rolling_sum, rolling_mean, rolling_max, rolling_min, rolling_mean_distance):
        assert np.isnan(function(values, 2, 5)).ravel().tolist() == [True, True, True, False, False]


@given(st.floats(1e-3, 1e6), st.integers(2, 60))
def test_a_constant_has_itself_as_mean_and_no_deviation_at_all(value, window):
    values = np.full((window + 3, 2), value)
    assert (rolling_mean(values, window, 3) == value).all()
    assert (rolling_deviation(values, window, 3, ddof=0) == 0.0).all()
    assert (smooth(values, span(window), 3) == value).all()


def test_smoothing_starts_with_the_first_value():
    # alpha 1/2: 8, 8 + (4 - 8)/2 = 6, 6 + (2 - 6)/2 = 4
    np.testing.assert_array_equal(smooth(column(8, 4, 2), 0.5, 3), column(8, 6, 4))
    np.testing.assert_array_equal(smooth(column(8, 4, 2), 0.5, 1), column(4))
    np.testing.assert_array_equal(smooth(column(8, 4), 0.5, 4), column(NAN, NAN, 8, 6))


def test_smoothing_skips_what_is_missing_and_keeps_its_state():
    np.testing.assert_array_equal(smooth(column(NAN, 8, NAN, 4), 0.5, 4), column(NAN, 8, 8, 6))


@given(
    st.lists(st.lists(st.one_of(st.just(NAN), st.floats(1, 100)), min_size=3, max_size=3), min_size=1),
    st.integers(1, 5),
)
def test_symbols_beside_and_rows_wanted_change_no_bit(rows, window):
    values = np.array(rows)
    for function in (
        lambda v, r: rolling_sum(v, window, r),
        lambda v, r: rolling_mean(v, window, r),
        lambda v, r: rolling_deviation(v, window, r, ddof=0),
        lambda v, r: smooth(v, span(window), r),
    ):
        whole = function(values, len(values))
        for symbol in range(3):
            alone = function(np.ascontiguousarray(values[:, [symbol]]), 1)
            np.testing.assert_array_equal(alone[-1], whole[-1, [symbol]])


def test_a_quotient_by_zero_is_missing():
    np.testing.assert_array_equal(ratio(column(1, 0, 6), column(0, 0, 3)), column(NAN, NAN, 2))
    np.testing.assert_array_equal(
        log_ratio(column(1, -1, 0, 1), column(1, -1, 2, 0)), column(0, NAN, NAN, NAN)
    )


def test_rounding_is_no_movement_and_a_small_movement_is():
    price = 102.42333333333334
    differences = column(np.nextafter(price, 200) - price, 1e-8, NAN)
    np.testing.assert_array_equal(
        without_rounding(differences, np.full((3, 1), price)), column(0.0, 1e-8, NAN)
    )


@pytest.mark.parametrize(
    "alphas", [(span(12),), (span(60),), (wilder(14),), (wilder(14), wilder(14)), (span(26), span(9))]
)
def test_after_warm_up_the_seed_weighs_less_than_promised(alphas):
    bars = warm_up(alphas)
    values = column(1.0, *[0.0] * bars)  # the first value is nothing but seed
    for alpha in alphas:
        values = smooth(values, alpha, len(values))
    assert abs(values[-1].item()) < 1e-9
    if len(alphas) == 1:
        assert abs(values[-2].item()) >= 1e-9  # and not long before


def test_smoothing_over_one_bar_needs_no_warm_up():
    assert warm_up(()) == 0
    assert warm_up((1.0,)) == 1
    with pytest.raises(AssertionError, match="do not forget"):
        warm_up((0.0,))
