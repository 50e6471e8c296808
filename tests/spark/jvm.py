"""A JVM that Spark programs use one after another: each has its own Python process and its own context.

It is started as PySpark starts it, and found as programs under spark-submit find theirs, by
``PYSPARK_GATEWAY_PORT``. A JVM's start takes seconds of every core; a second context, a fraction of one.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyspark

START_SECONDS = 120.0
SUBMIT = Path(pyspark.__file__).parent / "bin" / "spark-submit"


@dataclass(frozen=True, slots=True)
class Jvm:
    """Where a running JVM listens."""

    port: int
    secret: str

    @property
    def variables(self) -> dict[str, str]:
        """What a program's environment says, so that it uses this JVM."""
        return {"PYSPARK_GATEWAY_PORT": str(self.port), "PYSPARK_GATEWAY_SECRET": self.secret}

    def clear(self) -> None:
        """Stop the context that the last program left; a JVM has one at a time."""
        from py4j.clientserver import ClientServer, JavaParameters, PythonParameters

        client = ClientServer(
            java_parameters=JavaParameters(port=self.port, auth_token=self.secret),
            python_parameters=PythonParameters(port=0, eager_load=False),
        )
        try:
            spark = client.jvm.org.apache.spark
            active = getattr(getattr(spark, "SparkContext$"), "MODULE$").getActive()
            if active.isDefined():
                active.get().stop()
            spark.sql.classic.SparkSession.clearDefaultSession()
        finally:
            client.close()


@contextlib.contextmanager
def jvm(folder: Path, environment: Mapping[str, str]) -> Iterator[Jvm]:
    """A JVM that ends with the block, or with this process: its standard input closes then."""
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "gateway"
    with (folder / "jvm.log").open("wb") as log:
        process = subprocess.Popen(
            [str(SUBMIT), "pyspark-shell"],
            cwd=folder,
            env={**environment, "SPARK_CONNECT_MODE": "0", "_PYSPARK_DRIVER_CONN_INFO_PATH": str(told)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not told.exists():  # it appears by a rename, whole
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the JVM did not start: {(folder / 'jvm.log').read_text()[-2000:]}")
            time.sleep(0.05)
        said = told.read_bytes()
        yield Jvm(int.from_bytes(said[:4], "big"), said[8:].decode())
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        process.wait()
