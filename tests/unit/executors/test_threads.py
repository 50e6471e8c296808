"""Threads of this process, scheduled by a queue or by Dask: the same promises."""

import threading
import time

import pytest

from briquette.executors.dask import DaskThreads
from briquette.executors.threads import Threads


@pytest.fixture(params=[Threads, DaskThreads])
def executor(request):
    """Both ways to schedule threads of this process."""
    return request.param


@pytest.mark.parametrize("count", [2, 3, 40])
def test_every_result_comes_once_and_in_the_calling_thread(executor, count):
    found, threads = [], set()

    def on_result(result):
        found.append(result)
        threads.add(threading.current_thread())

    executor(3).map(lambda n: n + 1, range(count), on_result)
    assert sorted(found) == list(range(1, count + 1))
    assert threads == {threading.current_thread()}


def test_the_first_error_ends_the_map_and_what_has_not_begun_is_not_begun(executor):
    begun = []

    def fails(n):
        begun.append(n)
        if len(begun) == 3:
            raise ValueError("the third is bad")
        time.sleep(0.02)

    with pytest.raises(ValueError, match="the third is bad"):
        executor(1).map(fails, range(50), lambda _: None)
    assert len(begun) < 10


def test_results_come_in_about_the_order_of_the_tasks(executor):
    """Parts are written while splits are made: those of the first part should come first."""
    found = []
    executor(2).map(lambda n: time.sleep(0.001) or n, range(160), found.append)
    assert sorted(found) == list(range(160))
    assert max(abs(place - n) for place, n in enumerate(found)) < 20
