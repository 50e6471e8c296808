"""What the tests with Spark share; the one session is in tests/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from briquette.cli.demo import write_raw_day
from briquette.executors.spark import SparkExecutor
from tests.needs import needs_java

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
def executor(spark) -> SparkExecutor:
    return SparkExecutor(spark.sparkContext)


@pytest.fixture(scope="session")
def raw_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw root with one day of 600 symbols."""
    root = tmp_path_factory.mktemp("raw-day")
    write_raw_day(root, 600)
    return root
