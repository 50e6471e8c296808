"""Executors: they map one function over the splits of a plan, and know nothing of Parquet or stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

EXECUTORS = ("auto", "serial", "threads", "dask", "ray")

# Importing Dask takes 0.1 s: a tenth of the smallest day, under a twentieth of a day of so many splits
# (benchmarks/executors.py, docs/decisions/0016).
FEW_SPLITS = 16


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
    splits: int = 0,
    workers: int = 0,
    concurrency: int = 1,
    scheduler: str = "",
    ray_address: str = "",
    memory_limit_bytes: int | None = None,
) -> Executor:
    """The executor of that name, for a run of so many splits.

    ``auto`` is what ``workers`` or an address asks for, else threads for few splits and Dask for many.
    Dask means threads of this process, ``workers`` processes on this machine, or ``scheduler``'s cluster.
    """
    check_executor(name, scheduler=scheduler, ray_address=ray_address)
    if name == "ray" or (name == "auto" and ray_address):
        from briquette.executors.ray import RayCluster

        return RayCluster(ray_address, workers, memory_limit_bytes)
    if name == "dask" or (name == "auto" and (scheduler or workers or splits > FEW_SPLITS)):
        from briquette.executors.dask import DaskCluster, DaskThreads

        if scheduler or workers:
            return DaskCluster(scheduler, workers, memory_limit_bytes)
        return DaskThreads(concurrency)
    if name in ("auto", "threads"):
        from briquette.executors.threads import Threads

        return Threads(concurrency)
    from briquette.executors.serial import Serial

    return Serial()


def check_executor(name: str, *, scheduler: str = "", ray_address: str = "") -> None:
    """Refuse what ``open_executor`` could not open, before anything is read; raises ``UsageError``."""
    from briquette.errors import UsageError

    if name not in EXECUTORS:
        raise UsageError(f"there is no executor {name!r}.", hint=f"Use one of {', '.join(EXECUTORS)}.")
    if scheduler and ray_address:
        raise UsageError("a run has one scheduler.", hint="Pass --scheduler (Dask) or --ray-address (Ray).")
    if ray_address and name not in ("auto", "ray"):
        raise UsageError(f"--ray-address does not go with the executor {name}.", hint="Pass --executor ray.")
    if scheduler and name not in ("auto", "dask"):
        raise UsageError(f"--scheduler does not go with the executor {name}.", hint="Pass --executor dask.")
