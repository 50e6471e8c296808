"""verify finds what was altered, and names the file; --deep finds what the raw objects say otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.datasets.verify import verify
from tests.flow.test_compaction import SCHEMA, SMALL, crumbs, land, lines, row

SERIAL = RunOptions(executor="serial")


@pytest.fixture
def output(tmp_path) -> Path:
    land(tmp_path / "raw", crumbs(300) | {"zz.json": b"bad\n" + lines([row(7, price=float("nan"))])})
    compact(input=tmp_path / "raw", output=tmp_path / "out", schema=SCHEMA, target_file_mb=0.0625, **SMALL)
    return tmp_path / "out"


@pytest.mark.parametrize("deep", [False, True])
def test_what_was_published_is_ok(output, deep):
    verdict = verify(str(output), deep=deep, options=SERIAL)
    assert verdict.problems == ()


def test_one_altered_byte_is_found_and_the_file_named(output):
    part = output / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    part.write_bytes(data)
    (problem, *_) = verify(str(output)).problems
    assert "part-00000.parquet" in problem


def test_a_missing_part_and_a_stray_part_are_found(output):
    (output / "part-00000.parquet").rename(output / "part-77777.parquet")
    problems = " ".join(verify(str(output)).problems)
    assert "part-00000.parquet" in problems
    assert "part-77777.parquet" in problems


def test_late_data_is_found_by_the_deep_check_only(output, tmp_path):
    land(tmp_path / "raw", {"o0100.json": lines([row(300), row(301, price=-1.0), row(302)])})
    assert verify(str(output)).ok
    problems = verify(str(output), deep=True, options=SERIAL).problems
    assert any("late or corrected" in p for p in problems)
    assert any("row 301 is published" in p and "-1.0" in p for p in problems)


def test_a_dataset_that_was_moved_with_its_folder_is_still_ok_but_for_the_etags(output, tmp_path):
    moved = tmp_path / "elsewhere" / "there"
    moved.parent.mkdir()
    output.rename(moved)
    assert verify(str(moved)).ok
