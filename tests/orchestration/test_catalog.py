"""The catalog: what is published on a real S3 server becomes partitions in a real Glue API."""

from __future__ import annotations

import uuid

import boto3
import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.errors import StoreError
from briquette.model import ExtraFields, Field, Schema
from briquette.pipeline.schema_record import record_schema
from briquette.settings.environments import load_environment
from briquette.storage.opening import open_store
from orchestration.handlers.arguments import catalog_args
from orchestration.handlers.catalog import PartitionsNotRegistered, Table, decide, handler, register
from orchestration.handlers.published import published_below
from orchestration.handlers.request import read_request
from orchestration.handlers.settings import settings_from
from tests.faults import Fault
from tests.orchestration.conftest import DS, EVENT, WORDS, Account

LATER = "2025-09-10"
OUTPUTS = {"curated_prices", "curated_prices_compacted", "curated_indicators"}
OLD = Schema((Field("symbol", "string"), Field("Close", "float64"), Field("at", "timestamp[us]")))


class Catalog:
    """The Glue database of one test, and what preflight tells the catalog of the account's places."""

    def __init__(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        self.account, self.glue = account, boto3.client("glue")
        self.database = f"t_{uuid.uuid4().hex[:8]}"
        self.glue.create_database(DatabaseInput={"Name": self.database})
        monkeypatch.setenv("GLUE_DATABASE", self.database)

    def event(self, *days: str, policy: str = "on_schema_change", **words: str) -> dict:
        event = {**EVENT, "ds": DS, **words}
        request = read_request(event, environment="dev", max_days=1)
        shared = catalog_args(request, settings_from(self.account.env))
        return {"glue_args": shared, "catalog_update": policy, "partitions": list(days)}

    def run(self, *days: str, **words: str) -> dict:
        return handler(self.event(*days, **words), None)

    def names(self) -> set[str]:
        return {t["Name"] for t in self.glue.get_tables(DatabaseName=self.database)["TableList"]}

    def table(self, name: str) -> dict:
        return self.glue.get_table(DatabaseName=self.database, Name=name)["Table"]

    def days(self, name: str) -> dict[str, str]:
        """Partitions and where they lie."""
        found = self.glue.get_partitions(DatabaseName=self.database, TableName=name)["Partitions"]
        return {p["Values"][0]: p["StorageDescriptor"]["Location"] for p in found}

    def columns(self, name: str, ds: str = "") -> dict[str, str]:
        """Of the table, or of one of its days."""
        found = self.table(name)
        if ds:
            where = {"DatabaseName": self.database, "TableName": name}
            found = self.glue.get_partition(**where, PartitionValues=[ds])["Partition"]
        return {c["Name"]: c["Type"] for c in found["StorageDescriptor"]["Columns"]}

    def add_table(self, name: str, folder: str, keys: tuple[str, ...] = ("ds",), **columns: str) -> None:
        self.glue.create_table(
            DatabaseName=self.database,
            TableInput={
                "Name": name,
                "Description": "by somebody",
                "PartitionKeys": [{"Name": key, "Type": "string"} for key in keys],
                "StorageDescriptor": {
                    "Columns": [{"Name": n, "Type": kind} for n, kind in columns.items()],
                    "Location": f"{self.account.bucket.url}/{folder}/",
                    "InputFormat": "of somebody",
                },
            },
        )


@pytest.fixture
def catalog(account, monkeypatch):
    return Catalog(account, monkeypatch)


@pytest.fixture
def published(catalog):
    """A day that has gone through every stage."""
    catalog.account.land("AAPL", "MSFT")
    catalog.account.publish_everything()
    return catalog


# -- every published day of every output table ---------------------------------------------------


def test_a_day_becomes_a_partition_of_every_table_that_it_was_published_in(published):
    answer = published.run(DS)
    assert (answer["shouldRunCrawler"], answer["registered"]) == (False, [DS])
    assert answer["tables"] == {name: {"days": 1, "added": 1, "unseen": []} for name in OUTPUTS}
    url = f"{published.account.bucket.url}/curated/market"
    assert published.days("curated_prices") == {DS: f"{url}/prices/ds={DS}/"}
    assert published.days("curated_prices_compacted") == {DS: f"{url}/prices/compacted/ds={DS}/"}
    assert published.days("curated_indicators") == {DS: f"{url}/indicators/ds={DS}/"}


def test_a_table_has_the_columns_and_the_format_that_athena_reads(published):
    published.run(DS)
    table = published.table("curated_prices_compacted")
    assert (table["TableType"], table["Parameters"]["classification"]) == ("EXTERNAL_TABLE", "parquet")
    assert table["PartitionKeys"] == [{"Name": "ds", "Type": "string"}]
    assert "ParquetHiveSerDe" in table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"]
    columns = published.columns("curated_prices_compacted")
    assert (columns["symbol"], columns["timestamp"], columns["volume"]) == ("string", "timestamp", "double")
    assert "ds" not in columns
    assert published.columns("curated_prices_compacted", DS) == columns
    assert published.columns("curated_indicators")["sma_20"] == "decimal(12,4)"


def test_doing_it_again_changes_nothing(published):
    published.run(DS)
    before = {name: (published.table(name), published.days(name)) for name in OUTPUTS}
    again = published.run(DS)
    assert {name: told["added"] for name, told in again["tables"].items()} == dict.fromkeys(OUTPUTS, 0)
    assert again["registered"] == [DS]
    assert {name: (published.table(name), published.days(name)) for name in OUTPUTS} == before


def test_days_that_failed_to_be_registered_are_made_up_for_by_whichever_run_comes_next(published):
    """A skipped day was never registered, nor were indicators after the crawler's first run."""
    published.run(DS)
    for name in OUTPUTS:
        published.glue.delete_partition(DatabaseName=published.database, TableName=name, PartitionValues=[DS])
    published.account.land("AAPL", ds=LATER)
    published.account.compact(ds=LATER)
    answer = published.run(LATER)
    assert {name: set(published.days(name)) for name in OUTPUTS} == {
        "curated_prices": {DS},
        "curated_indicators": {DS},
        "curated_prices_compacted": {DS, LATER},
    }
    assert answer["registered"] == [LATER]
    assert answer["tables"]["curated_prices_compacted"]["added"] == 2


def test_a_table_of_any_name_is_registered_without_the_crawler(catalog):
    account = catalog.account
    words = {"domain": "sensors", "table": "wind-speed"}
    account.land("AAPL", **words)
    account.compact(**words, schema="market.prices")
    answer = catalog.run(DS, domain="sensors", table_name="wind-speed")
    assert answer["shouldRunCrawler"] is False
    assert catalog.days("curated_wind_speed_compacted") == {
        DS: f"{account.bucket.url}/curated/sensors/wind-speed/compacted/ds={DS}/"
    }


def test_tables_of_one_name_in_two_domains_are_two_tables(published):
    published.run(DS)
    words = {"domain": "crypto"}
    published.account.land("BTC", **words)
    published.account.compact(**words, schema="market.prices")
    published.run(DS, domain="crypto")
    assert published.names() == {*OUTPUTS, "curated_crypto_prices_compacted"}
    assert "/crypto/" in published.days("curated_crypto_prices_compacted")[DS]
    assert "/market/" in published.days("curated_prices_compacted")[DS]
    assert published.run(DS, domain="crypto")["tables"] == {
        "curated_crypto_prices_compacted": {"days": 1, "added": 0, "unseen": []}
    }


def test_a_name_that_others_have_taken_is_an_error_that_says_so(published):
    published.add_table("curated_indicators", "elsewhere")
    published.add_table("curated_market_indicators", "elsewhere")
    with pytest.raises(PartitionsNotRegistered, match="curated_market_indicators already"):
        published.run(DS)
    # One table in trouble keeps no other from being registered.
    assert set(published.days("curated_prices_compacted")) == {DS}


def test_what_is_not_published_is_not_registered(catalog):
    account = catalog.account
    account.land("AAPL")
    account.compact()
    folder = "curated/market/prices/compacted"
    parts = {"2025-09-01": "part-00000.parquet", "2025-09-02": "_part.parquet", "2025-09-03": "notes.txt"}
    for ds, name in parts.items():  # of a run that did not finish, hidden, and no data
        account.store.put(f"{folder}/ds={ds}/{name}", b"PAR1")
    account.store.put(f"{folder}/ds=2025-09-04/part-00000-ab.snappy.parquet", b"PAR1")  # Spark's
    answer = catalog.run(DS, "2025-09-01")
    assert set(catalog.days("curated_prices_compacted")) == {DS, "2025-09-04"}
    assert answer["registered"] == [DS]


def test_a_version_that_no_query_would_see_is_named_and_not_registered_as_an_empty_day(catalog, capsys):
    catalog.account.land("AAPL")
    catalog.account.compact(publish="versioned")
    answer = catalog.run(DS)
    assert answer["tables"]["curated_prices_compacted"] == {"days": 0, "added": 0, "unseen": [DS]}
    assert catalog.days("curated_prices_compacted") == {}
    assert '"level":"WARNING"' in capsys.readouterr().out


# -- columns -------------------------------------------------------------------------------------


def test_a_table_gets_the_columns_of_what_was_published_last_and_loses_none(published):
    account = published.account
    root = f"{account.bucket.url}/curated/market/prices"
    published.add_table("curated_prices", "curated/market/prices", gone="int", close="int", symbol="string")
    published.add_table("curated_prices_compacted", "curated/market/prices/compacted", symbol="string")
    published.run(DS)
    columns = published.columns("curated_prices")
    assert [*columns][:3] == ["gone", "close", "symbol"]
    assert (columns["gone"], columns["close"], columns["volume"]) == ("int", "double", "double")
    assert published.columns("curated_prices", DS) == columns
    table = published.table("curated_prices")
    assert (table["Description"], table["StorageDescriptor"]["InputFormat"]) == ("by somebody", "of somebody")
    assert published.days("curated_prices") == {DS: f"{root}/ds={DS}/"}


def test_a_day_that_is_asked_for_again_takes_the_tables_columns_and_place(published):
    published.run(DS)
    where = {"DatabaseName": published.database, "TableName": "curated_prices"}
    stale = {"Columns": [{"Name": "symbol", "Type": "string"}], "Location": "s3://elsewhere/"}
    entry = {"PartitionValueList": [DS], "PartitionInput": {"Values": [DS], "StorageDescriptor": stale}}
    published.glue.batch_update_partition(**where, Entries=[entry])
    published.run(LATER)  # another day: this one is left as it is
    assert published.days("curated_prices")[DS] == "s3://elsewhere/"
    published.run(DS)
    assert published.days("curated_prices")[DS].endswith(f"/prices/ds={DS}/")
    assert published.columns("curated_prices", DS) == published.columns("curated_prices")


def test_rescued_fields_are_a_column_too(catalog):
    account = catalog.account
    account.land("AAPL")
    compact(
        raw=f"{account.bucket.url}/raw",
        curated=f"{account.bucket.url}/curated",
        ds=DS,
        options=RunOptions(executor="serial"),
        extra_fields=ExtraFields.RESCUE,
        **WORDS,
    )
    catalog.run(DS)
    assert catalog.columns("curated_prices_compacted")["_rescued"] == "string"


# -- what only a crawler can do ------------------------------------------------------------------


def test_never_does_nothing_and_force_lets_the_crawler_make_tables(published):
    assert published.run(DS, policy="never") == {"shouldRunCrawler": False, "registered": [], "tables": {}}
    assert published.names() == set()
    answer = published.run(DS, policy="force")
    assert answer["shouldRunCrawler"] is True
    assert published.names() == {"curated_prices_compacted"}  # which the crawler passes over
    published.add_table("curated_prices", "curated/market/prices", symbol="string")  # the crawler's
    published.run(DS, policy="force")
    assert set(published.days("curated_prices")) == {DS}
    assert published.columns("curated_prices") == {"symbol": "string"}


def test_files_of_another_program_take_their_columns_from_the_fingerprint_or_the_crawler(catalog):
    account = catalog.account
    account.store.put(f"curated/market/prices/ds={DS}/part-0-ab.parquet", b"PAR1")
    assert catalog.run(DS) == {"shouldRunCrawler": True, "registered": [], "tables": {}}
    latest = catalog.event()["glue_args"]["--schema_fingerprint_s3_uri"]
    record_schema(latest, OLD, "zstd")
    assert catalog.run(DS)["shouldRunCrawler"] is False
    assert catalog.columns("curated_prices") == {"symbol": "string", "close": "double", "at": "timestamp"}
    assert set(catalog.days("curated_prices")) == {DS}


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"hash": "x", "columns": [{"name": "a"}]}'])
def test_a_fingerprint_that_cannot_be_read_counts_as_missing(catalog, body):
    account = catalog.account
    account.store.put(f"curated/market/prices/ds={DS}/part-0-ab.parquet", b"PAR1")
    account.store.put("artifacts/market/prices/_schema/latest.json", body)
    assert catalog.run(DS)["shouldRunCrawler"] is True


