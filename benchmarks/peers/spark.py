"""The baseline: a plain PySpark compaction job as Glue runs it today, on all cores of this machine.

It is meant to be ordinary, not tuned: infer the schema, count, repartition, overwrite. Glue would add its own
start-up of about a minute to this.
"""

from __future__ import annotations

from benchmarks.peers import run_as_peer


def work(source: str, target: str, form: str) -> None:
    """Count all records, then write them as four files."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[*]")
        .appName("raw_to_parquet_compaction")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .getOrCreate()
    )
    reader = session.read.option("header", "true").option("inferSchema", "true")
    frame = reader.csv(source) if form == "csv" else session.read.json(source)
    if frame.count():
        frame.repartition(4).write.mode("overwrite").option("compression", "zstd").parquet(target)
    session.stop()


if __name__ == "__main__":
    run_as_peer(work)
