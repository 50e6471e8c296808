"""An executor whose results somebody else may see too, while the others are still being made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.executors import Executor, Result, Task
from engine.value import Value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Watched(Value):
    """``executor``, which shows each result to ``watcher`` before it reports it."""

    executor: Executor
    watcher: Callable[[object], None]

    @property
    def name(self) -> str:
        return self.executor.name

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``."""

        def seen(result: Result) -> None:
            self.watcher(result)
            on_result(result)

        self.executor.map(function, tasks, seen)
