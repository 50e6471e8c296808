"""Threads of this process, fed from a queue: nothing is imported, nothing is serialised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from briquette.executors import Result, Task


@dataclass(frozen=True, slots=True)
class Threads:
    """``threads`` threads that take the tasks in order; one task runs in the calling thread."""

    threads: int
    name: str = "threads"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``."""
        if len(tasks) <= 1:
            for task in tasks:
                on_result(function(task))
            return
        with ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(function, task) for task in tasks]
            try:
                for future in as_completed(futures):
                    on_result(future.result())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
