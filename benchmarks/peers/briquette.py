"""briquette through its own command line; this process becomes it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import Task, run_as_peer
from benchmarks.shapes import as_toml


def program() -> list[str]:
    """The console script of this environment, or the module of the checkout where none is installed."""
    script = Path(sys.executable).with_name("briquette")
    return [str(script)] if script.exists() else [sys.executable, "-m", "briquette"]


def command(source: str, target: str, shape: str = "prices", schema: str = "") -> list[str]:
    """The command line of one run; its format is told from the files' names."""
    table = "market.prices" if shape == "prices" else schema
    return [*program(), "compact", "--input", source, "--output", target, "--schema", table, "--json"]


def work(task: Task) -> None:
    """Replace this process by the command."""
    schema = Path(tempfile.mkdtemp()) / "schema.toml"
    schema.write_text(as_toml(task.shape), encoding="utf-8")
    line = command(task.source, task.target, task.shape.name, str(schema))
    os.execv(line[0], line)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    run_as_peer(work)
