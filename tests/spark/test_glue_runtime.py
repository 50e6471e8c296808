"""The unmodified job script with the official awsglue package, over stand-ins for Glue's Java classes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest

from tests.needs import needs_javac
from tests.spark.installs import install_into
from tests.spark.jvm import Jvm, jvm
from tests.spark.local import OUTPUT, ROOT, environment, glue_arguments, run_python, spark_conf

pytestmark = [needs_javac(), pytest.mark.xdist_group("glue-runtime")]  # one JVM for all

OFFICIAL = {(3, 11): "awsgluedataplanepython==5.1.0", (3, 13): "awsgluedataplanepython==6.0.0"}
SOURCES = Path(__file__).parent / "glue_stub"


@pytest.fixture(scope="module")
def awsglue(tmp_path_factory) -> Path:
    """The package that Glue 5.1 (Python 3.11) or 6.0 (Python 3.13) has."""
    package = OFFICIAL.get(sys.version_info[:2])
    if package is None:
        pytest.skip("awsglue exists for Python 3.11 and 3.13 only")
    return install_into(tmp_path_factory.mktemp("awsglue"), [package])


@pytest.fixture(scope="module")
def jar(tmp_path_factory) -> Path:
    """The compiled stand-ins; a folder of classes serves as well as a jar."""
    classes = tmp_path_factory.mktemp("glue-stub")
    jars = Path(pyspark.__file__).parent / "jars"
    sources = [str(p) for p in sorted(SOURCES.rglob("*.java"))]
    command = ["javac", "-cp", f"{jars}/*", "-d", str(classes), *sources]
    subprocess.run(command, check=True, capture_output=True)
    return classes


@pytest.fixture(scope="module")
def runs(awsglue, jar, tmp_path_factory) -> Iterator[tuple[Jvm, dict[str, str], Path]]:
    """A JVM with the stand-ins, the variables of a run in it, and the file of the calls."""
    folder = tmp_path_factory.mktemp("glue-runs")
    settings = {
        "spark.driver.extraClassPath": str(jar),
        "spark.driver.extraJavaOptions": f"-Dglue.stub.calls={folder / 'calls'}",
    }
    variables = environment() | spark_conf(folder / "conf", **settings) | {"PYTHONPATH": f"{ROOT}:{awsglue}"}
    with jvm(folder / "jvm", {**os.environ, **variables}) as found:
        yield found, variables | found.variables, folder / "calls"


@pytest.fixture
def glue(runs, tmp_path):
    """Run the script as Glue does; gives how it ended and the calls that the Job class got."""
    shared, variables, calls = runs

    def run(*arguments: str):
        calls.unlink(missing_ok=True)
        script = shutil.copy(ROOT / "glue_wrappers/compaction_job.py", tmp_path / "script.py")
        try:
            ended = run_python([str(script), *arguments], folder=tmp_path, variables=variables)
        finally:
            shared.clear()
        return ended, calls.read_text().splitlines() if calls.exists() else []

    return run


# Glue writes these before a job's own arguments.
GLUE_ADDS = ("--job-bookmark-option", "job-bookmark-disable", "--TempDir", "s3://temp/", "--JOB_ID", "j_1")


COMPARE = """
import json, sys
from awsglue.utils import getResolvedOptions
from briquette.aws.glue_arguments import _resolved
names, argv = json.loads(sys.argv[1])
official = getResolvedOptions(["script", *argv], names)
print(json.dumps([{name: official[name] for name in names}, _resolved(argv, names)]))
"""


@pytest.mark.parametrize(
    "argv",
    [
        ["--ds", "2025-09-09", "--codec=zstd"],
        ["--ds=a=b", *GLUE_ADDS, "--codec", "x y", "--enable-metrics", "true"],
        ["--codec", "lz4", "--ds", "1", "--ds", "2", "stray", "--unknown", "3"],
        ["--ds", "-1.5", "--codec", "-7"],
    ],
)
def test_our_reading_of_arguments_is_the_official_one(awsglue, tmp_path, argv):
    command = ["-c", COMPARE, json.dumps([["ds", "codec"], argv])]
    ended = run_python(command, folder=tmp_path, variables={"PYTHONPATH": f"{ROOT}:{awsglue}"})
    assert ended.code == 0, ended.err
    official, ours = ended.document
    assert ours == official


def test_a_run_that_published_is_committed(glue, raw_day, tmp_path):
    ended, calls = glue(*GLUE_ADDS, *glue_arguments(raw_day, tmp_path / "curated"))
    assert ended.code == 0, ended.err
    assert ended.document["status"] == "PUBLISHED"
    assert (tmp_path / "curated" / OUTPUT / "part-00000.parquet").exists()
    assert calls == ["init test-daily-prices-compaction ds=2025-09-09", "commit"]


def test_a_run_that_failed_is_not_committed_and_glue_gets_the_exception(glue, raw_day, tmp_path):
    ended, calls = glue(*GLUE_ADDS, *glue_arguments(raw_day, tmp_path / "curated", file_type="xml"))
    assert ended.code == 1
    assert calls == ["init test-daily-prices-compaction ds=2025-09-09"]
    assert "error: UnsupportedFormat: Unsupported file_type 'xml'.\n  next: Use one of" in ended.err
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("briquette.errors.UnsupportedFormat: Unsupported file_type 'xml'.")


def test_a_run_without_its_arguments_is_not_even_begun(glue, tmp_path):
    ended, calls = glue(*glue_arguments(tmp_path, tmp_path, data_source=None))
    assert ended.code == 1
    assert calls == []
    assert "error: UsageError: the job's arguments lack --data_source." in ended.err


def test_a_run_with_nothing_to_do_is_committed(glue, tmp_path):
    (tmp_path / "raw").mkdir()
    ended, calls = glue(*glue_arguments(tmp_path / "raw", tmp_path / "curated"))
    assert ended.code == 0, ended.err
    assert ended.document["status"] == "EMPTY"
    assert calls[-1] == "commit"
    assert not (tmp_path / "curated").exists()