def test_a_table_that_is_not_partitioned_by_day_is_the_crawlers(published):
    published.add_table("curated_prices", "curated/market/prices", keys=("year", "month"), symbol="string")
    answer = published.run(DS)
    assert answer["shouldRunCrawler"] is True
    assert published.days("curated_prices") == {}
    assert set(published.days("curated_indicators")) == {DS}


def test_compacted_files_that_nobody_can_describe_are_told(published):
    published.account.store.put("curated/crypto/prices/compacted/ds=2025-09-09/x-ab.parquet", b"PAR1")
    with pytest.raises(
        PartitionsNotRegistered, match=r"nothing tells the columns of .*/crypto/prices/compacted/"
    ):
        published.run(DS, domain="crypto")


# -- limits and errors ---------------------------------------------------------------------------


def test_names_come_from_the_environment_where_it_says_them(published):
    env = {"GLUE_DATABASE": published.database, "GLUE_TABLE_PREFIX": "other_"}
    decide(published.event(DS), env, published.glue)
    assert published.names() == {name.replace("curated_", "other_") for name in OUTPUTS}
    with pytest.raises(PartitionsNotRegistered, match="no database dev_data_platform"):
        decide(published.event(DS), {}, published.glue)


def test_many_days_go_in_groups_that_glue_takes(catalog):
    days = [f"2024-{month:02d}-{day:02d}" for month in range(1, 6) for day in range(1, 29)]
    for ds in days:
        catalog.account.store.put(f"curated/market/prices/ds={ds}/a.parquet", b"PAR1")
    record_schema(catalog.event()["glue_args"]["--schema_fingerprint_s3_uri"], OLD, "zstd")
    assert catalog.run(*days)["registered"] == days
    assert len(catalog.days("curated_prices")) == 140
    assert catalog.run(*days)["tables"]["curated_prices"] == {"days": 140, "added": 0, "unseen": []}


