"""What each accelerator saves: the same days with it and without it, whole commands in alternating rounds.

    python -m benchmarks.accelerators                               on disk, results into benchmarks/results/
    python -m benchmarks.accelerators --days large:0.3,tiny         some days; the number scales them
    python -m benchmarks.accelerators --latency-ms 20 --days tiny   behind S3 on this machine
    python -m benchmarks.accelerators --other PATH/bin/briquette    another version in the same rounds

A round runs every variant once, each round beginning with another one, and ratios are taken within a round
before their median. Each run is a process of its own; every variant must write the same parts, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.corpus import WORKLOADS, Corpus, corpus, default_cache
from benchmarks.figures import machine
from benchmarks.lab import CURATED, Lab, lab
from benchmarks.measure import measure
from benchmarks.peers import briquette
from benchmarks.raw_server import RAW_BUCKET
from benchmarks.suite import CHECKOUT, RESULTS, published
from briquette.accelerators import ALL, Accelerator

DAYS_ON_DISK = "huge,large:0.3,1gb:0.3,minute:0.5,tiny"
DAYS_ON_S3 = "tiny,huge"
FULL, WITHOUT_ALL, OTHER = "with all", "without any", "the other version"
_EVERYWHERE = (Accelerator.SCAN,)
_ON_DISK = (Accelerator.EARLY_PARTS,)
_ON_S3 = (Accelerator.PREFETCH, Accelerator.S3_CURL)


@dataclass(frozen=True, slots=True)
class Variant:
    """The command with some switches off: its program, and the variables that it is given."""

    name: str
    program: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run cost in seconds, and the SHA-256 of all its parts in order."""

    wall: float
    cpu: float
    sha256: str


def variants(program: str, *, on_s3: bool, parsers: bool = False, other: str = "") -> list[Variant]:
    """All accelerators, then each one off, and another version's program where one is given.

    ``parsers`` adds pyarrow's parsers, off together with the scan, which leaves them little; and all off.
    """
    found = [Variant(FULL, program)]
    found += [
        Variant(f"without {a.value}", program, {a.value: "off"})
        for a in (*_EVERYWHERE, *(_ON_S3 if on_s3 else _ON_DISK))
    ]
    if parsers:
        off = {Accelerator.SCAN.value: "off", Accelerator.ARROW_LANES.value: "off"}
        found += [Variant(f"without {' and '.join(off)}", program, off)]
        found += [Variant(WITHOUT_ALL, program, {ALL: "off"})]
    if other:
        found.append(Variant(OTHER, other))
    return found


def run_once(variant: Variant, made: Corpus, servers: Lab | None, extra: Sequence[str] = ()) -> Run:
    """One run of a variant into an empty place; raises ``RuntimeError`` with what it said where it fails."""
    with tempfile.TemporaryDirectory(prefix="briquette-bench-out-", dir=made.folder.parent) as name:
        output = Path(name)
        source, target = (
            (f"s3://{RAW_BUCKET}/", f"s3://{CURATED}/{output.name}") if servers else (str(made.folder), name)
        )
        line = briquette.command(source, target, made.shape.name, str(made.schema_file))
        told = measure(
            [variant.program, *line[len(briquette.program()) :], *extra],
            cwd=CHECKOUT,
            timeout_seconds=600,
            env={**(servers.environment() if servers else {}), **variant.environment},
        )
        if told["exit_code"] != 0:
            raise RuntimeError(f"{variant.name}: {told['stderr'][-500:]}")
        if servers:
            servers.fetch(f"{output.name}/", output)
        digest = hashlib.sha256()
        for part in published(output):
            digest.update(part.read_bytes())
    return Run(told["wall_seconds"], told["cpu_seconds"], digest.hexdigest())


def compare(
    chosen: Sequence[Variant], made: Corpus, servers: Lab | None, rounds: int, extra: Sequence[str] = ()
) -> dict[str, list[Run]]:
    """The runs of each variant by round; each has run once before. Raises where parts differ."""
    runs: dict[str, list[Run]] = {variant.name: [] for variant in chosen}
    for variant in chosen:
        run_once(variant, made, servers, extra)
    for number in range(rounds):
        first = number % len(chosen)
        for variant in (*chosen[first:], *chosen[:first]):
            runs[variant.name].append(run_once(variant, made, servers, extra))
    if len({run.sha256 for some in runs.values() for run in some}) != 1:
        raise RuntimeError(f"not all variants wrote the same parts of {made.workload.name}")
    return runs


