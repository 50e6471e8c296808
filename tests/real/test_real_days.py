"""Real trading days compact to exactly the rows that an independent reading of the source gives."""

from __future__ import annotations

import math
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from briquette import compact, read
from briquette.model import Status
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url
from tests.real.real_days import COLUMNS, DAYS, RealDay, real_day

NAMES = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "kaggle"}
NUMBERS = COLUMNS[2:]


def on_disk(day: RealDay, root: Path) -> tuple[str, str]:
    folder = root / "raw" / day.prefix
    folder.mkdir(parents=True)
    for name, data in day.files.items():
        (folder / name).write_bytes(data)
    return str(root / "raw"), str(root / "curated")


def on_s3(day: RealDay, bucket_url: str) -> tuple[str, str]:
    place = parse_url(f"{bucket_url}/raw")
    store = open_store(place.url)
    for name, data in day.files.items():
        store.put(place.prefix + day.prefix + name, data)
    return f"{bucket_url}/raw", f"{bucket_url}/curated"


def assert_rows_are_those_of_the_source(rows: list[tuple[object, ...]], day: RealDay) -> None:
    assert len(rows) == len(day.rows)
    for got, expected in zip(rows, day.rows, strict=True):
        assert got == expected
    for i, column in enumerate(COLUMNS):
        if column in NUMBERS:
            assert _sum(rows, i) == _sum(day.rows, i), column


def _sum(rows, column: int) -> float:
    return math.fsum(row[column] for row in rows if row[column] is not None)


@pytest.mark.parametrize("ds", DAYS)
def test_a_real_day_on_disk_has_the_rows_of_its_source(ds, tmp_path):
    day = real_day(ds)
    raw, curated = on_disk(day, tmp_path)
    result = compact(raw=raw, curated=curated, ds=ds, **NAMES)
    assert (result.status, result.rejects) == (Status.PUBLISHED, 0)
    table = pq.read_table(tmp_path / f"curated/market/prices/compacted/ds={ds}", partitioning=None)
    assert tuple(table.column_names) == COLUMNS
    assert_rows_are_those_of_the_source([tuple(r.values()) for r in table.to_pylist()], day)


@pytest.mark.parametrize("ds", DAYS[:2])
def test_duckdb_sees_the_sums_of_the_source(ds, tmp_path):
    day = real_day(ds)
    raw, curated = on_disk(day, tmp_path)
    compact(raw=raw, curated=curated, ds=ds, **NAMES)
    files = f"{curated}/market/prices/compacted/ds={ds}/*.parquet"
    sums = ", ".join(f"coalesce(fsum({c}), 0)" for c in NUMBERS)
    ((count, *found),) = duckdb.sql(f"select count(*), {sums} from read_parquet('{files}')").fetchall()
    assert count == len(day.rows)
    assert found == pytest.approx([_sum(day.rows, i) for i in range(2, len(COLUMNS))], rel=1e-15)


@pytest.mark.parametrize("ds", DAYS[1:])
def test_a_real_day_through_s3_has_the_rows_of_its_source(ds, s3):
    day = real_day(ds)
    raw, curated = on_s3(day, s3.url)
    store = open_store(s3.url)
    store.requests.reset()
    result = compact(raw=raw, curated=curated, ds=ds, **NAMES)
    assert result.status is Status.PUBLISHED
    frame = read(f"{curated}/market/prices/compacted", ds).compute()
    rows = [
        tuple(None if value != value else value for value in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    assert_rows_are_those_of_the_source(rows, day)


def test_a_raw_object_costs_one_get_and_no_head(s3):
    day = real_day(DAYS[0])
    raw, curated = on_s3(day, s3.url)
    store = open_store(s3.url)
    asked: list[tuple[str, str]] = []
    store.requests.before = lambda verb, key: asked.append((verb, key))
    compact(raw=raw, curated=curated, ds=DAYS[0], **NAMES)
    on_raw = [(verb, key) for verb, key in asked if day.prefix in key and verb != "LIST"]
    assert sorted(on_raw) == sorted(("GET", f"raw/{day.prefix}{name}") for name in day.files)


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_second_run_makes_no_write(place, tmp_path, request):
    day = real_day(DAYS[0])
    raw, curated = on_s3(day, request.getfixturevalue("s3").url) if place == "s3" else on_disk(day, tmp_path)
    compact(raw=raw, curated=curated, ds=DAYS[0], **NAMES)
    store = open_store(parse_url(curated).url)
    store.requests.reset()
    again = compact(raw=raw, curated=curated, ds=DAYS[0], **NAMES)
    assert again.status is Status.UNCHANGED
    assert store.requests.writes == 0
    assert store.requests["LIST"] > 0
