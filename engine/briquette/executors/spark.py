"""Spark as an executor: it maps the kernel over the splits, and never sees a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from py4j.protocol import Py4JError, Py4JJavaError

from briquette.errors import BriquetteError, WorkerLost
from briquette.executors import Result, Task

if TYPE_CHECKING:
    from pyspark import SparkContext


@dataclass(frozen=True, slots=True)
class SparkExecutor:
    """An existing SparkContext: one Spark task for each split, all results collected by the driver."""

    context: SparkContext
    name: str = "spark"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``; of several errors the one of the first task is raised.

        What briquette raises on purpose is not worth Spark's four attempts; what it does not expect (memory,
        a lost executor) is left to them.
        """
        if not tasks:
            return
        try:
            outcomes = self.context.parallelize(tasks, len(tasks)).map(_Guarded(function)).collect()
        except (Py4JError, OSError, EOFError) as cause:
            raise WorkerLost(
                f"Spark could not finish {len(tasks)} splits: {first_line(cause)}.",
                hint="Check the executors' memory and logs, then run again: nothing was published.",
            ) from cause
        for outcome in outcomes:
            if isinstance(outcome, _Failed):
                raise outcome.error
            on_result(outcome)


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BriquetteError


@dataclass(frozen=True, slots=True)
class _Guarded(Generic[Task, Result]):
    """A task's function whose own errors are values, so that they keep type, message and hint on the way."""

    function: Callable[[Task], Result]

    def __call__(self, task: Task) -> Result | _Failed:
        try:
            return self.function(task)
        except BriquetteError as error:
            return _Failed(error)


_FAILURE = re.compile(r"(?:Task \d+ in stage \S+ failed \d+ times?, most recent failure: )(.*)", re.DOTALL)
_ATTEMPTS = re.compile(r"failed (\d+) times?")
_PYTHON = re.compile(r"Traceback \(most recent call last\):\n(.*?)(?:\n\s*\n|\n\tat |\Z)", re.DOTALL)
_MOST_CHARACTERS = 300


def first_line(error: BaseException) -> str:
    r"""What went wrong, in one line, out of the pages that Spark reports.

    >>> first_line(OSError("the gateway\nis closed"))
    'OSError: the gateway'
    """
    if not isinstance(error, Py4JJavaError):
        return _short(f"{type(error).__name__}: {error}")
    text = str(error.java_exception.toString())
    python = _PYTHON.findall(text)
    if python:
        below_frames = python[-1].splitlines()
        while below_frames and below_frames[0][:1].isspace():
            del below_frames[0]
        reason = below_frames[0] if below_frames else "an exception in a Python worker"
    else:
        failure = _FAILURE.search(text)
        reason = failure[1] if failure else text
    attempts = _ATTEMPTS.search(text)
    return _short(reason) + (f" (attempt {attempts[1]})" if attempts else "")


def _short(text: str) -> str:
    line = text.strip().partition("\n")[0].strip().rstrip(".")
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + "…"
