"""``briquette bench``: the benchmark suite, from a checkout that has the development set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from briquette.cli.options import OUTPUT, RUN, Common, choice, expand, option
from briquette.cli.output import begin, say
from briquette.errors import EXIT_RETRYABLE, UsageError


@expand
def bench(
    common: Common,
    *,
    workloads: Annotated[str, option(RUN, "Workloads, by commas. [default: those of the targets]")] = "",
    peers: Annotated[str, option(RUN, "Peers, by commas. [default: all that are installed]")] = "",
    rounds: Annotated[int, option(RUN, "Alternating rounds; slow peers take part in fewer.", min=1)] = 5,
    scale: Annotated[float, option(RUN, "Multiplies the number of raw files.", min=0.0001)] = 1.0,
    store: Annotated[str, option(RUN, "disk, s3 (a server on this machine), or both.")] = "both",
    latency_ms: Annotated[
        float, option(RUN, "Milliseconds that the S3 server waits before each answer.", min=0)
    ] = 20.0,
    probes: Annotated[bool, option(RUN, "Also memory, cost by size, part sizes, scaling, planning.")] = True,
    huge: Annotated[bool, option(RUN, "Let the probes go up to ten gigabytes.", "--huge")] = False,
    timeout: Annotated[float, option(RUN, "Seconds that one run may take.", min=1)] = 180.0,
    out: Annotated[
        Path | None, option(OUTPUT, "Folder for the results. [default: benchmarks/results]")
    ] = None,
) -> None:
    """Measure briquette and its peers side by side.

    Writes JSON, Markdown and a page; needs the development set of a checkout.
    """
    begin(common, pandas=True)
    _find_the_suite()
    from benchmarks import suite
    from benchmarks.corpus import WORKLOADS
    from benchmarks.peers import PEERS

    latencies = {"disk": (None,), "s3": (latency_ms,), "both": (None, latency_ms)}
    try:
        wanted = suite.Wanted(
            workloads=(
                suite.names_among(workloads, tuple(WORKLOADS)) if workloads else suite.DEFAULT_WORKLOADS
            ),
            peers=suite.names_among(peers, tuple(PEERS)) if peers else tuple(PEERS),
            rounds=rounds,
            scale=scale,
            latencies_ms=latencies[choice("store", store, tuple(latencies))],
            probes=probes or huge,
            huge=huge,
            timeout_seconds=timeout,
        )
    except ValueError as cause:
        raise UsageError(f"{cause}.", hint="Give names by commas, without spaces.") from cause
    document = suite.run_suite(wanted, lambda so_far: suite.write_results(so_far, out or suite.RESULTS))
    written = suite.write_results(document, out or suite.RESULTS)
    say(document, written[1].read_text(encoding="utf-8") + f"\nwrote {', '.join(map(str, written))}")
    if suite.ours_is_wrong(document):
        raise typer.Exit(EXIT_RETRYABLE)


def _find_the_suite() -> None:
    """Put this package's checkout first on the path; raises ``UsageError`` where the package has none.

    ``benchmarks`` is a name that a user's own project may have: nobody else's is taken.
    """
    checkout = Path(__file__).resolve().parents[4]
    if not (checkout / "benchmarks" / "suite.py").is_file():
        raise UsageError(
            "the benchmark suite is not part of an installed briquette.",
            hint="Clone the repository, and run make bench there.",
        )
    sys.path.insert(0, str(checkout))
