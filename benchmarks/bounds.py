"""What stands between a missed target and us: what the run itself costs, from the same document."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import PEERS

_SAME_RECORDS = ("large", "1gb")  # as the steady state is measured on


def why_missed(document: dict[str, Any]) -> list[str]:
    """A sentence for each missed target of time on these workloads; none where nothing says why."""
    probes = document.get("probes")
    if not probes:
        return []
    peers_of = {w["workload"]: w["peers"] for w in document["workloads"] if w.get("store", "disk") == "disk"}
    cores, start = document["machine"]["cores"], probes["cost_curve"]["start_cpu_seconds"]
    found: list[str] = []
    for row in document.get("targets", ()):
        if row["met"] is not False:
            continue
        name = row["what"].removeprefix("1 to 2 workers, ")
        if name not in _SAME_RECORDS:
            continue
        if name == row["what"]:
            size = next(w["input"]["bytes"] for w in document["workloads"] if w["workload"] == name)
            found.append(_wall(row, peers_of[name], probes["steady"], start, cores, size))
        else:
            found += [_two_workers(s, start) for s in probes["scaling"] if s["workload"] == name]
    return found


def _wall(
    row: dict[str, Any],
    peers: dict[str, Any],
    steady: dict[str, Any],
    start_seconds: float,
    cores: int,
    size_bytes: int,
) -> str:
    """What the target asks for, beside our CPU time and the part of it that is not ours to change."""
    asked = peers[row["peer"]]["wall_seconds"] / row["target"]
    spent = peers["briquette"]["cpu_seconds"]
    libraries = sum(steady["floor_cpu_seconds"].values()) / steady["bytes"] * size_bytes
    return (
        f"{row['what']}, {row['target']:g} times {PEERS[row['peer']].title}: that is {asked:.2f} s. The run "
        f"spends {spent:.2f} s of CPU time, {spent / cores:.2f} s if none of {cores} cores ever waited; "
        f"{start_seconds:.2f} s of it is starting up, which one core does, and {libraries:.2f} s is libzstd "
        "and SHA-256 on these bytes."
    )


def _two_workers(scaling: dict[str, Any], start_seconds: float) -> str:
    """Amdahl's law, with nothing serial but starting up."""
    one, two = scaling["seconds"]["1"], scaling["seconds"]["2"]
    best = one / (start_seconds + (one - start_seconds) / 2)
    return (
        f"{scaling['workload']}, one worker to two: {one:.2f} s and {two:.2f} s. If only start-up "
        f"({start_seconds:.2f} s) were one core's, it would be {best:.2f} times as fast."
    )