def summary(runs: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """One line for each variant: medians in seconds, and medians of its ratios to the first, within rounds.

    >>> quick, slow = [Run(1.0, 2.0, "")] * 3, [Run(1.5, 2.0, "")] * 3
    >>> summary({"with all": quick, "without scan": slow})[1]["wall_ratio"]
    1.5
    """
    base = next(iter(runs.values()))
    lines = []
    for name, some in runs.items():
        line: dict[str, Any] = {"variant": name}
        for figure in ("wall", "cpu"):
            values = [getattr(run, figure) for run in some]
            ratios = [v / getattr(b, figure) for v, b in zip(values, base, strict=True)]
            line[f"{figure}_seconds"] = round(statistics.median(values), 3)
            line[f"least_{figure}_seconds"] = round(min(values), 3)
            line[f"{figure}_ratio"] = round(statistics.median(ratios), 3)
            line[f"{figure}_ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        lines.append(line)
    return lines


def as_text(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    about = document["machine"]
    where = f"{about['cpu']}, {about['cores']} cores, Python {about['python']}"
    how = f"{document['rounds']} rounds; ratios are medians within rounds, over {FULL}"
    text = [
        f"# Accelerators, {document['date']}",
        "",
        f"`{document['command']}` at commit {document['commit']}: {where}. {how}.",
    ]
    for day in document["days"]:
        place = f", S3 with {day['latency_ms']:g} ms" if day["latency_ms"] is not None else ""
        text += [
            "",
            f"## {day['name']}: {day['files']:,} files, {day['size_bytes'] / 1e6:.0f} MB{place}",
            "",
            "| | CPU s | least | ratio | range | wall s | least | ratio |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for v in day["variants"]:
            low, high = v["cpu_ratio_range"]
            cpu = f"{v['cpu_seconds']:.3f} | {v['least_cpu_seconds']:.3f} | {v['cpu_ratio']:.2f}"
            wall = f"{v['wall_seconds']:.3f} | {v['least_wall_seconds']:.3f} | {v['wall_ratio']:.2f}"
            text.append(f"| {v['variant']} | {cpu} | {low:.2f} to {high:.2f} | {wall} |")
    return "\n".join(text) + "\n"


@contextmanager
def _servers(made: Corpus, latency_ms: float | None) -> Iterator[Lab | None]:
    if latency_ms is None:
        yield None
        return
    with lab(made.folder, latency_ms) as servers:
        yield servers


def _day(text: str) -> tuple[str, float]:
    name, _, scale = text.partition(":")
    if name not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"{name}: choose among {', '.join(WORKLOADS)}")
    return name, float(scale or 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results after each day, and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--days", default="", metavar="NAME[:SCALE],…")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, default=None, help="on S3, with this latency")
    parser.add_argument("--parsers", action="store_true", help="also without any fast parser: slow")
    parser.add_argument("--target-file-mb", default="", help="for parts that are written early: small ones")
    parser.add_argument("--other", default="", help="the program of another version, in the same rounds")
    parser.add_argument("--cache", type=Path, default=None, help=f"where raw days lie [{default_cache()}]")
    parser.add_argument("--name", default="accelerators", help="at the end of the names of the results files")
    parser.add_argument("--out", type=Path, default=RESULTS, help="for the results")
    given = list(sys.argv[1:] if arguments is None else arguments)
    told = parser.parse_args(given)
    on_s3 = told.latency_ms is not None
    names = told.days or (DAYS_ON_S3 if on_s3 else DAYS_ON_DISK)
    program = briquette.program()[0]
    chosen = variants(program, on_s3=on_s3, parsers=told.parsers, other=told.other)
    extra = ["--target-file-mb", told.target_file_mb] if told.target_file_mb else []
    shown = ["OTHER" if word == told.other and word else word for word in given]
    document: dict[str, Any] = {
        **machine(),
        "command": " ".join(["python -m benchmarks.accelerators", *shown]),
        "rounds": told.rounds,
        "days": [],
    }
    place = told.out / f"{document['date']}-{document['machine']['name']}-{told.name}.json"
    for name, scale in map(_day, names.split(",")):
        made = corpus(name, scale, told.cache)
        with _servers(made, told.latency_ms) as servers:
            runs = compare(chosen, made, servers, told.rounds, extra)
        document["days"].append(
            {
                "name": f"{name}:{scale:g}" if scale != 1 else name,
                "files": made.files,
                "size_bytes": made.size_bytes,
                "latency_ms": told.latency_ms,
                "variants": summary(runs),
                "runs": {variant: [asdict(run) for run in some] for variant, some in runs.items()},
            }
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        place.with_suffix(".md").write_text(as_text(document), encoding="utf-8")
    print(as_text(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
