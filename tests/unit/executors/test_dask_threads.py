"""Dask threads: what they do with few tasks, where a queue schedules, and with many, where Dask does."""

import subprocess
import sys
import threading
import time

import pytest

from briquette.executors.dask import FEW_TASKS, DaskThreads

MAP = """
import sys
from briquette.executors.dask import DaskThreads
found = []
DaskThreads(2).map(lambda n: n * n, range({count}), found.append)
assert sorted(found) == [n * n for n in range({count})]
print("dask" in sys.modules)
"""


@pytest.mark.parametrize(("count", "imported"), [(1, False), (FEW_TASKS, False), (FEW_TASKS + 1, True)])
def test_dask_is_imported_when_there_is_enough_to_schedule(count, imported):
    program = [sys.executable, "-c", MAP.format(count=count)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(imported)


@pytest.fixture(params=["queue", "dask"])
def scheduler(request, monkeypatch):
    """Both ways to schedule, whatever this process has imported."""
    if request.param == "dask":
        pytest.importorskip("dask.threaded")
    else:
        monkeypatch.delitem(sys.modules, "dask", raising=False)


@pytest.mark.parametrize("count", [2, 3, 40])
def test_every_result_comes_once_and_in_the_calling_thread(scheduler, count):
    found, threads = [], set()

    def on_result(result):
        found.append(result)
        threads.add(threading.current_thread())

    DaskThreads(3).map(lambda n: n + 1, range(count), on_result)
    assert sorted(found) == list(range(1, count + 1))
    assert threads == {threading.current_thread()}


def test_the_first_error_ends_the_map_and_what_has_not_begun_is_not_begun(scheduler):
    begun = []

    def fails(n):
        begun.append(n)
        if len(begun) == 3:
            raise ValueError("the third is bad")
        time.sleep(0.02)

    with pytest.raises(ValueError, match="the third is bad"):
        DaskThreads(1).map(fails, range(50), lambda _: None)
    assert len(begun) < 10


def test_results_come_in_about_the_order_of_the_tasks(scheduler):
    """Parts are written while splits are made: those of the first part should come first."""
    found = []
    DaskThreads(2).map(lambda n: time.sleep(0.001) or n, range(FEW_TASKS + 60), found.append)
    assert sorted(found) == list(range(FEW_TASKS + 60))
    assert max(abs(place - n) for place, n in enumerate(found)) < 20
