"""Keeps engine/SPEC.md, the cases and the generated files in step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.make_binary_cases import files, same

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
SPEC = (ROOT / "engine" / "SPEC.md").read_text()
DOCUMENTS: dict[str, dict[str, Any]] = {
    p.name: json.loads((p / "case.json").read_text()) for p in sorted(CASES.iterdir())
}
RULES = re.findall(r"^- \*\*(C\d+\.\d+)\*\* ", SPEC, re.MULTILINE)
PROOFS = {
    rule: re.findall(r"`([^`]+)`", names)
    for rule, names in re.findall(r"^- (C\d+\.\d+): (.+)$", SPEC, re.MULTILINE)
}
KNOWN_KEYS = {
    "sentence", "clauses", "schema", "null_values", "spec", "partition", "made", "generated", "after_listing",
    "expect", "also",
}  # fmt: skip


def test_clauses_are_numbered_without_a_gap_and_each_has_a_case() -> None:
    assert re.findall(r"^## (C\d+) ", SPEC, re.MULTILINE) == [f"C{i}" for i in range(1, 17)]
    with_cases = {rule.split(".")[0] for d in DOCUMENTS.values() for rule in d["clauses"]}
    assert with_cases == {f"C{i}" for i in range(1, 17)}


def test_rules_are_numbered_without_a_gap_and_each_is_proved_once() -> None:
    for clause in {rule.split(".")[0] for rule in RULES}:
        numbers = [int(r.split(".")[1]) for r in RULES if r.split(".")[0] == clause]
        assert numbers == list(range(1, len(numbers) + 1)), clause
    assert list(PROOFS) == RULES
    assert len(re.findall(r"^- C\d+\.\d+: ", SPEC, re.MULTILINE)) == len(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_the_cases_that_a_rule_names_are_those_that_name_the_rule(rule: str) -> None:
    claimed = sorted(name for name, d in DOCUMENTS.items() if rule in d["clauses"])
    tests = [name for name in PROOFS[rule] if "::" in name]
    line = f"- {rule}: " + ", ".join(f"`{name}`" for name in claimed + tests)
    assert line in SPEC.splitlines(), f"engine/SPEC.md should say: {line}"
    for name in tests:
        path, function = name.split("::")
        assert f"def {function}(" in (ROOT / path).read_text(), name


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_case_is_well_formed(name: str) -> None:
    folder, document = CASES / name, DOCUMENTS[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert set(document) <= KNOWN_KEYS, set(document) - KNOWN_KEYS
    assert document["sentence"].endswith(".")
    assert document["clauses"], "a case proves at least one rule"
    assert set(document["clauses"]) <= set(RULES), "case.json names a rule that SPEC.md does not have"
    assert "made" in document or any((folder / "raw").rglob("*")), "a case without raw objects proves nothing"
    published = document["expect"]["status"] == "PUBLISHED"
    assert (folder / "expected.jsonl").exists() == (published and "made" not in document)
    if (folder / "rejects.jsonl").exists():
        for line in (folder / "rejects.jsonl").read_text().splitlines():
            assert (folder / "raw" / json.loads(line)["key"]).is_file()


@pytest.mark.parametrize(("path", "made"), [pytest.param(p, m, id=p) for p, m in files()])
def test_a_generated_file_is_what_its_generator_makes(path: str, made: bytes) -> None:
    assert same(path, (CASES / path).read_bytes(), made), "run tests/conformance/make_binary_cases.py"


def test_each_generated_file_is_named_by_its_case() -> None:
    named = {(case, f) for case, d in DOCUMENTS.items() for f in d.get("generated", [])}
    assert named == {(p.split("/")[0], p.split("/", 2)[2]) for p, _ in files()}
