"""What the command sets up in its process before the first library is loaded.

A run of a small day takes half a second, and what the interpreter, the C library and OpenBLAS do by default
is a good part of it (docs/decisions/0005-start-up.md).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import time


def _process_began() -> float:
    """When this process began, on the clock of ``time.monotonic``: a person waits from there."""
    now = time.monotonic()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        waited = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return now
    return now - waited if 0 <= waited < _LONGEST_START_SECONDS else now


_LONGEST_START_SECONDS = 60.0  # more is a clock that counts something else
BEGAN = _process_began()

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def set_up() -> None:
    """Set up memory, threads and garbage collection for this process."""
    # Importing and listing make many objects and no garbage: collecting as often as by default costs 0.1 s,
    # and once at 50,000 objects, which a day of 10,000 files has, still 0.03 s.
    gc.set_threshold(250_000, 20, 50)
    # As it ends, Python looks through all objects several times for garbage: half of what ending costs.
    atexit.register(gc.freeze)
    # Nothing here multiplies matrices; OpenBLAS would start a thread for each core, which spins for a while.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Arrow's own allocator keeps what it has freed from the others, and they from it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the next split have the pages of the last one: clearing fresh ones is a tenth of a run."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_ARENA_MAX, 1)  # one heap for all threads: what one has freed another can use
        mallopt(_M_MMAP_MAX, 0)  # large blocks come from the heap too, and go back to it
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def hide_pandas_from_pyarrow() -> None:
    """Let pyarrow find no pandas in this process, which makes no frames: it looks once and remembers.

    pyarrow imports pandas, 0.4 s of CPU, at the first array that it makes, only to recognise a Series
    (docs/decisions/0005-start-up.md).
    """
    if "pandas" in sys.modules:
        return
    hidden = _NoPandas()
    sys.meta_path.insert(0, hidden)
    try:
        import pyarrow as pa

        pa.array([])
    finally:
        sys.meta_path.remove(hidden)


class _NoPandas:
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)
