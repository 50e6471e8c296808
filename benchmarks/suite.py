"""The suite: every peer on every workload, in alternating rounds, rows checked after each run.

    python -m benchmarks.suite                                   all of it
    python -m benchmarks.suite --workloads tiny --scale 0.05 --peers briquette,duckdb --rounds 2 --out FOLDER

Rounds go A B C, A B C, ... so that a slow minute of the machine meets everybody, and ratios are taken within
a round before their median. Each run is its own process with a warm file cache and an empty output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.corpus import WORKLOADS, Corpus, corpus, default_cache
from benchmarks.lab import CURATED, Lab, lab
from benchmarks.measure import measure
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.briquette import program
from benchmarks.rows import summarise_files
from benchmarks.s3_door import RAW_BUCKET

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_WORKLOADS = ("one", "tiny", "minute", "minute-csv", "minute-gz", "large")
US = "briquette"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one peer: what it cost, what it wrote, and what is wrong with that ("" for nothing)."""

    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    output_bytes: int
    output_files: int
    wrong: str
    own_seconds: float | None = None  # briquette's own figure: its work after start-up
    server_cpu_seconds: float | None = None  # of the S3 server that holds the curated bucket
    door_cpu_seconds: float | None = None  # of what serves the raw objects and adds the latency


def run_once(peer: Peer, made: Corpus, place: int, timeout_seconds: float, servers: Lab | None = None) -> Run:
    """Run a peer once on a corpus, into an empty place, and check the rows that it wrote."""
    with tempfile.TemporaryDirectory(prefix="briquette-bench-out-", dir=made.folder.parent) as name:
        output = Path(name)
        prefix = f"{peer.name}-{place}-{output.name}"
        source, target = (
            (f"s3://{RAW_BUCKET}", f"s3://{CURATED}/{prefix}") if servers else (str(made.folder), name)
        )
        before = servers.cpu_seconds() if servers else (0.0, 0.0)
        told = measure(
            peer.command(
                source + "/" * bool(servers), target, made.workload.form, made.shape, made.schema_file
            ),
            cwd=CHECKOUT,
            timeout_seconds=timeout_seconds,
            env=servers.environment() if servers else None,
        )
        after = servers.cpu_seconds() if servers else (0.0, 0.0)
        if servers:
            servers.fetch(f"{prefix}/", output)
        parts = published(output)
        return Run(
            round=place,
            wall_seconds=told["wall_seconds"],
            cpu_seconds=told["cpu_seconds"],
            peak_bytes=told["peak_bytes"],
            output_bytes=sum(part.stat().st_size for part in parts),
            output_files=len(parts),
            wrong=_what_is_wrong(told, made, parts),
            own_seconds=_own_seconds(told["stdout"]) if peer.name == US else None,
            server_cpu_seconds=after[0] - before[0] if servers else None,
            door_cpu_seconds=after[1] - before[1] if servers else None,
        )


def published(output: Path) -> list[Path]:
    """The Parquet files that a reader of the folder sees: hidden and underscored names are none of its."""
    found = (path for path in output.rglob("*.parquet") if path.is_file())
    return sorted(p for p in found if not any(n[0] in "._" for n in p.relative_to(output).parts))


def _what_is_wrong(told: dict[str, Any], made: Corpus, parts: list[Path]) -> str:
    if told["timed_out"]:
        return "did not end in time"
    if told["exit_code"] != 0:
        last = [line for line in told["stderr"].splitlines() if line.strip()][-1:] or ["no message"]
        return figures.without_places(f"failed ({told['exit_code']}): {last[0].strip()[:200]}")
    try:
        return "; ".join(made.expected.differences(summarise_files(parts, made.shape), made.shape))
    except Exception as cause:  # noqa: BLE001 - whatever a peer wrote must not end the suite
        return figures.without_places(f"unreadable: {type(cause).__name__}: {cause}"[:200])


def _own_seconds(stdout: str) -> float | None:
    try:
        return float(json.loads(stdout)["seconds"])
    except (ValueError, KeyError, TypeError):
        return None


def run_workload(
    made: Corpus,
    peers: Sequence[Peer],
    rounds: int,
    timeout_seconds: float,
    latency_ms: float | None = None,
) -> dict[str, Any]:
    """All rounds of all peers on one corpus, on disk or, with a latency, on S3.

    A peer that fails or writes wrong rows is not run again.
    """
    if latency_ms is None:
        _warm(made.folder)
        return _run_rounds(made, peers, rounds, timeout_seconds, None) | {"store": "disk"}
    with lab(made.folder, latency_ms) as servers:
        told = _run_rounds(made, peers, rounds, timeout_seconds, servers)
    return told | {"store": "s3", "latency_ms": latency_ms}


