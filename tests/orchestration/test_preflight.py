"""Preflight: the pipeline's shapes by hand, states of real datasets, and what is refused."""

from __future__ import annotations

import json

import pytest

from briquette.aws.glue_arguments import parse_arguments
from briquette.compaction.new_plan import resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import StoreError
from briquette.model import Partition, Status
from briquette.planning.target import resolve_target
from briquette.serialization import plan_from_bytes
from briquette.storage.s3.plain import PlainS3Store
from briquette.storage.s3.store import S3Store
from glue_wrappers import compaction_job, indicators_job, transform_job
from orchestration.handlers.preflight import handler, preflight
from tests.faults import Fault
from tests.orchestration.conftest import DS, EVENT, PREFIX, Account
from tests.servers import promote

BUCKETS = {
    "ENVIRONMENT": "dev",
    "RAW_BUCKET": "raw-bucket",
    "CURATED_BUCKET": "curated-bucket",
    "ARTIFACTS_BUCKET": "artifacts-bucket",
}
KEY = f"{PREFIX}AAPL.json"


def refusal(code, message, **more):
    return {"proceed": False, "reason": message, "error": {"code": code, "message": message}, **more}


# -- what an event means, without asking any store ----------------------------------------------------


def days(event, **env):
    answer = preflight({**event, "expand": True}, BUCKETS | env)
    assert answer["proceed"], answer
    return [day["ds"] for day in answer["days"]]


def test_expand_says_the_days_and_what_holds_for_all_of_them():
    event = {**EVENT, "date_range": {"start": "2025-09-01", "end": "2025-09-02"}, "expand": True}
    assert preflight(event, BUCKETS) == {
        "proceed": True,
        "days": [{"ds": "2025-09-01"}, {"ds": "2025-09-02"}],
        "request": {
            "domain": "market",
            "table_name": "prices",
            "interval": "1d",
            "data_source": "yahoo_finance",
            "file_type": "json",
            "reprocess": False,
            "repair_stale": False,
            "environment": "dev",
        },
        "settings": {
            "maxConcurrency": 2,
            "compactionTimeoutSeconds": 900,
            "transformTimeoutSeconds": 1800,
            "indicatorsTimeoutSeconds": 1800,
            "catalogUpdate": "on_schema_change",
            "resultsBucket": "artifacts-bucket",
            "resultsPrefix": "market/prices/_runs/days",
        },
        "catalogArgs": {
            "--environment": "dev",
            "--curated_bucket": "curated-bucket",
            "--curated_prefix": "market/prices/",
            "--compacted_bucket": "curated-bucket",
            "--compacted_prefix": "market/prices/compacted",
            "--schema_fingerprint_s3_uri": "s3://artifacts-bucket/market/prices/_schema/latest.json",
        },
        "correlationId": "market:prices:2025-09-01..2025-09-02",
    }


def test_the_expanded_request_asks_the_same_of_one_day():
    event = {**EVENT, "reprocess": True, "engine": "glue", "catalog_update": "never", "file_type": "CSV"}
    first = preflight({**event, "ds": DS, "expand": True}, BUCKETS)
    again = preflight({**first["request"], "ds": DS, "expand": True}, BUCKETS)
    assert again == first
    assert first["request"]["file_type"] == "csv"
    assert first["correlationId"] == "market:prices:2025-09-09"


def test_a_range_wins_over_ds_and_ds_over_a_key():
    ranged = {"date_range": {"start": "2025-01-01", "end": "2025-01-01"}}
    keyed = {"source_bucket": "raw-bucket", "source_key": KEY.replace("day=09", "day=10")}
    assert days({**EVENT, **ranged, "ds": DS, **keyed}) == ["2025-01-01"]
    assert days({**EVENT, "ds": DS, **keyed}) == [DS]
    assert days({**EVENT, **keyed}) == ["2025-09-10"]


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        KEY.replace("=", "%3D"),
        f"old/{PREFIX.partition('year=')[0]}ingestion_date=2025-09-09/AAPL.json",
    ],
)
def test_words_and_day_are_read_from_a_key_plain_encoded_or_legacy(key):
    event = {"domain": "market", "table": "prices", "source_bucket": "raw-bucket", "source_key": key}
    answer = preflight({**event, "expand": True}, BUCKETS)
    assert answer["days"] == [{"ds": DS}]
    assert answer["request"]["interval"] == "1d"
    assert answer["request"]["data_source"] == "yahoo_finance"
    assert answer["request"]["table_name"] == "prices"


