"""Conformance cases on Spark: the author's expectations, and the bytes of the serial run.

By default each case that is the first to show something (tests/conformance/selection.py); others are slow.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from briquette.model import Manifest
from briquette.serialization import manifest_from_bytes, manifest_to_bytes
from tests.conformance.runs import Runs
from tests.conformance.selection import for_a_scheduler
from tests.conformance.test_cases import CASES, Case


@pytest.mark.parametrize("name", for_a_scheduler())
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
