"""One command in its own process: wall time, CPU time and peak memory of it and all that it starts.

This file is also the launcher that does the measuring. It runs as a bare interpreter, because Linux hands a
parent's peak memory on to the child it starts: a suite that has just read a gigabyte would be measured too.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resource import struct_rusage

PR_SET_CHILD_SUBREAPER = 36
ORPHAN_SECONDS = 20  # how long what a command leaves behind (Spark's JVM) may take to end by itself


def measure(
    command: Sequence[str], *, cwd: Path, timeout_seconds: float, env: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run a command; seconds, bytes, exit code and both streams.

    ``wall_seconds`` ends when the command ends. ``cpu_seconds`` is user and system time of all processes,
    ``peak_bytes`` the resident peak of the largest one. ``exit_code`` is negative for a signal.
    """
    with tempfile.TemporaryDirectory(prefix="briquette-bench-") as name:
        folder = Path(name)
        launcher = [sys.executable, "-I", "-S", __file__, str(timeout_seconds), name, *command]
        subprocess.run(launcher, cwd=cwd, env={**_environment(), **(env or {})}, check=True)
        told: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        for stream in ("stdout", "stderr"):
            told[stream] = (folder / stream).read_text(encoding="utf-8", errors="replace")
    return told


def _environment() -> dict[str, str]:
    """This process's, but for a wish to keep no bytecode: libraries would be compiled anew in every run.

    An installed library is compiled once; the run that warms a peer does it where the installer has not.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _launch(timeout_seconds: float, folder: str, command: list[str]) -> None:
    if sys.platform == "linux":  # processes that outlive their parent become ours, and their CPU time too
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(f"{folder}/stdout", "wb") as out, open(f"{folder}/stderr", "wb") as err:
        started = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    late = threading.Event()

    def end_group() -> None:
        late.set()
        os.killpg(child.pid, signal.SIGKILL)

    watch = threading.Timer(timeout_seconds, end_group)
    watch.start()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    watch.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    usages = [usage, *_reap_orphans(child.pid)]
    figures = {
        "wall_seconds": wall,
        "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in usages),
        "peak_bytes": max(u.ru_maxrss for u in usages) * (1 if sys.platform == "darwin" else 1024),
        "exit_code": child.returncode,
        "timed_out": late.is_set(),
    }
    with open(f"{folder}/figures.json", "w", encoding="utf-8") as file:
        json.dump(figures, file)


def _reap_orphans(group: int) -> list[struct_rusage]:
    """Usage of the group's processes that outlived the command; those that do not end are ended."""
    usages: list[struct_rusage] = []
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            pid, _, usage = os.wait4(-group, os.WNOHANG)
        except ChildProcessError:
            return usages
        if pid:
            usages.append(usage)
        elif time.monotonic() > deadline:
            os.killpg(group, signal.SIGKILL)
            deadline = float("inf")
        else:
            time.sleep(0.02)


if __name__ == "__main__":
    _launch(float(sys.argv[1]), sys.argv[2], sys.argv[3:])
