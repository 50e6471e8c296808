"""Every test of ``ExecutorTests`` fails for some executor that breaks its sentence."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from briquette.errors import BriquetteError, WorkerLost
from briquette.executors.serial import Serial
from briquette.testing.executors import ExecutorTests


class Executor(Serial):
    """The serial executor, to be broken."""


class LosesOne(Executor):
    def map(self, function, tasks, on_result):
        super().map(function, tasks[:-1], on_result)


class ReportsTwice(Executor):
    def map(self, function, tasks, on_result):
        super().map(function, [*tasks, *tasks[:1]], on_result)


class ReportsFromAnotherThread(Executor):
    def map(self, function, tasks, on_result):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(super().map, function, tasks, on_result).result()


class CutsLongResults(Executor):
    def map(self, function, tasks, on_result):
        def cut(result):
            on_result(result[: 1 << 20] if isinstance(result, bytes) else result)

        super().map(function, tasks, cut)


class FailsWithOtherWords(Executor):
    def map(self, function, tasks, on_result):
        try:
            super().map(function, tasks, on_result)
        except BriquetteError as error:
            raise WorkerLost(str(error), hint="Run it again.") from error


class PassesOverErrors(Executor):
    def map(self, function, tasks, on_result):
        with suppress(Exception):  # that is what is wrong with it
            super().map(function, tasks, on_result)


class Nameless(Executor):
    name = "one that has no name"

    def __init__(self):
        pass


class ChangesTasks(Executor):
    """Gives each split to the function as another one, where a task is a split."""

    def map(self, function, tasks, on_result):
        def other(task):
            result = function(task)
            if not hasattr(result, "row_groups"):
                return result
            return replace(result, row_groups=result.row_groups[:-1])

        super().map(other, tasks, on_result)


BROKEN = [
    kind
    for kind in list(vars().values())
    if isinstance(kind, type) and issubclass(kind, Executor) and kind is not Executor
]


def cases() -> Iterator[tuple[str, dict[str, object]]]:
    """Each test with each of its parameters."""
    for name, test in inspect.getmembers(ExecutorTests, inspect.isfunction):
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        for values in [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]:
            yield name, values


def failures(kind: type[Executor], folder: Path) -> set[str]:
    """The tests that a kind of executor fails."""
    failed = set()
    for number, (name, values) in enumerate(cases()):
        wanted = inspect.signature(getattr(ExecutorTests, name)).parameters
        place = folder / f"{kind.__name__}-{number}"
        place.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            known = {"tmp_path": place, "monkeypatch": patch}
            values |= {word: value for word, value in known.items() if word in wanted}
            try:
                getattr(ExecutorTests(), name)(executor=kind(), **values)
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - it may fail in any way
                failed.add(name)
    return failed


def test_every_broken_executor_fails_and_every_test_fails_for_one(tmp_path: Path) -> None:
    assert failures(Executor, tmp_path) == set()
    failed = {kind.__name__: failures(kind, tmp_path) for kind in BROKEN}
    assert [name for name, tests in failed.items() if not tests] == []
    assert {name for name, _ in cases()} - set().union(*failed.values()) == set()


def test_the_tasks_of_the_tests_pickle() -> None:
    from briquette.testing import executors

    for function in (executors._square, executors._megabytes, executors._refuses_seven):
        assert pickle.loads(pickle.dumps(function)) is function
