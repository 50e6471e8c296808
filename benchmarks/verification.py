"""What all verification of a run costs, as a share of the run's CPU time.

    python -m benchmarks.verification [--workload large] [--scale 1] [--rounds 5]

Every SHA-256 of row groups, footers and parts, and every check of a footer, is timed by its own thread's CPU
clock inside a whole run; the run's CPU time is that of the process, start-up left out. The digest of the rows
(C11.3), which is part of the result and no check, stands beside.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.corpus import corpus
from briquette import compact
from briquette.compaction.options import RunOptions


class Clock:
    """CPU seconds of the threads that are inside of a check, outermost call only."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = threading.local()
        self._lock = threading.Lock()

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, with its CPU time added here."""

        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(self._inside, "now", False):
                return work(*arguments, **named)
            self._inside.now, started = True, time.thread_time()
            try:
                return work(*arguments, **named)
            finally:
                spent = time.thread_time() - started
                self._inside.now = False
                with self._lock:
                    self.seconds += spent

        return call


class TimedHash:
    """A SHA-256 whose every call is timed."""

    def __init__(self, clock: Clock, made: Callable[..., Any], body: bytes) -> None:
        self._hash = clock.timed(made)(body)
        self.update = clock.timed(self._hash.update)
        self.hexdigest = clock.timed(self._hash.hexdigest)


def one_run(raw: Path, output: Path, threads: int) -> dict[str, float]:
    """CPU seconds of one run, of all its checks, and of the digest of its rows."""
    import briquette.compaction.checks
    import briquette.compaction.map_splits
    import briquette.encoding.row_digest
    import briquette.parquet.splice
    import briquette.publishing.part_hashes
    import briquette.publishing.publish

    checks, digest = Clock(), Clock()
    real = hashlib.sha256

    def sha256(body: bytes = b"") -> TimedHash:
        return TimedHash(checks, real, body)

    timed = mock.Mock(wraps=hashlib, sha256=sha256)
    with (
        mock.patch.object(briquette.parquet.splice, "hashlib", timed),
        mock.patch.object(briquette.publishing.part_hashes, "hashlib", timed),
        mock.patch.object(
            briquette.publishing.publish,
            "check_footers",
            checks.timed(briquette.publishing.part_hashes.check_footers),
        ),
        mock.patch.object(
            briquette.parquet.splice,
            "_footer_sha256",
            checks.timed(briquette.parquet.splice._footer_sha256),  # noqa: SLF001 - timed
        ),
        mock.patch.object(
            briquette.compaction.map_splits,
            "check_conservation",
            checks.timed(briquette.compaction.checks.check_conservation),
        ),
        mock.patch.object(
            briquette.encoding.row_digest,
            "rows_digest",
            digest.timed(briquette.encoding.row_digest.rows_digest),
        ),
    ):
        started = time.process_time()
        options = RunOptions(threads=threads, force=True)
        compact(input=raw, output=output, schema="market.prices", options=options)
        total = time.process_time() - started
    return {"run": total, "verification": checks.seconds, "digest": digest.seconds}


def measured(workload: str, scale: float, rounds: int, threads: int = 0) -> dict[str, Any]:
    """The share of verification in several runs, the first of which only loads what a process loads once."""
    made = corpus(workload, scale)
    folder = Path(tempfile.mkdtemp(prefix="briquette-verification-"))
    try:
        runs = [one_run(Path(made.folder), folder / "out", threads) for _ in range(rounds + 1)][1:]
    finally:
        shutil.rmtree(folder)
    return {
        "workload": workload,
        "bytes": made.size_bytes,
        "cpu_seconds": runs,
        "share": statistics.median(r["verification"] / r["run"] for r in runs),
        "digest_share": statistics.median(r["digest"] / r["run"] for r in runs),
    }


def main() -> None:
    """Print the share as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--workload", default="large")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(measured(options.workload, options.scale, options.rounds), indent=1))


if __name__ == "__main__":
    main()
