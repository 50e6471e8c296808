"""The pages that say what is proved: what they name as proof exists, and each section names some."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("reliability.md", "threat-model.md", "mutation.md")

# `test_x.py`, `tests/unit/test_*_y.py`, `tests/faults.py`, `test_a_behaviour`, `test_x.py::test_a_behaviour`
_NAMED = re.compile(r"(?:(?<![\w/*.])tests/[\w/*.]+\.py|(?<![\w/*.])test_[\w*]+(?:\.py)?)(?:::test_\w+)?")


@cache
def files() -> tuple[Path, ...]:
    folders = (ROOT / "tests", ROOT / "engine/briquette/testing")
    return tuple(sorted(path for folder in folders for path in folder.rglob("*.py")))


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def missing(text: str) -> list[str]:
    """What a page names and nobody can run."""
    return [name for name in dict.fromkeys(_NAMED.findall(text)) if not exists(name)]


def exists(name: str) -> bool:
    file, _, function = name.partition("::") if ".py" in name else ("", "", name)
    found = [path for path in files() if path.match(file)] if file else list(files())
    return any(function in functions(path) for path in found) if function else bool(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert _NAMED.search(text)
    assert missing(text) == []


def test_every_section_of_the_reliability_page_names_a_test() -> None:
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    assert len(sections) >= 5
    assert [s.partition("\n")[0] for s in sections if not _NAMED.search(s)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("see `tests/unit/publishing/test_publish.py`, `test_fuzz.py` and (`tests/faults.py`).", []),
        ("`tests/unit/*/test_*_mutants.py`", []),
        ("`test_every_test_that_a_page_names_exists`", []),
        ("`test_reliability_page.py::test_every_test_that_a_page_names_exists`", []),
        ("`test_nowhere.py`, `tests/nowhere.py`", ["test_nowhere.py", "tests/nowhere.py"]),
        ("`tests/unit/test_fuzz.py`", ["tests/unit/test_fuzz.py"]),
        ("`tests/unit/test_*_nowhere.py`", ["tests/unit/test_*_nowhere.py"]),
        ("`test_that_nobody_wrote`", ["test_that_nobody_wrote"]),
        ("`test_fuzz.py::test_of_another_file`", ["test_fuzz.py::test_of_another_file"]),
        ("all of the latest_results and the contest", []),
    ],
)
def test_what_does_not_exist_is_noticed(text: str, wrong: list[str]) -> None:
    assert missing(text) == wrong
