"""Threads of this process, fed from a queue: nothing is imported, nothing is serialised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

from briquette.executors import Result, Task
from briquette.idle_threads import Lender


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
        with lending(function, self.threads, len(tasks)) as work:
            if len(tasks) <= 1:
                for task in tasks:
                    on_result(work(task))
                return
            with ThreadPoolExecutor(self.threads) as pool:
                futures = [pool.submit(work, task) for task in tasks]
                try:
                    for future in as_completed(futures):
                        on_result(future.result())
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def lending(
    function: Callable[[Task], Result], threads: int, tasks: int
) -> Iterator[Callable[[Task], Result]]:
    """``function`` for the threads of a run, which lends those that have no task left (``idle_threads``)."""
    lender = Lender(threads, tasks)

    def work(task: Task) -> Result:
        with lender.task():
            return function(task)

    try:
        yield work
    finally:
        lender.close()
