"""Threads of this process, and Dask: worker processes on this machine, or an existing cluster."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import spawn
from typing import Any

from briquette.errors import UsageError, WorkerLost
from briquette.executors import Result, Task
from briquette.executors.dask_contact import knock

# Importing Dask takes as long as one or two splits, and holds the interpreter meanwhile. Splits do not depend
# on each other: up to so many, the threads take them from a queue, and a scheduler would do no more.
FEW_TASKS = 100

_HERE = ("localhost", "127.", "[::1]", "::1")
log = logging.getLogger(__name__)


def warn_without_tls(address: str) -> None:
    """Say loudly that whoever reaches a remote scheduler without TLS can run code on its workers."""
    scheme, _, rest = address.rpartition("://")
    if scheme not in ("tls", "wss", "inproc", "unix") and not rest.startswith(_HERE):
        log.warning(
            "The Dask scheduler at %s speaks without TLS: tasks and rows travel in clear, and whoever "
            "reaches it can run code there. Use a tls:// address with Dask's distributed.comm.tls settings "
            "(docs/threat-model.md).",
            address,
        )


@dataclass(slots=True)
class DaskThreads:
    """Threads of this process: no start-up, no serialisation; the kernel releases the GIL.

    They take few tasks from a queue, and many from Dask's threaded scheduler; ``name`` says which it was.
    """

    threads: int
    name: str = "threads"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``."""
        if len(tasks) > 1:
            self._map(function, tasks, on_result)
        elif tasks:
            on_result(function(tasks[0]))

    def _map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        # Whoever has imported Dask may have asked it for its diagnostics: then it schedules everything.
        queued = len(tasks) if len(tasks) <= FEW_TASKS and "dask" not in sys.modules else self.threads
        with ThreadPoolExecutor(self.threads) as pool:
            # The kernel leaves the interpreter free, so the first tasks run while Dask is imported.
            first = [pool.submit(function, task) for task in tasks[:queued]]
            try:
                if len(tasks) > len(first):
                    self._schedule(pool, function, tasks[len(first) :], first, on_result)
                for future in as_completed(first):  # those that are not reported yet
                    on_result(future.result())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _schedule(
        self,
        pool: ThreadPoolExecutor,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        first: list[Future[Result]],
        on_result: Callable[[Result], None],
    ) -> None:
        """Run ``tasks``; those of ``first`` that end meanwhile are reported and taken out of it."""
        self.name = "dask"
        from dask.callbacks import Callback
        from dask.threaded import get

        def after(_key: Any, result: Any, *_: Any) -> None:
            for future in [f for f in first if f.done()]:
                first.remove(future)
                on_result(future.result())  # or raises what that task raised, now rather than at the end
            on_result(result)

        # Dask begins with the last of equal keys: as numbers of one length, that is the order of the plan.
        last = len(tasks) - 1
        graph = {f"split-{last - i:09d}": (function, task) for i, task in enumerate(tasks)}
        with Callback(posttask=after):
            get(graph, list(graph), pool=pool)


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """Dask's distributed scheduler: at ``address``, or ``workers`` single-threaded processes started here."""

    address: str = ""
    workers: int = 0
    memory_limit_bytes: int | None = None
    name: str = "dask"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``; a task whose worker died runs again, up to Dask's allowed failures."""
        from concurrent.futures import CancelledError

        from distributed import Client, LocalCluster, as_completed
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        if self.address:
            scheme = self.address.rpartition("://")[0]
            if scheme in ("", "tcp", "tls", "ws", "wss"):
                knock(self.address, "Dask scheduler", "--scheduler")
            warn_without_tls(self.address)
        hint = "Check the workers' memory limit and logs, then run again: nothing was published."
        try:
            with (
                _without_main() if not self.address else nullcontext(),
                self._cluster(LocalCluster) as place,
                _client(Client, place) as client,
            ):
                # Unpure keys: two runs on one cluster must never share a task by its name.
                futures = client.map(function, tasks, pure=False, key="split")
                for future, result in as_completed(futures, loop=client.loop, with_results=True):
                    if isinstance(result, CancelledError):  # so Dask reports a scheduler that is gone
                        raise result
                    on_result(result)
                    future.release()
        except KilledWorker as cause:
            raise WorkerLost(
                f"a split killed its worker {cause.allowed_failures + 1} times.", hint=hint
            ) from cause
        except (CancelledError, CommClosedError, OSError, TimeoutError) as cause:
            where = self.address or "the local cluster"
            raise WorkerLost(
                f"the Dask scheduler at {where} was lost ({type(cause).__name__}).", hint=hint
            ) from cause

    def _cluster(self, local_cluster: Any) -> Any:
        if self.address:
            return nullcontext(self.address)
        per_worker = self.memory_limit_bytes // max(self.workers, 1) if self.memory_limit_bytes else 0
        return local_cluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=per_worker,
            preload=["briquette.executors.dask_signals"],
        )


@contextmanager
def _without_main() -> Iterator[None]:
    """While the block runs, Dask's worker processes do not import the caller's main module.

    They need nothing of it, and a script that calls ``compact`` without asking for ``__main__`` would start
    workers in its workers.
    """
    prepare = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        data = prepare(name)
        if name.startswith("Dask Worker"):
            for key in ("init_main_from_name", "init_main_from_path"):
                data.pop(key, None)
        return data

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare


def _client(client: Any, place: Any) -> Any:
    """A connection to ``place``; raises ``UsageError`` where it speaks TLS and we have no certificates."""
    try:
        return client(place, set_as_default=False)
    except TypeError as cause:
        if "ssl_context" not in str(cause):
            raise
        raise UsageError(
            f"the Dask scheduler at {place} speaks TLS, and this process has no certificates for it.",
            hint="Set distributed.comm.tls (ca-file, client.cert, client.key) in Dask's configuration.",
        ) from cause
