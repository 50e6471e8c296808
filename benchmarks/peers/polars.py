"""Polars: scan with a declared schema, sink to Parquet in the streaming engine, as its guide shows."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import columns, run_as_peer


def work(source: str, target: str, form: str) -> None:
    """Stream all files into one Parquet file."""
    import polars as pl

    types: dict[str, Any] = {"symbol": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    schema = {name: types.get(name, pl.Float64) for name in columns(form)}
    scan: Any = pl.scan_csv if form == "csv" else pl.scan_ndjson
    scan(f"{source}/*", schema=schema).sink_parquet(
        f"{target}/part.parquet", compression="zstd", engine="streaming"
    )


if __name__ == "__main__":
    run_as_peer(work)