@pytest.mark.parametrize("suffixes", [".json", [".csv", ".JSON"], ".csv,.json", None, []])
def test_an_object_with_an_allowed_suffix_counts(suffixes):
    event = {**EVENT, "source_bucket": "raw-bucket", "source_key": KEY, "allowed_suffixes": suffixes}
    assert days(event) == [DS]


def test_another_suffix_is_ignored_whatever_its_case():
    event = {
        **EVENT,
        "source_bucket": "raw-bucket",
        "source_key": KEY,
        "allowed_suffixes": [".Manifest.json"],
    }
    answer = preflight(event, BUCKETS)
    assert (answer["proceed"], answer["error"]["code"]) == (False, "IGNORED_OBJECT")


WITHOUT_DATE = KEY.replace("year=2025/", "")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({**EVENT, "domain": ""}, "Missing domain/table_name/interval/data_source"),
        ({"domain": "market"}, "Missing domain/table_name/interval/data_source"),
        (EVENT, "Missing source_bucket/source_key for S3 trigger mode"),
        ({**EVENT, "source_key": KEY}, "Missing source_bucket/source_key for S3 trigger mode"),
        (
            {**EVENT, "source_bucket": "raw-bucket", "source_key": WITHOUT_DATE},
            "year=YYYY/month=MM/day=DD not found in key",
        ),
        ({**EVENT, "ds": "2025-02-30"}, "ds is '2025-02-30', which is not a date."),
        ({**EVENT, "ds": "20250909"}, "ds is '20250909', which is not a date."),
        (
            {**EVENT, "source_bucket": "raw-bucket", "source_key": KEY.replace("month=09", "month=13")},
            "ds is '2025-13-09', which is not a date.",
        ),
        (
            {**EVENT, "source_bucket": "raw-bucket-of-another", "source_key": KEY},
            "source_bucket is 'raw-bucket-of-another', not the raw bucket 'raw-bucket'",
        ),
        (
            {**EVENT, "interval": "1h", "source_bucket": "raw-bucket", "source_key": KEY},
            f"interval is '1h', but source_key says '1d': {KEY}",
        ),
        (
            {**EVENT, "data_source": "stooq", "source_bucket": "raw-bucket", "source_key": KEY},
            f"data_source is 'stooq', but source_key says 'yahoo_finance': {KEY}",
        ),
        (
            {**EVENT, "table_name": "quotes", "source_bucket": "raw-bucket", "source_key": KEY},
            f"table_name is 'quotes', but source_key says 'prices': {KEY}",
        ),
        (
            {**EVENT, "date_range": {"start": "2025-09-02", "end": "2025-09-01"}},
            "date_range starts on 2025-09-02, after its end 2025-09-01",
        ),
        (
            {**EVENT, "date_range": {"start": "2025-01-01", "end": "2025-02-01"}},
            "date_range has 32 days, more than max_backfill_days = 31; ask for fewer at once",
        ),
        ({**EVENT, "date_range": {"start": DS}}, "date_range needs start and end, each YYYY-MM-DD"),
        ({**EVENT, "ds": DS, "reprocess": "yes"}, "reprocess must be true or false, not 'yes'"),
        ({**EVENT, "ds": DS, "engine": "ray"}, "Unsupported engine 'ray'; use one of dask, glue"),
        (
            {**EVENT, "ds": DS, "file_type": "xml"},
            "Unsupported file_type 'xml'; use one of json, csv, parquet",
        ),
        ({**EVENT, "ds": 7}, "ds must be a string, not int"),
        ({**EVENT, "ds": DS, "environment": "prod"}, "This is environment 'dev', not 'prod'"),
    ],
)
@pytest.mark.parametrize("expand", [False, True])
def test_what_cannot_be_followed_is_refused_before_a_store_is_asked(event, message, expand):
    answer = preflight({**event, "expand": expand}, BUCKETS)
    assert answer == refusal("PRE_VALIDATION_FAILED", message)


