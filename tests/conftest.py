"""Fixtures that more than one test file wants, and the report of what took long.

Stores of every kind, on real servers where it has one; the one Spark session of a run.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from briquette.storage.interface import Store
from briquette.storage.opening import open_store
from tests.faults import FaultyWire, faulty_wire
from tests.servers import Bucket, environment, ministack, new_bucket

# `make quick`: the same properties on fewer examples, and on the same ones in every run.
settings.register_profile("quick", max_examples=10, derandomize=True, database=None, deadline=None)


# Ray reads these once in a process, whichever test imports it first.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server, started by the first test that wants it; one for each xdist worker."""
    with ministack(tmp_path_factory.mktemp("s3-server")) as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket, and an environment in which every AWS client finds it."""
    _point_at(s3_server, monkeypatch)
    return new_bucket(s3_server)


@pytest.fixture
def faulty_s3(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bucket, FaultyWire]]:
    """A fresh bucket reached through a wire that behaves until ``wire.break_(…)``; it logs every request."""
    with faulty_wire(s3.endpoint) as wire:
        _point_at(wire.endpoint, monkeypatch)
        yield s3, wire


def _point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    if "s3fs" in sys.modules:  # it keeps its clients, which still ask the endpoint of the test before
        sys.modules["s3fs"].S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["disk", "s3", "memory"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place, of each kind of store in turn."""
    if request.param == "s3":
        return str(request.getfixturevalue("s3").url)
    if request.param == "memory":
        return f"memory://{tmp_path.name}-{abs(hash(tmp_path))}"
    root = tmp_path / "store"
    root.mkdir()
    return str(root)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store, of each kind in turn; what it was asked is in ``store.requests``."""
    opened = open_store(store_url)
    opened.requests.reset()
    yield opened
    opened.requests.before = None


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The one Spark session of a run, as a JVM takes seconds: two threads; a failed task runs once more."""
    from pyspark.sql import SparkSession

    from tests.spark.local import SETTINGS
    from tests.spark.local import environment as spark_environment

    with pytest.MonkeyPatch.context() as patch:
        for name, value in spark_environment().items():
            patch.setenv(name, value)
        builder = SparkSession.builder.master("local[2,2]").appName("tests")
        for name, value in SETTINGS.items():
            builder = builder.config(name, value)
        warehouse = tmp_path_factory.mktemp("spark-warehouse")
        session = builder.config("spark.sql.warehouse.dir", str(warehouse)).getOrCreate()
        session.sparkContext.setLogLevel("OFF")  # tasks fail on purpose
        yield session
        session.stop()


# -- what took long --------------------------------------------------------------------------------

LONG_SECONDS = 30.0  # set-up, call and teardown of a test that is not marked slow
TOOK: Counter[str] = Counter()  # seconds by test


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what each test took, on the process that hears all workers."""
    if "slow" not in report.keywords:
        TOOK[report.nodeid] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that took long. It fails nothing: how long a test takes is the machine's doing, too."""
    found = [(seconds, name) for name, seconds in TOOK.items() if seconds > LONG_SECONDS]
    if found:
        terminalreporter.section(f"over {LONG_SECONDS:.0f} s: make them smaller, or mark them slow")
        for seconds, name in sorted(found, reverse=True):
            terminalreporter.line(f"{seconds:6.1f} s  {name}")
