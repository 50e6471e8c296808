"""What is published opens everywhere: a spliced part of many row groups and pages, read by every engine.

Rows are clustered by symbol, time and volume, so statistics and page indexes do prune: an offset that is off
by one row group gives wrong rows or an error here, whole reads and filtered ones alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from briquette.encoding import row_groups as encoding
from briquette.model import CompactionSpec, RowGroup, Schema
from briquette.parquet import splice as splicing
from briquette.parquet.footer import pages_of
from tests.needs import needs_java

ROW_GROUPS = 5
ROWS = 4_000  # of each row group
ROWS_PER_PAGE = 500
CODECS = ("zstd", "snappy", "gzip", "lz4", "none")
START = dt.datetime(2025, 9, 9, 13, 30, tzinfo=dt.UTC)


def rows_from(first: int, count: int) -> pa.Table:
    """Consecutive rows of one long table, clustered in every column that a test filters by."""
    n = np.arange(first, first + count)
    rng = np.random.default_rng(first)
    gaps = rng.random(count) < 0.1
    close = np.round(50 + n / 1_000 + rng.random(count), 2)
    return pa.table(
        {
            "id": n,
            "symbol": pa.array([f"S{i // 400:04d}" for i in n]),
            "note": pa.array([f"note {i:x}" for i in n], mask=gaps),
            "traded": pa.array(np.datetime64(START.replace(tzinfo=None), "us") + n * np.timedelta64(60, "s"))
            .cast(pa.timestamp("us", "UTC")),
            "day": pa.array((20_340 + n // 1_000).astype(np.int32), mask=gaps).cast(pa.date32()),
            "close": pa.array(close, mask=gaps),
            "ratio": pa.array(rng.random(count), mask=rng.random(count) < 0.5),
            "volume": n * 1_000 + rng.integers(0, 1_000, count),
            "lots": pa.array((n // 3).astype(np.int32), mask=gaps),
            "halted": pa.array(n % 7 == 0, mask=gaps),
            "amount": pa.array([Decimal(int(i)) / 100 for i in n], pa.decimal128(12, 2), mask=gaps),
            "nothing": pa.array([None] * count, pa.float64()),
            "tags": pa.array(
                [None if i % 11 == 0 else ["a", None, f"t{i % 5}"][: i % 4] for i in n.tolist()]
            ),
            "quote": pa.array(
                [None if i % 13 == 0 else {"bid": i / 4, "venue": f"V{i % 3}"} for i in n.tolist()],
                pa.struct([("bid", pa.float64()), ("venue", pa.string())]),
            ),
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Range:
    """``column BETWEEN low AND high``."""

    column: str
    low: Any
    high: Any

    def sql(self, timestamp: str = "TIMESTAMP '{:%Y-%m-%d %H:%M:%S}'") -> str:
        """The condition; ``timestamp`` is how the engine's dialect writes an instant in UTC."""

        def literal(value: Any) -> str:
            if isinstance(value, dt.datetime):
                return timestamp.format(value)
            return f"'{value}'" if isinstance(value, str) else repr(value)

        return f"{self.column} BETWEEN {literal(self.low)} AND {literal(self.high)}"


def where(wanted: Range | None, **dialect: str) -> str:
    return f"WHERE {wanted.sql(**dialect)}" if wanted else ""


LAST = ROW_GROUPS * ROWS - 1
FILTERS = {
    "everything": None,
    "one symbol": Range("symbol", "S0027", "S0027"),
    "symbols across row groups": Range("symbol", "S0019", "S0031"),
    "between two symbols": Range("symbol", "S0027x", "S0027y"),
    "the last page": Range("volume", (LAST - 10) * 1_000, LAST * 1_000 + 999),
    "volumes in the middle": Range("volume", 9_100_000, 9_900_000),
    "one id": Range("id", 12_345, 12_345),
    "an interval of time": Range(
        "traded", START + dt.timedelta(minutes=7_990), START + dt.timedelta(minutes=8_010)
    ),
    "prices": Range("close", 60.0, 60.5),
    "lots": Range("lots", 4_000, 4_100),
    "a value that never occurs": Range("ratio", 2.0, 3.0),
}


# -- the engines: a file and a range in, an Arrow table out ------------------------------------------


def with_pyarrow(path: str, wanted: Range | None) -> pa.Table:
    if wanted is None:
        return pq.read_table(path)
    field = pc.field(wanted.column)
    return pq.read_table(path, filters=(field >= wanted.low) & (field <= wanted.high))


def with_duckdb(path: str, wanted: Range | None) -> pa.Table:
    import duckdb

    condition = where(wanted, timestamp="TIMESTAMPTZ '{:%Y-%m-%d %H:%M:%S}+00'")
    with duckdb.connect(config={"threads": "2"}) as connection:
        return connection.sql(f"SELECT * FROM read_parquet('{path}') {condition}").to_arrow_table()


def with_polars(path: str, wanted: Range | None) -> pa.Table:
    import polars as pl

    frame = pl.scan_parquet(path)
    if wanted is not None:
        frame = frame.filter(pl.col(wanted.column).is_between(pl.lit(wanted.low), pl.lit(wanted.high)))
    return frame.collect().to_arrow()


def with_datafusion(path: str, wanted: Range | None) -> pa.Table:
    import datafusion

    config = datafusion.SessionConfig(
        {"datafusion.execution.parquet.pushdown_filters": "true", "datafusion.execution.time_zone": "UTC"}
    )
    context = datafusion.SessionContext(config)
    context.register_parquet("part", path)
    return context.sql(f"SELECT * FROM part {where(wanted)}").to_arrow_table()


