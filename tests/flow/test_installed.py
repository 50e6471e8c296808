"""The wheel, installed as a user installs it, in a user's project whose packages have our folders' names.

``briquette`` is the only name that it may import or take: each of those packages raises when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.spark.installs import uv

ROOT = Path(__file__).parents[2]
OURS_IN_THE_REPOSITORY = (
    "benchmarks",
    "config",
    "engine",
    "glue_wrappers",
    "orchestration",
    "scripts",
    "tests",
)
pytestmark = pytest.mark.xdist_group("installed")  # the wheel is built and installed once


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel installed; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin/python"
    uv("pip", "install", "--python", str(interpreter), "--no-deps", str(ROOT))
    (site,) = folder.glob("lib/python*/site-packages")
    # A path file is not read again in the folder that it names, so that this checkout's own stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


@dataclass(frozen=True)
class Project:
    """A user's project: its folder is the working directory, and stands on PYTHONPATH."""

    python: Path
    folder: Path

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BRIQUETTE_", "PYTHON"))}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**environment, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "the user's own" not in done.stdout + done.stderr
        return done

    def command(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.python.with_name("briquette")), *words, code=code)


@pytest.fixture(scope="module")
def project(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    for name in OURS_IN_THE_REPOSITORY:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(
            f'raise ImportError("the user\'s own {name} was imported")\n'
        )
    (folder / "raw").mkdir()
    for number in range(40):
        (folder / f"raw/{number:02}.json").write_text(f'{{"id": {number}, "price": {number}.5}}\n')
    return Project(python, folder)


def test_the_wheel_takes_one_name_at_top_level(python: Path) -> None:
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    installed = {path.name for path in site.iterdir() if "briquette" in (path / "RECORD").parts[-2]}
    assert installed == {"briquette", next(p.name for p in site.glob("briquette-*.dist-info"))}
    (record,) = site.glob("briquette-*.dist-info/RECORD")
    tops = {line.partition("/")[0] for line in record.read_text().splitlines() if not line.startswith("..")}
    assert tops == installed
    inside = site / "briquette"
    for name in ("SPEC.md", "py.typed", "config/environments/dev.toml", "config/tables/market.prices.toml"):
        assert (inside / name).is_file(), name


LIBRARY = """
import pathlib, sys
import briquette

assert pathlib.Path(briquette.__file__).is_relative_to(sys.prefix), briquette.__file__

if __name__ == "__main__":
    options = briquette.RunOptions(executor=sys.argv[1], workers=int(sys.argv[2]))
    schema = briquette.infer("raw").schema
    made = briquette.compact(input="raw", output=sys.argv[3], schema=schema, options=options, split_objects=8)
    assert briquette.verify(sys.argv[3]).ok
    print(made.status.value, made.executor, briquette.read(sys.argv[3]).compute()["id"].sum())
"""


@pytest.mark.parametrize(("executor", "workers", "ran"), [("serial", "0", "serial"), ("dask", "2", "dask")])
def test_the_library_works_in_a_project_with_packages_of_our_folders_names(
    project: Project, executor: str, workers: str, ran: str
) -> None:
    (project.folder / "job.py").write_text(LIBRARY)
    told = project.run(str(project.python), "job.py", executor, workers, f"out-{executor}").stdout
    assert told.split() == ["PUBLISHED", ran, str(sum(range(40)))]


@pytest.mark.parametrize("run", [("--executor", "serial"), ("--executor", "dask", "--workers", "2")])
def test_the_command_works_there_too(project: Project, run: tuple[str, ...]) -> None:
    out = f"cli-{run[1]}"
    told = project.command("compact", "--input", "raw", "--output", out, *run, "--json").stdout
    assert (json.loads(told)["status"], json.loads(told)["rows"]) == ("PUBLISHED", 40)
    assert project.command("verify", out).stdout.startswith("OK")


def test_commands_that_read_settings_and_data_work_there_too(project: Project) -> None:
    assert "[columns]" in project.command("infer", "--input", "raw").stdout
    assert "compaction_codec" in project.command("config", "show", "--env", "dev").stdout  # the shipped one
    module = project.run(str(project.python), "-m", "briquette", "--version").stdout
    assert module.startswith("briquette ")


def test_the_suite_of_a_user_is_not_taken_for_ours(project: Project) -> None:
    told = project.command("bench", code=2)
    assert "the benchmark suite is not part of an installed briquette" in told.stderr


SCRIPT = """
from pathlib import Path

import briquette
from briquette import BriquetteError, CompactionResult, Field, Plan, RunOptions, Schema, errors
from briquette import compact, load_schema

schema: Schema = Schema((Field("id", "int64"), Field("price", "float64")))
declared: Schema = load_schema("market.prices")
few = RunOptions(threads=1)
made: CompactionResult = compact(input="raw", output=Path("out"), schema=schema, options=few)
plan: Plan = briquette.plan(input="raw", output="out", schema=schema)
rows: int = made.manifest.rows if made.manifest else 0
fine: bool = briquette.verify("out", deep=True).ok
codecs: list[str] = [column["codec"] for column in briquette.inspect("out")["columns"]]
inferred: str = briquette.infer("raw").to_toml()
frame = briquette.read("out", columns=["id"])
try:
    compact(input="raw", output="out")
except errors.NoDataset as error:
    kind: type[BriquetteError] = type(error)
"""


def test_a_strict_type_checker_knows_the_public_names(project: Project) -> None:
    (project.folder / "typed.py").write_text(SCRIPT)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", str(project.python))
    where = ("--config-file", os.devnull, "--cache-dir", str(project.folder / ".mypy"))
    assert "Success" in project.run(*mypy, *where, "typed.py").stdout


def test_a_strict_type_checker_finds_a_wrong_use(project: Project) -> None:
    wrong = SCRIPT.replace("fine: bool", "fine: str").replace("errors.NoDataset", "errors.NoDatset")
    (project.folder / "mistyped.py").write_text(wrong)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", str(project.python))
    where = ("--config-file", os.devnull, "--cache-dir", str(project.folder / ".mypy"))
    told = project.run(*mypy, *where, "mistyped.py", code=1).stdout
    assert "Incompatible types in assignment" in told
    assert 'has no attribute "NoDatset"' in told
