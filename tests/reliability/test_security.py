"""What strangers may have written, and what nobody may read: paths, secrets, log lines, stored code."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import NotFound, PlanError, UnsafePath, UsageError, VerificationFailed
from briquette.executors import dask as dask_executor
from briquette.model import Location
from briquette.planning.target import resolve_target
from briquette.serialization import canonical_json, plan_from_bytes, plan_id, plan_to_bytes
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url
from tests.reliability.small_days import SCHEMA, compact_day, published_rows, visible_keys, write_day
from tests.servers import Bucket

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for package in ("engine", "glue_wrappers", "orchestration")
    for path in (ROOT / package).rglob("*.py")
)
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


# -- nothing stored is ever run ------------------------------------------------------------------


def unpickling(source: str) -> list[str]:
    """What in a module could turn stored bytes into running code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in FORBIDDEN_CALLS:
                found.append(called.id)
            elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                name = f"{called.value.id}.{called.attr}"
                if name in ("yaml.load", "yaml.unsafe_load", "np.load", "numpy.load", "pd.read_pickle"):
                    found.append(name)
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_unpickles_or_evaluates(path: Path) -> None:
    assert unpickling(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "eval('1')", "exec(x)", "import yaml\nyaml.load(x)"],
)
def test_the_check_knows_the_ways(source: str) -> None:
    assert unpickling(source)


# -- plans and manifests from strangers ----------------------------------------------------------

ESCAPES = ["../other/x.json", "/etc/passwd", "raw/../../x", "raw/./x", "raw/x\x00y"]


def forged_plan(url: str, **changes: object) -> bytes:
    """A plan with a true content hash whose author means ill."""
    target = resolve_target(input_url=f"{url}/raw", output_url=f"{url}/out")
    plan = make_plan(target, resolve_spec(target, SCHEMA, {}), RunOptions())
    plan = dataclasses.replace(plan, **changes)  # type: ignore[arg-type]
    return plan_to_bytes(dataclasses.replace(plan, plan_id=plan_id(plan)))


@pytest.mark.parametrize("key", ESCAPES)
def test_a_plan_that_reads_outside_its_raw_prefix_is_refused(store_url: str, key: str) -> None:
    write_day(open_store(store_url), "raw/")
    target = resolve_target(input_url=f"{store_url}/raw", output_url=f"{store_url}/out")
    plan = make_plan(target, resolve_spec(target, SCHEMA, {}), RunOptions())
    listing = (dataclasses.replace(plan.listing[0], key=key), *plan.listing[1:])
    with pytest.raises((PlanError, UnsafePath)):
        run_plan(plan_from_bytes(forged_plan(store_url, listing=listing)), RunOptions(executor="serial"))
    assert [k for k in visible_keys(store_url) if k.startswith("out/")] == []


@pytest.mark.parametrize("prefix", ["../", "a/../../", "/abs/", "x//y/", "no-slash", "x\x00/"])
@pytest.mark.parametrize("side", ["raw", "output"])
def test_a_plan_whose_places_leave_their_store_is_refused(store_url: str, side: str, prefix: str) -> None:
    write_day(open_store(store_url), "raw/")
    place = dataclasses.replace(parse_url(f"{store_url}/raw"), prefix=prefix)
    with pytest.raises((PlanError, UnsafePath)):
        plan_from_bytes(forged_plan(store_url, **{side: place}))


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254", "s3://", "gopher://x", "", "s3://a/b", "memory://a/b"]
)
@pytest.mark.parametrize("side", ["raw", "output"])
def test_a_plan_names_stores_by_their_roots_only(store_url: str, side: str, url: str) -> None:
    write_day(open_store(store_url), "raw/")
    with pytest.raises((PlanError, UnsafePath, UsageError)):
        plan_from_bytes(forged_plan(store_url, **{side: Location(url, "x/")}))


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/etc/passwd", "s3://other/part-00000.parquet", "a/../b"]
)
def test_a_manifest_whose_files_leave_its_place_is_never_followed(tmp_path: Path, key: str) -> None:
    url = str(tmp_path)
    write_day(open_store(url), "raw/")
    compact_day(url)
    path = tmp_path / "out" / "_manifest.json"
    document = json.loads(path.read_bytes())
    document["manifest"]["files"][0]["key"] = key
    path.write_bytes(canonical_json(document))
    with pytest.raises((VerificationFailed, UnsafePath, NotFound)):
        published_rows(f"{url}/out")


