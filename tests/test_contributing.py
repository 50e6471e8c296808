"""CONTRIBUTING.md and the list of `make quick` name what is there; the list has a test of every room."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUICK = (ROOT / "tests/quick.txt").read_text(encoding="utf-8").split()
CHOSEN = [entry for entry in QUICK if not entry.startswith("--deselect=")]
LEFT_OUT = [entry.removeprefix("--deselect=") for entry in QUICK if entry.startswith("--deselect=")]
PACKAGE = ROOT / "engine/briquette"
ROOMS = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py") if p.parent.name != "testing")

CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:engine|tests|docs|scripts|config|orchestration|benchmarks)(?:/[\w.*-]+)+/?")
WORD = re.compile(r"[A-Za-z_]\w*")
COMMANDS = {"git", "briquette"}
YOURS = re.compile(r"\b(?:mine|Mine|MyStore|MyExecutor)\b")  # what a reader is going to write


def sources() -> str:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kinds = (".py", ".toml", ".md", "Makefile")
    names = [n for n in listed.split("\n") if n.endswith(kinds) and n != "CONTRIBUTING.md"]
    files = [ROOT / name for name in names if not name.endswith("test_contributing.py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


SOURCES = sources()


def test_contributing_is_short_and_has_the_six_paths() -> None:
    assert PAGE.count("\n") <= 200
    paths = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
    wanted = ("input format", "compression", "executor", "store", "command", "setting")
    assert all(any(what in path for path in paths) for what in wanted), paths


def is_named_rightly(code: str) -> bool:
    """Whether a path, a name of the code or a target of make is there; other pieces of code are not asked."""
    if YOURS.search(code):
        return True
    if PATH.fullmatch(code):
        return any(ROOT.glob(code.rstrip("/")))
    if code.startswith("make "):
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        return {word for word in code.split()[1:] if "=" not in word} <= targets
    if WORD.fullmatch(code.removesuffix("()")):
        return re.search(rf"\b{code.removesuffix('()')}\b", SOURCES) is not None
    dotted = re.fullmatch(r"briquette((?:\.\w+)+)", code)
    if dotted:
        place = PACKAGE.joinpath(*dotted[1].strip(".").split("."))
        return place.is_dir() or place.with_suffix(".py").is_file()
    return True


@pytest.mark.parametrize("code", sorted(set(CODE.findall(PAGE))))
def test_what_contributing_names_is_there(code: str) -> None:
    assert is_named_rightly(code)


@pytest.mark.parametrize(
    "code",
    [
        "docs" + "/nothing.md",
        "make nonsense",
        "function_that_nobody_wrote",
        "ClassThatNobodyWrote",
        "briquette.no.where",
    ],
)
def test_what_is_not_there_is_noticed(code: str) -> None:
    assert not is_named_rightly(code)


@pytest.mark.parametrize("entry", [*CHOSEN, *LEFT_OUT])
def test_the_quick_list_names_tests_that_are_there(entry: str) -> None:
    path, _, name = entry.partition("::")
    assert (ROOT / path).exists()
    if name:
        assert re.search(
            rf"^def {re.escape(name.partition('[')[0])}\(", (ROOT / path).read_text(), re.MULTILINE
        )


def test_what_is_left_out_is_of_a_chosen_file() -> None:
    assert {entry.partition("::")[0] for entry in LEFT_OUT} <= set(CHOSEN)


@pytest.mark.parametrize("room", ROOMS)
def test_the_quick_list_has_a_test_of_every_room(room: str) -> None:
    places = [ROOT / entry.partition("::")[0] for entry in CHOSEN]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))]
    files += [ROOT / "tests/conformance/runs.py"]  # what every conformance case is run by
    asks = re.compile(
        rf"(?:from|import) briquette\.{room}\b|briquette\(\"{room}|\"-m\", \"briquette\.{room}\b"
    )
    assert any(asks.search(file.read_text(encoding="utf-8")) for file in files)


def test_the_quick_list_goes_the_whole_way_by_command_library_s3_and_dask() -> None:
    for way in (
        "tests/flow/test_cli.py::test_plan_compact_inspect_verify_and_compact_again[s3]",
        "tests/unit/transform/logic/test_raw_to_parquet_compaction.py",
        "tests/unit/executors/test_executors.py::test_two_dask_processes_give_the_bytes_of_the_serial_run",
        "tests/conformance/test_cases.py",
    ):
        assert way in CHOSEN
    assert not [entry for entry in CHOSEN if entry.startswith("tests/spark") or "flow_lab" in entry]