def with_clickhouse(path: str, wanted: Range | None) -> pa.Table:
    import chdb

    condition = where(wanted, timestamp="toDateTime64('{:%Y-%m-%d %H:%M:%S}', 6, 'UTC')")
    answer = chdb.query(f"SELECT * FROM file('{path}', Parquet) {condition}", "ArrowStream")
    return pa.ipc.open_stream(answer.bytes()).read_all()


ENGINES: dict[str, Callable[[str, Range | None], pa.Table]] = {
    "pyarrow": with_pyarrow,
    "duckdb": with_duckdb,
    "polars": with_polars,
    "datafusion": with_datafusion,
    "clickhouse": with_clickhouse,
}


# -- the parts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def row_groups() -> dict[str, list[RowGroup]]:
    """Row groups encoded one by one as splits would be, by codec, with pages small enough to be many."""
    made: dict[str, list[RowGroup]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "ROWS_PER_PAGE", ROWS_PER_PAGE)
        for codec in CODECS:
            spec = CompactionSpec(Schema(()), codec=codec)
            splits = [rows_from(i * ROWS, ROWS) for i in range(ROW_GROUPS)]
            made[codec] = [group for rows in splits for group in encoding.encode(rows, spec)]
            assert len(made[codec]) == ROW_GROUPS
    return made


@pytest.fixture(scope="session")
def parts(row_groups: dict[str, list[RowGroup]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The path of the spliced part of each codec."""
    folder = tmp_path_factory.mktemp("parts")
    paths = {}
    for codec, groups in row_groups.items():
        path = folder / f"{codec}.parquet"
        path.write_bytes(splicing.splice(groups).to_bytes())
        paths[codec] = str(path)
    return paths


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    return pa.concat_tables([rows_from(i * ROWS, ROWS) for i in range(ROW_GROUPS)]).combine_chunks()


def matching(rows: pa.Table, wanted: Range | None) -> pa.Table:
    if wanted is None:
        return rows
    column = rows[wanted.column]
    return rows.filter(pc.and_(pc.greater_equal(column, wanted.low), pc.less_equal(column, wanted.high)))


def assert_same_rows(got: pa.Table, expected: pa.Table) -> None:
    """Equal values in every column; engines differ in the order of rows and in flavours of text and list."""
    assert got.column_names == expected.column_names
    assert got.schema.field("traded").type.tz in ("UTC", "Etc/UTC")
    columns = [got[field.name].cast(field.type) for field in expected.schema]
    got = pa.table(columns, schema=expected.schema).sort_by("id")
    for name in expected.column_names:
        assert got[name].combine_chunks().equals(expected[name].combine_chunks()), name


def as_clickhouse_knows_it(rows: pa.Table) -> pa.Table:
    """ClickHouse has no null arrays and no null tuples: they become empty arrays and tuples of nulls."""
    for name, instead in (("tags", []), ("quote", {"bid": None, "venue": None})):
        field = rows.schema.field(name)
        filled = [instead if value is None else value for value in rows[name].to_pylist()]
        rows = rows.set_column(rows.column_names.index(name), field, pa.array(filled, field.type))
    return rows


# -- what they read ----------------------------------------------------------------------------------


def test_the_parts_have_several_pages_in_every_chunk(parts: dict[str, str], rows: pa.Table) -> None:
    for group in splicing.cut(Path(parts["zstd"]).read_bytes()):
        assert all(group.column_indexes)
        assert all(len(pages_of(index)) >= ROWS // ROWS_PER_PAGE // 2 for index in group.offset_indexes)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_reads_and_filters_a_spliced_part(engine, name, parts, rows):
    wanted = FILTERS[name]
    expected = matching(rows, wanted)
    assert (expected.num_rows == 0) is (name in ("a value that never occurs", "between two symbols"))
    if engine == "clickhouse":
        expected = as_clickhouse_knows_it(expected)
    assert_same_rows(ENGINES[engine](parts["zstd"], wanted), expected)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_reads_every_codec(engine, codec, parts, rows):
    expected = as_clickhouse_knows_it(rows) if engine == "clickhouse" else rows
    assert_same_rows(ENGINES[engine](parts[codec], None), expected)


@pytest.mark.spark
@needs_java()
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # py4j's sockets
def test_spark_reads_and_filters_every_part(spark, parts, rows):
    for codec in CODECS:
        assert_same_rows(spark.read.parquet(parts[codec]).toArrow(), rows)
    frame = spark.read.parquet(parts["zstd"])
    for wanted in FILTERS.values():
        found = frame if wanted is None else frame.where(wanted.sql())
        assert_same_rows(found.toArrow(), matching(rows, wanted))


# -- the proof that these tests can fail -------------------------------------------------------------


def refuses_or_misreads(engine: str, path: str, wanted: Range, expected: pa.Table) -> bool:
    try:
        assert_same_rows(ENGINES[engine](path, wanted), expected)
    except Exception:  # noqa: BLE001 - each engine has its own
        return True
    return False


@pytest.mark.parametrize("engine", ["datafusion", "clickhouse"])
def test_page_indexes_that_were_copied_and_not_moved_would_be_noticed(
    engine, row_groups, parts, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(splicing, "_moved", lambda offset_indexes, _delta: tuple(offset_indexes))
    path = tmp_path / "stale.parquet"
    path.write_bytes(splicing.splice(row_groups["zstd"]).to_bytes())
    wanted = Range("symbol", "S0027", "S0027")
    expected = matching(rows, wanted)
    expected = as_clickhouse_knows_it(expected) if engine == "clickhouse" else expected
    assert refuses_or_misreads(engine, str(path), wanted, expected)
    assert not refuses_or_misreads(engine, parts["zstd"], wanted, expected)
