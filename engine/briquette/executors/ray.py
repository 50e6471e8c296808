"""Ray: worker processes on this machine, or an existing Ray cluster. An extra: ``briquette[ray]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from briquette.errors import UsageError, WorkerLost
from briquette.executors import Result, Task
from briquette.executors.dask_contact import knock

# Tasks that wait in Ray's queue cost it memory; so many for each core keep every core busy.
WAITING_PER_CORE = 4


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Ray on the cluster at ``address``, or on ``workers`` processes started here (0: one for each core)."""

    address: str = ""
    workers: int = 0
    memory_limit_bytes: int | None = None
    name: str = "ray"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``; a task whose worker died runs again, up to three times."""
        if not tasks:
            return
        ray = _ray()
        # Ray's own threads print its workers' troubles to stdout, which belongs to the caller's document.
        with redirect_stdout(sys.stderr):
            self._map(ray, function, tasks, on_result)

    def _map(
        self,
        ray: Any,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        hint = "Check the workers' memory and `ray status`, then run again: nothing was published."
        mine = not ray.is_initialized()

        def call(task: Task) -> Result:  # Ray takes plain functions only; a kernel may be a partial
            return function(task)

        try:
            if mine:
                self._start(ray)
            _collect(ray, ray.remote(max_retries=3)(call), tasks, on_result)
        except ray.exceptions.RayTaskError as cause:
            raise cause.cause if isinstance(cause.cause, Exception) else cause from None
        except (ray.exceptions.RayError, ConnectionError, TimeoutError) as cause:
            where = self.address or "this machine"
            first = str(cause).strip().partition("\n")[0]
            what = f"{type(cause).__name__}: {first}"
            raise WorkerLost(f"Ray on {where} lost work ({what}).", hint=hint) from cause
        finally:
            if mine:
                ray.shutdown()

    def _start(self, ray: Any) -> None:
        if self.address:
            scheme, _, place = self.address.rpartition("://")
            if place not in ("auto", "local") and scheme in ("", "ray"):
                knock(self.address, "Ray cluster", "--ray-address")
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level="error")
            except (ray.exceptions.RayError, RuntimeError, OSError, ValueError) as cause:
                last = str(cause).strip().rpartition("\n")[2]
                raise WorkerLost(
                    f"there is no Ray cluster to be reached at {self.address}: {last}.",
                    hint="Check the address; a cluster with tokens wants RAY_AUTH_MODE=token and its token.",
                ) from cause
            return
        more = (
            {"object_store_memory": max(self.memory_limit_bytes // 3, 80 << 20)}
            if self.memory_limit_bytes
            else {}
        )
        ray.init(
            num_cpus=self.workers or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            **more,
        )


def _ray() -> Any:
    # Ray reports to its makers who uses it, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as cause:
        raise UsageError("the executor ray needs Ray.", hint="pip install 'briquette[ray]'") from cause
    return ray


def _collect(ray: Any, remote: Any, tasks: Sequence[Any], on_result: Callable[[Any], None]) -> None:
    """Keep a bounded number of tasks in flight and report each result as it comes."""
    most = max(int(ray.cluster_resources().get("CPU", 1)), 1) * WAITING_PER_CORE
    waiting: list[Any] = []
    following = iter(tasks)
    try:
        for task in following:
            waiting.append(remote.remote(task))
            if len(waiting) >= most:
                _take_one(ray, waiting, on_result)
        while waiting:
            _take_one(ray, waiting, on_result)
    finally:
        for reference in waiting:
            ray.cancel(reference, force=False)


def _take_one(ray: Any, waiting: list[Any], on_result: Callable[[Any], None]) -> None:
    (done, *_), rest = ray.wait(waiting, num_returns=1)
    waiting[:] = rest
    on_result(ray.get(done))
