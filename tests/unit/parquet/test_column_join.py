"""Halves of a row group's columns, written by two threads, make the bytes of one writer."""

import random
import threading
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from briquette import idle_threads
from briquette.encoding import row_groups as encoding
from briquette.encoding.column_encodings import Encodings, canonical, choose_encodings
from briquette.encoding.row_groups import CODECS, encode
from briquette.model import CompactionSpec, Schema
from briquette.parquet.column_join import beside
from briquette.parquet.thrift import ThriftError


def table(rows: int, seed: int) -> pa.Table:
    """Columns of every kind; some hold only nulls or NaN, for which there is no index of pages."""
    rng = np.random.default_rng(seed)
    some = rng.random(rows) < 0.2
    columns = {
        "symbol": pa.array([f"S{i % 7}" for i in range(rows)]),
        "at": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us", "UTC")),
        "price": rng.random(rows),
        "few": pa.array(np.round(rng.random(rows), 1), mask=some),
        "nan": np.full(rows, np.nan),
        "nothing": pa.nulls(rows, pa.float64()),
        "open": pa.array(rng.random(rows) < 0.5, mask=some),
        "size": rng.integers(0, 1 << 40, rows),
        "money": pa.array([Decimal(i) / 4 for i in range(rows)], pa.decimal128(12, 2)),
        "blob": pa.array([b"x" * (i % 5) for i in range(rows)]),
        "sizes": pa.array(
            [None if i % 5 == 4 else [0.5] * (i % 4) for i in range(rows)], pa.list_(pa.float64())
        ),
        "quote": pa.array([{"v": "x", "deep": {"n": i}} if i % 3 else None for i in range(rows)]),
        "quote.v": pa.array(["same path as a field"] * rows),
    }
    names = sorted(columns)
    random.Random(seed).shuffle(names)
    return pa.table({name: columns[name] for name in names})


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rows", [1, 100, 40_000])
def test_two_files_side_by_side_are_the_file_of_all_columns(rows, codec):
    writer = encoding._Writer(codec)
    whole = canonical(table(rows, rows))
    encodings = choose_encodings(whole, writer.measure)
    wanted = bytes(writer.write(whole, encodings))
    for middle in (1, 5, whole.num_columns - 1):
        columns = range(whole.num_columns)
        halves = (whole.select(columns[:middle]), whole.select(columns[middle:]))
        assert beside(*(writer.write(half, encodings) for half in halves)) == wanted


def test_the_bytes_do_not_say_whether_a_thread_was_idle(monkeypatch):
    monkeypatch.setattr(encoding, "HALVED_BYTES", 1 << 10)
    halves = []
    monkeypatch.setattr(encoding, "beside", lambda *files: halves.append(files) or beside(*files))
    rows, spec = table(50_000, 3), CompactionSpec(Schema(()), target_part_bytes=1 << 20)
    alone = [(g.body, g.footer) for g in encode(rows, spec)]
    assert not halves
    lender = idle_threads.Lender(2, 1)
    threads = []
    with lender.task():
        found = encode(rows, spec, meanwhile=lambda: threads.append(threading.current_thread().name))
    lender.close()
    assert [(g.body, g.footer) for g in found] == alone
    assert len(halves) > 1
    assert set(threads) == {"spare"}


def test_files_of_other_rows_are_refused():
    writer = encoding._Writer("none")
    files = [writer.write(pa.table({"n": range(n)}), Encodings()) for n in (3, 4)]
    with pytest.raises(ThriftError, match="the same rows"):
        beside(*files)
