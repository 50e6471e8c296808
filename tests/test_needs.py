"""A missing tool skips a person's run and fails CI's."""

from __future__ import annotations

import pytest

from tests import needs


def test_without_java_a_person_is_told_what_to_install(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    needs.java_version.cache_clear()
    mark = needs.needs_java().mark
    assert mark.args == (True,)
    assert "apt-get install openjdk" in mark.kwargs["reason"]


def test_without_java_ci_fails_instead_of_skipping(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    needs.java_version.cache_clear()
    with pytest.raises(RuntimeError, match="In CI that is an error"):
        needs.needs_java()


@pytest.mark.parametrize(
    ("told", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('openjdk version "21" 2023-09-19', 21), ("no", 0)],
)
def test_the_java_version_is_read_from_what_java_says(monkeypatch, tmp_path, told: str, version: int) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    needs.java_version.cache_clear()
    assert needs.java_version() == version


@pytest.fixture(autouse=True)
def _forget_what_java_said():
    yield
    needs.java_version.cache_clear()