@pytest.mark.parametrize("name", ["domain", "table_name", "interval", "data_source"])
@pytest.mark.parametrize("word", ["../up", "a/b", "..", "a\nb", "-"])
def test_a_word_that_no_path_may_hold_is_refused(name, word):
    answer = preflight({**EVENT, name: word, "ds": DS}, BUCKETS)
    assert answer["error"]["code"] == "PRE_VALIDATION_FAILED"
    assert "becomes part of a path" in answer["reason"]


def test_a_place_that_is_no_bucket_is_refused():
    answer = preflight({**EVENT, "ds": DS}, {**BUCKETS, "BRIQUETTE_RAW_URL": "/data/raw"})
    assert answer == refusal("PRE_VALIDATION_FAILED", "Missing CURATED_BUCKET/RAW_BUCKET/ARTIFACTS_BUCKET")


def test_the_most_days_come_from_the_pipelines_variable_or_from_ours():
    event = {**EVENT, "date_range": {"start": "2025-01-01", "end": "2025-01-03"}}
    assert len(days(event, MAX_BACKFILL_DAYS="3")) == 3
    assert preflight(event, {**BUCKETS, "MAX_BACKFILL_DAYS": "2"})["proceed"] is False
    assert len(days(event, MAX_BACKFILL_DAYS="2", BRIQUETTE_MAX_BACKFILL_DAYS="3")) == 3


# -- one day, on a real store -------------------------------------------------------------------------


def test_a_new_day_has_the_pipelines_arguments_by_hand(account):
    account.land("AAPL", "MSFT")
    name = account.bucket.name
    answer = handler({**EVENT, "ds": DS}, None)
    assert answer["glue_args"] == {
        "--environment": "dev",
        "--raw_bucket": name,
        "--raw_prefix": "raw/market/prices/interval=1d/data_source=yahoo_finance/",
        "--compacted_bucket": name,
        "--compacted_prefix": "curated/market/prices/compacted",
        "--curated_bucket": name,
        "--curated_prefix": "curated/market/prices/",
        "--schema_fingerprint_s3_uri": f"s3://{name}/artifacts/market/prices/_schema/latest.json",
        "--codec": "zstd",
        "--target_file_mb": "256",
        "--expected_min_records": "100",
        "--max_critical_error_rate": "5.0",
        "--duplicates": "keep_last",
        "--ds": DS,
        "--file_type": "json",
        "--interval": "1d",
        "--data_source": "yahoo_finance",
    }
    assert (answer["proceed"], answer["reason"], answer["ds"]) == (True, None, DS)
    assert (answer["state"], answer["engine"], answer["fallback"]) == ("NEW", "dask", "glue")
    assert answer["catalog_update"] == "on_schema_change"
    assert answer["correlationId"] == "market:prices:2025-09-09"
    assert answer["inputs"]["objects"] == 2
    plan_id = answer["plan_uri"].rpartition("/")[2].removesuffix(".json")
    assert answer["plan_uri"] == f"s3://{name}/artifacts/market/prices/_plans/{plan_id}.json"
    assert answer["result_uri"] == f"s3://{name}/artifacts/market/prices/_runs/{DS}/{plan_id[:16]}.json"
    assert answer["container_command"] == [
        *("compact", "--plan-uri", answer["plan_uri"], "--result-uri", answer["result_uri"])
    ]
    assert answer["guard"] == {
        "bucket": name,
        "prefix": "curated/market/prices/compacted",
        "ds": DS,
        "inputFingerprint": answer["inputFingerprint"],
    }
    assert answer["indicators_args"] == {
        "--environment": "dev",
        "--prices_curated_bucket": name,
        "--prices_prefix": "curated/market/prices/",
        "--output_bucket": name,
        "--output_prefix": "curated/market/indicators/",
        "--schema_fingerprint_s3_uri": f"s3://{name}/artifacts/market/indicators/_schema/latest.json",
        "--codec": "zstd",
        "--target_file_mb": "256",
        "--lookback_days": "252",
        "--duplicates": "keep_last",
        "--ds": DS,
    }
    json.dumps(answer)


