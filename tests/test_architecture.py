"""docs/architecture.md and docs/glossary.md say what is there: layers, journeys, modules and functions.

A stop of a journey is a line such as ``1. `planning/plan.py` `plan_partition`: why``. A small compaction with
rejects is traced, and each journey's stops must be entered in their order.
"""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
import sys
import threading
import tomllib
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "engine" / "briquette"
PAGE = ROOT / "docs" / "architecture.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
MOST_STOPS = 10
JOURNEY = re.compile(r"^\*\*(.+?)\*\*.*?:\n\n((?:\d+\. .*\n)+)", re.MULTILINE)
STOP = re.compile(r"^\d+\. `([\w/]+\.py)` `([\w.]+)`: \S", re.MULTILINE)


class Stop(NamedTuple):
    module: str
    function: str


def journeys(page: str) -> dict[str, list[Stop]]:
    """The stops of each journey of the page, by its name."""
    found = {}
    for name, text in JOURNEY.findall(page):
        stops = [Stop(*found) for found in STOP.findall(text)]
        assert len(stops) == text.count("\n"), (
            f"a stop of {name!r} does not read: 1. `module.py` `function`: why"
        )
        found[name] = stops
    return found


def names(source: str) -> set[str]:
    """Functions and classes of a module, with the names that they have in a traceback, and its constants."""
    tree = ast.parse(source)
    assigned = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    found = {target.id for target in assigned if isinstance(target, ast.Name)}

    def look(node: ast.AST, above: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = above
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{above}.{child.name}" if above else child.name
                found.add(name)
            look(child, name)

    look(tree, "")
    return found


@cache
def everything() -> dict[str, set[str]]:
    """The names of each module of the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): names(path.read_text("utf-8")) for path in paths}


def missing(stops: list[Stop]) -> list[str]:
    """The stops that name no function of the module that they name, each with where it is."""
    found = []
    for module, function in stops:
        if function not in everything().get(module, ()):
            others = [name for name, known in everything().items() if function in known]
            there = f"it is in {' and '.join(others)} now" if others else "no module has it any more"
            found.append(f"{module} has no {function}: {there}; correct the stop in {PAGE.name}")
    return found


def out_of_order(stops: list[Stop], entered: dict[Stop, int]) -> list[str]:
    """What is wrong with a journey, if this is the order in which functions were first entered."""
    wrong = [f"{s.module} {s.function} is not reached by a compaction" for s in stops if s not in entered]
    if not wrong:
        there = sorted(stops, key=lambda stop: entered[stop])
        wrong = [
            f"{a.function} comes where {b.function} does" for a, b in zip(stops, there, strict=True) if a != b
        ]
    return wrong


def traced(folder: Path) -> dict[Stop, int]:
    """The functions of the package that a small compaction with rejects enters, by their first entry."""
    from briquette import compact

    raw = folder / "raw"
    raw.mkdir()
    (raw / "a.json").write_bytes(b'{"id": 1}\n{"id": "x"}\nnot JSON\n')
    (raw / "b.jsonl.gz").write_bytes(gzip.compress(b'{"id": 2}\n'))
    (folder / "t.toml").write_text('name = "t"\n\n[columns]\nid = "int64"\n')
    entered: dict[Stop, int] = {}

    def enter(frame: FrameType, event: str, argument: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(f"{PACKAGE}/"):
            stop = Stop(name.removeprefix(f"{PACKAGE}/"), frame.f_code.co_qualname)
            entered.setdefault(stop, len(entered))

    before = sys.getprofile()
    threading.setprofile(enter)
    sys.setprofile(enter)
    try:
        made = compact(input=raw, output=folder / "out", schema=folder / "t.toml", max_reject_ratio=0.9)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert made.manifest is not None
    assert (made.manifest.rows, made.manifest.rejects) == (2, 2)
    return entered


PAGES_JOURNEYS = journeys(PAGE.read_text("utf-8"))


def test_there_are_the_three_journeys_of_a_newcomer():
    assert list(PAGES_JOURNEYS) == ["A raw object's bytes", "A plan", "A reject"]
    assert all(1 < len(stops) <= MOST_STOPS for stops in PAGES_JOURNEYS.values())


@pytest.mark.parametrize("name", PAGES_JOURNEYS)
def test_each_stop_names_a_function_that_is_there(name):
    assert missing(PAGES_JOURNEYS[name]) == []


def test_a_compaction_passes_the_stops_in_their_order(tmp_path):
    entered = traced(tmp_path)
    wrong = {name: out_of_order(stops, entered) for name, stops in PAGES_JOURNEYS.items()}
    assert {name: faults for name, faults in wrong.items() if faults} == {}


def test_a_wrong_journey_is_told():
    first, second = Stop("planning/plan.py", "plan_partition"), Stop("planning/plan.py", "state_of")
    assert out_of_order([first, second], {first: 3, second: 7}) == []
    assert len(out_of_order([second, first], {first: 3, second: 7})) == 2
    assert out_of_order([first, second], {first: 3}) == [
        "planning/plan.py state_of is not reached by a compaction"
    ]
    assert missing([first]) == []
    assert "it is in planning/plan.py now" in missing([Stop("model.py", "state_of")])[0]
    assert "no module has it" in missing([Stop("model.py", "fly_to_the_moon")])[0]


def layers(page: str) -> list[set[str]]:
    """The lines of the drawing, each as the packages and modules that it names."""
    drawing = page.split("```")[1]
    lines = [re.split(r" {2,}", line)[0] for line in drawing.strip().splitlines()]
    return [set(re.findall(r"\w+", line)) for line in lines]


def test_the_drawing_has_every_package_and_module_once():
    listed = subprocess.run(
        ["git", "ls-files", "engine/briquette"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [name for name in listed.stdout.splitlines() if name.endswith(".py") and (ROOT / name).is_file()]
    there = {Path(name).parts[2].removesuffix(".py") for name in paths} - {"__init__", "__main__"}
    drawn = [name for line in layers(PAGE.read_text("utf-8")) for name in line]
    assert sorted(drawn) == sorted(there)


def test_the_drawing_is_what_the_import_contract_says():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    contracts = settings.get("importlinter", {}).get("contracts", [])
    wanted = [
        c["layers"] for c in contracts if c["type"] == "layers" and c.get("containers") == ["briquette"]
    ]
    for contract in wanted:
        assert layers(PAGE.read_text("utf-8")) == [set(re.findall(r"\w+", line)) for line in contract]


@pytest.mark.parametrize("page", [PAGE, GLOSSARY], ids=lambda page: page.name)
def test_the_modules_that_a_page_names_are_there(page):
    text = page.read_text("utf-8")
    named = set(re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+(?:\.py|/))`", text))
    assert {name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()} == set()


def test_the_functions_that_the_answers_name_are_there():
    table = PAGE.read_text("utf-8").split("## Where is")[1].split("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ") and "`" in row]
    named = {name for row in rows for name in re.findall(r"`([A-Za-z_][\w.]*)`", row)}
    assert len(rows) > 4
    assert {n for n in named if not n.endswith(".py")} - set().union(*everything().values()) == set()


def test_the_glossary_says_each_word_once():
    words = re.findall(r"^\| ([^|]+?) \| [^|]+ \| `", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    assert len(words) > 40
    assert len(words) == len(set(words))