def _run_rounds(
    made: Corpus, peers: Sequence[Peer], rounds: int, timeout_seconds: float, servers: Lab | None
) -> dict[str, Any]:
    runs: dict[str, list[Run]] = {peer.name: [] for peer in peers}
    load_before = os.getloadavg()
    for place in range(rounds):
        for peer in peers:
            done = runs[peer.name]
            if place >= peer.most_rounds or any(run.wrong for run in done):
                continue
            if made.files > peer.most_files:
                done.append(Run(place, 0.0, 0.0, 0, 0, 0, f"not run above {peer.most_files:,} files"))
                continue
            done.append(run_once(peer, made, place, timeout_seconds, servers))
            _tell(
                f"  {made.workload.name} {place + 1}/{rounds} {peer.name}: {done[-1].wall_seconds:.2f} s "
                f"{done[-1].wrong}"
            )
    return {
        "workload": made.workload.name,
        "about": made.workload.about,
        "scale": made.scale,
        "input": {
            "files": made.files,
            "bytes": made.size_bytes,
            "rows": made.expected.rows,
            "bad_records": made.bad_records,
        },
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "peers": {name: {"runs": [asdict(run) for run in done]} for name, done in runs.items()},
    }


def start_up(rounds: int) -> dict[str, Any]:
    """Seconds of a bare interpreter and of `briquette --help`, alternating (workload `one` does the rest)."""
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "briquette --help": [*program(), "--help"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            told = measure(command, cwd=CHECKOUT, timeout_seconds=60)
            if told["exit_code"] == 0:
                seconds[name].append(told["wall_seconds"])
    return {
        name: {"median_seconds": statistics.median(s) if s else None, "seconds": s}
        for name, s in seconds.items()
    }


def run_suite(
    workloads: Sequence[str],
    peers: Sequence[Peer],
    *,
    rounds: int = 5,
    scale: float = 1.0,
    cache: Path | None = None,
    timeout_seconds: float = 600,
) -> dict[str, Any]:
    """Everything measured, as one document (see `figures.complete` for what is derived from the runs)."""
    installed = [peer for peer in peers if peer.version()]
    document = figures.machine() | {
        "rounds": rounds,
        "versions": {peer.name: peer.version() for peer in peers},
        "workloads": [],
    }
    smallest = corpus("one", cache=cache)
    for peer in installed:  # not counted: libraries enter the file cache, compiled code is cached
        _tell(f"warming {peer.name}: {run_once(peer, smallest, 0, timeout_seconds).wall_seconds:.2f} s")
    if US in [peer.name for peer in installed]:
        document["start_up"] = start_up(rounds)
    for name in workloads:
        _tell(f"making or finding {name}")
        made = corpus(name, scale, cache)
        document["workloads"].append(run_workload(made, installed, rounds, timeout_seconds))
    return figures.complete(document)


def _warm(folder: Path) -> None:
    for file in folder.iterdir():
        file.read_bytes()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(known: Sequence[str]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown) or 'nothing'}: choose among {', '.join(known)}"
            )
        return names

    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite and write its results; 1 where briquette failed or wrote wrong rows."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite", description="briquette and its peers, side by side."
    )
    parser.add_argument(
        "--workloads", type=_names(tuple(WORKLOADS)), default=DEFAULT_WORKLOADS, metavar="A,B"
    )
    parser.add_argument("--peers", type=_names(tuple(PEERS)), default=tuple(PEERS), metavar="A,B")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of raw files")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of one run")
    parser.add_argument("--cache", type=Path, default=None, help=f"where raw days lie [{default_cache()}]")
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / "benchmarks" / "results", help="for the results"
    )
    wanted = parser.parse_args(arguments)
    document = run_suite(
        wanted.workloads,
        [PEERS[name] for name in wanted.peers],
        rounds=wanted.rounds,
        scale=wanted.scale,
        cache=wanted.cache,
        timeout_seconds=wanted.timeout,
    )
    wanted.out.mkdir(parents=True, exist_ok=True)
    stem = wanted.out / f"{document['date']}-{document['machine']['name']}"
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table = figures.markdown(document)
    stem.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)
    ours = (w["peers"][US] for w in document["workloads"] if US in w["peers"])
    return 1 if any(peer["wrong"] for peer in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