def test_buckets_of_the_pipelines_variables_replace_the_files_buckets():
    from orchestration.handlers.arguments import glue_args
    from orchestration.handlers.request import read_request
    from orchestration.handlers.settings import settings_from

    settings = settings_from(BUCKETS)
    request = read_request({**EVENT, "ds": DS}, environment="dev", max_days=1)
    shared = glue_args(request, settings, DS)
    assert shared["--raw_bucket"] == "raw-bucket"
    assert shared["--raw_prefix"] == "market/prices/interval=1d/data_source=yahoo_finance/"
    assert shared["--compacted_bucket"] == shared["--curated_bucket"] == "curated-bucket"
    assert shared["--compacted_prefix"] == "market/prices/compacted"
    assert shared["--curated_prefix"] == "market/prices/"
    assert shared["--schema_fingerprint_s3_uri"] == "s3://artifacts-bucket/market/prices/_schema/latest.json"


@pytest.mark.parametrize("reprocess", [False, True])
def test_every_glue_job_takes_the_arguments_and_ignores_none(account, reprocess):
    account.land("AAPL")
    answer = handler({**EVENT, "ds": DS, "reprocess": reprocess}, None)
    for module, key in (
        (compaction_job, "compaction_args"),
        (transform_job, "transform_args"),
        (indicators_job, "indicators_args"),
    ):
        given = {"--JOB_NAME": "job", **answer[key]}
        assert all(isinstance(v, str) and v for v in given.values())
        parsed = parse_arguments([word for pair in given.items() for word in pair], module.ARGUMENTS)
        assert parsed.ignored == ()
        assert parsed["force"] is reprocess
    assert ("--force" in answer["container_command"]) is reprocess


def test_codec_and_size_are_the_environments_for_every_stage(account, monkeypatch):
    monkeypatch.setenv("BRIQUETTE_COMPACTION_CODEC", "snappy")
    monkeypatch.setenv("BRIQUETTE_COMPACTION_TARGET_FILE_MB", "64")
    account.land("AAPL")
    answer = handler({**EVENT, "ds": DS}, None)
    for arguments in ("glue_args", "compaction_args", "transform_args", "indicators_args"):
        assert (answer[arguments]["--codec"], answer[arguments]["--target_file_mb"]) == ("snappy", "64")
    assert plan_of(account, answer).spec.codec == "snappy"


def plan_of(account, answer):
    key = answer["plan_uri"].removeprefix(f"{account.bucket.url}/")
    return plan_from_bytes(account.store.get(key))


def test_the_stored_plan_is_the_one_that_a_run_makes_and_runs(account):
    account.land("AAPL", "MSFT")
    plan = plan_of(account, handler({**EVENT, "ds": DS}, None))
    ran = run_plan(plan, RunOptions(executor="serial"))
    assert (ran.status, ran.manifest.rows) == (Status.PUBLISHED, 2)
    again = account.compact()
    assert (again.status, again.plan_id) == (Status.UNCHANGED, plan.plan_id)


def test_the_plan_is_written_once(account):
    account.land("AAPL")
    uri = handler({**EVENT, "ds": DS}, None)["plan_uri"]
    key = uri.removeprefix(f"{account.bucket.url}/")
    before = account.store.stat(key).metadata
    account.store.requests.reset()
    assert handler({**EVENT, "ds": DS}, None)["plan_uri"] == uri
    assert account.store.requests.writes == 0
    assert account.store.stat(key).metadata == before


def test_states_follow_the_raw_objects(account):
    def state(**more):
        return handler({**EVENT, "ds": DS, **more}, None)["state"]

    assert state() == "EMPTY"
    account.land("AAPL")
    assert state() == "NEW"
    account.compact()
    assert state() == "UNCHANGED"
    account.land("MSFT")
    assert state() == "CHANGED"
    assert state(reprocess=True) == "FORCED"


