"""Spark on this machine alone: what every session of the tests is told, and Glue scripts as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE

ROOT = Path(__file__).resolve().parents[2]
RAW_PREFIX = f"{DOMAIN}/{TABLE}/interval={INTERVAL}/data_source={DATA_SOURCE}/"
COMPACTED_PREFIX = f"{DOMAIN}/{TABLE}/compacted"
DAY = f"year={DS[:4]}/month={DS[5:7]}/day={DS[8:]}"
OUTPUT = f"{COMPACTED_PREFIX}/ds={DS}"

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


def environment() -> dict[str, str]:
    """The variables under which Spark's workers run this Python and find this checkout, on loopback."""
    return {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # A JVM of a test lives for seconds: compiling its code twice does not pay within them.
        "SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }


def glue_arguments(raw: object, curated: object, **others: object) -> list[str]:
    """The command line of a compaction as Step Functions passes it; None leaves a name out."""
    words = {
        "JOB_NAME": "test-daily-prices-compaction",
        "raw_bucket": raw,
        "raw_prefix": RAW_PREFIX,
        "compacted_bucket": curated,
        "compacted_prefix": COMPACTED_PREFIX,
        "ds": DS,
        "file_type": "json",
        "codec": "zstd",
        "target_file_mb": "256",
        "interval": INTERVAL,
        "data_source": DATA_SOURCE,
        **others,
    }
    return [word for name, value in words.items() if value is not None for word in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Ended:
    """How a script ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The result in JSON, the last line of the output."""
        return json.loads(self.out.splitlines()[-1])


def run_python(
    command: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Ended:
    """A Python program in a process of its own, away from this checkout."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
    done = subprocess.run(
        [python, *command],
        cwd=folder,
        env={**inherited, **environment(), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def spark_conf(folder: Path, **settings: str) -> dict[str, str]:
    """A spark-defaults.conf as an operator would write it, and the variable that points Spark to it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = {**SETTINGS, "spark.master": "local[1]", **settings}
    text = "".join(f"{name} {value}\n" for name, value in lines.items())
    (folder / "spark-defaults.conf").write_text(text)
    return {"SPARK_CONF_DIR": str(folder)}
