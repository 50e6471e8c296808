"""The job between two buckets, and Spark's own reader (s3a) on what it published there."""

from __future__ import annotations

import io
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette.storage.opening import open_store
from tests.servers import Bucket, new_bucket
from tests.spark.installs import s3a_jars
from tests.spark.local import DAY, OUTPUT, RAW_PREFIX, glue_arguments, run_python, spark_conf

# Hadoop 3.4 (Spark 4) writes its defaults as "60s", which S3A of Hadoop 3.3 does not read: numbers instead.
S3A = {
    "path.style.access": "true",
    "connection.ssl.enabled": "false",
    "change.detection.mode": "none",
    "attempts.maximum": "2",
    "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
    "connection.timeout": "200000",
    "connection.establish.timeout": "5000",
    "connection.ttl": "-1",
    "connection.acquisition.timeout": "60000",
    "connection.idle.time": "60000",
    "threads.keepalivetime": "60",
    "multipart.purge.age": "86400",
    "socket.send.buffer": "8192",
    "socket.recv.buffer": "8192",
    "assumed.role.session.duration": "1800",
    "retry.interval": "500ms",
}

SCRIPT = """
import json, sys
from pyspark.sql import SparkSession
from glue_wrappers import compaction_job
from briquette.aws.glue_runtime import run_script

run_script(compaction_job.ARGUMENTS, compaction_job.compact, sys.argv[2:])
published = SparkSession.builder.getOrCreate().read.parquet(sys.argv[1])
rows = published.selectExpr("symbol", "unix_micros(timestamp)", "close", "volume").collect()
print(json.dumps([list(row) for row in rows]))
"""


@pytest.mark.slow
def test_spark_reads_over_s3a_the_rows_that_the_job_published(s3: Bucket, raw_day, tmp_path) -> None:
    curated = new_bucket(s3.endpoint)
    day = raw_day / RAW_PREFIX / DAY
    raw = open_store(s3.url)
    for name in sorted(os.listdir(day))[:80]:
        raw.put(f"{RAW_PREFIX}{DAY}/{name}", (day / name).read_bytes())
    variables = spark_conf(
        tmp_path / "conf",
        **{
            "spark.driver.extraClassPath": s3a_jars(),
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3a.endpoint": s3.endpoint,
            "spark.hadoop.fs.s3a.access.key": "test",
            "spark.hadoop.fs.s3a.secret.key": "test",
            **{f"spark.hadoop.fs.s3a.{name}": value for name, value in S3A.items()},
        },
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    published = f"{curated.url}/{OUTPUT}"
    command = [str(tmp_path / "script.py"), published, *glue_arguments(s3.name, curated.name)]
    ended = run_python(command, folder=tmp_path, variables=variables, python=sys.executable)
    assert ended.code == 0, ended.err
    *_, result, seen = ended.out.splitlines()
    assert json.loads(result)["status"] == "PUBLISHED"
    table = pq.read_table(io.BytesIO(open_store(curated.url).get(f"{OUTPUT}/part-00000.parquet")))
    micros = table["timestamp"].cast(pa.int64()).to_pylist()
    values = (table["symbol"].to_pylist(), micros, table["close"].to_pylist(), table["volume"].to_pylist())
    rows = [list(row) for row in zip(*values, strict=True)]
    assert len(rows) > 70
    assert json.dumps(json.loads(seen)) == json.dumps(rows)
