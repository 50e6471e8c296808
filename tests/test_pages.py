"""Pages, comments and docstrings name what is there: modules, files, targets of make, decisions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOPS = "engine|tests|docs|scripts|orchestration|config|benchmarks|glue_wrappers"
PATHS = re.compile(rf"(?<![\w/.-])((?:{TOPS})(?:/[\w.-]+)+)")
DOTTED = re.compile(rf"(?:`|python -m )((?:{TOPS}|briquette)(?:\.\w+)+)(?:`|\b)")
MADE = re.compile(r"`make ([a-z-]+)")
DECISION = re.compile(r"decisions?[/ ](\d{4})")
INVENTED = {
    *("tests/test_reliability_page.py", "tests/unit/settings/test_own_folder.py"),
    *("tests/test_pages.py", "tests/test_contributing.py", "tests/test_functions.py"),
}  # about names of what is not there


# Records of what was decided and changed: the names of their day stay in them.
HISTORY = ("docs/decisions/", "CHANGELOG.md")
OLD = re.compile(r"(?:engine|tests|docs|scripts)[./]")

# A container's log stream, and an environment that a test makes.
ELSEWHERE = ("engine/engine", "config/environments/lab.toml")


def tracked() -> set[str]:
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in told.stdout.splitlines() if (ROOT / name).is_file()}


FILES = tracked()
PAGES = sorted(
    name
    for name in FILES
    if name.endswith((".py", ".md", ".toml", ".sh", "Makefile", "Dockerfile"))
    and "benchmarks/results" not in name
    and name not in INVENTED
)


def is_module_or_in_one(name: str) -> bool:
    parts = ("engine." * name.startswith("briquette.") + name).split(".")
    for count in range(len(parts), 0, -1):
        place = "/".join(parts[:count])
        for source in (f"{place}.py", f"{place}/__init__.py"):
            if source in FILES:
                rest = parts[count:]
                return not rest or re.search(rf"\b{rest[0]}\b", (ROOT / source).read_text()) is not None
        if any(file.startswith(f"{place}/") for file in FILES):
            return count == len(parts)
    return False


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    numbers = {Path(name).name[:4] for name in FILES if name.startswith("docs/decisions/")}
    dead = [p for p in PATHS.findall(text) if not any(f.startswith(p.rstrip(".")) for f in FILES)]
    dead = [p for p in dead if not p.startswith(ELSEWHERE)]
    dead += [name for name in DOTTED.findall(text) if not is_module_or_in_one(name)]
    dead = [name for name in dead if not (page.startswith(HISTORY) and OLD.match(name))]
    dead += [f"make {target}" for target in MADE.findall(text) if target not in made]
    dead += [f"decision {number}" for number in DECISION.findall(text) if number not in numbers]
    assert dead == []


def test_decisions_are_numbered_without_a_gap():
    numbers = sorted(int(Path(name).name[:4]) for name in FILES if name.startswith("docs/decisions/"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_dead_names_are_told():
    assert is_module_or_in_one("briquette.planning.plan")
    assert is_module_or_in_one("briquette.planning.plan.plan_partition")
    assert is_module_or_in_one("tests.faults")
    assert not is_module_or_in_one("briquette.planning.plans")
    assert not is_module_or_in_one("briquette.planning.plan.no_such_function")
    assert DOTTED.findall("see `briquette.cli.app`, or python -m benchmarks.steady here") == [
        "briquette.cli.app",
        "benchmarks.steady",
    ]
