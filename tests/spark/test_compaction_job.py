"""The compaction job on plain Spark: the arguments of preflight in, a published day or a clear error out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from briquette.aws.glue_runtime import run_script
from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE
from briquette.compaction.api import compact
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.model import Partition
from briquette.planning.target import resolve_target
from briquette.serialization import plan_to_bytes
from briquette.storage.opening import open_store
from glue_wrappers import compaction_job
from tests.invariants import assert_only_parts_are_visible, snapshot
from tests.servers import environment
from tests.spark.local import COMPACTED_PREFIX, DAY, OUTPUT, RAW_PREFIX, ROOT, glue_arguments, run_python

NAMES = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}


@pytest.fixture
def job(spark, capfd):
    """Run the job's own code in the shared session: its exit code (0 without one), document and stderr."""

    def run(*arguments: str, **words: object):
        code = 0
        capfd.readouterr()
        try:
            run_script(
                compaction_job.ARGUMENTS, compaction_job.compact, [*glue_arguments(**words), *arguments]
            )
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return code, json.loads(said.out.splitlines()[-1]) if code == 0 else None, said

    return run


@pytest.fixture(scope="module")
def expected(raw_day, tmp_path_factory):
    """What the command line's own executor publishes for the same day."""
    return compact(raw=raw_day, curated=tmp_path_factory.mktemp("serial"), **NAMES)


# -- as a process ------------------------------------------------------------------------------------


def test_the_module_compacts_a_day_into_the_bytes_of_a_local_run(raw_day, expected, tmp_path):
    ended = run_python(
        ["-m", "glue_wrappers.compaction_job", *glue_arguments(raw_day, tmp_path / "curated")],
        folder=tmp_path,
    )
    assert ended.code == 0, ended.err
    document = ended.document
    assert document["status"] == "PUBLISHED"
    assert document["executor"] == "spark"
    assert [f["sha256"] for f in document["outputs"]["files"]] == [f.sha256 for f in expected.manifest.files]
    assert_only_parts_are_visible(tmp_path / "curated" / OUTPUT)


def test_the_file_is_a_script_that_needs_no_checkout_around_it(tmp_path):
    script = shutil.copy(ROOT / "glue_wrappers/compaction_job.py", tmp_path)
    ended = run_python([str(script), *glue_arguments(tmp_path, tmp_path, interval=None)], folder=tmp_path)
    assert ended.code == 2
    assert "error: UsageError: the job's arguments lack --interval." in ended.err
    assert "  next: Pass it as `--name value`" in ended.err
    assert "Traceback" not in ended.err


# -- arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["interval", "data_source", "raw_prefix", "ds", "JOB_NAME"])
def test_a_missing_argument_is_a_usage_error_and_nothing_is_written(job, tmp_path, missing):
    code, _, said = job(raw=tmp_path / "raw", curated=tmp_path / "curated", **{missing: None})
    assert code == 2
    assert f"lack --{missing}." in said.err
    assert not (tmp_path / "curated").exists()


def test_an_unsupported_file_type_is_bad_input(job, raw_day, tmp_path):
    code, _, said = job(raw=raw_day, curated=tmp_path / "curated", file_type="xml")
    assert code == 4
    assert "UnsupportedFormat: Unsupported file_type 'xml'" in said.err
    assert not (tmp_path / "curated").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ({"codec": "brotli"}, 2, "--codec is 'brotli'; it must be one of zstd"),
        ({"target_file_mb": "big"}, 2, "--target_file_mb is 'big'; it must be a number"),
        ({"ds": "2025-9-9"}, 2, "ds is '2025-9-9', which is not a date"),
        ({"interval": "1m"}, 2, "raw_prefix says interval=1d, but --interval is '1m'"),
        ({"compacted_bucket": "bucket/prefix"}, 2, "'bucket/prefix' is not a bucket's name"),
        ({"on_empty": "shrug"}, 2, "--on_empty is 'shrug'; it must be one of keep"),
        ({"schema": "market.nothing"}, 2, "There is no table 'market.nothing'"),
        ({"max_reject_ratio": "0"}, 5, "RejectLimitExceeded"),
    ],
)
def test_what_cannot_be_done_ends_with_the_engines_exit_code(job, raw_day, tmp_path, words, code, said):
    ended, _, output = job(raw=raw_day, curated=tmp_path, **words)
    assert ended == code
    assert said in output.err
    assert not list(tmp_path.rglob("part-*.parquet"))


