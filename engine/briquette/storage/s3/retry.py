"""Bounded retries with growing, jittered pauses; the only layer that repeats a request."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from briquette.errors import StoreError

T = TypeVar("T")

ATTEMPT = "briquette-attempt"  # metadata that tells our own lost reply from another writer's success


class TransientError(Exception):
    """A request that may well succeed when it is sent again."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is sent, and how long the pauses between may be."""

    attempts: int = 7
    first_seconds: float = 0.1
    longest_seconds: float = 5.0

    def run(self, what: str, send: Callable[[], T], failed: TransientError | None = None) -> T:
        """What ``send`` returns; ``StoreError`` naming ``what`` once it raised Transient too often.

        ``failed`` is how a first attempt ended that was made elsewhere.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                if attempt == 1 and failed is not None:
                    raise failed
                return send()
            except TransientError as error:
                if attempt == self.attempts:
                    raise StoreError(
                        f"{what} failed {attempt} times; the last time: {error}.",
                        hint="The store or the network is in trouble; run it again later.",
                    ) from error
                self.pause(attempt)
        raise AssertionError("unreachable")

    def pause(self, attempt: int) -> None:
        """Wait before the next attempt; jitter keeps many workers from coming back at once."""
        longest = min(self.longest_seconds, self.first_seconds * 2 ** (attempt - 1))
        time.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - spreads load, guards nothing
