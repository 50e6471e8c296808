"""The guard on real published days: whole, stale, torn, empty, and of another program."""

from __future__ import annotations

import json

import pytest

from briquette.errors import UpgradeNeeded
from briquette.storage.s3.retry import Retry
from orchestration.handlers.guard import TornDataset, handler
from orchestration.handlers.preflight import preflight
from tests.faults import Fault
from tests.orchestration.conftest import DS, EVENT, Account
from tests.servers import promote

LIVE = f"curated/market/prices/compacted/ds={DS}/"
PART = f"{LIVE}part-00000.parquet"


@pytest.fixture
def published(account):
    """A published day and the event that preflight makes for the guard."""
    account.land("AAPL", "MSFT")
    event = preflight({**EVENT, "ds": DS}, account.env)["guard"]
    account.compact()
    return account, event


def test_a_whole_fresh_day_is_to_be_transformed(published, capsys):
    account, event = published
    part = account.store.stat(PART)
    answer = handler(event, None)
    assert answer == {
        "ds": DS,
        "bucket": account.bucket.name,
        "partitionPrefix": LIVE,
        "objectCount": 1,
        "shouldProcess": True,
        "state": "FRESH",
        "s3Uri": f"s3://{account.bucket.name}/{LIVE}",
        "reason": "the manifest, its parts and their rows are there",
        "rows": 2,
        "bytes": part.size_bytes,
        "planId": answer["planId"],
    }
    said, metrics = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert said["s3Uri"] == answer["s3Uri"]
    assert metrics["PartitionCommitted"] == 1


def test_the_guard_counts_a_fallback_and_the_sizes_that_only_it_knows_of_a_glue_run(published, capsys):
    _, event = published
    answer = handler({**event, "engine": "glue", "fallback": True}, None)
    metrics = json.loads(capsys.readouterr().out.splitlines()[1])
    assert (metrics["FallbackUsed"], metrics["Rows"], metrics["OutputFiles"]) == (1, 2, 1)
    assert metrics["OutputBytes"] == answer["bytes"]
    handler({**event, "engine": "dask", "fallback": False}, None)
    metrics = json.loads(capsys.readouterr().out.splitlines()[1])
    assert metrics["FallbackUsed"] == 0
    assert "Rows" not in metrics  # the container told them


def test_a_day_of_other_raw_objects_is_not_what_was_asked_for(published, capsys):
    account, event = published
    account.land("ZM")
    wanted = preflight({**EVENT, "ds": DS}, account.env)["guard"]
    answer = handler(wanted, None)
    assert (answer["shouldProcess"], answer["objectCount"], answer["rows"]) == (False, 1, 2)
    assert answer["state"] == "STALE"
    assert "other raw objects" in answer["reason"]
    assert "PartitionCommitted" not in capsys.readouterr().out
    assert handler({**event, "inputFingerprint": ""}, None)["shouldProcess"]
    del event["inputFingerprint"]
    assert handler(event, None)["shouldProcess"]


def test_raw_objects_that_are_gone_leave_nothing_to_transform(published):
    account, _ = published
    for key in account.keys("raw/"):
        account.store.delete(key)
    wanted = preflight({**EVENT, "ds": DS}, account.env)["guard"]
    assert handler(wanted, None)["shouldProcess"] is False


@pytest.mark.parametrize(
    "tear",
    [
        lambda store: store.delete(PART),
        lambda store: store.put(PART, store.get(PART) + b"x"),
        lambda store: store.put(PART, store.get(PART)[::-1]),
        lambda store: store.put(f"{LIVE}part-00001.parquet", b"PAR1"),
        lambda store: store.put(f"{LIVE}part-uuid.parquet", b"PAR1"),
        lambda store: store.delete(f"{LIVE}_manifest.json"),
        lambda store: store.put(f"{LIVE}_manifest.json", b"{}"),
    ],
    ids=["gone", "longer", "same size", "surplus", "foreign", "no manifest", "unreadable manifest"],
)
def test_a_torn_day_is_an_error_of_its_own_name(published, tear):
    account, event = published
    tear(account.store)
    with pytest.raises(TornDataset, match=r"Compact that day again|cannot be read|hold"):
        handler(event, None)


