"""What a test needs from the machine: `pytestmark = needs_java()`.

Where it is missing, a person's run skips with the reason and the remedy; CI fails while it collects, because
there a skipped check would read as a passed one.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest

JAVA_AT_LEAST = 17  # Spark 4 and every Glue runtime since 5.0


def needs_java() -> pytest.MarkDecorator:
    """PySpark tests: a Java runtime of version 17 or newer."""
    return _need(
        java_version() >= JAVA_AT_LEAST,
        f"a Java runtime >= {JAVA_AT_LEAST} (on Debian: apt-get install openjdk-17-jre-headless)",
    )


def needs_javac() -> pytest.MarkDecorator:
    """Tests that compile Java: stand-ins for what only Glue has."""
    return _need(
        shutil.which("javac") is not None,
        "a Java compiler (on Debian: apt-get install openjdk-17-jdk-headless)",
    )


def needs_node() -> pytest.MarkDecorator:
    """CDK tests: jsii runs the construct library on Node.js."""
    return _need(shutil.which("node") is not None, "Node.js (on Debian: apt-get install nodejs)")


def needs_openssl() -> pytest.MarkDecorator:
    """Tests that speak TLS: certificates of their own authority."""
    return _need(shutil.which("openssl") is not None, "openssl (on Debian: apt-get install openssl)")


def needs_cores(count: int) -> pytest.MarkDecorator:
    """Tests that compare one core with several."""
    return _need((os.cpu_count() or 1) >= count, f"at least {count} cores")


@functools.cache
def java_version() -> int:
    """Feature version of the Java runtime that PySpark would start; 0 where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not java or not os.access(java, os.X_OK):
        return 0
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    quoted = told.partition('"')[2].partition('"')[0]  # openjdk version "17.0.15" 2025-04-15
    first = quoted.partition(".")[0]
    return int(first) if first.isdigit() else 0


def _need(found: bool, what: str) -> pytest.MarkDecorator:
    if not found and os.environ.get("CI"):
        raise RuntimeError(f"This test needs {what}. In CI that is an error: install it there.")
    return pytest.mark.skipif(not found, reason=f"needs {what}")
