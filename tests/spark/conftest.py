"""One Spark session for all tests of this folder: a JVM takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.demo import write_raw_day
from glue_wrappers.spark_executor import SparkExecutor
from tests.needs import needs_java
from tests.spark.local import SETTINGS, environment

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here wants Java; what uses the session runs in one worker of pytest-xdist, to share it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.spark)
            item.add_marker(needs_java())
            if "spark" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group("spark"))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A session with two threads that tries a failed task once more."""
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        builder = SparkSession.builder.master("local[2,2]").appName("tests")
        for name, value in SETTINGS.items():
            builder = builder.config(name, value)
        warehouse = tmp_path_factory.mktemp("spark-warehouse")
        session = builder.config("spark.sql.warehouse.dir", str(warehouse)).getOrCreate()
        session.sparkContext.setLogLevel("OFF")  # tasks fail on purpose
        yield session
        session.stop()


@pytest.fixture(scope="session")
def executor(spark) -> SparkExecutor:
    return SparkExecutor(spark.sparkContext)


@pytest.fixture(scope="session")
def raw_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw root with one day of 600 symbols."""
    root = tmp_path_factory.mktemp("raw-day")
    write_raw_day(root, 600)
    return root
