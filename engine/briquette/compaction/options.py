"""What a run may be told that changes no byte of its output, and how it tells how far it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from briquette import accelerators
from briquette.errors import UsageError
from briquette.executors import check_executor
from briquette.model import OnEmpty
from briquette.planning.plan import BATCH_MANIFEST_NAME

LEAST_MEMORY_BYTES = 128 << 20  # of a process: the interpreter and its libraries
Progress = Callable[[int, int, int], None]  # splits done, splits in all, raw bytes done


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run may decide without changing a byte of its output."""

    executor: str = "auto"
    workers: int = 0  # worker processes; 0 means threads of this process
    scheduler: str = ""  # address of an existing Dask cluster
    ray_address: str = ""  # of an existing Ray cluster
    threads: int = 0  # 0 means one for each core
    memory_limit_bytes: int | None = None
    force: bool = False
    on_empty: OnEmpty = OnEmpty.KEEP
    check_batch_manifest: bool = True
    batch_manifest: str = BATCH_MANIFEST_NAME  # how ingestion names it
    unsafe_store: bool = False
    reuse: bool = True  # take over finished row groups of unchanged splits


def check_options(options: RunOptions) -> None:
    """Refuse what no run could keep to, before anything is read; raises ``UsageError``."""
    accelerators.check()
    check_executor(options.executor, scheduler=options.scheduler, ray_address=options.ray_address)
    limit, least = options.memory_limit_bytes, max(options.workers, 1) * LEAST_MEMORY_BYTES
    if limit is not None and limit < least:
        what = f"{options.workers} processes take" if options.workers > 1 else "a process takes"
        raise UsageError(
            f"a memory limit of {limit:,} bytes is less than {what} without any data ({least:,}).",
            hint=f"Pass --memory-limit {least >> 19}MiB or more.",
        )


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
