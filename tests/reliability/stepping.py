"""A deterministic scheduler: actors in threads that are handed on one store request at a time.

Exactly one actor runs at any moment. Ahead of each request it stops, and a seeded choice says who goes on;
so a seed is a schedule, and the same seed is the same schedule again. The actor that stops wakes its
successor itself, which costs one switch between threads for a step and none where it goes on.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Actor = Callable[[], Any]


class DeadError(BaseException):
    """This actor was killed; nothing of it may act any more."""


class Stepper:
    """Runs actors under a schedule; give ``step`` to ``store.requests.before``."""

    def __init__(self, actors: int) -> None:
        self.trace: list[tuple[int, str, str]] = []
        self._actor_of: dict[int, int] = {}
        self._turn = [threading.Lock() for _ in range(actors)]
        self._done = threading.Lock()
        self._tasks: list[Actor | None] = [None] * actors
        self._outcomes: list[Any] = [None] * actors
        self._alive: list[int] = []
        self._blocked: set[int] = set()
        self._owner, self._depth = -1, 0
        self._dies_at: dict[int, int] = {}
        self._steps = [0] * actors
        self._choose: Callable[[Sequence[int]], int] = lambda alive: alive[0]
        for lock in (*self._turn, self._done):
            lock.acquire()
        self._threads = [threading.Thread(target=self._live, args=(i,), daemon=True) for i in range(actors)]
        for thread in self._threads:
            thread.start()

    def run(
        self, choose: Callable[[Sequence[int]], int], actors: Sequence[Actor], dies_at: dict[int, int]
    ) -> list[Any]:
        """Each actor's result or exception. ``dies_at``: the step, from 1, ahead of which it is killed."""
        self.trace = []
        self._choose, self._dies_at = choose, dies_at
        self._tasks[: len(actors)] = actors
        self._steps = [0] * len(actors)
        self._alive = list(range(len(actors)))
        self._blocked.clear()
        self._owner, self._depth = -1, 0
        self._turn[self._next()].release()
        self._done.acquire()
        return self._outcomes[: len(actors)]

    def close(self) -> None:
        """End the threads."""
        self._tasks = [None] * len(self._threads)
        for turn, thread in zip(self._turn, self._threads, strict=True):
            turn.release()
            thread.join()

    def step(self, verb: str, key: str) -> None:
        """Stop here until the schedule says that this actor goes on; threads that are no actors pass."""
        me = self._actor_of.get(threading.get_ident())
        if me is None or not self._alive:
            return
        self._hand_on(me)
        self._steps[me] += 1
        if self._steps[me] >= self._dies_at.get(me, 1 << 30):
            self.trace.append((me, "dies before " + verb, key))
            raise DeadError
        self.trace.append((me, verb, key))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A lock between actors: whoever waits for it is not chosen until it is free."""
        me = self._actor_of.get(threading.get_ident())
        if me is None or not self._alive:
            yield
            return
        while self._owner not in (-1, me):
            self._blocked.add(me)
            self._hand_on(me)
        self._owner = me
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._owner = -1
                self._blocked.clear()

    def _next(self) -> int:
        ready = [a for a in self._alive if a not in self._blocked] if self._blocked else self._alive
        return ready[0] if len(ready) == 1 else self._choose(ready)

    def _hand_on(self, me: int) -> None:
        successor = self._next()
        if successor != me:
            self._turn[successor].release()
            self._turn[me].acquire()

    def _live(self, me: int) -> None:
        self._actor_of[threading.get_ident()] = me
        while True:
            self._turn[me].acquire()
            task = self._tasks[me]
            if task is None:
                return
            try:
                self._outcomes[me] = task()
            except BaseException as error:  # noqa: BLE001 - it is the outcome
                self._outcomes[me] = error
            self._alive.remove(me)
            if self._alive:
                self._turn[self._next()].release()
            else:
                self._done.release()


def chooser(seed: int) -> Callable[[Sequence[int]], int]:
    """Who goes next: by a seed, uniformly, or with a few changes of priority (which finds rare orders)."""
    draw = random.Random(seed)
    if seed % 2:
        pick = draw.random
        return lambda ready: ready[int(pick() * len(ready))]
    ranks = [draw.random() for _ in range(8)]
    changes = {draw.randrange(1, 45): (draw.randrange(4), draw.random()) for _ in range(4)}
    count = 0

    def by_rank(ready: Sequence[int]) -> int:
        nonlocal count
        count += 1
        if count in changes:
            who, rank = changes[count]
            ranks[who] = rank
        return max(ready, key=ranks.__getitem__)

    return by_rank
