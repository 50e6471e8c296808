"""The catalog: every published day of every output table is a partition of a Glue table.

Nothing is remembered: each run compares what is published with what the catalog has and adds what lacks, so
a registration that failed is made up for by the next one, whichever days that is asked for.

A crawler costs minutes of ten machines to find what manifests say already. It runs where the environment or
an execution asks for it, and where only it can help: other programs' files of which nobody knows the columns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from briquette.aws.environment import environment_name
from briquette.aws.telemetry import log
from briquette.errors import BriquetteError, UsageError
from briquette.model import Location
from briquette.planning.target import check_ds
from briquette.storage.urls import parse_url
from orchestration.handlers.arguments import INDICATORS
from orchestration.handlers.published import (
    Columns,
    Published,
    columns_of_fingerprint,
    hive_columns,
    published_below,
)
from orchestration.handlers.request import CATALOG_POLICIES

PARTITION_COLUMN = "ds"
PARTITIONS_AT_ONCE = 100  # Glue's own limit for each of its batches
PARQUET = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        "Parameters": {"serialization.format": "1"},
    },
}
# What GetTable answers and UpdateTable takes.
_TABLE_INPUT = (
    *("Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor"),
    *("PartitionKeys", "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters", "TargetTable"),
)
Document = dict[str, Any]


class PartitionsNotRegistered(Exception):
    """The catalog does not show all published days; Step Functions knows this error by its name."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output table: its root, and the names that it may have in the catalog, the first that is free."""

    root: Location
    names: tuple[str, ...]
    fingerprint: (
        str  # URI of latest.json, which tells the columns where no manifest does; "" where there is none
    )
    crawled: bool  # whether the crawler looks at it

    @property
    def location(self) -> str:
        """The root as the catalog writes it."""
        return f"{self.root.url}/{self.root.prefix}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the Glue catalog."""

    database: str
    name: str
    found: Mapping[str, Any]  # as GetTable answers

    @property
    def storage(self) -> Document:
        return dict(self.found.get("StorageDescriptor", {}))

    @property
    def by_day(self) -> bool:
        """Whether the day, and nothing else, is the partition."""
        return [k["Name"] for k in self.found.get("PartitionKeys", ())] == [PARTITION_COLUMN]

    @property
    def columns(self) -> Columns:
        given = self.storage.get("Columns", ())
        return hive_columns([{"name": c["Name"], "type": c.get("Type", "")} for c in given])

    @property
    def where(self) -> Document:
        """How Glue's requests name it."""
        return {"DatabaseName": self.database, "TableName": self.name}

    def partition(self, location: str, ds: str) -> Document:
        """A day as a PartitionInput: the table's own columns and format, in the day's folder."""
        return {"Values": [ds], "StorageDescriptor": {**self.storage, "Location": f"{location}ds={ds}/"}}


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: register what is published, and say whether the crawler is to run besides."""
    import boto3

    answer = decide(event, os.environ, boto3.client("glue"))
    level = "WARNING" if any(t["unseen"] for t in answer["tables"].values()) else "INFO"
    log(level, "catalog", str(event.get("correlationId") or ""), **answer)
    return answer


def decide(event: Mapping[str, Any], env: Mapping[str, str], glue: Any) -> Document:
    """What ``handler`` answers; ``ValueError`` for an event that cannot be followed."""
    policy = event.get("catalog_update") or "on_schema_change"
    if policy not in CATALOG_POLICIES:
        raise ValueError(f"catalog_update is {policy!r}; use one of {', '.join(CATALOG_POLICIES)}.")
    if policy == "never":
        return {"shouldRunCrawler": False, "registered": [], "tables": {}}
    shared = event.get("glue_args") or {}
    days = _days(event.get("partitions") or ())
    database = env.get("GLUE_DATABASE") or database_of(shared.get("--environment") or environment_name(env))
    crawl, tables, registered = policy == "force", {}, set[str]()
    troubles: list[Exception] = []
    for output in outputs_of(shared, env.get("GLUE_TABLE_PREFIX") or "curated_"):
        try:
            seen = published_below(output.root)
            if not seen.days and not seen.unseen:
                continue
            # Where the crawler is asked for, it makes the table and changes its columns.
            make = policy != "force" or not output.crawled
            table = table_for(glue, database, output, seen, make=make)
            if table is None:
                crawl = crawl or left_to_the_crawler(output)
                continue
            added = register(glue, table, output.location, seen.days, days)
        except (PartitionsNotRegistered, BriquetteError, glue.exceptions.ClientError) as error:
            troubles.append(error)  # a table in trouble keeps no other from being registered
            continue
        registered |= {ds for ds in days if ds in seen.days}
        tables[table.name] = {"days": len(seen.days), "added": added, "unseen": list(seen.unseen)}
    if troubles:
        raise troubles[0]
    return {"shouldRunCrawler": crawl, "registered": sorted(registered), "tables": tables}


def left_to_the_crawler(output: Output) -> bool:
    """True; or ``PartitionsNotRegistered`` for a table that the crawler passes over and nobody would make."""
    if output.crawled:
        return True
    raise PartitionsNotRegistered(
        f"nothing tells the columns of {output.location}, or its table {output.names[0]} is not partitioned "
        f"by {PARTITION_COLUMN}: publish a day with briquette, or drop the table."
    )


def database_of(environment: str) -> str:
    """The catalog's database of an environment.

    >>> database_of("eu-dev")
    'eu_dev_data_platform'
    """
    return f"{environment}_data_platform".replace("-", "_")


def outputs_of(shared: Mapping[str, str], prefix: str) -> tuple[Output, ...]:
    """The tables that a day's stages publish, from the arguments that the stages share; ``ValueError``.

    >>> shared = {"--curated_bucket": "b", "--curated_prefix": "market/prices/"}
    >>> [output.names for output in outputs_of(shared, "curated_")]
    [('curated_prices', 'curated_market_prices'), ('curated_indicators', 'curated_market_indicators')]
    """
    bucket, curated = shared.get("--curated_bucket", ""), shared.get("--curated_prefix", "").strip("/")
    if not (bucket and curated):
        raise ValueError("glue_args lack --curated_bucket or --curated_prefix.")
    above, _, table = curated.rpartition("/")
    domain = above.rpartition("/")[2]
    latest = shared.get("--schema_fingerprint_s3_uri", "")
    indicators = f"{above}/{INDICATORS}".lstrip("/")
    found = [_output(bucket, curated, prefix, (domain, table), latest, crawled=True)]
    if indicators != curated:
        others = latest.replace(f"/{table}/_schema/", f"/{INDICATORS}/_schema/")
        found.append(_output(bucket, indicators, prefix, (domain, INDICATORS), others, crawled=True))
    compacted = shared.get("--compacted_prefix", "").strip("/")
    if compacted:
        words = (domain, f"{table}_{compacted.rpartition('/')[2]}")
        in_bucket = shared.get("--compacted_bucket") or bucket
        found.append(_output(in_bucket, compacted, prefix, words, "", crawled=False))
    return tuple(found)


def _output(
    bucket: str, folder: str, prefix: str, words: tuple[str, str], fingerprint: str, *, crawled: bool
) -> Output:
    domain, table = (word.lower().replace("-", "_").replace(".", "_") for word in words)
    names = (f"{prefix}{table}", *([f"{prefix}{domain}_{table}"] if domain else []))
    return Output(parse_url(f"s3://{bucket}/{folder}"), names, fingerprint, crawled)


def table_for(glue: Any, database: str, output: Output, seen: Published, *, make: bool) -> Table | None:
    """The table of an output, made or given new columns where ``make``; None where only the crawler can."""
    columns = seen.columns or (columns_of_fingerprint(output.fingerprint) if output.fingerprint else None)
    name, table = find_table(glue, database, output)
    if table is not None and not table.by_day:
        return None
    if not make or columns is None:
        return table
    if table is None:
        made = _new_table(name, output.location, columns)
        try:
            glue.create_table(DatabaseName=database, TableInput=made)
        except glue.exceptions.AlreadyExistsException:  # another execution of the same table was faster
            return find_table(glue, database, output)[1]
        except glue.exceptions.EntityNotFoundException as error:
            raise PartitionsNotRegistered(f"the catalog has no database {database}.") from error
        return Table(database, name, made)
    return _with_columns(glue, table, columns)


def find_table(glue: Any, database: str, output: Output) -> tuple[str, Table | None]:
    """The table that lies where the output does; else the name that one may be given."""
    free = ""
    for name in output.names:
        try:
            found = glue.get_table(DatabaseName=database, Name=name)["Table"]
        except glue.exceptions.EntityNotFoundException:
            free = free or name
            continue
        if found.get("StorageDescriptor", {}).get("Location", "").rstrip("/") == output.location.rstrip("/"):
            return name, Table(database, name, found)
    if not free:
        raise PartitionsNotRegistered(
            f"{database} has {' and '.join(output.names)} already, and neither lies at {output.location}: "
            "drop or move the one that is out of date."
        )
    return free, None


def _new_table(name: str, location: str, columns: Columns) -> Document:
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [{"Name": PARTITION_COLUMN, "Type": "string"}],
        "Parameters": {"EXTERNAL": "TRUE", "classification": "parquet"},
        "StorageDescriptor": {**PARQUET, "Columns": _as_glue(columns), "Location": location},
    }


def _with_columns(glue: Any, table: Table, columns: Columns) -> Table:
    """The table with these columns besides its own; its own stay, for days that were published before."""
    merged = tuple((dict(table.columns) | dict(columns)).items())
    if merged == table.columns:
        return table
    changed = {key: table.found[key] for key in _TABLE_INPUT if table.found.get(key) not in (None, "")}
    changed["StorageDescriptor"] = {**table.storage, "Columns": _as_glue(merged)}
    glue.update_table(DatabaseName=table.database, TableInput=changed)
    return Table(table.database, table.name, changed)


def _as_glue(columns: Columns) -> list[Document]:
    return [{"Name": name, "Type": kind} for name, kind in columns]


def register(glue: Any, table: Table, location: str, days: Sequence[str], asked: Sequence[str]) -> int:
    """Make each of ``days`` a partition, and bring those that were asked for up to date; how many are new.

    A partition that has the table's columns and the day's folder already is left alone.
    """
    there = known_days(glue, table)
    missing = [ds for ds in days if ds not in there]
    for some in _batches(missing):
        inputs = [table.partition(location, ds) for ds in some]
        answer = glue.batch_create_partition(**table.where, PartitionInputList=inputs)
        _refuse_errors(table, "PartitionValues", answer)
    for some in _batches([ds for ds in asked if ds in there and ds in days]):
        entries = [
            {"PartitionValueList": [ds], "PartitionInput": table.partition(location, ds)}
            for ds in _out_of_date(glue, table, location, some)
        ]
        if entries:
            answer = glue.batch_update_partition(**table.where, Entries=entries)
            _refuse_errors(table, "PartitionValueList", answer)
    return len(missing)


def known_days(glue: Any, table: Table) -> frozenset[str]:
    """The days that are partitions of the table."""
    pages = glue.get_paginator("get_partitions").paginate(**table.where, ExcludeColumnSchema=True)
    return frozenset(p["Values"][0] for page in pages for p in page["Partitions"])


def _out_of_date(glue: Any, table: Table, location: str, days: Sequence[str]) -> list[str]:
    wanted = [{"Values": [ds]} for ds in days]
    found = glue.batch_get_partition(**table.where, PartitionsToGet=wanted)["Partitions"]
    columns = [(c["Name"], c.get("Type", "")) for c in table.storage.get("Columns", ())]

    def fits(partition: Mapping[str, Any]) -> bool:
        has = partition.get("StorageDescriptor", {})
        place = f"{location}ds={partition['Values'][0]}"
        same = [(c["Name"], c.get("Type", "")) for c in has.get("Columns", ())] == columns
        return same and has.get("Location", "").rstrip("/") == place

    return [p["Values"][0] for p in found if not fits(p)]


def _refuse_errors(table: Table, values: str, answer: Mapping[str, Any]) -> None:
    errors = [
        (e[values], e["ErrorDetail"])
        for e in answer.get("Errors", ())
        if e["ErrorDetail"].get("ErrorCode") != "AlreadyExistsException"
    ]
    if errors:
        raise PartitionsNotRegistered(f"{table.database}.{table.name}: {errors[0]}, {len(errors)} in all")


def _batches(days: Sequence[str]) -> list[Sequence[str]]:
    return [days[start : start + PARTITIONS_AT_ONCE] for start in range(0, len(days), PARTITIONS_AT_ONCE)]


def _days(asked: Sequence[object]) -> tuple[str, ...]:
    try:
        days = sorted({str(ds) for ds in asked})
        for ds in days:
            check_ds(ds)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return tuple(days)
