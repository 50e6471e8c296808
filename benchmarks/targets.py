"""What the figures were to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BASELINES = ("spark", "dask_frame")


@dataclass(frozen=True, slots=True)
class Target:
    """Median ratios that a workload is to reach: the peer's wall time over ours, start-up included."""

    workload: str
    against_spark: float
    against_fastest: float
    store: str = "disk"
    latency_ms: float | None = None


TARGETS = (
    Target("tiny", 80, 2.5),
    Target("minute", 40, 1.3),
    Target("minute-csv", 20, 1.3),
    Target("minute-gz", 20, 1.3),
    Target("large", 20, 1.6),
    Target("1gb", 25, 2.5),
    Target("tiny", 20, 2, store="s3", latency_ms=20.0),
)


def target_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target with what was measured; nothing where the suite did not run it."""
    rows: list[dict[str, Any]] = []
    for target in TARGETS:
        found = [w for w in document["workloads"] if _is(w, target)]
        peers = found[0]["peers"] if found else {}
        ratios = {
            name: peer["wall_ratio"]
            for name, peer in peers.items()
            if name != "briquette" and peer["wall_ratio"] is not None
        }
        rivals = {name: ratio for name, ratio in ratios.items() if name not in BASELINES}
        fastest = min(rivals, key=lambda name: rivals[name]) if rivals else ""
        where = f"{target.workload} on S3, {target.latency_ms:g} ms" if target.latency_ms else target.workload
        scale = found[0]["scale"] if found else None
        rows.append(_row(where, "PySpark job", target.against_spark, ratios.get("spark"), "spark", scale))
        rows.append(_row(where, "fastest other", target.against_fastest, rivals.get(fastest), fastest, scale))
    rows += _other_rows(document)
    return rows


def asked(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets that a suite of some workloads, or without probes, says anything about."""
    run = {
        f"{w['workload']} on S3, {w['latency_ms']:g} ms" if w.get("latency_ms") else w["workload"]
        for w in document["workloads"]
    }
    rows: list[dict[str, Any]] = document.get("targets", [])
    return [row for row in rows if row["measured"] is not None or row["what"] in run]


def _is(workload: dict[str, Any], target: Target) -> bool:
    return bool(
        workload["workload"] == target.workload
        and workload.get("store", "disk") == target.store
        and workload.get("latency_ms") == target.latency_ms
    )


def _row(
    what: str,
    against: str,
    target: float,
    measured: float | None,
    peer: str = "",
    scale: float | None = None,
    *,
    at_most: bool = False,
) -> dict[str, Any]:
    """One line; ``met`` stays open where it was not measured, or not at full size."""
    met = None
    if measured is not None and scale in (None, 1.0):
        met = measured <= target if at_most else measured >= target
    return {
        "what": what,
        "against": against,
        "target": target,
        "at_most": at_most,
        "measured": measured,
        "peer": peer,
        "met": met,
    }


def _other_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    probes = document.get("probes", {})
    steady = probes.get("steady", {})
    planning = probes.get("planning", {})
    memory = [r["peak_over_limit"] for r in probes.get("memory", ()) if r["peak_over_limit"] is not None]
    bounds = [r["peak_over_projection"] for r in probes.get("memory", ())]
    return [
        _row("steady state, raw JSON", "MB/s per core", 250, steady.get("mb_per_core_second")),
        _row("peak memory", "times the plan's projection", 1.0, max(bounds, default=None), at_most=True),
        _row("peak memory", "times --memory-limit", 1.2, max(memory, default=None), at_most=True),
        _row(
            "output size", "times the smaller of DuckDB, Polars", 1.05, _output_ratio(document), at_most=True
        ),
        _row("part sizes", "off the target", 0.05, probes.get("parts", {}).get("largest_miss"), at_most=True),
        *_scaling_rows(probes.get("scaling", ())),
        _row(
            "cost per byte, 10 MB up",
            "spread",
            0.15,
            probes.get("cost_curve", {}).get("spread"),
            at_most=True,
        ),
        _row("planning 1,000,000 objects", "seconds", 20, planning.get("wall_seconds"), at_most=True),
        _row("planning 1,000,000 objects", "GB", 2, planning.get("peak_gb"), at_most=True),
    ]


def _scaling_rows(scalings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    told = {s["workload"]: s["speed_up"] for s in scalings}
    return [_row(f"1 to 2 workers, {n}", "times as fast", 1.8, told.get(n)) for n in ("large", "1gb")]


def _output_ratio(document: dict[str, Any]) -> float | None:
    """The worst ratio of our output to the smaller of DuckDB's and Polars', over workloads of a megabyte."""
    worst = None
    for workload in document["workloads"]:
        sizes = {
            n: workload["peers"].get(n, {}).get("output_bytes") for n in ("briquette", "duckdb", "polars")
        }
        rivals = [size for name, size in sizes.items() if name != "briquette" and size]
        if sizes["briquette"] and rivals and workload["input"]["bytes"] > 1_000_000:
            worst = max(worst or 0.0, sizes["briquette"] / min(rivals))
    return worst
