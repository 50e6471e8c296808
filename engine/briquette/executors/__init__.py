"""Executors: they map one function over the splits of a plan, and know nothing of Parquet or stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Something that maps a function over tasks, in any order, and reports each result once."""

    @property
    def name(self) -> str:
        """The word that reports use, of what has run: serial, threads, dask, ray or spark; none before."""

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """Call ``on_result(function(task))`` once for each task, in the calling thread.

        The first error of a task is raised.

        Tasks are values that pickle; running one twice (a lost worker) must not matter to the function.
        Raises ``WorkerLost`` when the work could not be finished.
        """


def open_executor(
    name: str,
    *,
    workers: int = 0,
    concurrency: int = 1,
    scheduler: str = "",
    ray_address: str = "",
    memory_limit_bytes: int | None = None,
) -> Executor:
    """The executor of that name; ``auto`` is threads, or what ``workers`` or an address asks for."""
    check_executor(name, scheduler=scheduler, ray_address=ray_address)
    if name == "ray" or (name == "auto" and ray_address):
        from briquette.executors.ray import RayCluster

        return RayCluster(ray_address, workers, memory_limit_bytes)
    if name in ("auto", "dask"):
        from briquette.executors import dask as dask_executors

        if scheduler or workers:
            return dask_executors.DaskCluster(scheduler, workers, memory_limit_bytes)
        return dask_executors.DaskThreads(concurrency)
    from briquette.executors.serial import Serial

    return Serial()


def check_executor(name: str, *, scheduler: str = "", ray_address: str = "") -> None:
    """Refuse what ``open_executor`` could not open, before anything is read; raises ``UsageError``."""
    from briquette.errors import UsageError

    if name not in ("auto", "serial", "dask", "ray"):
        raise UsageError(f"there is no executor {name!r}.", hint="Use auto, serial, dask or ray.")
    if scheduler and ray_address:
        raise UsageError("a run has one scheduler.", hint="Pass --scheduler (Dask) or --ray-address (Ray).")
    if ray_address and name not in ("auto", "ray"):
        raise UsageError(f"--ray-address does not go with the executor {name}.", hint="Pass --executor ray.")
    if scheduler and name not in ("auto", "dask"):
        raise UsageError(f"--scheduler does not go with the executor {name}.", hint="Pass --executor dask.")
