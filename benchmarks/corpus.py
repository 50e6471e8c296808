"""Raw days that can be made again: the same seed gives the same bytes on every machine.

    python -m benchmarks.corpus minute --scale 0.1 --dir FOLDER

Prices walk at random with four decimals, five per cent of ``adjusted_close`` are null, every fourth symbol
writes its volume as an integer and the others as a float, and the CSV files order their columns differently,
as the ingestion stage does. Only PCG64's raw words and IEEE arithmetic are used: NumPy keeps those stable
between versions, its distributions not.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import CSV_COLUMNS, JSON_COLUMNS, NUMBERS, odd_shapes, real, shapes
from benchmarks import rows as rows_module
from benchmarks.rows import NO_ROWS, RowSummary, summarise
from benchmarks.shapes import SHAPES, Shape, as_toml

DAY_US = 1_757_376_000_000_000  # 2025-09-09T00:00:00Z
DS = "2025-09-09"
SUMMARY_ROWS = 100_000  # rows summarised at once while making a corpus


@dataclass(frozen=True, slots=True)
class Workload:
    """One shape of a raw day. ``scale`` multiplies ``files``; each of them keeps its size."""

    name: str
    files: int
    records: int  # of each file; of the largest one when skewed
    form: str = "json"  # json (JSON Lines), csv, json.gz, or mixed: the three in turn
    start_second: int = 0  # of the day
    step_seconds: int = 1
    skewed: bool = False  # file i has records / (i + 1): few large ones and many small
    bad_every: int = 0  # one record in so many cannot be read as the schema says
    shape: str = "prices"
    scales_records: bool = False  # scale multiplies the records of each file instead
    copies: int = 1  # each file lies there under so many names (hard links: no disk, no second making)
    real: bool = False  # real sessions from beside the checkout, not made
    about: str = ""


def _minute(name: str, form: str, about: str, bad_every: int = 0) -> Workload:
    session_start, one_minute = 48_600, 60  # 13:30 UTC, when New York opens
    return Workload(name, 2_000, 390, form, session_start, one_minute, bad_every=bad_every, about=about)


WORKLOADS = {
    w.name: w
    for w in (
        Workload("one", 1, 1, about="one file of one record: what starting up costs"),
        Workload("tiny", 10_000, 1, about="daily prices: one record per file"),
        Workload("tiny100k", 100_000, 1, about="the same, ten times as many files"),
        _minute("minute", "json", "one session of minute bars per file"),
        _minute("minute-csv", "csv", "the same rows as CSV"),
        _minute("minute-gz", "json.gz", "the same rows, each file gzipped"),
        _minute("mixed", "mixed", "the same rows, a third of the files in each format"),
        Workload("large", 32, 60_000, about="few files of about 10 MB"),
        Workload("1gb", 96, 60_000, about="a gigabyte in files of about 10 MB"),
        Workload("10gb", 32, 60_000, copies=30, about="the large day's files, each under 30 names"),
        Workload("huge", 1, 600_000, scales_records=True, about="one file of about 100 MB"),
        Workload("skewed", 400, 40_000, skewed=True, about="sizes from 100 records to 40,000"),
        _minute("dirty", "json", "minute bars in which 1 % of the records are bad", bad_every=100),
        Workload("wide", 100, 200, shape="wide", about="records of 200 columns"),
        Workload("nested", 400, 500, shape="nested", about="a list and a struct in each record"),
        Workload("real", real.SESSIONS, 1, real=True, about="real sessions: a file for each symbol and day"),
    )
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """A raw day on disk: ``folder`` holds nothing but its files, ``expected`` what its good rows say."""

    workload: Workload
    scale: float
    folder: Path
    files: int
    size_bytes: int
    bad_records: int
    expected: RowSummary

    @property
    def shape(self) -> Shape:
        """Its columns."""
        return SHAPES[self.workload.shape]

    @property
    def schema_file(self) -> Path:
        """Its columns as briquette's TOML, beside the raw files."""
        return self.folder.parent / "schema.toml"


