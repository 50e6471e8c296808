"""The guard: whether a compacted day is whole, has rows, and is the one that was asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from briquette.aws.environment import environment_name
from briquette.aws.telemetry import log, put_metrics
from briquette.errors import SnapshotChanged, StoreError, UsageError, VerificationFailed
from briquette.model import Location, PublishedFile
from briquette.planning.target import check_ds
from briquette.publishing.identity import Match, match
from briquette.publishing.snapshot import Snapshot, observe
from briquette.storage.interface import Store, check_writable
from briquette.storage.opening import open_store
from briquette.storage.urls import below

PARQUET = ".parquet"
FRESH, EMPTY, STALE, MISSING = "FRESH", "EMPTY", "STALE", "MISSING"  # what lies where the day should
Document = dict[str, Any]


class TornDataset(Exception):
    """What readers see is not what the manifest says; Step Functions knows this error by its name."""


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: look at the compacted day and say what is there."""
    answer = inspect(event, os.environ)
    table = _table_of(answer["partitionPrefix"])
    correlation = str(event.get("correlationId") or ":".join((*table, answer["ds"])))
    said = {
        name: answer[name] for name in ("s3Uri", "objectCount", "shouldProcess", "state", "reason", "rows")
    }
    log("INFO", "compaction output inspected", correlation, **said)
    if answer["shouldProcess"]:
        environment = environment_name(os.environ)
        put_metrics(
            metrics_of(event, answer), environment=environment, table=".".join(table), ds=answer["ds"]
        )
    return answer


def metrics_of(event: Mapping[str, Any], answer: Document) -> dict[str, int]:
    """What a committed day counts. The container tells its own sizes; of a Glue run only the guard knows."""
    counts = {"PartitionCommitted": 1, "FallbackUsed": int(event.get("fallback") is True)}
    if event.get("engine") == "glue":
        sizes = {"Rows": "rows", "OutputFiles": "objectCount", "OutputBytes": "bytes"}
        counts |= {metric: answer[name] for metric, name in sizes.items()}
    return counts


def inspect(event: Mapping[str, Any], env: Mapping[str, str]) -> Document:
    """What ``handler`` answers; ``ValueError``, ``TornDataset``, or ``RuntimeError`` for a failing store."""
    bucket, ds = event.get("bucket"), event.get("ds")
    prefix = event.get("prefix") or env.get("DEFAULT_COMPACTED_PREFIX") or ""
    wanted = event.get("inputFingerprint") or ""
    if not bucket or not ds:
        raise ValueError("The guard needs bucket and ds.")
    if not all(isinstance(text, str) for text in (bucket, ds, prefix, wanted)):
        raise ValueError("bucket, prefix, ds and inputFingerprint must be strings.")
    if "/" in bucket:
        raise ValueError(f"{bucket!r} is not a bucket's name.")
    try:
        check_ds(ds)
        place = below(Location(f"s3://{bucket}"), prefix, f"ds={ds}")
        check_writable(place.prefix.rstrip("/"))
    except UsageError as error:
        raise ValueError(str(error)) from error
    try:
        store = open_store(place.url)
        seen = observe(store, place)
        found = _verdict(store, seen, wanted)
    except VerificationFailed as error:
        raise TornDataset(str(error)) from error
    except (StoreError, SnapshotChanged) as error:
        raise RuntimeError(f"Failed to inspect compaction output: {error}") from error
    where = {"ds": ds, "bucket": bucket, "partitionPrefix": place.prefix}
    return where | found | {"s3Uri": f"s3://{bucket}/{place.prefix}"}


def _verdict(store: Store, seen: Snapshot, wanted: str) -> Document:
    if seen.manifest is None:
        return _without_manifest(seen, wanted)
    _refuse_torn(store, seen)
    published = seen.manifest
    state, reason = FRESH, "the manifest, its parts and their rows are there"
    if wanted and published.input_fingerprint != wanted:
        state, reason = STALE, "the published dataset was made from other raw objects, or by another spec"
    elif published.rows == 0:
        state, reason = EMPTY, "the published dataset has no rows"
    size = sum(f.size_bytes for f in published.files)
    return _answer(len(published.files), state, reason, published.rows, size, published.plan_id)


def _without_manifest(seen: Snapshot, wanted: str) -> Document:
    if seen.ours:
        raise TornDataset(
            f"{seen.output} has {len(seen.ours)} parts and no manifest: a compaction did not finish. "
            "Compact that day again."
        )
    plain = [s for s in seen.visible if s.key.endswith(PARQUET) and s.size_bytes]
    size = sum(s.size_bytes for s in plain)
    if not plain:
        return _answer(0, MISSING, "there is no manifest and no Parquet", 0, 0, "")
    if wanted:
        reason = "there is no manifest, so nothing says that these files were made from the raw objects"
    else:
        reason = "there is no manifest: plain Parquet of another program, taken as it is"
    return _answer(len(plain), STALE if wanted else FRESH, reason, 0, size, "")


def _answer(count: int, state: str, reason: str, rows: int, size: int, plan_id: str) -> Document:
    return {
        "objectCount": count,
        "shouldProcess": state == FRESH,
        "state": state,
        "reason": reason,
        "rows": rows,
        "bytes": size,
        "planId": plan_id,
    }


def _refuse_torn(store: Store, seen: Snapshot) -> None:
    """Raise unless each named part is what the manifest says, or its copy, and there is no other Parquet."""
    assert seen.manifest is not None
    visible = {s.key: s for s in seen.visible}
    for file in seen.manifest.files:
        now = visible.get(file.key) or store.stat(file.key)
        how = match(store, file, now)
        if now is None:
            raise _torn(seen, file, "is missing")
        if how is Match.OTHER:
            raise _torn(seen, file, f"has {now.size_bytes} bytes and etag {now.etag}")
    named = {f.key for f in seen.manifest.files}
    strange = sorted(key for key in visible if key.endswith(PARQUET) and key not in named)
    if strange:
        raise TornDataset(
            f"{seen.output} holds {strange[0]}, which readers see and the manifest does not name. "
            "Move it away, or compact that day again."
        )


def _torn(seen: Snapshot, file: PublishedFile, what: str) -> TornDataset:
    return TornDataset(
        f"{seen.output}: {file.key} {what}; the manifest says {file.size_bytes} bytes and etag {file.etag}. "
        "Compact that day again."
    )


def _table_of(partition_prefix: str) -> tuple[str, ...]:
    """Domain and table, as far as a prefix names them: ``market/prices/compacted/ds=…/``."""
    return tuple(s for s in partition_prefix.split("/")[:2] if s and not s.startswith("ds="))
