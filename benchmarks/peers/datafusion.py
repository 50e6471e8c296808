"""DataFusion: register the folder with its schema, one COPY to Parquet, as its SQL guide shows."""

from __future__ import annotations

from benchmarks.peers import columns, run_as_peer
from benchmarks.peers.arrow import declared


def work(source: str, target: str, form: str) -> None:
    """Copy all files into one Parquet file."""
    from datafusion import SessionContext

    context, schema = SessionContext(), declared(columns(form))
    if form == "csv":
        context.register_csv("raw", f"{source}/", schema=schema)
    else:
        packed = "gzip" if form.endswith(".gz") else None
        context.register_json(
            "raw", f"{source}/", schema=schema, file_extension=f".{form}", file_compression_type=packed
        )
    copy = f"COPY raw TO '{target}/part.parquet' STORED AS PARQUET OPTIONS ('format.compression' 'zstd(3)')"
    context.sql(copy).collect()


if __name__ == "__main__":
    run_as_peer(work)