# -- nothing to do ------------------------------------------------------------------------------------

SKIPPED = {
    "proceed": False,
    "reason": "Already processed",
    "ds": DS,
    "error": {"code": "IDEMPOTENT_SKIP", "message": "Curated partition already exists"},
    "catalog_update": "on_schema_change",
}


def test_a_day_that_went_through_all_stages_is_skipped_in_the_pipelines_words(account):
    account.land("AAPL", "MSFT")
    account.publish_everything()
    assert handler({**EVENT, "ds": DS}, None) == SKIPPED
    ranged = {**EVENT, "date_range": {"start": DS, "end": "2025-09-10"}, "catalog_update": "never"}
    first, second = handler(ranged, None)["dates"]
    assert first == {**SKIPPED, "catalog_update": "never"}
    assert (second["proceed"], second["ds"], second["state"]) == (True, "2025-09-10", "EMPTY")
    assert handler({**EVENT, "ds": DS, "reprocess": True}, None)["state"] == "FORCED"


@pytest.mark.parametrize("metadata", [True, False])
def test_a_copied_day_that_is_done_is_done(account, metadata):
    account.land("AAPL", "MSFT")
    account.publish_everything()
    for table in ("prices", "indicators"):
        promote(account.bucket, account.bucket, f"curated/market/{table}/", metadata=metadata)
    assert handler({**EVENT, "ds": DS}, None) == SKIPPED


def test_a_late_raw_object_is_work_again_though_the_curated_day_exists(account):
    account.land("AAPL")
    account.publish_everything()
    account.land("MSFT")
    assert handler({**EVENT, "ds": DS}, None)["state"] == "CHANGED"
    account.compact()  # and now the compaction is newer than what was made of it
    assert handler({**EVENT, "ds": DS}, None)["state"] == "UNCHANGED"
    account.transform()
    missing = handler({**EVENT, "ds": DS}, None)
    assert (missing["proceed"], missing["state"]) == (True, "STALE")
    assert missing["reason"] == f"changed since: {DS}"
    account.compute_indicators()
    assert handler({**EVENT, "ds": DS}, None) == SKIPPED


def test_a_correction_of_a_day_before_makes_a_day_that_was_done_work_again(account):
    before = ("2025-09-05", "2025-09-08")
    for ds in (*before, DS):
        account.land("AAPL", ds=ds)
        account.publish_everything(ds)
    for ds in (*before, DS):
        assert handler({**EVENT, "ds": ds}, None) == {**SKIPPED, "ds": ds}
    account.land("AAPL", ds=before[0], close=11.0)
    about_to = handler({**EVENT, "ds": before[0]}, None)
    assert (about_to["state"], about_to["makesStale"]) == ("CHANGED", [before[1], DS])
    account.publish_everything(before[0])
    corrected = handler({**EVENT, "ds": before[0]}, None)
    reason = f"changed since: {before[0]}"
    assert corrected["error"]["code"] == "IDEMPOTENT_SKIP"
    assert corrected["stale"] == [{"ds": ds, "reason": reason} for ds in (before[1], DS)]
    later = handler({**EVENT, "ds": DS}, None)
    assert (later["proceed"], later["state"], later["reason"]) == (True, "STALE", reason)
    account.compute_indicators()
    assert handler({**EVENT, "ds": DS}, None) == SKIPPED


def test_a_day_that_comes_late_makes_a_day_that_was_done_work_again(account):
    account.land("AAPL")
    account.publish_everything()
    account.land("AAPL", ds="2025-09-08")
    assert handler({**EVENT, "ds": "2025-09-08"}, None)["makesStale"] == [DS]
    assert handler({**EVENT, "ds": DS}, None) == SKIPPED
    account.publish_everything("2025-09-08")
    assert handler({**EVENT, "ds": DS}, None)["reason"] == "not read: 2025-09-08"


def test_another_source_of_the_same_table_is_never_taken_for_done(account):
    account.land("AAPL")
    account.publish_everything()
    account.land("AAPL", data_source="stooq")
    answer = handler({**EVENT, "data_source": "stooq", "ds": DS}, None)
    assert answer["error"]["code"] == "PRE_VALIDATION_FAILED"
    assert "PartitionConflict" in answer["reason"]


