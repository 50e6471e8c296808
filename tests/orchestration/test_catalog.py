"""The catalog's decision, and partitions in a real Glue API."""

from __future__ import annotations

import uuid

import boto3
import pytest

from engine.errors import StoreError
from engine.model import Field, Schema
from engine.prices.fingerprint import columns_of
from engine.schema_record import record_schema
from orchestration.handlers.catalog import PartitionsNotRegistered, Table, decide, handler, register
from tests.faults import Fault
from tests.orchestration.conftest import DS

OLD = Schema((Field("symbol", "string"), Field("close", "float64")))
NEW = Schema((*OLD.fields, Field("at", "timestamp[us]")))
DAYS = ["2025-09-09", "2025-09-10"]


class Catalog:
    """The Glue database of one test, and the places of the table's schema fingerprint."""

    def __init__(self, bucket):
        self.bucket, self.glue = bucket, boto3.client("glue")
        self.environment = f"t-{uuid.uuid4().hex[:8]}"
        self.database = f"{self.environment.replace('-', '_')}_data_platform"
        self.latest = f"{bucket.url}/market/prices/_schema/latest.json"

    def event(self, *partitions, policy="on_schema_change"):
        shared = {
            "--environment": self.environment,
            "--curated_bucket": self.bucket.name,
            "--curated_prefix": "market/prices/",
            "--schema_fingerprint_s3_uri": self.latest,
        }
        return {"glue_args": shared, "catalog_update": policy, "partitions": list(partitions)}

    def record(self, schema):
        record_schema(self.latest, schema, "zstd")

    def create_table(self, schema, keys=("ds",)):
        columns = [{"Name": c["name"], "Type": c["type"]} for c in columns_of(schema)]
        columns = [{**c, "Type": c["Type"].replace("timestamp_ntz", "timestamp")} for c in columns]
        self.glue.create_database(DatabaseInput={"Name": self.database})
        self.glue.create_table(
            DatabaseName=self.database,
            TableInput={
                "Name": "curated_prices",
                "PartitionKeys": [{"Name": key, "Type": "string"} for key in keys],
                "StorageDescriptor": {
                    "Columns": columns,
                    "Location": f"{self.bucket.url}/market/prices/",
                    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                },
            },
        )

    def partitions(self):
        found = self.glue.get_partitions(DatabaseName=self.database, TableName="curated_prices")
        return {p["Values"][0]: p["StorageDescriptor"] for p in found["Partitions"]}


@pytest.fixture
def catalog(s3):
    return Catalog(s3)


CRAWL = {"shouldRunCrawler": True, "registered": []}


@pytest.mark.parametrize(
    ("policy", "answer"), [("never", {"shouldRunCrawler": False, "registered": []}), ("force", CRAWL)]
)
def test_a_fixed_policy_looks_at_nothing(s3, policy, answer):
    assert handler({"catalog_update": policy, "glue_args": {}, "partitions": [DS]}, None) == answer


def test_a_first_day_wants_the_crawler(catalog):
    assert handler(catalog.event(DS), None) == CRAWL
    catalog.record(OLD)
    assert handler(catalog.event(DS), None) == CRAWL  # no previous.json, no table


def test_a_changed_schema_wants_the_crawler_until_the_table_has_it(catalog):
    catalog.record(OLD)
    catalog.create_table(OLD)
    assert handler(catalog.event(DS), None) == {"shouldRunCrawler": False, "registered": [DS]}
    catalog.record(NEW)
    assert handler(catalog.event("2025-09-10"), None) == CRAWL
    catalog.glue.delete_table(DatabaseName=catalog.database, Name="curated_prices")
    assert handler(catalog.event("2025-09-10"), None) == CRAWL
    catalog.glue.delete_database(Name=catalog.database)
    catalog.create_table(NEW)  # as the crawler does; latest and previous still differ
    event = catalog.event("2025-09-10")
    assert handler(event, None) == {"shouldRunCrawler": False, "registered": ["2025-09-10"]}


