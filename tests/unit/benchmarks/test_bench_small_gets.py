"""The command that measures small GETs gets the same bodies both ways, and says what it counted."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip("pycurl")


def test_both_ways_get_the_same_objects_by_as_many_requests() -> None:
    words = ("--scale", "0.002", "--rounds", "1", "--latency-ms", "0")
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.small_gets", *words], capture_output=True, text=True, check=True
    )
    assert re.findall(r"^(\w+): (\d+) objects, (\d+) GETs, CPU [\d.]+ s", told.stdout, re.MULTILINE) == [
        ("libcurl", "20", "20"),
        ("obstore", "20", "20"),
    ]
