"""Polars: scan with a declared schema, sink to Parquet in the streaming engine, as its guide shows.

Timestamps are scanned as text and parsed by their format. Declared as Datetime, scan_ndjson finds the
format anew for every value, and the whole takes five to eight times as long; so Polars gets the faster way.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Task, run_as_peer, s3_settings
from benchmarks.shapes import NUMBER, NUMBERS_LIST, QUOTE, QUOTE_FIELDS, TEXT, TIME


def work(task: Task) -> None:
    """Stream all files into one Parquet file."""
    import polars as pl

    types: dict[str, Any] = {TEXT: pl.String, TIME: pl.String, NUMBER: pl.Float64}
    types[NUMBERS_LIST] = pl.List(pl.Float64)
    types[QUOTE] = pl.Struct({name: types[kind] for name, kind in QUOTE_FIELDS})
    more: dict[str, Any] = {}
    if task.on_s3:
        endpoint, key, secret = s3_settings()
        more["storage_options"] = {
            "aws_endpoint_url": endpoint,
            "aws_access_key_id": key,
            "aws_secret_access_key": secret,
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    parsed = pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    scans = []
    for form in task.forms:
        scan: Any = pl.scan_csv if form == "csv" else pl.scan_ndjson
        schema = {name: types[kind] for name, kind in task.shape.ordered(form)}
        scans.append(scan(task.glob(form), schema=schema, **more))
    raw = (
        scans[0]
        if len(scans) == 1
        else pl.concat([s.select([name for name, _ in task.shape.columns]) for s in scans])
    )
    raw.with_columns(parsed).sink_parquet(task.part, compression="zstd", engine="streaming", **more)


if __name__ == "__main__":
    run_as_peer(work)
