"""Dask: threads of this process, worker processes on this machine, or an existing cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import spawn
from typing import Any

from briquette.errors import UsageError, WorkerLost
from briquette.executors import Result, Task
from briquette.executors.dask_contact import knock

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


@dataclass(frozen=True, slots=True)
class DaskThreads:
    """Dask's threaded scheduler over ``threads`` threads of this process; the kernel leaves the GIL free."""

    threads: int
    name: str = "dask"

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        on_result: Callable[[Result], None],
    ) -> None:
        """See ``Executor.map``. Dask's own callbacks and profilers see every task."""
        from dask.callbacks import Callback
        from dask.threaded import get

        def after(_key: Any, result: Any, *_: Any) -> None:
            on_result(result)

        last = len(tasks) - 1
        with ThreadPoolExecutor(self.threads) as pool:
            # Dask begins with the last of equal keys: as numbers of one length, in the order of the plan.
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
