"""Daft: read_json or read_csv with a declared schema, write_parquet; as its guide shows."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Task, run_as_peer, s3_settings
from benchmarks.peers.arrow import declared
from benchmarks.shapes import TIME


def work(task: Task) -> None:
    """Read all files and write them as Daft sizes them."""
    import daft

    settings: Any = None
    if task.on_s3:
        endpoint, key, secret = s3_settings()
        s3 = daft.io.S3Config(
            endpoint_url=endpoint, key_id=key, access_key=secret, region_name="us-east-1", use_ssl=False
        )
        settings = daft.io.IOConfig(s3=s3)
    frame: Any = None
    names = [name for name, _ in task.shape.columns]
    for form in task.forms:
        arrow = declared(task.shape.ordered(form))
        # Declared as a timestamp, text would have to be in Daft's own format: scanned, then parsed.
        schema = {
            name: daft.DataType.string()
            if kind == TIME
            else daft.DataType.from_arrow_type(arrow.field(name).type)
            for name, kind in task.shape.ordered(form)
        }
        reader: Any = daft.read_csv if form == "csv" else daft.read_json
        read = reader(task.glob(form), infer_schema=False, schema=schema, io_config=settings).select(*names)
        frame = read if frame is None else frame.concat(read)
    parsed = daft.col("timestamp").to_datetime("%Y-%m-%dT%H:%M:%S%#z", timezone="UTC")
    frame.with_column("timestamp", parsed).write_parquet(task.target, compression="zstd", io_config=settings)


if __name__ == "__main__":
    run_as_peer(work)