def test_unknown_arguments_are_named_in_the_log(job, raw_day, tmp_path):
    code, _, said = job("--expected_min_records", "100", raw=raw_day, curated=tmp_path)
    assert code == 0
    assert "ignored arguments that this job does not know: expected_min_records" in said.out


# -- places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [RAW_PREFIX.rstrip("/"), f"/{RAW_PREFIX}{DAY}/", f"{RAW_PREFIX}{DAY}"])
def test_the_day_is_added_to_a_prefix_that_has_none(job, raw_day, tmp_path, expected, prefix):
    code, document, _ = job(raw=raw_day, curated=tmp_path, raw_prefix=prefix)
    assert code == 0
    assert document["rows"] == expected.manifest.rows
    assert document["partition"] == NAMES


def test_file_urls_and_other_prefixes_work_too(job, raw_day, tmp_path, expected):
    """A prefix that names no table has no declared schema; --schema says it."""
    shutil.copytree(raw_day / RAW_PREFIX / DAY, tmp_path / "raw/landing/year=2025/month=09/day=09")
    words = {"raw_prefix": "landing", "compacted_prefix": "/out/", "schema": "market.prices"}
    code, document, _ = job(raw=(tmp_path / "raw").as_uri(), curated=(tmp_path / "c").as_uri(), **words)
    assert code == 0
    assert document["content_digest"] == expected.manifest.content_digest
    assert pq.read_table(tmp_path / f"c/out/ds={DS}/part-00000.parquet").num_rows == document["rows"]


def test_a_schema_is_never_inferred_in_silence(job, raw_day, tmp_path):
    code, document, said = job(raw=raw_day, curated=tmp_path, table_name="bars", domain="odd")
    assert code == 0
    assert "no schema is declared for 'odd.bars': it is inferred from all records" in said.err
    assert document["partition"]["table"] == "bars"


# -- nothing to do -----------------------------------------------------------------------------------


def test_no_raw_objects_are_a_success_that_names_the_prefix_and_writes_nothing(job, tmp_path):
    (tmp_path / "raw").mkdir()
    code, document, said = job(raw=tmp_path / "raw", curated=tmp_path / "curated")
    assert code == 0
    assert document["status"] == "EMPTY"
    assert f"no raw objects under {tmp_path}/raw/{RAW_PREFIX}{DAY}/" in document["message"]
    assert document["message"] in said.out
    assert not (tmp_path / "curated").exists()


def test_no_raw_objects_and_no_schema_are_a_success_too(job, tmp_path):
    (tmp_path / "raw").mkdir()
    code, document, _ = job(raw=tmp_path / "raw", curated=tmp_path / "curated", table_name="bars")
    assert (code, document["status"]) == (0, "EMPTY")


def test_raw_objects_without_a_record_are_a_success(job, tmp_path):
    day = tmp_path / "raw" / RAW_PREFIX / DAY
    day.mkdir(parents=True)
    (day / "A.json").write_text("\n")
    code, document, _ = job(raw=tmp_path / "raw", curated=tmp_path / "curated")
    assert (code, document["status"], document["rows"]) == (0, "EMPTY", 0)
    assert not list((tmp_path / "curated").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("on_empty", "code", "stays"), [("keep", 0, True), ("remove", 0, False), ("fail", 4, True)]
)
def test_what_an_empty_second_run_does_to_the_output_is_said(job, raw_day, tmp_path, on_empty, code, stays):
    """Upstream, an empty second run succeeds in silence and stale rows stay."""
    raw, curated = shutil.copytree(raw_day, tmp_path / "raw"), tmp_path / "curated"
    assert job(raw=raw, curated=curated)[0] == 0
    shutil.rmtree(raw / RAW_PREFIX)
    ended, document, said = job(raw=raw, curated=curated, on_empty=on_empty)
    assert ended == code
    assert bool(list(curated.rglob("part-*.parquet"))) == stays
    told = said.err if code else document["message"]
    assert {"keep": "stays", "remove": "was removed", "fail": "EmptyInput"}[on_empty] in told


