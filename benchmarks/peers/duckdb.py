"""DuckDB: one COPY from read_json or read_csv with declared columns, as its guides on both show.

``maximum_object_size`` bounds the buffer that read_json takes for each file. Its default of 16 MB costs more
than all other work on thousands of small files; with 1 MB that is gone, so DuckDB gets it.
S3 needs its httpfs extension, which it downloads: without a network of its own it says so and fails.
"""

from __future__ import annotations

from benchmarks.peers import Task, run_as_peer, s3_settings
from benchmarks.shapes import NUMBER, NUMBERS_LIST, QUOTE, QUOTE_FIELDS, TEXT, TIME

TYPES = {TEXT: "VARCHAR", TIME: "TIMESTAMPTZ", NUMBER: "DOUBLE", NUMBERS_LIST: "DOUBLE[]"}
TYPES[QUOTE] = f"STRUCT({', '.join(f'{name} {TYPES[kind]}' for name, kind in QUOTE_FIELDS)})"


def work(task: Task) -> None:
    """Copy all files to one Parquet file."""
    import duckdb

    connection = duckdb.connect()
    if task.on_s3:
        endpoint, key, secret = s3_settings()
        connection.execute("INSTALL httpfs; LOAD httpfs")
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION 'us-east-1', USE_SSL false, "
            f"ENDPOINT '{endpoint.partition('://')[2]}', URL_STYLE 'path')"
        )
    selects = " UNION ALL BY NAME ".join(_select(task, form) for form in task.forms)
    connection.execute(f"COPY ({selects}) TO '{task.part}' (FORMAT parquet, COMPRESSION zstd)")


def _select(task: Task, form: str) -> str:
    declared = ", ".join(f"{name}: '{TYPES[kind]}'" for name, kind in task.shape.ordered(form))
    how = (
        "header = true" if form == "csv" else "format = 'newline_delimited', maximum_object_size = 1_000_000"
    )
    reader = "read_csv" if form == "csv" else "read_json"
    return f"SELECT * FROM {reader}('{task.glob(form)}', columns = {{{declared}}}, {how})"  # noqa: S608


if __name__ == "__main__":
    run_as_peer(work)
