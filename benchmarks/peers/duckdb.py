"""DuckDB: one COPY from read_json or read_csv with declared columns, as its guides on both show.

``maximum_object_size`` bounds the buffer that read_json takes for each file. Its default of 16 MB costs more
than all other work on thousands of small files; with 1 MB that is gone, so DuckDB gets it.
"""

from __future__ import annotations

from benchmarks.peers import columns, run_as_peer

TYPES = {"symbol": "VARCHAR", "timestamp": "TIMESTAMPTZ"}


def work(source: str, target: str, form: str) -> None:
    """Copy all files to one Parquet file."""
    import duckdb

    declared = ", ".join(f"{name}: '{TYPES.get(name, 'DOUBLE')}'" for name in columns(form))
    how = (
        "header = true" if form == "csv" else "format = 'newline_delimited', maximum_object_size = 1_000_000"
    )
    reader = "read_csv" if form == "csv" else "read_json"
    duckdb.connect().execute(
        f"COPY (SELECT * FROM {reader}('{source}/*', columns = {{{declared}}}, {how})) "  # noqa: S608
        f"TO '{target}/part.parquet' (FORMAT parquet, COMPRESSION zstd)"
    )


if __name__ == "__main__":
    run_as_peer(work)
