"""What the executors take on this machine: whole commands on the same raw days, in alternating rounds.

    python -m benchmarks.executors [--workloads tiny,minute,large] [--scale 1] [--rounds 5] [--out FILE]

Ratios are of CPU and wall time to those of ``threads`` in the same round, as medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.corpus import Corpus, corpus
from benchmarks.figures import machine
from benchmarks.measure import measure
from benchmarks.peers.briquette import command

# The first is what the others are compared with.
EXECUTORS = {
    "threads": ["--executor", "threads"],
    "dask": ["--executor", "dask"],
    "dask, two processes": ["--executor", "dask", "--workers", "2"],
    "serial": ["--executor", "serial"],
}
TIMEOUT_SECONDS = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", default="tiny,minute,large")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures = {
        **machine(),
        "scale": options.scale,
        "rounds": options.rounds,
        "workloads": {
            name: compared(corpus(name, options.scale), options.rounds)
            for name in options.workloads.split(",")
        },
    }
    text = json.dumps(figures, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def compared(made: Corpus, rounds: int) -> dict[str, Any]:
    """Each executor's medians on one raw day; a run whose rows differ ends the command."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in EXECUTORS}
    for _ in range(rounds + 1):  # the first fills caches and is dropped
        for name, words in EXECUTORS.items():
            runs[name].append(_run(made, words))
    base = runs["threads"][1:]
    return {name: _medians(found[1:], base) for name, found in runs.items()}


def _run(made: Corpus, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="briquette-executors-") as folder:
        line = command(str(made.folder), f"{folder}/out", made.shape.name, str(made.schema_file))
        told = measure([*line, *words], cwd=Path(folder), timeout_seconds=TIMEOUT_SECONDS)
    if told["exit_code"]:
        sys.exit(f"{' '.join(words)} failed on {made.workload.name}: {told['stderr']}")
    document = json.loads(told["stdout"])
    if document["rows"] != made.expected.rows:
        sys.exit(f"{' '.join(words)} gave {document['rows']} rows of {made.workload.name}.")
    return told | {"ran": document["executor"], "splits": document["splits"]["all"]}


def _medians(runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {"ran": runs[0]["ran"], "splits": runs[0]["splits"]}
    for kind in ("wall_seconds", "cpu_seconds"):
        told[kind] = round(statistics.median(r[kind] for r in runs), 3)
        told[f"{kind}_ratio"] = round(
            statistics.median(one[kind] / other[kind] for one, other in zip(runs, base, strict=True)), 3
        )
    return told | {"peak_mb": round(max(r["peak_bytes"] for r in runs) / 1e6)}


if __name__ == "__main__":
    main()