def test_a_torn_compaction_is_work_again(account):
    account.land("AAPL")
    account.publish_everything()
    account.store.delete(f"curated/market/prices/compacted/ds={DS}/part-00000.parquet")
    assert handler({**EVENT, "ds": DS}, None)["state"] == "CHANGED"


def test_prices_of_plain_spark_count_by_their_time(account):
    account.land("AAPL")
    account.compact()
    assert handler({**EVENT, "ds": DS}, None)["proceed"]
    account.store.put(f"curated/market/prices/ds={DS}/_SUCCESS", b"x")
    assert handler({**EVENT, "ds": DS}, None)["proceed"]
    for table in ("prices", "indicators"):
        account.store.put(f"curated/market/{table}/ds={DS}/part-0-c000.snappy.parquet", b"PAR1")
    assert handler({**EVENT, "ds": DS}, None) == SKIPPED


# -- tables without a declared schema -----------------------------------------------------------------


def test_a_table_without_a_schema_is_left_to_the_engine_until_it_is_published(account):
    other = {"domain": "lab", "table": "notes"}
    account.land("AAPL", **other)
    event = {**EVENT, "domain": "lab", "table_name": "notes", "ds": DS}
    answer = handler(event, None)
    assert (answer["state"], answer["plan_uri"], answer["inputFingerprint"]) == ("UNPLANNED", "", "")
    assert answer["inputs"]["objects"] == 1
    assert "--plan_uri" not in answer["compaction_args"]
    command = answer["container_command"]
    assert command[command.index("--table") + 1] == "notes"
    assert command[-2:] == ["--result-uri", answer["result_uri"]]
    target = resolve_target(
        Partition(**other, interval="1d", data_source="yahoo_finance", ds=DS),
        raw=f"{account.bucket.url}/raw",
        curated=f"{account.bucket.url}/curated",
    )
    from briquette.compaction.new_plan import make_plan
    from briquette.compaction.undeclared_schema import infer_target

    options = RunOptions(executor="serial")
    run_plan(make_plan(target, resolve_spec(target, infer_target(target)[0].schema, {}), options), options)
    known = handler(event, None)
    assert known["state"] == "UNCHANGED"
    assert known["plan_uri"]
    account.land("MSFT", **other)
    assert handler(event, None)["state"] == "UNPLANNED"


# -- stores that fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["ListObjectsV2", "HeadObject", "PutObject"])
@pytest.mark.parametrize("client", [S3Store, PlainS3Store])
def test_a_store_that_refuses_is_an_error_never_an_answer(faulty_s3, monkeypatch, operation, client):
    bucket, wire = faulty_s3
    monkeypatch.setattr("briquette.storage.opening._s3_store", client)
    account = Account(bucket)
    for name, value in account.env.items():
        monkeypatch.setenv(name, value)
    account.land("AAPL")
    wire.break_(Fault(operation, status=403, code="AccessDenied", times=9))
    with pytest.raises(StoreError, match=r"denied|Access|403"):
        handler({**EVENT, "ds": DS}, None)
    assert wire.fired


def test_a_batch_manifest_that_names_a_missing_object_is_refused(account):
    account.land("AAPL")
    body = json.dumps({"objects": [{"key": f"{PREFIX}GONE.json", "records": 1}]}).encode()
    account.store.put(f"raw/{PREFIX}_batch.manifest.json", body)
    answer = handler({**EVENT, "ds": DS}, None)
    assert answer["error"]["code"] == "PRE_VALIDATION_FAILED"
    assert answer["reason"].startswith("BatchManifestMismatch")
    assert answer["ds"] == DS


def test_looking_at_many_days_is_left_to_the_children(account):
    account.store.requests.reset()
    event = {**EVENT, "date_range": {"start": "2025-01-01", "end": "2025-01-31"}, "expand": True}
    assert len(handler(event, None)["days"]) == 31
    assert account.store.requests.as_dict() == {}
