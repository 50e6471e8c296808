"""``briquette backfill`` over a wire on which one request in twenty goes wrong: every day, every row."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from briquette.datasets.read import open_dataset, read_tables
from briquette.datasets.verify import verify
from briquette.storage.interface import Store, open_store
from tests.faults import Fault, FaultyWire
from tests.reliability.test_fault_matrix import FAULTS
from tests.servers import Bucket

SHARE, SEED = 0.05, 20_250_909
# All that a store or a wire does now and then. A denial or a precondition that lies is no fault of a moment.
NOW_AND_THEN = tuple(name for name in FAULTS if name not in ("403", "404", "412"))
FIRST_DAY = date(2024, 1, 1)
NAMES = ("--domain", "market", "--table", "prices", "--interval", "1d", "--data-source", "yahoo")
RAW = "raw/market/prices/interval=1d/data_source=yahoo"
CURATED = "curated/market/prices/compacted"
COLUMNS = ("symbol", "timestamp", "adjusted_close", "open", "high", "low", "close", "volume")

# The command as it is, but that nobody waits a minute for an answer; with `pieces`, small days travel as
# large ones do: row groups staged, parts uploaded and copied together.
COMMAND = """
import functools, sys
from briquette.storage.s3 import clients, multipart, store
clients.READ_SECONDS = 0.5
if sys.argv.pop(1) == "pieces":
    import briquette.planning.plan
    briquette.planning.plan.INLINE_SPLIT_BYTES = 1
    store.MIN_COPY_BYTES = multipart.MIN_COPY_BYTES = 100
    multipart.plan_uploads = functools.partial(
        multipart.plan_uploads, min_bytes=100, upload_bytes=1_000, copy_bytes=100_000
    )
from briquette.cli import main
main.main()
"""


def days(count: int) -> list[str]:
    return [(FIRST_DAY + timedelta(n)).isoformat() for n in range(count)]


def land(store: Store, ds: str) -> list[tuple[Any, ...]]:
    """Raw objects of one day: symbols of different lengths and formats; returns their rows in order."""
    drawn, rows = random.Random(ds), []
    year, month, day = ds.split("-")
    for i in range(drawn.randint(1, 4)):
        mine = []
        for minute in range(drawn.randint(1, 40)):
            stamp = f"{ds}T00:{minute:02d}:00"
            mine.append((f"S{i}", stamp, *(round(drawn.uniform(1, 500), 4) for _ in COLUMNS[2:])))
        if i % 2:
            body = ",".join(COLUMNS) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in mine)
        else:
            body = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in mine)
        name = f"S{i}.{'csv' if i % 2 else 'json'}"
        store.put(f"{RAW}/year={year}/month={month}/day={day}/{name}", body.encode())
        rows += mine
    return rows


def published(url: str) -> list[tuple[Any, ...]]:
    """The rows of a day as they were written, times as text again."""
    rows: list[tuple[Any, ...]] = []
    for table in read_tables(open_dataset(url)):
        columns = [table[name] for name in COLUMNS]
        columns[1] = pc.strftime(columns[1].cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%S")
        rows += zip(*(c.to_pylist() for c in columns), strict=True)
    return rows


class Trouble:
    """Which request goes wrong, and how: drawn from what is asked and how often, not from who comes first."""

    def __init__(self, waiting: threading.Event) -> None:
        self._waiting, self._asked, self._lock = waiting, Counter[tuple[str, str]](), threading.Lock()
        self.fired: Counter[str] = Counter()

    def __call__(self, operation: str, path: str) -> Fault | None:
        place = re.sub(r"[0-9a-f-]{16,}|uploadId=[^&]*", "", path)
        with self._lock:
            self._asked[operation, place] += 1
            drawn = random.Random(f"{SEED} {operation} {place} {self._asked[operation, place]}")
            if drawn.random() >= SHARE:
                return None
            name = drawn.choice(NOW_AND_THEN)
            self.fired[name] += 1
        how = dict(FAULTS[name])
        if how.pop("hang", False):
            how["hang"] = self._waiting
        return Fault(operation, **how)


def run_backfill(bucket: Bucket, wanted: list[str], travel: str) -> tuple[int, dict[str, Any]]:
    """One ``briquette backfill`` in a process of its own, as a person starts it."""
    places = ("--raw", f"{bucket.url}/raw", "--curated", f"{bucket.url}/curated")
    span = ("--start", wanted[0], "--end", wanted[-1], "--days-at-once", "4")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, travel, "backfill", *NAMES, *places, *span, "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout, done.stderr[-3_000:]
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def waiting() -> Iterator[threading.Event]:
    """What requests that hang wait for, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("count", "travel"), [(12, "pieces"), (100, "whole")])
def test_a_backfill_with_one_request_in_twenty_gone_wrong_ends_with_every_row(
    faulty_s3: tuple[Bucket, FaultyWire], waiting: threading.Event, count: int, travel: str
) -> None:
    """A listing has no checksum, so a day may fail and say what to do; whoever does it gets every day."""
    bucket, wire = faulty_s3
    store, wanted = open_store(bucket.url), days(count)
    with ThreadPoolExecutor(8) as threads:
        expected = dict(zip(wanted, threads.map(lambda ds: land(store, ds), wanted), strict=True))
    wire.break_()
    trouble = Trouble(waiting)
    wire.draw = trouble
    rounds: list[dict[str, Any]] = []
    code = 1
    while code:
        assert len(rounds) < 3, [d for d in rounds[-1]["partitions"] if d["status"] == "FAILED"]
        code, said = run_backfill(bucket, wanted, travel)
        assert code in (0, 1, 4), said
        rounds.append(said)
    asked = len(wire.operations)
    wire.break_()
    assert [d["ds"] for d in rounds[-1]["partitions"]] == wanted
    assert rounds[0]["stats"]["failed"] <= count / 10
    assert 0.03 < sum(trouble.fired.values()) / asked < 0.07
    for n, ds in enumerate(wanted):
        url = f"{bucket.url}/{CURATED}/ds={ds}"
        assert published(url) == expected[ds], ds
        assert verify(url, deep=n % 25 == 0).problems == ()
    keys = [stored.key for stored in store.list("curated/")]
    assert [
        k for k in keys if not re.search(r"/ds=[0-9-]{10}/(part-00000\.parquet|_manifest\.json)$", k)
    ] == []
    client = boto3.client("s3", endpoint_url=bucket.endpoint)
    assert client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []) == []
