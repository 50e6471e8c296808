"""CHANGELOG.md keeps its form: what is to come on top, releases in falling order, none beyond the version."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from briquette.version import __version__

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Semantics"}
NUMBER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def faults(text: str, version: str) -> list[str]:
    """What is wrong with a changelog, one sentence each."""
    wrong = []
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if heads[:1] != ["[Unreleased]"] or heads.count("[Unreleased]") != 1:
        wrong.append("[Unreleased] is not on top, once")
    releases = []
    for head in heads:
        found = re.fullmatch(rf"\[({NUMBER.pattern})\] - (\d{{4}}-\d\d-\d\d)", head)
        if found:
            releases.append((tuple(map(int, found[1].split("."))), date.fromisoformat(found[5])))
        elif head != "[Unreleased]":
            wrong.append(f"{head!r} is no release: ## [X.Y.Z] - YYYY-MM-DD")
    numbers, days = [number for number, _ in releases], [day for _, day in releases]
    if numbers != sorted(set(numbers), reverse=True) or days != sorted(days, reverse=True):
        wrong.append("releases are not newest first, each once, by number and by date")
    newest = max((number for number, _ in releases), default=(0, 0, 0))
    if newest > tuple(map(int, version.split("."))):
        wrong.append(f"{newest} is released and the package says {version}")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        head = section.partition("\n")[0]
        wrong += [f"{head}: {kind!r} is no kind of change" for kind in kinds if kind not in KINDS]
        wrong += [
            f"{head}: {kind!r} stands there twice"
            for kind in sorted({k for k in kinds if kinds.count(k) > 1})
        ]
    return wrong


def test_the_changelog_has_its_form() -> None:
    assert NUMBER.fullmatch(__version__)
    assert faults(CHANGELOG, __version__) == []


GOOD = "# C\n\n## [Unreleased]\n\n## [0.2.0] - 2026-02-01\n\n### Added\n\n- x\n\n## [0.1.0] - 2026-01-01\n"


def test_a_good_one_has_no_fault() -> None:
    assert faults(GOOD, "0.2.0") == []
    assert faults(GOOD, "0.10.0") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("## [Unreleased]\n", ""), "on top"),
        (GOOD.replace("2026-02-01", "in spring"), "is no release"),
        (GOOD.replace("[0.2.0]", "[v0.2]"), "is no release"),
        (GOOD.replace("0.2.0", "0.0.9"), "newest first"),
        (GOOD.replace("0.2.0", "0.1.0"), "newest first"),
        (GOOD.replace("2026-02-01", "2025-12-31"), "newest first"),
        (GOOD.replace("0.2.0", "0.11.0"), "the package says 0.2.0"),
        (GOOD.replace("### Added", "### News"), "no kind of change"),
        (GOOD.replace("- x", "- x\n\n### Added\n\n- y"), "twice"),
    ],
)
def test_a_broken_one_is_told(text: str, said: str) -> None:
    assert said in "\n".join(faults(text, "0.2.0"))


def test_the_version_stands_in_one_place() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert 'path = "engine/briquette/version.py"' in project
    line = re.compile(rf"(?:__version__|^version) *= *['\"]{re.escape(__version__)}", re.MULTILINE)
    sources = [*(ROOT / "engine").rglob("*.py"), ROOT / "pyproject.toml"]
    assert [p.name for p in sources if line.search(p.read_text(encoding="utf-8"))] == ["version.py"]