# -- secrets -------------------------------------------------------------------------------------

SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEJr//////////wEaDEXAMPLETOKEN"


def run_command(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "briquette", *words],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_output_of_a_run_holds_a_credential(s3: Bucket, tmp_path: Path) -> None:
    """Standard output, errors, plan, manifest, rejects, reports; of runs that end well and that fail."""
    store = open_store(s3.url)
    write_day(store, "raw/")
    store.put("raw/bad.json", b'{"symbol": 1.5, "n": "x"}\n')
    keys = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    schema = tmp_path / "s.toml"
    schema.write_text('[columns]\nsymbol = "string not null"\nn = "int64"\n')
    places = ("--input", f"{s3.url}/raw", "--output", f"{s3.url}/out", "--schema", str(schema))
    plan = tmp_path / "plan.json"
    runs = [
        run_command("plan", *places, "--out", str(plan), **keys),
        run_command("compact", *places, "--json", **keys),
        run_command("verify", f"{s3.url}/out", "--deep", **keys),
        run_command("inspect", f"{s3.url}/out", "--json", **keys),
        run_command("doctor", "--curated", f"{s3.url}/out", "--json", **keys),
        run_command("compact", "--input", "s3://no-such-bucket-x/raw", "--output", f"{s3.url}/o2", **keys),
        run_command("compact", *places, **keys, AWS_ENDPOINT_URL="http://127.0.0.1:9"),
    ]
    assert [r.returncode for r in runs[:2]] == [0, 0], runs[1].stderr
    assert runs[5].returncode != 0
    texts = [r.stdout + r.stderr for r in runs] + [plan.read_text()]
    texts += [store.get(s.key).decode("utf-8", "replace") for s in store.list("out/")]
    assert len(texts) > 10
    for text in texts:
        assert SECRET not in text
        assert TOKEN not in text


@pytest.mark.parametrize("url", ["s3://AKIAX:hunter2@bucket/raw", "s3://key:hunter2@bucket"])
def test_a_url_with_a_credential_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    done = run_command("compact", "--input", url, "--output", str(tmp_path), "--json")
    assert done.returncode == 2
    assert "hunter2" not in done.stdout + done.stderr
    assert "credential" in done.stderr


# -- log lines -----------------------------------------------------------------------------------


def test_a_key_cannot_forge_a_log_line(s3: Bucket) -> None:
    name = "x\nerror: all is well\x1b[2J.json"
    import boto3

    boto3.client("s3").put_object(Bucket=s3.name, Key=f"raw/{name}", Body=b"\x1f\x8bbroken")
    done = run_command("compact", "--input", f"{s3.url}/raw", "--output", f"{s3.url}/out")
    assert done.returncode != 0
    assert "\x1b" not in done.stderr
    assert not any(line.startswith("error: all is well") for line in done.stderr.splitlines())


# -- Dask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "warns"),
    [
        ("tcp://10.0.0.7:8786", True),
        ("10.0.0.7:8786", True),
        ("ws://dask.example:8786", True),
        ("tls://10.0.0.7:8786", False),
        ("wss://dask.example:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("inproc://x", False),
    ],
)
def test_a_remote_scheduler_without_tls_is_warned_of(
    address: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    dask_executor.warn_without_tls(address)
    assert bool(caplog.records) is warns
    assert all("tls://" in r.getMessage() for r in caplog.records)