# -- again, and stored plans -------------------------------------------------------------------------


def test_the_same_day_again_is_unchanged_unless_forced(job, raw_day, tmp_path):
    first = job(raw=raw_day, curated=tmp_path)[1]
    before = snapshot(tmp_path)
    again = job(raw=raw_day, curated=tmp_path)[1]
    assert (again["status"], again["outputs"]) == ("UNCHANGED", first["outputs"])
    assert snapshot(tmp_path) == before
    assert job(raw=raw_day, curated=tmp_path, force="true")[1]["status"] == "PUBLISHED"


def store_plan(raw: Path, curated: Path, file: Path) -> str:
    target = resolve_target(Partition(**NAMES), raw=str(raw), curated=str(curated))
    plan = make_plan(target, resolve_spec(target, None, {"codec": "snappy"}), RunOptions())
    file.write_bytes(plan_to_bytes(plan))
    return plan.plan_id


def test_a_stored_plan_is_executed_as_it_is(job, raw_day, tmp_path):
    plan_id = store_plan(raw_day, tmp_path / "curated", tmp_path / "plan.json")
    code, document, said = job(raw=raw_day, curated=tmp_path / "curated", plan_uri=tmp_path / "plan.json")
    assert (code, document["plan_id"]) == (0, plan_id)
    part = pq.ParquetFile(tmp_path / "curated" / document["outputs"]["files"][0]["key"])
    assert part.metadata.row_group(0).column(1).compression == "SNAPPY"
    assert f"executing the stored plan {plan_id}" in said.out


def test_a_stored_plan_of_another_day_is_refused(job, raw_day, tmp_path):
    store_plan(raw_day, tmp_path / "curated", tmp_path / "plan.json")
    words = {"plan_uri": tmp_path / "plan.json", "ds": "2025-09-10"}
    code, _, said = job(raw=raw_day, curated=tmp_path / "curated", **words)
    assert code == 2
    assert "plans ds '2025-09-09'" in said.err


def test_an_altered_plan_is_refused(job, raw_day, tmp_path):
    store_plan(raw_day, tmp_path / "curated", tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"codec":"snappy"', '"codec":"gzip"'))
    code, _, said = job(raw=raw_day, curated=tmp_path / "curated", plan_uri=tmp_path / "plan.json")
    assert code == 4
    assert "PlanError" in said.err


# -- S3 ----------------------------------------------------------------------------------------------


def test_buckets_are_reached_by_the_driver_and_by_the_workers(job, spark, s3, raw_day, expected, monkeypatch):
    """Raw objects, a stored plan and the published day all lie in a real S3 server's buckets."""

    for name, value in environment(
        s3.endpoint
    ).items():  # the workers' JVM is older than this test's variables
        monkeypatch.setitem(spark.sparkContext.environment, name, value)
    store = open_store(s3.url)
    day = raw_day / RAW_PREFIX / DAY
    for file in sorted(os.listdir(day))[:50]:
        store.put(f"{RAW_PREFIX}{DAY}/{file}", (day / file).read_bytes())
    target = resolve_target(Partition(**NAMES), raw=s3.url, curated=s3.url)
    plan = make_plan(target, resolve_spec(target, None, {}), RunOptions())
    store.put("plans/day.json", plan_to_bytes(plan))
    code, document, said = job(raw=s3.name, curated=s3.name, plan_uri=f"{s3.url}/plans/day.json")
    assert code == 0, said.err
    assert document["plan_id"] == plan.plan_id
    (file,) = document["outputs"]["files"]
    assert file["key"] == f"{COMPACTED_PREFIX}/ds={DS}/part-00000.parquet"
    assert len(store.get(file["key"])) == file["bytes"]
    assert job(raw=s3.name, curated=s3.name)[1]["status"] == "UNCHANGED"