def corpus(name: str, scale: float = 1.0, cache: Path | None = None) -> Corpus:
    """The corpus of that workload from the cache folder, made first where it is not there yet."""
    workload = WORKLOADS[name]
    folder = (cache or default_cache()) / f"{name}-x{scale:g}-{_recipe_fingerprint()}"
    if not (folder / "corpus.json").exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        _write(workload, scale, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    told = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    expected = RowSummary.of(told.pop("expected"))
    return Corpus(workload=workload, scale=scale, folder=folder / "raw", expected=expected, **told)


def default_cache() -> Path:
    """Where corpora lie unless a folder is given: never inside the repository."""
    return Path(tempfile.gettempdir()) / f"briquette-bench-{os.getuid()}"


def _recipe_fingerprint() -> str:
    """Changes with the code that makes a corpus, so that a cached one is never of another recipe."""
    modules = (rows_module, odd_shapes, real, shapes)
    sources = (Path(__file__), *(Path(str(module.__file__)) for module in modules))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]


def _write(workload: Workload, scale: float, folder: Path) -> None:
    raw, shape = folder / "raw", SHAPES[workload.shape]
    raw.mkdir(parents=True)
    (folder / "schema.toml").write_text(as_toml(shape), encoding="utf-8")
    expected, size, files, bad = NO_ROWS, 0, 0, 0
    waiting: list[RawFile] = []
    rows_waiting = 0
    for file in raw_files(workload, scale):
        (raw / file.name).write_bytes(file.text)
        for copy in range(1, workload.copies):
            os.link(raw / file.name, raw / f"{copy:02d}-{file.name}")
        size, files, bad = size + len(file.text), files + 1, bad + int((~file.good).sum())
        waiting.append(file)
        rows_waiting += len(file.good)
        if rows_waiting >= SUMMARY_ROWS:
            expected, waiting, rows_waiting = expected + summarise(good_rows(waiting), shape), [], 0
    expected += summarise(good_rows(waiting), shape) if waiting else NO_ROWS
    told = {"files": files, "size_bytes": size, "bad_records": bad}
    told = {name: value * workload.copies for name, value in told.items()}
    document = told | {"expected": asdict(expected * workload.copies)}
    (folder / "corpus.json").write_text(json.dumps(document), encoding="utf-8")


# -- the files -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file of a raw day, and its records as NumPy columns with a mask of the good ones."""

    name: str
    symbol: str
    text: bytes
    columns: dict[str, Any]
    good: Any
    table: pa.Table | None = None  # instead of ``columns``, of records that are no made prices


def good_rows(files: list[RawFile]) -> pa.Table:
    """The rows that a correct reader finds in these files, in their order."""
    tables = [file.table for file in files if file.table is not None]
    if tables:
        return pa.concat_tables(tables)

    def column(name: str) -> Any:
        return np.concatenate([file.columns[name] for file in files])

    codes = pa.array(np.repeat(np.arange(len(files), dtype=np.int32), [len(file.good) for file in files]))
    table = pa.table(
        {
            "symbol": pa.DictionaryArray.from_arrays(codes, pa.array([file.symbol for file in files])),
            "timestamp": pa.array(column("timestamp_us"), pa.timestamp("us", "UTC")),
            **{name: pa.array(column(name)) for name in NUMBERS},
            "adjusted_close": pa.array(column("adjusted_close"), mask=column("is_null")),
        }
    )
    return table.filter(pa.array(np.concatenate([file.good for file in files])))


