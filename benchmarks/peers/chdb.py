"""chdb (ClickHouse in the process): INSERT INTO FUNCTION file(...) SELECT from file(...) with a structure.

``date_time_input_format`` is what its documentation gives for ISO-8601 text; without it the Z is refused.
"""

from __future__ import annotations

from benchmarks.peers import Task, run_as_peer, s3_settings
from benchmarks.shapes import NUMBER, NUMBERS_LIST, QUOTE, QUOTE_FIELDS, TEXT, TIME

TYPES = {
    TEXT: "String",
    TIME: "DateTime64(6, \\'UTC\\')",
    NUMBER: "Nullable(Float64)",
    NUMBERS_LIST: "Array(Float64)",
}
TYPES[QUOTE] = f"Tuple({', '.join(f'{name} {TYPES[kind]}' for name, kind in QUOTE_FIELDS)})"


def work(task: Task) -> None:
    """Copy all files to one Parquet file."""
    from importlib import import_module

    names = ", ".join(name for name, _ in task.shape.columns)
    selects = " UNION ALL ".join(f"SELECT {names} FROM {_source(task, form)}" for form in task.forms)  # noqa: S608
    import_module("chdb").query(
        f"INSERT INTO FUNCTION {_place(task, task.part)}, 'Parquet') {selects} "
        "SETTINGS date_time_input_format = 'best_effort', output_format_parquet_compression_method = 'zstd', "
        "output_format_parquet_string_as_string = 1"
    )


def _source(task: Task, form: str) -> str:
    declared = ", ".join(f"{name} {TYPES[kind]}" for name, kind in task.shape.ordered(form))
    reader = "CSVWithNames" if form == "csv" else "JSONEachRow"
    return f"{_place(task, task.glob(form))}, '{reader}', '{declared}')"


def _place(task: Task, url: str) -> str:
    if not task.on_s3:
        return f"file('{url}'"
    endpoint, key, secret = s3_settings()
    return f"s3('{url.replace('s3://', endpoint + '/')}', '{key}', '{secret}'"


if __name__ == "__main__":
    run_as_peer(work)
