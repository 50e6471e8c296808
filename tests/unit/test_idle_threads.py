"""Idle threads: lent while a run has fewer tasks than threads, used for halves of a task, and given back."""

import threading

import pytest

from briquette import idle_threads
from briquette.executors.threads import Threads


def halves() -> bool:
    """Whether two halves of a task run in two threads."""
    one, other = idle_threads.both(threading.get_ident, threading.get_ident)
    return one != other


def test_without_an_idle_thread_the_halves_run_one_after_the_other():
    assert not idle_threads.idle()
    assert not halves()


@pytest.mark.parametrize(
    ("threads", "tasks", "wanted"), [(1, 1, [False]), (2, 1, [True]), (3, 2, [True, True])]
)
def test_a_run_of_fewer_tasks_than_threads_lends_the_others(threads, tasks, wanted):
    found: list[bool] = []
    gate = threading.Barrier(tasks)

    def task(_number):
        answer = idle_threads.idle()
        gate.wait(10)
        return answer and halves() in (True, False)

    Threads(threads).map(task, range(tasks), found.append)
    assert found == wanted
    assert not idle_threads.idle()


def test_a_thread_that_finds_no_task_is_lent_to_those_at_work():
    found: list[tuple[int, bool]] = []
    ended = threading.Event()

    def task(number):
        if number:
            return number, halves()
        ended.wait(10)
        while not idle_threads.idle():
            pass
        return number, halves()

    def on_result(result):
        found.append(result)
        if len(found) == 2:
            ended.set()

    Threads(2).map(task, range(3), on_result)
    assert dict(found)[0]
    assert not idle_threads.idle()


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_of_either_half_is_raised_and_the_thread_given_back(place):
    def fails():
        raise ValueError("a bad half")

    work = [int, int]
    work[place] = fails
    lender = idle_threads.Lender(2, 1)
    with pytest.raises(ValueError, match="a bad half"), lender.task():
        idle_threads.both(*work)
    lender.close()
    assert not idle_threads.idle()


def test_a_task_that_fails_leaves_no_thread_lent():
    def fails(_number):
        raise ValueError("a bad task")

    with pytest.raises(ValueError, match="a bad task"):
        Threads(4).map(fails, range(2), lambda _: None)
    assert not idle_threads.idle()
