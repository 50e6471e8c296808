"""Plain dask.dataframe, as people write it: read the files, repartition, to_parquet; its default scheduler.

Only the options without which its rows would be wrong are given: pandas parses floats to within a last bit
unless asked for exact ones, and takes a column for integers when its first file has no fraction.
"""

from __future__ import annotations

from glob import glob

from benchmarks.peers import run_as_peer


def work(source: str, target: str, form: str) -> None:
    """Read one partition for each file and write four."""
    import dask.dataframe as dd

    files = sorted(glob(f"{source}/*"))
    if form == "csv":
        frame = dd.read_csv(
            files,
            parse_dates=["timestamp"],
            blocksize=None,
            assume_missing=True,
            float_precision="round_trip",
        )
    else:
        frame = dd.read_json(files, lines=True, convert_dates=["timestamp"], precise_float=True)
    frame.repartition(npartitions=4).to_parquet(target, compression="zstd", write_index=False)


if __name__ == "__main__":
    run_as_peer(work)