def test_a_partition_that_glue_refuses_is_an_error():
    class Refusing:
        """A catalog that takes no partition, which the local one never does."""

        def get_paginator(self, name):
            assert name == "get_partitions"
            return self

        def paginate(self, **asked):
            return [{"Partitions": []}]

        def batch_create_partition(self, **asked):
            values = [p["Values"] for p in asked["PartitionInputList"]]
            return {"Errors": [{"PartitionValues": v, "ErrorDetail": {"ErrorCode": "Odd"}} for v in values]}

    with pytest.raises(PartitionsNotRegistered, match="Odd"):
        register(Refusing(), Table("d", "t", {}), "s3://b/t/", [DS], [DS])


def test_a_store_that_refuses_is_an_error(faulty_s3):
    bucket, wire = faulty_s3
    account = Account(bucket)
    account.land("AAPL")
    account.compact()
    request = read_request({**EVENT, "ds": DS}, environment="dev", max_days=1)
    shared = catalog_args(request, settings_from(account.env))
    wire.break_(Fault("GetObject", status=403, code="AccessDenied", times=9))
    glue = boto3.client("glue", endpoint_url=bucket.endpoint)
    with pytest.raises(StoreError, match="denied"):
        decide({"glue_args": shared, "partitions": [DS]}, {}, glue)


@pytest.mark.parametrize(
    "change",
    [{"catalog_update": "sometimes"}, {"glue_args": {}}, {"partitions": ["yesterday"]}],
)
def test_an_event_that_cannot_be_followed_is_a_value_error(catalog, change):
    with pytest.raises(ValueError, match=r"catalog_update|glue_args|not a date"):
        handler({**catalog.event(DS), **change}, None)


def test_a_prefix_above_the_curated_tables_is_part_of_their_place(published):
    root = open_store(published.account.bucket.url)
    assert root.stat(f"curated/market/prices/ds={DS}/_manifest.json")
    settings = load_environment("dev", env=published.account.env)
    assert settings.curated_folder == "curated/"
    request = read_request({**EVENT, "ds": DS}, environment="dev", max_days=1)
    assert catalog_args(request, settings)["--curated_prefix"] == "curated/market/prices/"


def test_published_days_are_found_with_one_listing_and_one_manifest(published):
    from briquette.storage.urls import parse_url

    place = parse_url(f"{published.account.bucket.url}/curated/market/prices")
    store = open_store(place.url)
    store.requests.reset()
    assert published_below(place).days == (DS,)
    assert store.requests["LIST"] == 1
    assert store.requests["GET"] == 1
