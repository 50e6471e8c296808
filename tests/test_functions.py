"""Functions that a person can hold: how long one may be, how much one may take, and the few exceptions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("engine", "glue_wrappers", "orchestration", "benchmarks", "scripts")
MOST_LINES, MOST_PARAMETERS = 60, 8

# What a path begins with, or path and name -> why.
LONG = {
    "engine/briquette/template_scan/kernel/": "machine code made by numba: its cases share "
    "state, and a call in its inner loops costs",
}
WIDE = LONG | {
    "engine/briquette/cli/commands/": "a command's signature is its command line",
    "engine/briquette/compaction/api.py:compact": "public: the words of a target by keyword",
    "engine/briquette/compaction/api.py:plan": "public: takes what compact takes",
    "engine/briquette/pipeline/transform.py:transform": "public: takes what compact takes",
}


@dataclass(frozen=True)
class Function:
    """A function of a file: its lines from ``def`` to its end, and the parameters that a caller may give."""

    where: str
    lines: int
    parameters: int


def functions_in(path: str, source: str) -> Iterator[Function]:
    tree = ast.parse(source)
    methods = {id(s) for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for s in n.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
            given = len(taken) - (id(node) in methods and not static)
            yield Function(f"{path}:{node.name}", (node.end_lineno or 0) - node.lineno + 1, given)


@cache
def every_function() -> list[Function]:
    files = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return [f for file in files for f in functions_in(file.relative_to(ROOT).as_posix(), file.read_text())]


def too_long(functions: list[Function]) -> list[str]:
    found = (f for f in functions if f.lines > MOST_LINES and not excepted(f, LONG))
    return [f"{f.where} has {f.lines} lines, {MOST_LINES} are the most" for f in found]


def too_wide(functions: list[Function]) -> list[str]:
    found = (f for f in functions if f.parameters > MOST_PARAMETERS and not excepted(f, WIDE))
    return [f"{f.where} takes {f.parameters} parameters, {MOST_PARAMETERS} are the most" for f in found]


def excepted(function: Function, table: dict[str, str]) -> bool:
    where = function.where
    return any(where == name or (name[-1] == "/" and where.startswith(name)) for name in table)


def test_no_function_is_longer_than_a_person_can_hold() -> None:
    assert too_long(every_function()) == []


def test_no_function_takes_more_than_a_person_can_name() -> None:
    assert too_wide(every_function()) == []


@pytest.mark.parametrize(("table", "rule"), [(LONG, "lines"), (WIDE, "parameters")], ids=["long", "wide"])
def test_every_exception_is_needed(table: dict[str, str], rule: str) -> None:
    most = {"lines": MOST_LINES, "parameters": MOST_PARAMETERS}[rule]
    over = [f for f in every_function() if getattr(f, rule) > most]
    for name in table:
        assert any(excepted(f, {name: ""}) for f in over), f"{name} needs no exception"


def test_the_rules_can_fail() -> None:
    body = "\n".join(f"    x = {i}" for i in range(MOST_LINES))
    names = ", ".join(f"p{i}" for i in range(MOST_PARAMETERS))
    source = (
        f"def long():\n{body}\n\n"
        f"def wide({names}, *, one_more):\n    pass\n\n"
        f"def held({names}):\n{body[: body.rindex(chr(10))]}\n\n"
        f"class Thing:\n    def method(self, {names}):\n        pass\n\n"
        f"    def wider(self, {names}, one_more):\n        pass\n"
    )
    found = list(functions_in("made_up.py", source))
    assert [f.where for f in found] == [
        f"made_up.py:{n}" for n in ("long", "wide", "held", "method", "wider")
    ]
    assert too_long(found) == ["made_up.py:long has 61 lines, 60 are the most"]
    assert too_wide(found) == [
        "made_up.py:wide takes 9 parameters, 8 are the most",
        "made_up.py:wider takes 9 parameters, 8 are the most",
    ]
    assert excepted(Function("engine/briquette/cli/commands/x.py:run", 1, 20), WIDE)
    assert not excepted(Function("engine/briquette/cli/options.py:run", 1, 20), WIDE)
    assert not excepted(Function("engine/briquette/compaction/api.py:compacted", 1, 20), WIDE)
