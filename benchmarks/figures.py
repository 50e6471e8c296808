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

from benchmarks.peers import PEERS

US = "briquette"
MEDIANS = ("wall_seconds", "cpu_seconds", "peak_bytes", "output_bytes", "output_files", "own_seconds")


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
                values = [run[name] for run in runs if run[name] is not None]
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
            f"{where['cpu']}, {where['cores']} cores, {where['memory']}, Python {where['python']}, "
            f"commit {document['commit']}, {document['rounds']} rounds. Medians; ratios are taken within a "
            "round (peer / briquette, above 1: briquette is faster). Peak memory: of the largest process."
        ),
        "",
        "Versions: "
        + ", ".join(f"{PEERS[n].title} {v or 'is missing'}" for n, v in document["versions"].items()),
        "",
    ]
    for workload in document["workloads"]:
        lines += _workload_table(workload)
    if "start_up" in document:
        lines += ["## Start-up", "", "| command | median s |", "|---|---|"]
        lines += [f"| `{n}` | {_number(f['median_seconds'], 2)} |" for n, f in document["start_up"].items()]
        lines.append("")
    return "\n".join(lines)


def _workload_table(workload: dict[str, Any]) -> list[str]:
    told = workload["input"]
    bad = f", {told['bad_records']:,} bad records" if told["bad_records"] else ""
    lines = [
        f"## {workload['workload']}: {workload['about']}",
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
