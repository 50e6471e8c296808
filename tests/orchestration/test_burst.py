"""Twenty manifests at once and three runs of a Glue job: no day may give up waiting for its turn."""

from __future__ import annotations

import pytest

from benchmarks.burst import EIGHT_TRIES, burst, policy_of, share_that_fails


def test_the_simulation_gives_up_where_eight_retries_do() -> None:
    """So that the tests below can fail: the retries that the flow had lose a day more often than not."""
    assert share_that_fails(EIGHT_TRIES, rounds=200) > 0.5
    assert burst(EIGHT_TRIES, days=3, slots=3, seed=1).given_up == 0


@pytest.mark.parametrize(("days", "slots"), [(20, 3), (60, 3), (31, 1)])
def test_no_day_gives_up_with_the_retries_of_the_flow(days: int, slots: int) -> None:
    assert share_that_fails(policy_of(), days=days, slots=slots, rounds=200) == 0


def test_waiting_for_a_turn_takes_not_much_longer_than_the_runs_themselves() -> None:
    ended = burst(policy_of(), days=20, slots=3, seed=3)
    assert ended.seconds < 2 * (20 / 3 + 1) * 135 * 1.5


def test_only_that_error_is_retried_for_hours() -> None:
    assert policy_of()["ErrorEquals"] == ["Glue.ConcurrentRunsExceededException"]
    assert policy_of("Glue.InternalServiceException")["MaxAttempts"] == 8
