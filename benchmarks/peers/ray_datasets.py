"""Ray Data: read_json (pyarrow) or read_csv on a local Ray, write_parquet, as its guide on files shows."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Task, run_as_peer
from benchmarks.peers.arrow import declared, filesystem


def work(task: Task) -> None:
    """Read all files as blocks and write each as a Parquet file."""
    import pyarrow.csv as pv
    import pyarrow.json as pj
    import ray

    ray.init(log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    store, source, target = filesystem(task)
    read: Any = None
    for form in task.forms:
        schema = declared(task.shape.ordered(form))
        more: dict[str, Any] = {"filesystem": store, "file_extensions": [form]}
        if form == "csv":
            types = pv.ConvertOptions(column_types=schema)
            one = ray.data.read_csv(source, convert_options=types, **more)
        else:
            types = pj.ParseOptions(explicit_schema=schema)
            one = ray.data.read_json(source, parse_options=types, **more)
        one = one.select_columns([name for name, _ in task.shape.columns])
        read = one if read is None else read.union(one)
    read.write_parquet(target, filesystem=store, compression="zstd")
    ray.shutdown()


if __name__ == "__main__":
    run_as_peer(work)
