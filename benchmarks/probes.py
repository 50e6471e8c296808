"""Questions that no peer answers: memory against its bounds, cost by size, part sizes, planning, workers.

Each run is a process of its own through the command line, measured as the suite measures peers.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import Corpus, corpus
from benchmarks.measure import measure
from benchmarks.peers.briquette import program

CHECKOUT = Path(__file__).resolve().parent.parent
MEMORY_LIMIT_MB = 1_000
HUGE_BYTES, HUGE_ROUNDS = 5_000_000_000, 2  # such a run takes half a minute and is hardly disturbed
PLANNED_OBJECTS = 1_000_000
CURVE = (("large", 0.03), ("large", 0.1), ("large", 0.3), ("large", 1.0), ("1gb", 1.0))
# Plans a listing that is made on the fly: the work of `briquette plan` without a store.
_PLAN = """
import sys
from briquette.model import Location, Partition, RawObject
from briquette.planning.plan import plan_partition
from briquette.schemas.declared import load_table
from briquette.planning.spec import spec_of
objects = (RawObject(f"raw/{i:07d}.json", 180 + i % 97, f"{i:032x}") for i in range(int(sys.argv[1])))
plan = plan_partition(Partition(), Location("memory://raw", "raw/"), Location("memory://out", ""),
                      spec_of(load_table("market.prices"), {}), objects)
