"""``import briquette``: the names that a library user finds, and the examples of their docstrings."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import briquette

MODULES = {"errors"}  # public as a module


def test_every_public_name_is_there_and_listed() -> None:
    assert dir(briquette) == sorted(briquette.__all__)
    for name in briquette.__all__:
        assert getattr(briquette, name) is not None
    with pytest.raises(AttributeError, match="'briquette' has no attribute 'compakt'"):
        _ = briquette.compakt  # type: ignore[attr-defined]


def test_every_name_has_a_home_and_no_module_beside_the_package_can_take_its_place() -> None:
    assert {*briquette._HOMES, *MODULES, "__version__"} == set(briquette.__all__)
    beside = {module.name for module in pkgutil.iter_modules(briquette.__path__)}
    assert beside & set(briquette.__all__) == MODULES


def test_names_stay_what_they_are_after_the_modules_of_the_same_words_were_imported() -> None:
    for module in (
        "planning.plan",
        "inference.infer",
        *(f"datasets.{n}" for n in ("read", "verify", "inspect")),
    ):
        importlib.import_module(f"briquette.{module}")
    for name in ("compact", "plan", "infer", "read", "verify", "inspect", "load_schema"):
        assert inspect.isfunction(getattr(briquette, name)), name


def test_importing_the_package_and_listing_it_loads_nothing_heavy() -> None:
    program = (
        "import sys, briquette; dir(briquette); print(*sorted(m for m in sys.modules if 'briquette' in m))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [n for n in told.stdout.split() if n.startswith("briquette")] == ["briquette", "briquette.version"]


def test_the_errors_are_reached_from_the_package() -> None:
    program = "import briquette; print(issubclass(briquette.errors.NoDataset, briquette.BriquetteError))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the examples call ``raw`` and ``curated``: three small objects, and what they are compacted to."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "raw").mkdir()
    for number in range(3):
        (folder / f"raw/{number}.json").write_text(f'{{"id": {number}, "price": {number}.5}}')
    found = {name: str(folder / name) for name in ("raw", "curated")}
    briquette.compact(input=found["raw"], output=found["curated"])
    return found


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {"briquette", *briquette._HOMES.values()}
    tests = [t for name in sorted(names) for t in finder.find(importlib.import_module(name), extraglobs={})]
    return [t for t in tests if t.examples]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name)
def test_the_examples_of_the_docstrings_are_true(
    example: doctest.DocTest, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example.globs.update(places)
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.failed == 0, "".join(said)


def test_each_door_has_an_example() -> None:
    named = {example.name.rpartition(".")[2] for example in _examples()}
    assert {"briquette", "infer", "inspect", "read", "verify"} <= named


def test_python_m_briquette_is_the_command(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "briquette", "--version"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == f"briquette {briquette.__version__}\n"
