"""What CI does is one list, .ci/run: the workflow and `make check` repeat it, and hooks fetch nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
RUN = (ROOT / ".ci/run").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
# What only Debian 12's Python can show, and what does not depend on the Python.
ON_DEBIAN_ALONE = {"make resolve EXTRAS=", "make test-pythons"}


def made(text: str) -> list[str]:
    """The calls of make in a script, in order, without comments."""
    lines = (line.partition("#")[0].strip().removeprefix("CI=true ") for line in text.splitlines())
    return [line for line in lines if line.startswith("make ")]


def steps(job: str) -> list[str]:
    return [line for step in WORKFLOW["jobs"][job]["steps"] for line in made(step.get("run", ""))]


def test_the_workflow_makes_what_ci_run_makes_in_its_order() -> None:
    assert steps("debian") == made(RUN)
    assert steps("newer") == [call for call in made(RUN) if call not in ON_DEBIAN_ALONE]
    assert made(RUN)[-1] == "make test"  # its closing line counts


def test_every_target_that_is_called_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    hooks = [hook["entry"] for repo in HOOKS["repos"] for hook in repo["hooks"]]
    calls = [*made(RUN), *steps("debian"), *steps("newer"), *made("\n".join(hooks))]
    called = {word for call in calls for word in call.split()[1:] if "=" not in word}
    assert len(called) >= 10
    assert called - targets == set()


def test_make_check_is_ci_run() -> None:
    assert re.search(r"^check:.*\n\t@\.ci/run$", MAKEFILE, re.MULTILINE)


def test_every_target_has_a_line_in_make_help() -> None:
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    named = set(phony[1].replace("\\\n", " ").split())
    explained = set(re.findall(r"^([a-z-]+):.* ## \S", MAKEFILE, re.MULTILINE))
    assert named == explained


def test_the_workflow_may_only_read_and_keeps_nothing() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert "cache" not in str(step)  # a cache may hide that a fresh clone fails
            uses = step.get("uses", "@v1")
            assert re.fullmatch(r"(actions/[a-z-]+)?@v\d+", uses), f"{uses}: pinned by its major version"
            if uses.startswith("actions/checkout"):
                assert step["with"] == {"persist-credentials": False}


def test_the_pythons_are_those_that_the_package_names() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    tried = ["3.11", *WORKFLOW["jobs"]["newer"]["strategy"]["matrix"]["python"]]
    assert tried == named
    assert WORKFLOW["jobs"]["debian"]["container"] == "debian:12"  # whose Python is 3.11.2


def test_hooks_fetch_nothing() -> None:
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
    assert {hook["language"] for hook in HOOKS["repos"][0]["hooks"]} == {"system"}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_is_one_that_github_shows(form: Path) -> None:
    document = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert document == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= document.keys()
    fields = [field for field in document["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"textarea", "input", "checkboxes", "dropdown"}
    names = [field["id"] for field in fields]
    assert len(set(names)) == len(names)
    assert all(field["attributes"]["label"] for field in fields)


def test_a_bug_report_asks_for_what_repairing_needs() -> None:
    document = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    asked = {field["id"]: field for field in document["body"] if "id" in field}
    assert asked.keys() >= {"error", "input", "version", "doctor"}
    assert asked["doctor"]["attributes"]["label"] == "briquette doctor --json"
