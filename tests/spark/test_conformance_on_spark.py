"""Conformance cases on Spark: the author's expectations, and the bytes of the serial run.

By default each case that is the first to show something; all the others are slow. That Spark is a scheduler
and no second meaning is the subject of test_spark_executor.py; every meaning itself, of tests/conformance.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from briquette.model import Manifest
from briquette.serialization import manifest_from_bytes, manifest_to_bytes
from tests.conformance.runs import Runs
from tests.conformance.test_cases import CASES, Case


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


def cases() -> Iterator[Any]:
    """Every case; those that show nothing new are slow."""
    known: set[str] = set()
    for folder in sorted(CASES.iterdir()):
        found = shown(folder)
        yield pytest.param(folder.name, marks=() if found - known else pytest.mark.slow)
        known |= found


@pytest.mark.parametrize("name", list(cases()))
def test_case(name: str, tmp_path: Path, executor) -> None:
    case = Case(CASES / name, tmp_path, executor)
    serial = None
    if "after_listing" not in case.document:  # its raw objects would already have changed
        ending = Runs(CASES / name, tmp_path).run({"options": {"executor": "serial"}})
        serial = (ending.status, ending.message, files_below(ending.output))
        shutil.rmtree(ending.output, ignore_errors=True)
    case.first_run()
    if serial is not None:
        assert (case.first.status, case.first.message, files_below(case.first.output)) == serial
    for check, argument in case.document.get("also", {}).items():
        getattr(case, f"also_{check}")(argument)


def files_below(root: Path) -> dict[str, bytes]:
    """The bytes of all that a run left, manifest and rejects with it.

    Only what is the disk's is left out of a manifest: etags of files, and which raw files were fresh.
    """
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {
        name: manifest_to_bytes(without_the_disk_s(manifest_from_bytes(data)))
        if name.endswith("_manifest.json")
        else data
        for name, data in files.items()
    }


def without_the_disk_s(manifest: Manifest) -> Manifest:
    rejects = manifest.rejects_file
    return replace(
        manifest,
        files=tuple(replace(f, etag="") for f in manifest.files),
        rejects_file=rejects and replace(rejects, etag=""),
        fresh=(),
    )
