"""What the runs of a suite come to: medians, ratios within rounds, the machine they hold for, and a table."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bounds import why_missed
from benchmarks.peers import PEERS
from benchmarks.targets import asked

US = "briquette"
MEDIANS = (
    "wall_seconds",
    "cpu_seconds",
    "peak_bytes",
    "output_bytes",
    "output_files",
    "own_seconds",
    "server_cpu_seconds",
    "raw_server_cpu_seconds",
)


def machine() -> dict[str, Any]:
    """Date, commit and what the figures depend on; nothing that says whose machine it is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short=12", "HEAD")
        + ("+changes" if _git("status", "--porcelain") else ""),
        "machine": {
            "name": f"{platform.machine()}-{cores}cpu",
            "cpu": _proc_value("cpuinfo", "model name"),
            "cores": cores,
            "memory": _proc_value("meminfo", "MemTotal"),
            "system": platform.system(),
            "python": platform.python_version(),
        },
    }


def memory_text(told: str) -> str:
    """The machine's memory for a reader, of what /proc/meminfo says.

    >>> memory_text("24684092 kB"), memory_text("")
    ('25.3 GB', '')
    """
    count, _, unit = told.partition(" ")
    return f"{int(count) * 1024 / 1e9:.1f} GB" if unit == "kB" and count.isdigit() else told


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The document with each peer's medians, its first complaint, and its ratio to briquette pair by pair.

    A run that failed or wrote wrong rows counts for nothing: failing fast is not being fast.
    """
    for workload in document["workloads"]:
        peers = workload["peers"]
        ours = {run["round"]: run for run in _right(peers.get(US, {"runs": []})["runs"])}
        for peer in peers.values():
            runs = _right(peer["runs"])
            peer["wrong"] = next((run["wrong"] for run in peer["runs"] if run["wrong"]), "")
            for name in MEDIANS:
                values = [run[name] for run in runs if run.get(name) is not None]
                peer[name] = statistics.median(values) if values else None
            for name in ("wall_seconds", "cpu_seconds"):
                pairs = [(run[name], ours[run["round"]][name]) for run in runs if run["round"] in ours]
                ratios = [theirs / us for theirs, us in pairs if us > 0]
                peer[f"{name.removesuffix('_seconds')}_ratio"] = statistics.median(ratios) if ratios else None
    return document


def markdown(document: dict[str, Any]) -> str:
    """The document as tables for a person, one for each workload."""
    where = document["machine"]
    lines = [
        f"# {document['date']}, {where['name']}",
        "",
        (
            f"{where['cpu']}, {where['cores']} cores, {memory_text(where['memory'])}, "
            f"Python {where['python']}, commit {document['commit']}, {document['rounds']} rounds. Medians; "
            "ratios are taken within a round (peer / briquette, above 1: briquette is faster). "
            "Peak memory: of the largest process."
        ),
        "",
        "Versions: "
        + ", ".join(f"{PEERS[n].title} {v or 'is missing'}" for n, v in document["versions"].items()),
        "",
    ]
    lines += _target_table(asked(document))
    if missed := why_missed(document):
        lines += ["What stands between:", "", *(f"- {sentence}" for sentence in missed), ""]
    for workload in document["workloads"]:
        lines += _workload_table(workload)
    lines += _probe_lines(document.get("probes"))
    lines += _cost_lines(document.get("costs", {"rows": []}))
    if "start_up" in document:
        lines += ["## Start-up", "", "| command | median s |", "|---|---|"]
        lines += [f"| `{n}` | {_number(f['median_seconds'], 2)} |" for n, f in document["start_up"].items()]
        lines.append("")
    return "\n".join(lines)


def _title(workload: dict[str, Any]) -> str:
    on_s3 = workload.get("store") == "s3"
    return str(workload["workload"]) + (f" on S3, {workload['latency_ms']:g} ms a request" if on_s3 else "")


def _target_table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    verdicts = {True: "met", False: "**missed**", None: "open"}
    lines = ["## Targets", "", "| what | against | target | measured | |", "|---|---|---|---|---|"]
    for row in rows:
        sign = "<=" if row["at_most"] else ">="
        against = row["against"] + (f" ({PEERS[row['peer']].title})" if row["peer"] in PEERS else "")
        cells = (row["what"], against, f"{sign} {row['target']:g}", _number(row["measured"], 2))
        lines.append(f"| {' | '.join(cells)} | {verdicts[row['met']]} |")
    return [*lines, ""]


def _probe_lines(probes: dict[str, Any] | None) -> list[str]:
    if not probes:
        return []
    steady, planning, curve = probes["steady"], probes["planning"], probes["cost_curve"]
    shares = ", ".join(f"{step} {share:.0%}" for step, share in steady["shares"].items())
    floor = ", ".join(f"{name} {share:.0%}" for name, share in steady["floor_shares"].items())
    lines = [
        "## Without peers",
        "",
        f"Steady state: {steady['mb_per_core_second']:.0f} MB/s of raw JSON per core ({shares}).",
        f"Of it the libraries alone, on the same bytes: {floor}.",
        *(
            f"One worker to two on {s['workload']}: {s['speed_up']:.2f} times as fast."
            for s in probes["scaling"]
        ),
        (
            f"A plan of {planning['objects']:,} objects: {planning['measured_seconds']:.1f} s, "
            f"{planning['measured_gb']:.2f} GB."
        ),
        "",
        "| input MB | CPU ns/byte | without start-up | peak MB | projected MB | peak MB, limited |",
        "|---|---|---|---|---|---|",
    ]
    memory = {row["bytes"]: row for row in probes["memory"]}
    for point in curve["points"]:
        row = memory[point["bytes"]]
        peaks = (row["peak_bytes"], row["projected_bytes"], row["limited_peak_bytes"])
        cells = [f"{point['bytes'] / 1e6:.0f}", f"{point['cpu_ns_per_byte']:.2f}"]
        cells += [f"{point['cpu_ns_per_byte_after_start']:.2f}", *(_number(p, 0, per=1e6) for p in peaks)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _cost_lines(costs: dict[str, Any]) -> list[str]:
    if not costs["rows"]:
        return []
    lines = [
        f"## Dollars (list prices of {costs['prices_as_of']}; the model is in benchmarks/costs.py)",
        "",
        "| peer | where | per TB | per 1,000 partitions |",
        "|---|---|---|---|",
    ]
    for row in costs["rows"]:
        dollars = (row["per_terabyte"]["dollars"], row["dollars_per_1000_partitions"])
        cells = (PEERS[row["peer"]].title, row["machine"], *(_number(d, 2) for d in dollars))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _workload_table(workload: dict[str, Any]) -> list[str]:
    told = workload["input"]
    bad = f", {told['bad_records']:,} bad records" if told["bad_records"] else ""
    lines = [
        f"## {_title(workload)}: {workload['about']}",
        "",
        (
            f"{told['files']:,} files, {told['bytes'] / 1e6:.1f} MB, {told['rows']:,} rows{bad}; "
            f"load {workload['load_before'][0]:.1f} before and {workload['load_after'][0]:.1f} after."
        ),
        "",
        "| peer | wall s | ratio | CPU s | CPU ratio | peak MB | output MB | files | runs | rows |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, peer in workload["peers"].items():
        title = PEERS[name].title + (" (baseline)" if PEERS[name].baseline else "")
        walls = [run["wall_seconds"] for run in _right(peer["runs"])]
        spread = f" ({min(walls):.2f}-{max(walls):.2f})" if walls else ""
        cells = (
            title,
            _number(peer["wall_seconds"], 2) + spread,
            _number(peer["wall_ratio"], 2),
            _number(peer["cpu_seconds"], 2),
            _number(peer["cpu_ratio"], 2),
            _number(peer["peak_bytes"], 0, per=1e6),
            _number(peer["output_bytes"], 2, per=1e6),
            _number(peer["output_files"], 0),
            str(len(walls)),
            peer["wrong"].replace("|", "/") or "equal",
        )
        lines.append(f"| {' | '.join(cells)} |")
    if workload.get("store") == "s3":
        lines += [
            "",
            "CPU seconds of the S3 server and of the server of raw objects in front of it, for each run:",
        ]
        for name, peer in workload["peers"].items():
            seconds = (_number(peer[of], 2) for of in ("server_cpu_seconds", "raw_server_cpu_seconds"))
            lines.append(f"{PEERS[name].title} {' and '.join(seconds)};")
    own = workload["peers"].get(US, {}).get("own_seconds")
    if own is not None:
        lines += [
            "",
            f"briquette's own work after start-up: {own:.2f} s ({told['bytes'] / 1e6 / own:.0f} MB/s).",
        ]
    notes = [f"{PEERS[n].title}: {PEERS[n].note}." for n in workload["peers"] if PEERS[n].note]
    return [*lines, *(["", *notes] if notes else []), ""]


def without_places(text: str) -> str:
    """A message without folders of this machine: results are committed."""
    return re.sub(r"(?<![\w:/])/(?:[\w.+@=-]+/)+", "…/", text.replace(sys.prefix, "…"))


def _right(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if not run["wrong"]]


def _number(value: float | None, digits: int, *, per: float = 1.0) -> str:
    return "-" if value is None else f"{value / per:.{digits}f}"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _proc_value(file: str, name: str) -> str:
    try:
        text = Path(f"/proc/{file}").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else "unknown"
