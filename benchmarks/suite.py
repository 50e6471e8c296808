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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import figures, page, real
from benchmarks.corpus import WORKLOADS, Corpus, corpus, default_cache
from benchmarks.costs import cost_table, rates
from benchmarks.lab import CURATED, Lab, lab
from benchmarks.measure import measure
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.briquette import program
from benchmarks.probes import run_probes
from benchmarks.raw_server import RAW_BUCKET
from benchmarks.rows import summarise_files
from benchmarks.targets import target_rows

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_WORKLOADS = ("tiny", "minute", "minute-csv", "minute-gz", "large", "1gb")
RESULTS = CHECKOUT / "benchmarks" / "results"
S3_WORKLOADS = ("tiny",)
S3_ROUNDS = 3  # every request waits there
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
    raw_server_cpu_seconds: float | None = None  # of what serves the raw objects and adds the latency


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
            raw_server_cpu_seconds=after[1] - before[1] if servers else None,
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a suite is asked for. Without a latency the data lies on disk, with one on S3."""

    workloads: tuple[str, ...] = DEFAULT_WORKLOADS
    peers: tuple[str, ...] = tuple(PEERS)
    rounds: int = 5
    scale: float = 1.0
    latencies_ms: tuple[float | None, ...] = (None,)
    probes: bool = False
    huge: bool = False
    cache: Path | None = None
    timeout_seconds: float = 180


Keep = Callable[[dict[str, Any]], object]


def run_suite(wanted: Wanted, keep: Keep = lambda _: None) -> dict[str, Any]:
    """Everything measured, as one document (see `figures.complete` for what is derived from the runs).

    ``keep`` is given the document as far as it goes after each workload: a suite that is ended loses one.
    """
    peers = [PEERS[name] for name in wanted.peers]
    installed = [peer for peer in peers if peer.version()]
    document = figures.machine() | {
        "rounds": wanted.rounds,
        "versions": {peer.name: peer.version() for peer in peers},
        "workloads": [],
    }
    smallest = corpus("one", cache=wanted.cache)
    for peer in installed:  # not counted: libraries enter the file cache, compiled code is cached
        _tell(
            f"warming {peer.name}: {run_once(peer, smallest, 0, wanted.timeout_seconds).wall_seconds:.2f} s"
        )
    if US in [peer.name for peer in installed]:
        document["start_up"] = start_up(wanted.rounds)
    if wanted.probes:
        document["probes"] = run_probes(
            scale=wanted.scale,
            rounds=wanted.rounds,
            cache=wanted.cache,
            timeout_seconds=wanted.timeout_seconds,
            huge=wanted.huge,
            tell=_tell,
        )
    for name in wanted.workloads:
        if WORKLOADS[name].real and not real.available():
            _tell(f"{name}: skipped, the history is not beside this checkout")
            continue
        _tell(f"making or finding {name}")
        made = corpus(name, wanted.scale, wanted.cache)
        for latency in wanted.latencies_ms:
            if latency is not None and name not in S3_WORKLOADS and len(wanted.latencies_ms) > 1:
                continue  # the whole suite asks S3 for what it is about; a call for S3 alone asks all
            rounds = wanted.rounds if latency is None else min(wanted.rounds, S3_ROUNDS)
            told = run_workload(made, installed, rounds, wanted.timeout_seconds, latency)
            document["workloads"].append(told)
            keep(_concluded(document))
    return _concluded(document)


def _concluded(document: dict[str, Any]) -> dict[str, Any]:
    figures.complete(document)
    document["targets"] = target_rows(document)
    document["costs"] = cost_table(rates(document, "large"), rates(document, "minute"))
    return document


def write_results(document: dict[str, Any], folder: Path) -> tuple[Path, Path, Path]:
    """The document as JSON, as Markdown and as a page, named by its date and machine."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{document['date']}-{document['machine']['name']}"
    written = (f"{stem}.json", f"{stem}.md", f"{stem}.html")
    texts = (json.dumps(document, indent=1) + "\n", figures.markdown(document), page.html(document))
    for name, text in zip(written, texts, strict=True):
        Path(name).write_text(text, encoding="utf-8")
    return Path(written[0]), Path(written[1]), Path(written[2])


def ours_is_wrong(document: dict[str, Any]) -> bool:
    """Whether briquette itself failed or wrote wrong rows anywhere."""
    ours = (w["peers"][US] for w in document["workloads"] if US in w["peers"])
    return any(peer["wrong"] for peer in ours)


def _warm(folder: Path) -> None:
    for file in folder.iterdir():
        file.read_bytes()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(known: Sequence[str]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        try:
            return names_among(text, known)
        except ValueError as cause:
            raise argparse.ArgumentTypeError(str(cause)) from cause

    return parse


def names_among(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names by commas; raises ``ValueError`` for one that is not known."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"{', '.join(unknown) or 'nothing'}: choose among {', '.join(known)}")
    return names


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
    parser.add_argument(
        "--latency-ms", type=float, action="append", help="on S3, with this latency; repeat it"
    )
    parser.add_argument("--probes", action="store_true", help="also memory, cost by size, scaling, planning")
    parser.add_argument("--huge", action="store_true", help="probes with ten gigabytes")
    parser.add_argument("--timeout", type=float, default=180, metavar="SECONDS", help="of one run")
    parser.add_argument("--cache", type=Path, default=None, help=f"where raw days lie [{default_cache()}]")
    parser.add_argument("--out", type=Path, default=RESULTS, help="for the results")
    told = parser.parse_args(arguments)
    document = run_suite(
        Wanted(
            workloads=told.workloads,
            peers=told.peers,
            rounds=told.rounds,
            scale=told.scale,
            latencies_ms=tuple(told.latency_ms) if told.latency_ms else (None,),
            probes=told.probes or told.huge,
            huge=told.huge,
            cache=told.cache,
            timeout_seconds=told.timeout,
        ),
        lambda so_far: write_results(so_far, told.out),
    )
    print(write_results(document, told.out)[1].read_text(encoding="utf-8"))
    return 1 if ours_is_wrong(document) else 0


if __name__ == "__main__":
    sys.exit(main())