print(len(plan.splits))
"""


def run_probes(
    *,
    scale: float,
    rounds: int,
    cache: Path | None,
    timeout_seconds: float,
    huge: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """All probes; ``scale`` makes every input smaller, ``huge`` adds the ten gigabytes."""
    tell("probe: steady state of the kernel")
    found: dict[str, Any] = {"steady": _steady(scale, timeout_seconds)}
    points = [corpus(name, part * scale, cache) for name, part in CURVE]
    if huge:
        points.append(corpus("10gb", scale, cache))
    points = list({made.size_bytes: made for made in points}.values())
    tell("probe: memory and cost by size")
    found["memory"] = [_memory(made, timeout_seconds) for made in points]
    found["cost_curve"] = _cost_curve(points, rounds, timeout_seconds)
    large = corpus("large", scale, cache)
    tell("probe: part sizes")
    found["parts"] = _part_sizes(large, timeout_seconds)
    tell("probe: one worker and two")
    found["scaling"] = [
        _scaling(made, rounds, timeout_seconds) for made in (large, corpus("1gb", scale, cache))
    ]
    tell("probe: a plan of a million objects")
    found["planning"] = _planning(max(1, round(PLANNED_OBJECTS * min(1.0, scale))), timeout_seconds)
    return found


def _steady(scale: float, timeout_seconds: float) -> dict[str, Any]:
    """In a process of its own, which is set up before it loads a library."""
    command = [sys.executable, "-m", "benchmarks.steady", "--scale", str(min(1.0, 0.25 * scale))]
    told = measure(command, cwd=CHECKOUT, timeout_seconds=timeout_seconds)
    if told["exit_code"]:
        raise RuntimeError(f"the steady state was not measured: {told['stderr'][-500:]}")
    found: dict[str, Any] = json.loads(told["stdout"])
    return found


def _compact(made: Corpus, timeout_seconds: float, *options: str) -> dict[str, Any]:
    """One compaction into an empty folder; its cost, its own document and the sizes of its parts."""
    with tempfile.TemporaryDirectory(prefix="briquette-bench-out-", dir=made.folder.parent) as output:
        arguments = ["--input", str(made.folder), "--output", output, "--schema", "market.prices", "--json"]
        told = measure(
            [*program(), "compact", *arguments, *options], cwd=CHECKOUT, timeout_seconds=timeout_seconds
        )
        if told["exit_code"]:
            raise RuntimeError(f"compact of {made.workload.name} failed: {told['stderr'][-500:]}")
        told["document"] = json.loads(told["stdout"])
    return told


def _projection(made: Corpus, timeout_seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="briquette-bench-out-", dir=made.folder.parent) as output:
        arguments = ["--input", str(made.folder), "--output", output, "--schema", "market.prices", "--json"]
        told = measure([*program(), "plan", *arguments], cwd=CHECKOUT, timeout_seconds=timeout_seconds)
    return int(json.loads(told["stdout"])["predicted"]["memory_bytes"])


def _memory(made: Corpus, timeout_seconds: float) -> dict[str, Any]:
    """Peak memory of a run without a limit against the projection, and with a limit against that."""
    projected = _projection(made, timeout_seconds)
    free = _compact(made, timeout_seconds)["peak_bytes"]
    limited = _compact(made, timeout_seconds, "--memory-limit", f"{MEMORY_LIMIT_MB}MB")["peak_bytes"]
    return {
        "bytes": made.size_bytes,
        "peak_bytes": free,
        "projected_bytes": projected,
        "peak_over_projection": free / projected,
        "limit_bytes": MEMORY_LIMIT_MB * 1_000_000,
        "limited_peak_bytes": limited,
        "peak_over_limit": limited / (MEMORY_LIMIT_MB * 1_000_000),
    }


def _cost_curve(points: Sequence[Corpus], rounds: int, timeout_seconds: float) -> dict[str, Any]:
    """CPU seconds for each byte, whole command and without a one-record run's start-up, by size.

    A one-record run goes before each run, and the difference of the two is taken: what slows the machine
    down for a while slows both. ``spread`` is the largest distance from the median of the figures without
    start-up, as a share of it.
    """
    smallest = corpus("one", cache=points[0].folder.parents[1])
    _compact(smallest, timeout_seconds)
    starts: list[float] = []
    seconds: dict[int, list[float]] = {made.size_bytes: [] for made in points}
    works: dict[int, list[float]] = {made.size_bytes: [] for made in points}
    for place in range(rounds):
        for made in points:
            if made.size_bytes > HUGE_BYTES and place >= HUGE_ROUNDS:
                continue
            for _ in range(_repeats(made.size_bytes)):
                starts.append(_compact(smallest, timeout_seconds)["cpu_seconds"])
                seconds[made.size_bytes].append(_compact(made, timeout_seconds)["cpu_seconds"])
                works[made.size_bytes].append(seconds[made.size_bytes][-1] - starts[-1])
    rows = [
        {
            "bytes": size,
            "cpu_seconds": statistics.median(found),
            "cpu_ns_per_byte": statistics.median(found) / size * 1e9,
            "cpu_ns_per_byte_after_start": statistics.median(works[size]) / size * 1e9,
        }
        for size, found in sorted(seconds.items())
    ]
    figures = [row["cpu_ns_per_byte_after_start"] for row in rows if row["bytes"] >= 9_000_000]
    middle = statistics.median(figures) if figures else None
    spread = max(abs(f / middle - 1) for f in figures) if middle and len(figures) > 1 else None
    return {"start_cpu_seconds": statistics.median(starts), "points": rows, "spread": spread}


def _repeats(size_bytes: int) -> int:
    """Pairs of runs in a round: the less there is to do, the more a difference of two runs is noise."""
    return min(5, max(1, round(1e8 / size_bytes)))


def _part_sizes(made: Corpus, timeout_seconds: float) -> dict[str, Any]:
    """Sizes of all parts but the last, with a target that gives about five of them."""
    whole = _compact(made, timeout_seconds)["document"]["outputs"]["bytes"]
    target_mb = round(whole / 5 / 2**20, 3)
    told = _compact(made, timeout_seconds, "--target-file-mb", str(target_mb))
    sizes = [file["bytes"] for file in told["document"]["outputs"]["files"]]
    target = target_mb * 2**20
    misses = [abs(size / target - 1) for size in sizes[:-1]]
    return {"target_bytes": target, "sizes": sizes, "largest_miss": max(misses, default=None)}


def _scaling(made: Corpus, rounds: int, timeout_seconds: float) -> dict[str, Any]:
    """Our own seconds (start-up of the command left out) with one thread and with two, alternating."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for threads, found in seconds.items():
            told = _compact(made, timeout_seconds, "--threads", str(threads))
            found.append(told["document"]["seconds"])
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "workload": made.workload.name,
        "seconds": {str(threads): statistics.median(found) for threads, found in seconds.items()},
        "speed_up": statistics.median(ratios),
    }


def _planning(objects: int, timeout_seconds: float) -> dict[str, Any]:
    told = measure([sys.executable, "-c", _PLAN, str(objects)], cwd=CHECKOUT, timeout_seconds=timeout_seconds)
    if told["exit_code"]:
        raise RuntimeError(f"planning failed: {told['stderr'][-500:]}")
    return {
        "objects": objects,
        "splits": int(told["stdout"]),
        "wall_seconds": told["wall_seconds"] if objects == PLANNED_OBJECTS else None,
        "peak_gb": told["peak_bytes"] / 1e9 if objects == PLANNED_OBJECTS else None,
        "measured_seconds": told["wall_seconds"],
        "measured_gb": told["peak_bytes"] / 1e9,
    }
