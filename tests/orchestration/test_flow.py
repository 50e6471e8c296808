"""The flow, executed: its file in a Step Functions interpreter, over real Lambdas, containers and Glue jobs.

Each scenario has a day of its own; those that need Spark start first and run beside the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from briquette import compact
from tests.needs import needs_java
from tests.orchestration.flow_lab import CURATED, RAW, WORDS, FlowLab, flow_lab

pytestmark = [
    pytest.mark.spark,
    pytest.mark.xdist_group("flow"),
    pytest.mark.timeout(600),
    needs_java(),
]

EMPTY, CORRUPT, GOOD = "2025-01-04", "2025-01-05", "2025-01-06"  # in a row: a backfill takes all three
KILLED, TORN, NO_ECS, UNREACHABLE = "2025-01-07", "2025-01-08", "2025-01-09", "2025-01-10"
ALONE = "2025-01-13"
COMPACTED = "market/prices/compacted"


@dataclass(frozen=True)
class Started:
    """The lab, and the executions that are under way, by day."""

    lab: FlowLab
    arns: dict[str, str]
    corrupt_key: str

    def ended(self, ds: str) -> Any:
        return self.lab.wait(self.arns[ds])


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    with flow_lab(tmp_path_factory.mktemp("flow")) as lab:
        lab.land(GOOD)
        lab.break_(
            GOOD,
            {"service": "ecs", "error": "ECS.ServerException"},
            {"service": "transform", "error": "Glue.ConcurrentRunsExceededException"},
            {"service": "transform", "error": "Glue.ConcurrentRunsExceededException"},
            {"service": "guard", "error": "Lambda.TooManyRequestsException"},
        )
        lab.land(KILLED, close=-5.0)
        lab.break_(KILLED, {"service": "ecs", "kill": "PUT"})
        lab.land(TORN, 20)
        foreign = {"Bucket": CURATED, "Key": f"{COMPACTED}/ds={TORN}/other.parquet"}
        lab.break_(TORN, {"service": "ecs", "put": {**foreign, "Body": "PAR1"}})
        lab.land(NO_ECS, 20)
        lab.break_(
            NO_ECS,
            *[{"service": "ecs", "error": "ECS.AmazonECSException", "cause": "no capacity"}] * 5,
            {"service": "compaction", "error": "Glue.EntityNotFoundException", "cause": "no such job"},
        )
        corrupt_key = lab.land_corrupt(CORRUPT)
        days = (GOOD, KILLED, CORRUPT, EMPTY, TORN, NO_ECS)
        yield Started(lab, {ds: lab.start(ds=ds) for ds in days}, corrupt_key)


# -- what needs no Spark -------------------------------------------------------------------------


def test_an_empty_partition_succeeds_and_starts_no_later_stage(flow):
    ended = flow.ended(EMPTY)
    assert ended.status == "SUCCEEDED"
    assert ended.output["ok"]
    assert ended.day(EMPTY)["status"] == "EMPTY"
    assert ended.output["stats"]["empty"] == 1
    assert flow.lab.calls(EMPTY, "glue") == []


def test_bad_input_fails_the_day_with_the_engines_own_words_and_is_not_given_to_glue(flow):
    ended = flow.ended(CORRUPT)
    assert (ended.status, ended.error) == ("FAILED", "CorruptObject")
    day = ended.day(CORRUPT)
    assert (day["status"], day["step"], day["fallback"]) == ("FAILED", "compaction", False)
    assert flow.corrupt_key in day["cause"]
    assert flow.lab.calls(CORRUPT, "glue") == []


def test_a_failed_day_is_told_to_the_topic_as_the_whole_summary(flow):
    flow.ended(CORRUPT)
    [told] = [m for m in flow.lab.told() if CORRUPT in m["Subject"]]
    assert told["Subject"] == f"FAILED dev market:prices:{CORRUPT} CorruptObject"
    text, _, document = told["Message"].partition("\n\n{")
    summary = json.loads("{" + document)
    assert (summary["ok"], summary["error"], summary["stats"]["failed"]) == (False, "CorruptObject", 1)
    [day] = summary["partitions"]
    assert day["ds"] == CORRUPT
    for wanted in (
        f"{CORRUPT} failed in compaction: CorruptObject",
        f"  what to do:     {day['hint']}",
        f"  run:            {day['run']}",
        "interval:    1d",
        "data source: yahoo_finance",
        f"execution:   {summary['execution']}",
    ):
        assert wanted in text.splitlines()
    assert "aws logs tail /briquette/dev/compaction --log-stream-names engine/engine/" in text
    assert flow.corrupt_key in text


def test_a_message_that_cannot_be_written_leaves_the_summary_itself(flow):
    broken = flow.lab.function("alert-broken", "guard")  # which does not understand what it is asked
    machine = flow.lab.machine("flow-without-words", AlertFunction=broken)
    ended = flow.lab.run(machine, date_range={"start": "2025-02-02", "end": "2025-02-01"})
    assert ended.error == "PRE_VALIDATION_FAILED"
    messages = [m["Message"] for m in flow.lab.told()]
    [told] = [m for m in messages if m.startswith("{") and "after its end" in m]
    assert json.loads(told)["error"] == "PRE_VALIDATION_FAILED"


def test_the_guard_refuses_a_torn_dataset_and_the_later_stages_do_not_run(flow):
    ended = flow.ended(TORN)
    day = ended.day(TORN)
    assert (ended.error, day["step"]) == ("TornDataset", "guard")
    assert "other.parquet" in day["cause"]
    assert flow.lab.calls(TORN, "glue") == []


def test_without_ecs_glue_is_given_the_same_plan_after_the_retries(flow):
    ended = flow.ended(NO_ECS)
    asked = flow.lab.calls(NO_ECS, "ecs")
    assert len(asked) == 5  # the first and four retries
    (run,) = flow.lab.calls(NO_ECS, "glue")
    command = asked[0]["command"]
    assert run["arguments"]["--plan_uri"] == command[command.index("--plan-uri") + 1]
    day = ended.day(NO_ECS)
    assert (day["engine"], day["fallback"], day["status"]) == ("glue", True, "FAILED")
    assert day["reason"] == "Dask ended with ECS.AmazonECSException"
    assert (day["error"], day["cause"]) == ("Glue.EntityNotFoundException", "no such job")


def test_a_request_that_preflight_refuses_fails_with_its_code(flow):
    ended = flow.lab.run(date_range={"start": "2025-01-09", "end": "2025-01-01"})
    assert (ended.status, ended.error) == ("FAILED", "PRE_VALIDATION_FAILED")
    assert "after its end" in ended.cause
    assert ended.output["partitions"] == []


def test_an_object_of_no_interest_succeeds_without_a_day(flow):
    ended = flow.lab.run(source_bucket=RAW, source_key="a/b.txt", allowed_suffixes=[".manifest.json"])
    assert ended.status == "SUCCEEDED"
    assert ended.output["partitions"] == []


def test_a_preflight_that_cannot_reach_the_store_fails_the_execution_with_what_it_said(flow):
    said = json.dumps({"errorType": "StoreError", "errorMessage": "LIST s3://lab-raw failed 7 times."})
    flow.lab.break_(UNREACHABLE, {"service": "preflight", "error": "StoreError", "cause": said})
    ended = flow.lab.run(ds=UNREACHABLE)
    assert (ended.error, ended.cause) == ("StoreError", "LIST s3://lab-raw failed 7 times.")
    assert ended.output["step"] == "preflight"


def test_a_topic_that_cannot_be_reached_does_not_hide_the_failure(flow):
    machine = flow.lab.machine("flow-without-topic", Topic="arn:aws:sns:us-east-1:000000000000:gone")
    ended = flow.lab.run(machine, ds="2025-02-30")
    assert (ended.status, ended.error) == ("FAILED", "PRE_VALIDATION_FAILED")


def test_where_the_settings_name_no_fallback_a_killed_container_fails_the_day(flow):
    preflight = flow.lab.function("preflight-alone", "preflight", BRIQUETTE_FALLBACK="none")
    machine = flow.lab.machine("flow-alone", PreflightFunction=preflight)
    flow.lab.land(ALONE, 12)
    flow.lab.break_(ALONE, {"service": "ecs", "kill": "GET"})
    day = flow.lab.run(machine, ds=ALONE).day(ALONE)
    assert (day["status"], day["engine"], day["fallback"]) == ("FAILED", "dask", False)
    assert day["cause"] == "exit code 137: Essential container in task exited"
    assert day["error"] == "OutOfMemory"
    assert flow.lab.calls(ALONE, "glue") == []


# -- whole days ----------------------------------------------------------------------------------


def test_a_day_goes_through_all_stages_though_aws_throttles(flow):
    ended = flow.ended(GOOD)
    assert ended.status == "SUCCEEDED", ended
    day = ended.day(GOOD)
    assert (day["status"], day["engine"], day["fallback"]) == ("PUBLISHED", "dask", False)
    assert day["rows"] == flow.lab.manifest(f"{COMPACTED}/ds={GOOD}").rows > 0
    assert ended.output["stats"]["rowCount"] == day["rows"]
    assert len(ended.output["glueRunIds"]) == 2
    for table in ("prices", "indicators"):
        assert flow.lab.manifest(f"market/{table}/ds={GOOD}").rows > 0
    assert len(flow.lab.calls(GOOD, "ecs")) == 2
    assert [call["job"] for call in flow.lab.calls(GOOD, "glue")] == ["transform"] * 3 + ["indicators"]


TABLES = ("curated_prices", "curated_prices_compacted", "curated_indicators")


def registered(lab: FlowLab, table: str) -> set[str]:
    """The days that the catalog has of a table."""
    where = {"DatabaseName": "dev_data_platform", "TableName": table}
    return {p["Values"][0] for p in lab.client("glue").get_partitions(**where)["Partitions"]}


def test_a_published_day_is_in_the_catalog_in_every_table(flow):
    ended = flow.ended(GOOD)
    assert set(ended.output["catalog"]["tables"]) == set(TABLES)
    assert ended.output["catalog"]["crawler"] is False
    for table in TABLES:
        assert GOOD in registered(flow.lab, table)


def test_a_skipped_day_is_registered_though_its_first_registration_failed(flow):
    flow.ended(GOOD)
    for table in TABLES:
        flow.lab.client("glue").delete_partition(
            DatabaseName="dev_data_platform", TableName=table, PartitionValues=[GOOD]
        )
    ended = flow.lab.run(ds=GOOD)
    assert ended.day(GOOD)["status"] == "SKIPPED"
    assert [GOOD in registered(flow.lab, table) for table in TABLES] == [True] * 3


def test_a_catalog_that_fails_is_told_and_hides_neither_a_published_nor_a_failed_day(flow):
    flow.ended(GOOD)
    flow.ended(CORRUPT)
    catalog = flow.lab.function("catalog-lost", "catalog", GLUE_DATABASE="no_such_database")
    machine = flow.lab.machine("flow-without-catalog", CatalogFunction=catalog)
    ended = flow.lab.run(machine, ds=GOOD)
    assert (ended.status, ended.error, ended.output["step"]) == (
        "FAILED",
        "PartitionsNotRegistered",
        "catalog",
    )
    assert ended.day(GOOD)["status"] == "SKIPPED"
    assert "The days are as partitions says" in ended.cause
    assert "no database no_such_database" in ended.cause
    both = flow.lab.run(machine, date_range={"start": CORRUPT, "end": GOOD})
    assert both.error == "CorruptObject"
    assert both.output["catalog"]["error"] == "PartitionsNotRegistered"
    told = {s["correlationId"]: s for s in flow.lab.messages()}
    assert told[f"market:prices:{GOOD}"]["catalog"]["step"] == "catalog"


def test_a_crawler_that_cannot_start_is_told_the_same_way(flow):
    flow.ended(GOOD)
    machine = flow.lab.machine("flow-without-crawler", Crawler="no-such-crawler")
    ended = flow.lab.run(machine, ds=GOOD, catalog_update="force")
    assert (ended.status, ended.output["step"]) == ("FAILED", "crawler")
    assert ended.day(GOOD)["status"] == "SKIPPED"
    assert ended.output["catalog"]["error"].startswith("Glue.EntityNotFound")


def test_the_crawler_runs_where_it_is_asked_for(flow):
    flow.ended(GOOD)
    ended = flow.lab.run(ds=GOOD, catalog_update="force")
    assert ended.status == "SUCCEEDED"
    assert ended.output["catalog"]["crawler"] is True
    crawler = flow.lab.client("glue").get_crawler(Name="crawler")["Crawler"]
    assert crawler["State"] == "RUNNING" or crawler["LastCrawl"]["Status"] == "SUCCEEDED"
    assert flow.lab.run(ds=GOOD, catalog_update="never").output["catalog"] == {}


def test_the_same_day_again_is_skipped_before_anything_starts(flow):
    flow.ended(GOOD)
    before = len(flow.lab.calls(GOOD, "ecs"))
    ended = flow.lab.run(ds=GOOD)
    day = ended.day(GOOD)
    assert (ended.status, day["status"], day["reason"]) == ("SUCCEEDED", "SKIPPED", "IDEMPOTENT_SKIP")
    assert ended.output["stats"]["skipped"] == 1
    assert len(flow.lab.calls(GOOD, "ecs")) == before


def test_a_backfill_reports_each_day_and_one_that_fails_stops_no_other(flow):
    for ds in (EMPTY, CORRUPT, GOOD):
        flow.ended(ds)
    ended = flow.lab.run(date_range={"start": EMPTY, "end": GOOD})
    assert [day["ds"] for day in ended.output["partitions"]] == [EMPTY, CORRUPT, GOOD]
    assert [day["status"] for day in ended.output["partitions"]] == ["EMPTY", "FAILED", "SKIPPED"]
    assert (ended.status, ended.error) == ("FAILED", "CorruptObject")
    assert ended.output["correlationId"] == f"market:prices:{EMPTY}..{GOOD}"
    counts = {name: ended.output["stats"][name] for name in ("days", "failed", "skipped", "empty")}
    assert counts == {"days": 3, "failed": 1, "skipped": 1, "empty": 1}
    assert len(json.dumps(ended.day(CORRUPT))) < 1_000  # so that a month of failures fits into a payload


def test_glue_finishes_the_plan_of_a_container_that_was_killed_with_the_same_bytes(flow, tmp_path):
    ended = flow.ended(KILLED)
    day = ended.day(KILLED)
    assert (day["engine"], day["fallback"]) == ("glue", True)
    assert day["reason"] == "Dask ended with exit code 137"
    assert ended.output["stats"]["fallbacks"] == 1
    (file,) = flow.lab.manifest(f"{COMPACTED}/ds={KILLED}").files
    words = {name: WORDS[name] for name in ("domain", "interval", "data_source")} | {"table": "prices"}
    here = compact(raw=f"s3://{RAW}", curated=tmp_path, ds=KILLED, codec="zstd", target_file_mb=256, **words)
    assert [file.sha256] == [made["sha256"] for made in here.to_dict()["outputs"]["files"]]


def test_data_quality_fails_the_day_by_its_own_name(flow):
    ended = flow.ended(KILLED)
    assert (ended.status, ended.error) == ("FAILED", "DQ_FAILED")
    day = ended.day(KILLED)
    assert (day["error"], day["step"]) == ("DQ_FAILED", "transform")
    assert "DQ_FAILED" in day["cause"]
    assert flow.lab.keys(CURATED, f"market/prices/ds={KILLED}/") == []
    assert [call["job"] for call in flow.lab.calls(KILLED, "glue")] == ["compaction", "transform"]


def test_reprocess_forces_every_stage_and_a_later_failure_names_its_step(flow):
    flow.ended(GOOD)
    flow.lab.break_(GOOD, {"service": "transform", "error": "Glue.EntityNotFoundException", "cause": "gone"})
    ended = flow.lab.run(ds=GOOD, reprocess=True)
    assert "--force" in flow.lab.calls(GOOD, "ecs")[-1]["command"]
    assert flow.lab.calls(GOOD, "glue")[-1]["arguments"]["--force"] == "true"
    day = ended.day(GOOD)
    assert (day["status"], day["step"], day["error"]) == (
        "FAILED",
        "transform",
        "Glue.EntityNotFoundException",
    )
    assert day["rows"] > 0  # its compaction was published


@pytest.mark.slow
def test_reprocess_goes_through_all_stages_again(flow):
    flow.ended(GOOD)
    ended = flow.lab.run(ds=GOOD, reprocess=True)
    assert (ended.status, ended.day(GOOD)["status"]) == ("SUCCEEDED", "PUBLISHED")
    assert len(ended.output["glueRunIds"]) == 2


@pytest.mark.slow
def test_a_run_may_choose_glue_for_every_stage(flow):
    ds = "2025-02-03"
    flow.lab.land(ds)
    ended = flow.lab.run(ds=ds, engine="glue")
    day = ended.day(ds)
    assert (day["status"], day["engine"], day["fallback"]) == ("PUBLISHED", "glue", False)
    assert flow.lab.calls(ds, "ecs") == []
    assert len(ended.output["glueRunIds"]) == 3


@pytest.mark.slow
def test_a_backfill_of_three_days_publishes_the_good_ones(flow):
    first, bad, last = "2025-03-03", "2025-03-04", "2025-03-05"
    flow.lab.land(first)
    flow.lab.land_corrupt(bad)
    flow.lab.land(last)
    ended = flow.lab.run(date_range={"start": first, "end": last})
    assert [day["status"] for day in ended.output["partitions"]] == ["PUBLISHED", "FAILED", "PUBLISHED"]
    assert ended.status == "FAILED"
    for ds in (first, last):
        assert flow.lab.manifest(f"market/indicators/ds={ds}").rows > 0
