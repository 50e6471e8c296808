"""The baseline: a plain PySpark compaction job as Glue runs it today, on all cores of this machine.

It is meant to be ordinary, not tuned: infer the schema, count, repartition, overwrite. Glue would add its own
start-up of about a minute to this.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import Task, run_as_peer, s3_settings

JARS = Path(sys.prefix) / "share" / "sagemaker-pyspark-1.4.5" / "sagemaker_pyspark" / "jars"
S3A_JARS = ("hadoop-aws-3.3.1.jar", "aws-java-sdk-bundle-1.11.901.jar")
# Hadoop 3.4 (Spark 4) writes its defaults as "60s", which the S3A of these jars does not read.
S3A = {
    "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
    "path.style.access": "true",
    "connection.ssl.enabled": "false",
    "connection.timeout": "200000",
    "connection.establish.timeout": "5000",
    "threads.keepalivetime": "60",
    "multipart.purge.age": "86400",
    "connection.ttl": "-1",
    "connection.idle.time": "60000",
    "connection.acquisition.timeout": "60000",
    "retry.interval": "500ms",
}


def work(task: Task) -> None:
    """Count all records, then write them as four files."""
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    builder = builder.master("local[*]").appName("raw_to_parquet_compaction")
    settings = {
        "spark.driver.memory": "6g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.compression.codec": "zstd",
    }
    for name, value in (settings | (_s3a() if task.on_s3 else {})).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    source, target = (url.replace("s3://", "s3a://") for url in (task.source, task.target))
    frames = []
    for form in task.forms:
        place = f"{source}/*.{form}" if task.form == "mixed" else f"{source}/"
        reader = session.read.option("header", "true").option("inferSchema", "true")
        frames.append(reader.csv(place) if form == "csv" else session.read.json(place))
    frame = frames[0]
    for other in frames[1:]:
        frame = frame.unionByName(other)
    if frame.count():
        frame.repartition(4).write.mode("overwrite").option("compression", "zstd").parquet(target)
    session.stop()


def _s3a() -> dict[str, str]:
    if not JARS.exists():
        sys.exit("the S3A jars are not installed: tests/spark/installs.py puts them below the environment")
    endpoint, key, secret = s3_settings()
    own = {"endpoint": endpoint, "access.key": key, "secret.key": secret}
    found = {f"spark.hadoop.fs.s3a.{name}": value for name, value in (S3A | own).items()}
    return found | {"spark.driver.extraClassPath": ":".join(str(JARS / name) for name in S3A_JARS)}


if __name__ == "__main__":
    run_as_peer(work)
