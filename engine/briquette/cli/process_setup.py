"""What the command sets up in its process before the first library is loaded.

A run of a small day takes half a second, and what the interpreter, the C library and OpenBLAS do by default
is a good part of it (docs/decisions/0005-start-up.md).
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


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


def map_arrow_ahead() -> None:
    """Let a thread map Arrow's libraries while this one imports other things.

    The loader takes 0.02 s for their relocations and does not need the interpreter; the import of pyarrow
    then finds them done. Called through ``ctypes``, since an import would hold the interpreter; and when the
    command line is there, whose own libraries would wait for the loader.
    """
    dlopen = getattr(ctypes.CDLL(None), "dlopen", None) if sys.platform == "linux" else None
    found = find_spec("pyarrow")
    if dlopen is None or found is None or not found.submodule_search_locations:
        return
    path = os.path.join(found.submodule_search_locations[0], f"lib{EXTENSION_SUFFIXES[0]}")
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    thread = threading.Thread(target=dlopen, args=(os.fsencode(path), os.RTLD_NOW), daemon=True)
    thread.start()
    _mapping.append(thread)


_mapping: list[threading.Thread] = []


def arrow_is_mapped() -> None:
    """Wait for what ``map_arrow_ahead`` has begun: neither a fork nor an exit may find the loader at work."""
    while _mapping:
        _mapping.pop().join()
