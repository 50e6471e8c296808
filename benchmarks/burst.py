"""A burst of manifests against a Glue job that runs few at once: how often a day gives up waiting.

``python -m benchmarks.burst`` prints it for the retries that flow.asl.json has, and for eight retries as many
flows have. Step Functions waits ``interval * backoff ** n`` seconds before try n, at most ``most``, and with
full jitter any time between nothing and that.
"""

from __future__ import annotations

import heapq
import json
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.flow import definition

EIGHT_TRIES = {"IntervalSeconds": 30, "BackoffRate": 2.0, "MaxAttempts": 8, "MaxDelaySeconds": 300}
REFUSED = "Glue.ConcurrentRunsExceededException"
RUN_SECONDS = (90.0, 180.0)  # of one run, start of the worker included
STAGES = 2  # the transform of a day, then its indicators; each is a job with slots of its own


@dataclass(frozen=True, slots=True)
class Burst:
    """How a burst ended: days that gave up, and how long all took."""

    given_up: int
    seconds: float


def policy_of(error: str = REFUSED) -> Mapping[str, Any]:
    """The retries of the flow's Glue tasks for an error; all of them have the same."""
    flow = json.loads(definition())
    states = {**flow["States"], **flow["States"]["EachDay"]["ItemProcessor"]["States"]}
    tasks = [s for s in states.values() if s.get("Resource") == "arn:aws:states:::glue:startJobRun.sync"]
    found: list[dict[str, Any]] = [
        next(r for r in task["Retry"] if error in r["ErrorEquals"]) for task in tasks
    ]
    assert all(retry == found[0] for retry in found), "the tasks wait differently"
    assert found[0]["JitterStrategy"] == "FULL"
    return found[0]


def burst(policy: Mapping[str, Any], *, days: int, slots: int, seed: int) -> Burst:
    """Simulate so many days that begin together, each through its stages."""
    chance = random.Random(seed)
    running = [0] * STAGES
    given_up, now = 0, 0.0
    # (time, order, what, stage, tries so far); "ask" wants a slot, "end" gives one back.
    events = [(chance.uniform(0, 60), i, "ask", 0, 0) for i in range(days)]
    heapq.heapify(events)
    order = days
    while events:
        now, _, what, stage, tries = heapq.heappop(events)
        order += 1
        if what == "end":
            running[stage] -= 1
            if stage + 1 < STAGES:
                heapq.heappush(events, (now, order, "ask", stage + 1, 0))
        elif running[stage] < slots:
            running[stage] += 1
            heapq.heappush(events, (now + chance.uniform(*RUN_SECONDS), order, "end", stage, 0))
        elif tries >= policy["MaxAttempts"]:
            given_up += 1
        else:
            most = policy["IntervalSeconds"] * policy["BackoffRate"] ** min(tries, 60)
            delay = chance.uniform(0, min(most, policy["MaxDelaySeconds"]))
            heapq.heappush(events, (now + delay, order, "ask", stage, tries + 1))
    return Burst(given_up, now)


def share_that_fails(
    policy: Mapping[str, Any], *, days: int = 20, slots: int = 3, rounds: int = 1_000
) -> float:
    """The share of bursts in which at least one day gave up."""
    return (
        sum(burst(policy, days=days, slots=slots, seed=seed).given_up > 0 for seed in range(rounds)) / rounds
    )


def main() -> None:
    """Print the shares for some bursts."""
    own = policy_of()
    for days, slots in ((20, 3), (60, 3), (31, 1)):
        ended = sorted(burst(own, days=days, slots=slots, seed=seed).seconds for seed in range(1_000))
        sys.stdout.write(
            f"{days} manifests, {slots} at once: a day gives up in "
            f"{share_that_fails(EIGHT_TRIES, days=days, slots=slots):.1%} of bursts with eight retries, in "
            f"{share_that_fails(own, days=days, slots=slots):.1%} with the flow's; "
            f"half end in {ended[500] / 60:.0f} minutes, the slowest in {ended[-1] / 60:.0f}\n"
        )


if __name__ == "__main__":
    main()
