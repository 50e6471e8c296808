"""Plain dask.dataframe, as people write it: read the files, repartition, to_parquet; its default scheduler.

Only the options without which its rows would be wrong are given: pandas parses floats to within a last bit
unless asked for exact ones, and takes a column for integers when its first file has no fraction.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Task, run_as_peer


def work(task: Task) -> None:
    """Read one partition for each file and write four."""
    import dask.dataframe

    dd: Any = dask.dataframe
    frames = [_read(task, form) for form in task.forms]
    frame = frames[0] if len(frames) == 1 else dd.concat(frames)
    frame.repartition(npartitions=4).to_parquet(task.target, compression="zstd", write_index=False)


def _read(task: Task, form: str) -> Any:
    import dask.dataframe as dd
    from fsspec.core import url_to_fs

    store, _ = url_to_fs(task.source)
    files = [store.unstrip_protocol(path) for path in sorted(store.glob(task.glob(form)))]
    if form == "csv":
        return dd.read_csv(
            files,
            parse_dates=["timestamp"],
            blocksize=None,
            assume_missing=True,
            float_precision="round_trip",
        )
    return dd.read_json(files, lines=True, convert_dates=["timestamp"], precise_float=True)


if __name__ == "__main__":
    run_as_peer(work)
