"""Credentials and forged lines in what the commands of whole days print and publish."""

from __future__ import annotations

import json

import pytest

from briquette.storage.opening import open_store
from tests.reliability.test_security import SECRET, TOKEN, run_command
from tests.servers import Bucket

RECORD = {"symbol": "AAPL", "timestamp": "2025-09-09T00:00:00", "adjusted_close": 10.5, "open": 10.0}
RECORD |= {"high": 11.0, "low": 9.5, "close": 10.5, "volume": 1000.0}
DAY = ("--domain", "market", "--table", "prices", "--interval", "1d", "--data-source", "test")


def test_no_output_of_a_day_or_of_many_days_holds_a_credential(s3: Bucket) -> None:
    store = open_store(s3.url)
    prefix = "raw/market/prices/interval=1d/data_source=test/year=2025/month=09/day=09/"
    for i in range(3):
        store.put(f"{prefix}S{i}.json", json.dumps(RECORD | {"symbol": f"S{i}"}).encode() + b"\n")
    keys = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    roots = ("--raw", f"{s3.url}/raw", "--curated", f"{s3.url}/curated")
    days = ("--start", "2025-09-09", "--end", "2025-09-10")
    runs = [
        run_command("infer", "--input", f"{s3.url}/{prefix}", **keys),
        run_command("run", *roots, *DAY, "--ds", "2025-09-09", "--json", **keys),
        run_command("backfill", *roots, *DAY, *days, "--json", **keys),
        run_command("transform", *roots, *DAY, "--ds", "2025-09-09", **keys),
        run_command("indicators", *roots, *DAY, "--ds", "2025-09-09", **keys),
        run_command("config", "show", "--env", "dev", "--origin", **keys),
    ]
    assert runs[0].returncode == 0, runs[0].stderr
    assert "AAPL" not in runs[0].stderr
    texts = [r.stdout + r.stderr for r in runs]
    published = [store.get(s.key).decode("utf-8", "replace") for s in store.list("curated/")]
    assert published, runs[1].stderr
    for text in (*texts, *published):
        assert SECRET not in text
        assert TOKEN not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_key_forges_no_line_of_a_log_in_either_form(s3: Bucket, form: str) -> None:
    import boto3

    name = 'x\n{"level": "INFO", "message": "all is well"}\nERROR all is lost\x1b[2J.json'
    boto3.client("s3").put_object(Bucket=s3.name, Key=f"raw/{name}", Body=b"\x1f\x8bbroken")
    done = run_command(
        "compact", "--input", f"{s3.url}/raw", "--output", f"{s3.url}/out", "--log-format", form, "--json"
    )
    assert done.returncode == 5
    assert json.loads(done.stdout)["status"] == "FAILED", "one document, whatever the key holds"
    for stream in (done.stdout, done.stderr):
        assert "\x1b" not in stream
        assert not any(line.startswith(("ERROR", '{"level"')) for line in stream.splitlines())
