"""How fast the template scan is on one core and on two, and what having it costs a process.

    python -m benchmarks.scan_rate [--scale 0.1] [--workload large]

Rates are raw JSON bytes over the CPU seconds of the thread, Arrow arrays included, the best of several runs:
on a machine that others use, wall time would say more about them. The rows are compared with the corpus.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from benchmarks import JSON_COLUMNS
from benchmarks.corpus import WORKLOADS, good_rows, raw_files
from benchmarks.rows import summarise
from briquette.model import Field, Schema
from briquette.schemas.declared import arrow_schema
from briquette.template_scan import scan

SCHEMA = Schema(
    tuple(
        Field(
            name,
            {"symbol": "string", "timestamp": "timestamp[us, UTC]", "volume": "int64"}.get(name, "float64"),
        )
        for name in JSON_COLUMNS
    )
)
RUNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--workload", choices=("large", "minute", "tiny"), default="large")
    options = parser.parse_args()
    files = list(raw_files(WORKLOADS[options.workload], options.scale))
    buffer = b"".join(file.text for file in files)
    scan.warm()
    result = scan.scan_json_lines(buffer, SCHEMA)
    assert result is not None
    table = pa.table(result.columns, names=list(JSON_COLUMNS))
    differences = summarise(table).differences(summarise(good_rows(files)))
    figures = {
        "bytes": len(buffer),
        "rows": result.rows,
        "deviating_lines": len(result.deviating),
        "differences": differences,
        "scan_mb_per_cpu_second": _rate(buffer, lambda: scan.scan_json_lines(buffer, SCHEMA)),
        "two_threads_mb_per_second": _two_threads(buffer),
        "pyarrow_json_mb_per_cpu_second": _rate(buffer, lambda: _read_json(buffer)),
        "load_seconds": _fresh("from briquette.template_scan import scan; scan.warm()"),
        "import_numba_seconds": _fresh("import numba"),
    }
    print(json.dumps(figures, indent=2))
    if differences:
        raise SystemExit(1)


def _rate(buffer: bytes, work: Callable[[], Any]) -> int:
    best = float("inf")
    for _ in range(RUNS):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return round(len(buffer) / 1e6 / best)


def _two_threads(buffer: bytes) -> int:
    """Wall-clock rate of two halves at once: what the interpreter lock would forbid."""
    middle = buffer.index(b"\n", len(buffer) // 2) + 1
    halves = (buffer[:middle], buffer[middle:])
    best = float("inf")
    for _ in range(RUNS):
        threads = [threading.Thread(target=scan.scan_json_lines, args=(half, SCHEMA)) for half in halves]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = min(best, time.perf_counter() - started)
    return round(len(buffer) / 1e6 / best)


def _read_json(buffer: bytes) -> Any:
    # As a double: some symbols write 867965.0, which pyarrow does not take for an integer.
    schema = arrow_schema(SCHEMA)
    volume = schema.get_field_index("volume")
    schema = schema.set(volume, pa.field("volume", pa.float64()))
    return pj.read_json(
        pa.BufferReader(buffer),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(buffer) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )


def _fresh(program: str) -> float:
    """Seconds of a statement in a new process that has pyarrow already, the best of three."""
    timed = (
        "import time, numpy, pyarrow\nt = time.perf_counter()\n"
        + program
        + "\nprint(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", timed]
    return round(
        min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3)), 3
    )


if __name__ == "__main__":
    main()