def test_equal_fingerprints_register_days_and_doing_it_again_changes_nothing(catalog):
    catalog.record(NEW)
    catalog.record(OLD)
    catalog.record(NEW)
    previous = catalog.latest.replace("latest", "previous")
    record_schema(previous, NEW, "zstd")
    catalog.create_table(OLD)
    answer = {"shouldRunCrawler": False, "registered": DAYS}
    assert handler(catalog.event(*reversed(DAYS)), None) == answer
    before = catalog.partitions()
    assert {ds: p["Location"] for ds, p in before.items()} == {
        ds: f"{catalog.bucket.url}/market/prices/ds={ds}/" for ds in DAYS
    }
    assert all(p["Columns"] and p["InputFormat"] for p in before.values())
    assert handler(catalog.event(*DAYS, *DAYS), None) == answer
    assert catalog.partitions() == before


def test_a_table_that_is_not_partitioned_by_day_is_the_crawlers(catalog):
    catalog.record(OLD)
    catalog.create_table(OLD, keys=("year", "month"))
    assert handler(catalog.event(DS), None) == CRAWL


def test_names_come_from_the_environment_where_it_says_them(catalog):
    catalog.record(OLD)
    catalog.create_table(OLD)
    env = {"GLUE_DATABASE": catalog.database, "GLUE_TABLE_PREFIX": "other_"}
    assert decide(catalog.event(DS), env, catalog.glue) == CRAWL
    env = {"GLUE_DATABASE": "no_such_database"}
    assert decide(catalog.event(DS), env, catalog.glue) == CRAWL
    assert decide(catalog.event(DS), {}, catalog.glue)["registered"] == [DS]


def test_many_days_go_in_groups_that_glue_takes(catalog):
    catalog.record(OLD)
    catalog.create_table(OLD)
    days = [f"2024-{month:02d}-{day:02d}" for month in range(1, 6) for day in range(1, 29)]
    assert handler(catalog.event(*days), None)["registered"] == days
    assert len(catalog.partitions()) == 140


def test_a_partition_that_glue_refuses_is_an_error():
    class Refusing:
        """A catalog that takes no partition, which the local one never does."""

        def batch_create_partition(self, **asked):
            values = [p["Values"] for p in asked["PartitionInputList"]]
            return {"Errors": [{"PartitionValues": v, "ErrorDetail": {"ErrorCode": "Odd"}} for v in values]}

    with pytest.raises(PartitionsNotRegistered, match="Odd"):
        register(Refusing(), Table("d", "t", {}, ("ds",)), "s3://b/t", DAYS)


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"hash": "x", "columns": [{"name": "a"}]}'])
def test_a_fingerprint_that_cannot_be_read_counts_as_missing(catalog, body):
    from engine.store import open_store

    catalog.create_table(OLD)
    open_store(catalog.bucket.url).put("market/prices/_schema/latest.json", body)
    assert handler(catalog.event(DS), None) == CRAWL


def test_a_store_that_refuses_is_an_error(faulty_s3):
    bucket, wire = faulty_s3
    glue = boto3.client("glue", endpoint_url=bucket.endpoint)
    catalog = Catalog(bucket)
    catalog.glue = glue
    catalog.create_table(OLD)
    wire.break_(Fault("GetObject", status=403, code="AccessDenied", times=9))
    with pytest.raises(StoreError, match="denied"):
        decide(catalog.event(DS), {}, glue)


@pytest.mark.parametrize(
    "change",
    [{"catalog_update": "sometimes"}, {"glue_args": {}}, {"partitions": ["yesterday"]}],
)
def test_an_event_that_cannot_be_followed_is_a_value_error(catalog, change):
    with pytest.raises(ValueError, match=r"catalog_update|glue_args|not a date"):
        handler({**catalog.event(DS), **change}, None)
