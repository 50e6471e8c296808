"""pyarrow.dataset: open the folder with a declared schema and write it as one dataset, as its guide shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.peers import columns, run_as_peer


def declared(names: Iterable[str]) -> Any:
    """The price columns as an Arrow schema, in that order."""
    import pyarrow as pa

    types = {"symbol": pa.string(), "timestamp": pa.timestamp("us", "UTC")}
    return pa.schema([(name, types.get(name, pa.float64())) for name in names])


def work(source: str, target: str, form: str) -> None:
    """Write all files as one dataset."""
    import pyarrow.dataset as ds

    raw = ds.dataset(source, schema=declared(columns(form)), format="csv" if form == "csv" else "json")
    zstd = ds.ParquetFileFormat().make_write_options(compression="zstd")
    ds.write_dataset(
        raw, target, format="parquet", file_options=zstd, existing_data_behavior="overwrite_or_ignore"
    )


if __name__ == "__main__":
    run_as_peer(work)
