"""The catalog: the crawler where the schema changed, and otherwise the days as partitions, at once.

A crawler costs minutes of ten machines to find what is known already: one more folder of the same columns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import NotFound, UsageError
from engine.store import open_store, parse_url
from engine.target import check_ds
from orchestration.handlers.request import CATALOG_POLICIES
from orchestration.handlers.surroundings import environment_name
from orchestration.handlers.telemetry import log

PARTITION_COLUMN = "ds"
PARTITIONS_AT_ONCE = 100  # Glue's own limit for BatchCreatePartition
Document = dict[str, Any]


class PartitionsNotRegistered(Exception):
    """Glue refused partitions; Step Functions knows this error by its name."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the Glue catalog as this flow needs it."""

    database: str
    name: str
    storage: Mapping[str, Any]  # its StorageDescriptor
    partition_keys: tuple[str, ...]

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types, as a crawler would write them."""
        found = ((c["Name"], c.get("Type", "")) for c in self.storage.get("Columns", ()))
        return tuple(_as_crawled(name, kind) for name, kind in found)


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: whether to run the crawler, and the days that were registered without it."""
    import boto3

    answer = decide(event, os.environ, boto3.client("glue"))
    log("INFO", "catalog decided", str(event.get("correlationId") or ""), **answer)
    return answer


def decide(event: Mapping[str, Any], env: Mapping[str, str], glue: Any) -> Document:
    """What ``handler`` answers; ``ValueError`` for an event that cannot be followed."""
    policy = event.get("catalog_update") or "on_schema_change"
    if policy not in CATALOG_POLICIES:
        raise ValueError(f"catalog_update is {policy!r}; use one of {', '.join(CATALOG_POLICIES)}.")
    if policy != "on_schema_change":
        return _answer(policy == "force", ())
    shared = event.get("glue_args") or {}
    uri = shared.get("--schema_fingerprint_s3_uri", "")
    bucket, prefix = shared.get("--curated_bucket", ""), shared.get("--curated_prefix", "").strip("/")
    if not (uri and bucket and prefix):
        raise ValueError("glue_args lack --schema_fingerprint_s3_uri, --curated_bucket or --curated_prefix.")
    days = _days(event.get("partitions") or ())
    environment = shared.get("--environment") or environment_name(env)
    table = find_table(glue, *names_of(env, environment, prefix))
    latest, previous = _fingerprint(uri), _fingerprint(uri.rpartition("/")[0] + "/previous.json")
    if table is None or needs_crawler(table, latest, previous):
        return _answer(True, ())
    return _answer(False, register(glue, table, f"s3://{bucket}/{prefix}", days))


def names_of(env: Mapping[str, str], environment: str, prefix: str) -> tuple[str, str]:
    """Database and table, as the stack's crawler names them.

    >>> names_of({}, "eu-dev", "market/prices")
    ('eu_dev_data_platform', 'curated_prices')
    """
    database = env.get("GLUE_DATABASE") or f"{environment}_data_platform".replace("-", "_")
    name = prefix.rpartition("/")[2].lower().replace("-", "_").replace(".", "_")
    return database, f"{env.get('GLUE_TABLE_PREFIX') or 'curated_'}{name}"


def find_table(glue: Any, database: str, name: str) -> Table | None:
    """The table, or None where the catalog has no such table or database yet."""
    try:
        found = glue.get_table(DatabaseName=database, Name=name)["Table"]
    except glue.exceptions.EntityNotFoundException:
        return None
    keys = tuple(k["Name"] for k in found.get("PartitionKeys", ()))
    return Table(database, name, found.get("StorageDescriptor", {}), keys)


def needs_crawler(table: Table, latest: Document | None, previous: Document | None) -> bool:
    """Whether only a crawler can bring the table up to date.

    ``previous`` is written when the schema changes and stays: it alone would ask for the crawler for ever
    after the first day and after each change. So a table that has the latest columns needs none.
    """
    if table.partition_keys != (PARTITION_COLUMN,) or latest is None:
        return True
    if table.columns == tuple(_as_crawled(c["name"], c["type"]) for c in latest["columns"]):
        return False
    return previous is None or previous["hash"] != latest["hash"]


def register(glue: Any, table: Table, root: str, days: Sequence[str]) -> tuple[str, ...]:
    """Make each day a partition of the table; one that is there already stays. Returns the days."""
    for start in range(0, len(days), PARTITIONS_AT_ONCE):
        partitions = [
            {"Values": [ds], "StorageDescriptor": {**table.storage, "Location": f"{root}/ds={ds}/"}}
            for ds in days[start : start + PARTITIONS_AT_ONCE]
        ]
        answer = glue.batch_create_partition(
            DatabaseName=table.database, TableName=table.name, PartitionInputList=partitions
        )
        errors = [
            (e["PartitionValues"], e["ErrorDetail"])
            for e in answer.get("Errors", ())
            if e["ErrorDetail"].get("ErrorCode") != "AlreadyExistsException"
        ]
        if errors:
            raise PartitionsNotRegistered(f"{table.database}.{table.name}: {errors[0]}, {len(errors)} in all")
    return tuple(days)


def _as_crawled(name: str, kind: str) -> tuple[str, str]:
    """Hive knows one kind of timestamp, and no capital letters."""
    return name.lower(), kind.lower().replace("timestamp_ntz", "timestamp").replace(" ", "")


def _fingerprint(uri: str) -> Document | None:
    """A stored schema fingerprint; None where there is none that can be read."""
    folder, _, name = uri.rpartition("/")
    place = parse_url(folder)
    try:
        document = json.loads(open_store(place.url).get(place.prefix + name))
    except (NotFound, ValueError):
        return None
    columns = document.get("columns") if isinstance(document, dict) else None
    if not isinstance(columns, list) or not isinstance(document.get("hash"), str):
        return None
    named = all(isinstance(c, dict) and {"name", "type"} <= c.keys() for c in columns)
    return document if named else None


def _days(asked: Sequence[object]) -> tuple[str, ...]:
    try:
        days = sorted({str(ds) for ds in asked})
        for ds in days:
            check_ds(ds)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return tuple(days)


def _answer(crawl: bool, registered: Sequence[str]) -> Document:  # noqa: FBT001
    return {"shouldRunCrawler": crawl, "registered": list(registered)}
