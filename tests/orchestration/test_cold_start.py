"""What a Lambda loads: a fresh process, where whatever the package does not carry cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import pytest

from briquette.storage.interface import IF_ABSENT, if_match
from briquette.storage.s3.plain import PlainS3Store
from briquette.storage.s3.store import S3Store
from orchestration.handlers.preflight import handler as preflight_handler
from tests.orchestration.conftest import DS, EVENT

ROOT = Path(__file__).resolve().parents[2]
LIGHT = (
    *(
        f"orchestration.handlers.{n}"
        for n in ("preflight", "guard", "results", "catalog", "trigger", "alert")
    ),
    *("orchestration.handlers.settings", "briquette.aws.telemetry", "briquette.aws.environment"),
)
ABSENT = (
    *("aws_cdk", "click", "dask", "distributed", "fsspec", "llvmlite", "numba", "numpy", "obstore", "pandas"),
    *("pyarrow", "pydantic", "pyspark", "ray", "rich", "s3fs", "typer"),
)
# Only these folders are in the package; importing another is as wrong as importing a library.
PACKAGE = ("briquette", "orchestration.handlers", "orchestration")
BARRIER = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*ABSENT, "glue_wrappers", "benchmarks", "tests")!r}:
            raise ImportError(f"{{name}} is not in the Lambda's package")
sys.meta_path.insert(0, Absent())
"""


def run(code, *arguments):
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARRIER + code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


@pytest.mark.parametrize("name", LIGHT)
def test_importing_a_handler_loads_only_the_light_half(name, record_property):
    code = f"""
import time
before = set(sys.modules)
started = time.perf_counter()
import {name}
seconds = time.perf_counter() - started
print(seconds)
print(*(set(sys.modules) - before))
"""
    seconds, loaded = run(code)
    names = set(loaded.split())
    ours = {n for n in names if n.partition(".")[0] in PACKAGE}
    others = {n.partition(".")[0] for n in names - ours}
    assert not others & {*ABSENT, "boto3", "botocore"}
    assert others <= sys.stdlib_module_names, others - sys.stdlib_module_names
    assert not ours & {
        "briquette.compaction.run",
        "briquette.compaction.map_splits",
        "briquette.decoding.decode",
        "briquette.encoding.row_groups",
    }
    milliseconds = round(1_000 * float(seconds))
    record_property("import_milliseconds", milliseconds)
    sys.stdout.write(f"import {name}: {milliseconds} ms, {len(names)} modules\n")


HANDLE = """
import importlib, json
handler = importlib.import_module(f"orchestration.handlers.{sys.argv[1]}").handler
print(json.dumps(handler(json.loads(sys.argv[2]), None)))
heavy = {name.partition(".")[0] for name in sys.modules} & %r
print(*heavy)
"""


def handled(name, event):
    """What a handler answers in a process that has nothing but its package and boto3."""
    *_, answer, heavy = run(HANDLE % (set(ABSENT),), name, json.dumps(event))
    assert heavy == ""
    return json.loads(answer)


def test_a_day_is_planned_guarded_and_catalogued_without_any_heavy_library(account, monkeypatch):
    account.land("AAPL", "MSFT")
    event = {**EVENT, "ds": DS}
    answer = handled("preflight", event)
    assert answer["state"] == "NEW"
    assert answer == preflight_handler(event, None)  # the same plan as with pyarrow and obstore
    done = account.compact()
    assert answer["plan_uri"].endswith(f"/{done.plan_id}.json")
    assert handled("guard", answer["guard"])["shouldProcess"]
    account.transform()
    account.compute_indicators()
    assert handled("preflight", event)["error"]["code"] == "IDEMPOTENT_SKIP"
    expanded = handled("preflight", {**event, "expand": True})
    assert expanded["days"] == [{"ds": DS}]
    database = f"t_{uuid.uuid4().hex[:8]}"
    boto3.client("glue").create_database(DatabaseInput={"Name": database})
    monkeypatch.setenv("GLUE_DATABASE", database)
    told = handled("catalog", {"glue_args": expanded["catalogArgs"], "partitions": [DS]})
    assert (told["shouldRunCrawler"], told["registered"], len(told["tables"])) == (False, [DS], 3)


def test_a_key_that_starts_nothing_is_ignored_without_boto3():
    event = {"detail": {"bucket": {"name": "b"}, "object": {"key": "a.json", "etag": "e"}}}
    assert handled("trigger", event)["reason"] == "IGNORED_OBJECT"


# -- the plain store beside the fast one --------------------------------------------------------------


@pytest.fixture
def stores(s3):
    return PlainS3Store(s3.name), S3Store(s3.name)


def test_both_stores_see_the_same_objects(stores):
    plain, fast = stores
    for key in ("a/1.json", "a/2 b.json", "a/ü.json", "b/x"):
        plain.put(key, key.encode(), metadata={"mark": "m"})
    assert list(plain.list("a/")) == list(fast.list("a/"))
    assert plain.stat("a/1.json") == fast.stat("a/1.json")
    assert plain.stat("a/1.json").metadata["mark"] == fast.stat("a/1.json").metadata["mark"] == "m"
    assert plain.stat("a/none") is None
    assert plain.get("a/1.json", start=2, length=3) == fast.get("a/1.json", start=2, length=3) == b"1.j"
    assert plain.get("a/1.json", start=99) == fast.get("a/1.json", start=99) == b""


def test_the_plain_store_honours_conditions_with_the_same_errors(stores):
    from briquette.errors import NotFound, PreconditionFailed

    plain, _ = stores
    first = plain.put("k", b"1", IF_ABSENT)
    with pytest.raises(PreconditionFailed):
        plain.put("k", b"2", IF_ABSENT)
    second = plain.put("k", b"2", if_match(first.etag))
    with pytest.raises(PreconditionFailed):
        plain.put("k", b"3", if_match(first.etag))
    with pytest.raises(PreconditionFailed):
        plain.get("k", etag=first.etag)
    assert plain.get("k", etag=second.etag) == b"2"
    with pytest.raises(NotFound):
        plain.get("gone")
