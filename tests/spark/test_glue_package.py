"""What `make glue` builds is all that Glue needs: its pins and its wheel, on Glue's Python and Spark."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from briquette import compact
from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE
from glue_wrappers import compaction_job
from orchestration.glue_parameters import KERNEL, PLACE, RUNTIMES, SCAN, Runtime, parameters, pins
from scripts.build_glue import build_wheel
from tests.spark.installs import uv
from tests.spark.local import ROOT, glue_arguments, run_python, spark_conf

NAMES = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}
GLUE_51, GLUE_60 = RUNTIMES
GLIBC = "x86_64-manylinux_2_34"  # Amazon Linux 2023, which Glue 5 and later run on


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda r: r.glue)
def test_every_pin_has_a_wheel_that_glue_can_load(runtime: Runtime, tmp_path) -> None:
    """Glue compiles nothing."""
    platform = ("--python-platform", GLIBC, "--python-version", runtime.python, "--only-binary", ":all:")
    wanted = pins(runtime.python, KERNEL + SCAN)
    uv("pip", "install", "--dry-run", "--no-deps", *platform, "--target", str(tmp_path), *wanted)


def test_the_pins_are_those_of_the_lock_and_without_dask() -> None:
    wanted = dict(pin.split("==") for pin in pins("3.11", KERNEL))
    assert set(KERNEL) < wanted.keys()
    assert not wanted.keys() & {"dask", "distributed", "numba", "pandas", "rich", "s3fs", "typer"}
    if sys.version_info[:2] == (3, 11):  # this environment is made from the same lock
        assert wanted == {name: importlib.metadata.version(name) for name in wanted}
    assert any(pin.startswith("llvmlite==") for pin in pins("3.11", SCAN))
    assert not any(pin.startswith("typing-extensions") for pin in pins("3.13", KERNEL))


def test_the_script_fills_in_where_the_artifacts_lie(tmp_path) -> None:
    command = [sys.executable, "scripts/build_glue.py", "--out", str(tmp_path / "glue")]
    subprocess.run([*command, "--artifacts-url", "s3://artifacts/glue/"], cwd=ROOT, check=True)
    document = json.loads((tmp_path / "glue/parameters.json").read_text())
    for glue in ("5.1", "6.0"):
        assert document[glue]["scripts"]["compaction_job"] == "s3://artifacts/glue/compaction_job.py"
        arguments = document[glue]["default_arguments"]
        wheel, *_ = arguments["--additional-python-modules"].split(",")
        assert wheel.startswith("s3://artifacts/glue/briquette-")
        assert (tmp_path / "glue" / wheel.rpartition("/")[2]).is_file()
        assert arguments["--python-modules-installer-option"] == "--no-deps"
    assert (tmp_path / "glue/compaction_job.py").is_file()


def test_the_documentation_names_every_argument_and_parameter() -> None:
    page = (ROOT / "docs/glue.md").read_text(encoding="utf-8")
    parameters_of_glue = parameters("briquette.whl", [])["6.0"]["default_arguments"]
    wanted = [*(argument.name for argument in compaction_job.ARGUMENTS), *parameters_of_glue]
    assert [name for name in wanted if f"`{name}" not in page] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "runtime", [GLUE_51, pytest.param(GLUE_60, marks=pytest.mark.slow)], ids=lambda r: r.glue
)
def test_the_job_runs_with_nothing_but_its_parameters(runtime: Runtime, raw_day, tmp_path) -> None:
    python = environment_like(runtime, tmp_path)
    script = shutil.copy(ROOT / "glue_wrappers/compaction_job.py", tmp_path / "compaction_job.py")
    variables = spark_conf(tmp_path / "conf") | {
        "PYTHONPATH": "",
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
    }
    command = [str(script), *glue_arguments(raw_day, tmp_path / "curated")]
    ended = run_python(command, folder=tmp_path, variables=variables, python=python)
    assert ended.code == 0, ended.err
    expected = compact(raw=raw_day, curated=tmp_path / "serial", **NAMES).manifest
    document = ended.document
    assert (document["rows"], document["rejects"]) == (expected.rows, expected.rejects)
    assert document["content_digest"] == expected.content_digest
    if f"pyarrow=={importlib.metadata.version('pyarrow')}" in pins(runtime.python, KERNEL):
        assert [f["sha256"] for f in document["outputs"]["files"]] == [f.sha256 for f in expected.files]


def environment_like(runtime: Runtime, folder: Path) -> str:
    """A Python with Glue's PySpark, and what `--additional-python-modules` names, installed as it says."""
    wheel = build_wheel(folder)
    arguments = parameters(wheel.name, ["compaction_job.py"])[runtime.glue]["default_arguments"]
    modules = arguments["--additional-python-modules"].replace(PLACE, str(folder)).split(",")
    uv("venv", "--python", interpreter(runtime.python), str(folder / "venv"))
    python = str(folder / "venv/bin/python")
    uv("pip", "install", "--python", python, f"pyspark=={runtime.spark}")
    uv("pip", "install", "--python", python, arguments["--python-modules-installer-option"], *modules)
    return python


def interpreter(version: str) -> str:
    """A Python of that version on this machine."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, installed)):
        if (
            candidate
            and not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode
        ):
            return candidate
    pytest.skip(f"there is no Python {version} on this machine")
