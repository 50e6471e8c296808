"""briquette through its own command line; this process becomes it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.peers import run_as_peer


def program() -> list[str]:
    """The console script of this environment, or the module of the checkout where none is installed."""
    script = Path(sys.executable).with_name("briquette")
    return [str(script)] if script.exists() else [sys.executable, "-m", "engine.cli"]


def command(source: str, target: str) -> list[str]:
    """The command line of one run; its format is told from the files' names."""
    options = ["--input", source, "--output", target, "--schema", "market.prices", "--json"]
    return [*program(), "compact", *options]


def work(source: str, target: str, _form: str) -> None:
    """Replace this process by the command."""
    line = command(source, target)
    os.execv(line[0], line)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    run_as_peer(work)
