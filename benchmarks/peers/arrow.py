"""pyarrow.dataset: open the folder with a declared schema and write it as one dataset, as its guide shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.peers import Task, run_as_peer, s3_settings
from benchmarks.shapes import NUMBER, NUMBERS_LIST, QUOTE, QUOTE_FIELDS, TEXT, TIME


def declared(columns: Iterable[tuple[str, str]]) -> Any:
    """The columns as an Arrow schema, in that order."""
    import pyarrow as pa

    types = {TEXT: pa.string(), TIME: pa.timestamp("us", "UTC"), NUMBER: pa.float64()}
    types[NUMBERS_LIST] = pa.list_(pa.float64())
    types[QUOTE] = pa.struct([(name, types[kind]) for name, kind in QUOTE_FIELDS])
    return pa.schema([(name, types[kind]) for name, kind in columns])


def filesystem(task: Task) -> tuple[Any, str, str]:
    """Pyarrow's filesystem for a task, and source and target as it names them."""
    from pyarrow import fs

    if not task.on_s3:
        return fs.LocalFileSystem(), task.source, task.target
    endpoint, key, secret = s3_settings()
    scheme, _, host = endpoint.partition("://")
    store = fs.S3FileSystem(
        access_key=key, secret_key=secret, endpoint_override=host, scheme=scheme, region="us-east-1"
    )
    return store, task.source.removeprefix("s3://"), task.target.removeprefix("s3://")


def work(task: Task) -> None:
    """Write all files as one dataset."""
    import pyarrow.dataset as ds

    store, source, target = filesystem(task)
    if task.form == "mixed":  # one format a dataset: the files of each are named
        from pyarrow import fs

        found = [item.path for item in store.get_file_info(fs.FileSelector(source))]
        places: Any = {form: [path for path in found if path.endswith(f".{form}")] for form in task.forms}
    else:
        places = {task.form: source}
    raw = [
        ds.dataset(
            place,
            schema=declared(task.shape.ordered(form)),
            format="csv" if form == "csv" else "json",
            filesystem=store,
        )
        for form, place in places.items()
    ]
    order = declared(task.shape.columns)
    zstd = ds.ParquetFileFormat().make_write_options(compression="zstd")
    ds.write_dataset(
        raw[0] if len(raw) == 1 else ds.dataset([one.replace_schema(order) for one in raw]),
        target,
        format="parquet",
        filesystem=store,
        file_options=zstd,
        existing_data_behavior="overwrite_or_ignore",
    )


if __name__ == "__main__":
    run_as_peer(work)
