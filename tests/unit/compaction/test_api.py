"""The two public functions: a plan that is made now and run later gives what compacting at once gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from briquette.compaction.api import compact, plan
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import PlanError, UsageError
from briquette.model import Field, Schema, Status
from briquette.serialization import plan_from_bytes, plan_to_bytes

SCHEMA = Schema((Field("id", "int64"),))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    for i in range(5):
        (tmp_path / f"raw/{i}.json").write_bytes(b'{"id": %d}\n' % i)
    return tmp_path / "raw"


def test_a_plan_that_is_stored_and_run_later_makes_what_compacting_makes(raw: Path, tmp_path: Path) -> None:
    at_once = compact(input=raw, output=tmp_path / "a", schema=SCHEMA, codec="snappy")
    made = plan(input=raw, output=tmp_path / "b", schema=SCHEMA, codec="snappy")
    assert not (tmp_path / "b").exists(), "a plan writes nothing"
    later = run_plan(plan_from_bytes(plan_to_bytes(made), where="here"))
    assert (at_once.status, later.status) == (Status.PUBLISHED, Status.PUBLISHED)
    assert [f.sha256 for f in later.manifest.files] == [f.sha256 for f in at_once.manifest.files]
    assert later.input_fingerprint == at_once.input_fingerprint
    assert run_plan(made).status is Status.UNCHANGED


def test_both_refuse_options_and_words_that_no_run_could_keep_to(raw: Path, tmp_path: Path) -> None:
    for function in (compact, plan):
        with pytest.raises(UsageError, match="memory limit"):
            function(input=raw, output=tmp_path / "out", options=RunOptions(memory_limit_bytes=1))
        with pytest.raises(UsageError, match="go together"):
            function(input=raw, output=tmp_path / "out", ds="2025-09-09")
        with pytest.raises(UsageError, match="no option 'codex'"):
            function(input=raw, output=tmp_path / "out", schema=SCHEMA, codex="zstd")
    assert not (tmp_path / "out").exists()


def test_a_plan_of_a_stage_is_not_run_as_another(raw: Path, tmp_path: Path) -> None:
    from briquette.compaction.map_splits import CompactSplits

    made = plan(input=raw, output=tmp_path / "out", schema=SCHEMA)
    with pytest.raises(PlanError, match="not of 'transform'"):
        run_plan(made, work=CompactSplits(stage="transform"))
