"""DataFusion: register the folder with its schema, one COPY to Parquet, as its SQL guide shows."""

from __future__ import annotations

from benchmarks.peers import Task, run_as_peer, s3_settings
from benchmarks.peers.arrow import declared


def work(task: Task) -> None:
    """Copy all files into one Parquet file."""
    from datafusion import SessionContext

    context = SessionContext()
    if task.on_s3:
        from datafusion.object_store import AmazonS3

        endpoint, key, secret = s3_settings()
        for bucket in {url.split("/")[2] for url in (task.source, task.target)}:
            store = AmazonS3(
                bucket,
                region="us-east-1",
                access_key_id=key,
                secret_access_key=secret,
                endpoint=endpoint,
                allow_http=True,
            )
            context.register_object_store("s3://", store, bucket)
    for i, form in enumerate(task.forms):
        schema = declared(task.shape.ordered(form))
        if form == "csv":
            context.register_csv(f"raw{i}", f"{task.source}/", schema=schema)
        else:
            packed = "gzip" if form.endswith(".gz") else None
            context.register_json(
                f"raw{i}",
                f"{task.source}/",
                schema=schema,
                file_extension=f".{form}",
                file_compression_type=packed,
            )
    names = ", ".join(f'"{name}"' for name, _ in task.shape.columns)
    selects = " UNION ALL ".join(f"SELECT {names} FROM raw{i}" for i in range(len(task.forms)))  # noqa: S608
    copy = f"COPY ({selects}) TO '{task.part}' STORED AS PARQUET OPTIONS ('format.compression' 'zstd(3)')"
    context.sql(copy).collect()


if __name__ == "__main__":
    run_as_peer(work)
