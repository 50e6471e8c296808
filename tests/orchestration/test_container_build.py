"""The image is built where Docker is; here its steps are run, and its parts are held together."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.sources import CONTAINER, FUNCTIONS, copy_container

ROOT = Path(__file__).parents[2]
HERE = ROOT / "orchestration/container"
DOCKERFILE = (HERE / "Dockerfile").read_text()


def test_the_script_is_a_shell_script():
    subprocess.run(["sh", "-n", str(HERE / "build.sh")], check=True)
    told = subprocess.run(
        ["sh", str(HERE / "build.sh")],
        env={"VENV": "x", "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert told.returncode == 2
    assert b"usage" in told.stderr


def test_every_step_of_the_image_is_in_the_script():
    runs = re.findall(r"^RUN (.+?)$(?<!\\)", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)
    assert [r for r in runs if "useradd" not in r] == [
        "sh orchestration/container/build.sh dependencies",
        "sh orchestration/container/build.sh briquette",
    ]


def test_the_image_runs_as_nobody_special_and_starts_the_task():
    assert re.findall(r"^USER (\w+)", DOCKERFILE, re.MULTILINE) == ["briquette"]
    assert 'ENTRYPOINT ["python", "-m", "briquette.aws.container"]' in DOCKERFILE
    assert DOCKERFILE.count("\nFROM ") == 1
    assert "\nFROM python:3.11-slim\n" in DOCKERFILE
    assert (ROOT / "engine/briquette/aws/container.py").is_file()


def test_docker_ignores_what_the_build_context_leaves_out():
    lines = (HERE / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(CONTAINER)


def test_the_build_context_holds_what_the_steps_read(tmp_path):
    folder = copy_container(tmp_path / "context")
    for name in (
        "Dockerfile",
        "requirements.lock",
        "pyproject.toml",
        "scripts/warm.py",
        "orchestration/container/build.sh",
    ):
        assert (folder / name).is_file(), name
    assert not list(folder.rglob("__pycache__"))
    assert not list(folder.rglob("*.pyc"))
    assert {Path(name).parts[0] for name in FUNCTIONS} <= {path.name for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_make_an_environment_that_answers(tmp_path):
    folder = copy_container(tmp_path / "context")
    venv = tmp_path / "venv"
    environment = {
        **os.environ,
        "VENV": str(venv),
        "PYTHON": sys.executable,
    }
    for step in ("dependencies", "briquette"):
        subprocess.run(
            ["sh", "orchestration/container/build.sh", step], cwd=folder, env=environment, check=True
        )
    help_ = [str(venv / "bin/python"), "-I", "-m", "briquette.aws.container", "compact", "--help"]
    told = subprocess.run(help_, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    installed = list((venv / "lib").rglob("briquette/aws/container.py"))
    assert len(installed) == 1
