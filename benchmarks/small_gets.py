"""What thousands of small GETs from S3 cost the client, by libcurl and by obstore alone.

    python -m benchmarks.small_gets [--scale 1] [--rounds 5] [--latency-ms 20]

The raw day is `tiny`, behind the S3 servers of the suite. Each run is a process of its own; seconds are those
from the first request to the last body. Rounds alternate, and the bodies' digests are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from hashlib import sha256
from statistics import median
from typing import Any

from benchmarks.corpus import corpus
from benchmarks.lab import lab
from benchmarks.raw_server import RAW_BUCKET

WAYS = {"libcurl": "on", "obstore": "off"}  # BRIQUETTE_S3_CURL
ONE = "from benchmarks.small_gets import fetch; fetch()"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with lab(corpus("tiny", options.scale).folder, options.latency_ms) as servers:
        for _ in range(options.rounds):
            for way, wish in WAYS.items():
                environment = {**os.environ, **servers.environment(), "BRIQUETTE_S3_CURL": wish}
                told = subprocess.run(
                    [sys.executable, "-c", ONE], env=environment, capture_output=True, check=True
                )
                runs[way].append(json.loads(told.stdout))
    if len({run["sha256"] for found in runs.values() for run in found}) != 1:
        raise SystemExit("the bodies differ")
    for way, found in runs.items():
        cpu = sorted(run["cpu_seconds"] for run in found)
        wall = sorted(run["seconds"] for run in found)
        print(
            f"{way}: {found[0]['objects']:,} objects, {found[0]['requests']:,} GETs,"
            f" CPU {median(cpu):.2f} s (least {cpu[0]:.2f}), wall {median(wall):.2f} s (least {wall[0]:.2f})"
        )


def fetch() -> None:
    """One run: list, then fetch all; its figures as JSON."""
    from briquette.model import RawObject
    from briquette.storage.opening import open_store

    store = open_store(f"s3://{RAW_BUCKET}")
    objects = [RawObject(s.key, s.size_bytes, s.etag) for s in store.list("")]
    digest = sha256()
    begun, cpu = time.monotonic(), time.process_time()
    for body in store.get_many(objects):
        digest.update(body)
    figures = {
        "objects": len(objects),
        "requests": store.requests["GET"],
        "seconds": time.monotonic() - begun,
        "cpu_seconds": time.process_time() - cpu,
        "sha256": digest.hexdigest(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