def raw_files(workload: Workload, scale: float = 1.0) -> Iterator[RawFile]:
    """The files of a workload one by one; a pure function of its arguments."""
    if workload.real:
        for name, symbol, text, table in real.session_files(max(1, round(workload.files * scale))):
            yield RawFile(name, symbol, text, {}, np.ones(table.num_rows, bool), table)
        return
    files = workload.files if workload.scales_records else max(1, round(workload.files * scale))
    records = max(1, round(workload.records * scale)) if workload.scales_records else workload.records
    for i in range(files):
        # The order of keys is not the order of sizes: 167 is coprime to every number of files used here.
        rank = i * 167 % files if workload.skewed else 0
        yield _raw_file(workload, i, max(1, records // (rank + 1)))


def ticker(i: int) -> str:
    """A symbol of three to five letters; no two numbers give the same one."""
    letters, number = "", 26 * 26 + i * 37
    while number:
        number, letter = divmod(number, 26)
        letters = chr(65 + letter) + letters
    return letters


def _raw_file(workload: Workload, i: int, count: int) -> RawFile:
    symbol = ticker(i)
    if workload.shape != "prices":
        text, table = odd_shapes.MAKERS[workload.shape](symbol, i, count)
        return RawFile(f"{symbol}.{workload.form}", symbol, text, {}, np.ones(count, bool), table)
    form = ("json", "csv", "json.gz")[i % 3] if workload.form == "mixed" else workload.form
    walk = _walk(i, count)
    offsets = (workload.start_second + np.arange(count) * workload.step_seconds) % 86_400
    texts: dict[str, list[str]] = {name: list(map(repr, walk[name].tolist())) for name in NUMBERS}
    texts["timestamp"] = [f"{DS}T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z" for s in offsets.tolist()]
    if i % 4 == 0:
        texts["volume"] = [text.removesuffix(".0") for text in texts["volume"]]
    csv = form == "csv"
    for at in np.flatnonzero(walk["is_null"]).tolist():
        texts["adjusted_close"][at] = "" if csv else "null"
    lines = _csv_lines(symbol, texts) if csv else _json_lines(symbol, texts)
    good = np.ones(count, bool)
    if workload.bad_every:
        good[(np.arange(count) + i) % workload.bad_every == 0] = False
        for at in np.flatnonzero(~good).tolist():
            lines[at] = _spoil(lines[at], at + i)
    header = [",".join(CSV_COLUMNS)] if csv else []
    text = "\n".join([*header, *lines, ""]).encode()
    if form.endswith(".gz"):
        text = gzip.compress(text, 6, mtime=0)
    columns = walk | {"timestamp_us": DAY_US + offsets * 1_000_000}
    return RawFile(f"{symbol}.{form}", symbol, text, columns, good)


def _walk(seed: int, count: int) -> dict[str, Any]:
    """Open, high, low, close, adjusted close, volume and which adjusted closes are null, as NumPy arrays."""
    words = np.random.PCG64(20250909 + seed).random_raw((7, count + 1))  # the last column starts the walk
    first = 5.0 + 495.0 * _unit(words[0, -1:]) ** 2
    words = words[:, :-1]
    walk = first * np.cumprod(1.0 + 0.0008 * _normal(words[0]))
    close = walk * (1.0 + 0.0003 * _normal(words[1]))
    high = np.maximum(walk, close) * (1.0 + 0.0004 * np.abs(_normal(words[2])))
    low = np.minimum(walk, close) * (1.0 - 0.0004 * np.abs(_normal(words[3])))
    prices = {"open": walk, "high": high, "low": low, "close": close, "adjusted_close": close * 0.98}
    rounded = {name: np.rint(price * 10_000) / 10_000 for name, price in prices.items()}
    volume = (words[4] % np.uint64(5_000_000)).astype(np.float64)
    return rounded | {"volume": volume, "is_null": _unit(words[5]) < 0.05}


def _unit(words: Any) -> Any:
    """Numbers in [0, 1) from the upper 53 bits of each word."""
    return (words >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _normal(words: Any) -> Any:
    """Nearly normal numbers: the sum of the four quarters of each word, shifted and scaled."""
    total = np.ascontiguousarray(words).view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return (total - 131_070) / 37_837.2


def _json_lines(symbol: str, texts: dict[str, list[str]]) -> list[str]:
    return [
        f'{{"symbol": "{symbol}", "timestamp": "{t}", "adjusted_close": {a}, "open": {o}, "high": {h}, '
        f'"low": {low}, "close": {c}, "volume": {v}}}'
        for t, a, o, h, low, c, v in zip(*(texts[name] for name in JSON_COLUMNS[1:]), strict=True)
    ]


def _csv_lines(symbol: str, texts: dict[str, list[str]]) -> list[str]:
    return [
        ",".join((symbol, *cells)) for cells in zip(*(texts[name] for name in CSV_COLUMNS[1:]), strict=True)
    ]


def _spoil(line: str, kind: int) -> str:
    """What a feed really gets wrong, four kinds in turn."""
    match kind // 100 % 4:
        case 0:
            return line[: len(line) // 2]  # cut while it was written
        case 1:
            return line.replace('"open": ', '"open": "n/a", "was": ', 1)
        case 2:
            return line.replace(f"{DS}T", "2025-13-09T", 1)
        case _:
            return "<html>429 Too Many Requests</html>"


def main() -> None:
    """Make one corpus and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description="Make a raw day.")
    parser.add_argument("workload", choices=tuple(WORKLOADS))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of files")
    parser.add_argument("--dir", type=Path, default=None, help=f"cache folder [{default_cache()}]")
    wanted = parser.parse_args()
    made = corpus(wanted.workload, wanted.scale, wanted.dir)
    print(f"{made.folder}: {made.files:,} files, {made.size_bytes / 1e6:.1f} MB, {made.expected.rows:,} rows")


if __name__ == "__main__":
    main()
