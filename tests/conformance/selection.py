"""The conformance cases that other schedulers run by default: each that is the first to show something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parent / "cases"


def for_a_scheduler() -> list[Any]:
    """Every case by name, as parameters of a test; those that show nothing new are slow.

    A scheduler has no meaning of its own. Every meaning is the subject of test_cases.py, and that
    splits, errors and results arrive whole, of the scheduler's own tests.
    """
    known: set[str] = set()
    cases = []
    for folder in sorted(CASES.iterdir()):
        found = shown(folder)
        cases.append(pytest.param(folder.name, marks=() if found - known else pytest.mark.slow))
        known |= found
    return cases


def shown(folder: Path) -> set[str]:
    """What a case is about: how it ends, clauses, checks, settings, and the endings of its raw objects."""
    document = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    raw = [*folder.glob("raw*/**/*.*"), *(Path(name) for name in document.get("generated", []))]
    return {
        document["expect"]["status"],
        *(clause.partition(".")[0] for clause in document["clauses"]),
        *({*document.get("also", {})} - {"executors_agree"}),  # which runs the others, not this one
        *(f"spec {name}" for name in document.get("spec", {})),
        *("".join(path.suffixes) for path in raw),
    }
