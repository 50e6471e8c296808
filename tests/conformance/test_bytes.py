"""The very bytes of every case, as SHA-256, against a list: a change of structure must not change a byte.

The list holds for the version of pyarrow that it names. ``UPDATE_BYTES=1`` in the environment writes it anew,
which needs a reason in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conformance.runs import Runs

HERE = Path(__file__).parent
LIST = HERE / "bytes.json"


def bytes_of(case: Path, scratch: Path) -> dict[str, object]:
    """How the first run of a case ends: its content digest, the SHA-256 of each part and the rejects."""
    runs = Runs(case, scratch)
    step = {k: v for k, v in runs.document.items() if k == "after_listing"}
    ending = runs.run(step)
    if ending.status != "PUBLISHED":
        return {"status": ending.status}
    [folder] = {p.parent for p in ending.output.rglob("_manifest.json")}
    manifest = ending.manifest
    files = {f.key: f for f in manifest.files}
    if manifest.rejects_file:  # its name is that of the plan, which holds times of files
        files["rejects"] = manifest.rejects_file
    sums = {name: _sha256(folder, ending.output, f.key) for name, f in files.items()}
    return {"status": ending.status, "content_digest": manifest.content_digest, "files": sums}


def _sha256(folder: Path, output: Path, key: str) -> str:
    path = next(place / key for place in (folder, output) if (place / key).exists())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed() -> dict[str, object]:
    """The listed cases; with another pyarrow a person's run skips, and CI fails."""
    document = json.loads(LIST.read_text())
    if document["pyarrow"] != pa.__version__:
        why = f"the list is of pyarrow {document['pyarrow']}, this is {pa.__version__}: write it anew"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return document["cases"]


def test_the_bytes_of_every_case_are_those_of_the_list(tmp_path):
    found = {case.name: bytes_of(case, tmp_path / case.name) for case in sorted((HERE / "cases").iterdir())}
    if "UPDATE_BYTES" in os.environ:
        document = {"pyarrow": pa.__version__, "cases": found}
        LIST.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    assert found == listed()
