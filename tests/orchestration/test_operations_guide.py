"""The operations guide's commands, run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"


def blocks(kind: str) -> list[str]:
    """The commands of the guide's blocks of one kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_commands_for_a_machine_with_the_data_on_disk_run_as_written(tmp_path):
    found = blocks("sh")
    assert len(found) >= 9
    script = "\n".join(f"echo '## block {i}'\n{block}" for i, block in enumerate(found))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    said = told.stdout
    assert "UNCHANGED" in said
    assert "exit code 4, the published day stays" in said
    assert "exit code 3: nothing to do" in said
    assert "same rows" in said
    assert '"reason":' in said
    assert said.rstrip().endswith("OK") or "OK" in said.rpartition("## block")[2]


def test_every_command_for_aws_names_only_what_the_stacks_create():
    text = "\n".join(blocks("sh aws"))
    assert text.count("start-execution") == 3
    assert set(re.findall(r"dev-[a-z-]+", text)) == {
        "dev-daily-prices-data-processing",
        "dev-data-platform-raw",
    }