@pytest.mark.parametrize("metadata", [True, False])
def test_a_copied_day_is_whole_and_one_with_another_byte_is_torn(published, metadata):
    account, event = published
    before = account.store.stat(PART)
    promote(account.bucket, account.bucket, LIVE, metadata=metadata)
    now = account.store.stat(PART)
    assert (now.etag != before.etag, now.size_bytes) == (True, before.size_bytes)
    answer = handler(event, None)
    assert (answer["shouldProcess"], answer["rows"]) == (True, 2)
    account.store.put(PART, account.store.get(PART)[:-1] + b"x")
    with pytest.raises(TornDataset):
        handler(event, None)


def test_a_day_of_a_newer_version_says_so(published):
    account, event = published
    key = f"{LIVE}_manifest.json"
    document = json.loads(account.store.get(key))
    document["format_version"] += 1
    account.store.put(key, json.dumps(document).encode())
    with pytest.raises(UpgradeNeeded):
        handler(event, None)
    answer = preflight({**EVENT, "ds": DS}, account.env)
    assert answer["proceed"] is False
    assert "UpgradeNeeded" in answer["error"]["message"]


def test_versioned_parts_are_counted_where_they_lie(account):
    account.land("AAPL")
    account.compact(publish="versioned")
    event = {"bucket": account.bucket.name, "prefix": "curated/market/prices/compacted/", "ds": DS}
    answer = handler(event, None)
    assert (answer["objectCount"], answer["shouldProcess"], answer["rows"]) == (1, True, 1)
    (version,) = account.keys("curated/market/prices/compacted/_versions/")
    account.store.delete(version)
    with pytest.raises(TornDataset):
        handler(event, None)


def test_an_empty_place_has_nothing_to_transform(account):
    answer = handler({"bucket": account.bucket.name, "prefix": "/none/", "ds": DS}, None)
    assert (answer["objectCount"], answer["shouldProcess"]) == (0, False)
    assert answer["partitionPrefix"] == f"none/ds={DS}/"


def test_plain_sparks_output_counts_its_visible_parquet(account, monkeypatch):
    for name in ("_SUCCESS", "_temporary/0/part-9.parquet", "part-0-c000.parquet", "part-1-c000.parquet"):
        account.store.put(f"old/compacted/ds={DS}/{name}", b"PAR1")
    account.store.put(f"old/compacted/ds={DS}/notes.txt", b"x")
    account.store.put(f"old/compacted/ds={DS}/part-2-c000.parquet", b"")
    monkeypatch.setenv("DEFAULT_COMPACTED_PREFIX", "old/compacted")
    answer = handler({"bucket": account.bucket.name, "ds": DS}, None)
    assert (answer["objectCount"], answer["shouldProcess"], answer["bytes"]) == (2, True, 8)
    assert "no manifest" in answer["reason"]
    asked = handler({"bucket": account.bucket.name, "ds": DS, "inputFingerprint": "ab"}, None)
    assert (asked["objectCount"], asked["shouldProcess"]) == (2, False)


def test_without_a_prefix_the_day_lies_at_the_root(account):
    assert handler({"bucket": account.bucket.name, "ds": DS}, None)["partitionPrefix"] == f"ds={DS}/"


@pytest.mark.parametrize(
    "event",
    [
        {"ds": DS},
        {"bucket": "b"},
        {"bucket": "b", "ds": "9 September"},
        {"bucket": "b", "ds": DS, "prefix": "a/../b"},
        {"bucket": "b/c", "ds": DS},
        {"bucket": "b", "ds": DS, "prefix": 7},
    ],
)
def test_an_event_without_a_place_is_a_value_error(event):
    with pytest.raises(ValueError, match=r"."):
        handler(event, None)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("ListObjectsV2", status=403, code="AccessDenied", times=9),
        Fault("ListObjectsV2", status=503, code="SlowDown", times=9),
        Fault("GetObject", status=403, code="AccessDenied", times=9),
    ],
    ids=["list denied", "slow down", "get denied"],
)
def test_a_failing_store_is_a_runtime_error(faulty_s3, monkeypatch, fault):
    bucket, wire = faulty_s3
    account = Account(bucket)
    account.land("AAPL")
    account.compact()
    monkeypatch.setattr(Retry, "pause", lambda self, attempt: None)
    wire.break_(fault)
    with pytest.raises(RuntimeError, match="Failed to inspect compaction output"):
        handler({"bucket": bucket.name, "prefix": "curated/market/prices/compacted", "ds": DS}, None)


def test_a_bucket_that_does_not_exist_is_a_runtime_error(account):
    with pytest.raises(RuntimeError, match="Failed to inspect compaction output"):
        handler({"bucket": "no-such-bucket-here", "ds": DS}, None)
