"""One split after the other, in this thread: the reference that all executors must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from briquette.executors import Result, Task


@dataclass(frozen=True, slots=True)
class Serial:
    """Runs tasks in order in the calling thread."""

    name: str = "serial"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``."""
        for task in tasks:
            on_result(function(task))
