"""Other Pythons are found by their versions; in CI the one that must be tried may not be missing."""

from __future__ import annotations

import pytest

from scripts import pythons

OLD, LATER = pythons.WANTED[0], pythons.WANTED[2]


def interpreter(path, answer: str, code: int = 0):
    """A program that answers like a Python of some version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_a_version_is_what_the_interpreter_says_and_an_environment_is_none(tmp_path) -> None:
    assert pythons.version_of(interpreter(tmp_path / "python3.11", "3 11 2 True")) == (3, 11, 2)
    assert pythons.version_of(interpreter(tmp_path / "in/venv", "3 11 2 False")) is None
    assert pythons.version_of(interpreter(tmp_path / "shim", "not installed", 127)) is None
    assert pythons.version_of(tmp_path / "absent") is None


def test_the_first_interpreter_of_the_range_is_taken(tmp_path, monkeypatch) -> None:
    mended = interpreter(tmp_path / "a/python3.11", "3 11 7 True")
    old = interpreter(tmp_path / "b/python3.11", "3 11 4 True")
    monkeypatch.setenv("PYTHONS", f"{mended}:{old}")
    assert pythons.find(OLD, pythons.candidates()) == ((3, 11, 4), old)
    assert not OLD.holds((3, 11, 5))
    assert not OLD.holds((3, 10, 9))


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_missing_python_is_said_and_fails_only_ci(ci, code, monkeypatch, capsys) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(pythons, "candidates", list)
    monkeypatch.setattr(pythons.os, "geteuid", lambda: 1000)  # it may not install anything
    assert pythons.main() == code
    said = capsys.readouterr().out
    assert "cpython issue 106052) (on Debian 12: apt-get install python3.11 python3.11-venv)" in said
    assert ("MISSING" in said) == bool(ci)


def test_an_environment_is_made_once_and_again_when_the_lock_changes(tmp_path, monkeypatch) -> None:
    python = interpreter(tmp_path / "python3.12", "3 12 1 True")
    for name in ("pyproject.toml", pythons.LOCK, "scripts/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(pythons, "ROOT", tmp_path)
    commands = []

    def run(command, **options) -> int:
        commands.append((command[0], options.get("env", {}).get("VENV")))
        (tmp_path / "build/pythons/3.12.1").mkdir(parents=True, exist_ok=True)
        return 0

    assert pythons.passes((3, 12, 1), python, run)
    assert commands[0] == ("sh", "build/pythons/3.12.1")
    assert len(commands) == 3  # set up, warm, test
    assert pythons.passes((3, 12, 1), python, run)
    assert len(commands) == 4
    (tmp_path / pythons.LOCK).write_text("another")
    assert pythons.passes((3, 12, 1), python, run)
    assert len(commands) == 7
    assert not pythons.passes((3, 12, 1), python, lambda *_, **__: 1)


def test_the_tests_that_run_on_the_other_pythons_are_there() -> None:
    assert [name for name in (*pythons.TESTS, *pythons.NOT_THESE) if not (pythons.ROOT / name).exists()] == []
