"""The compaction behaviour in a few seconds, on real small files: what operators run before a hotfix.

    pytest tests/unit/transform/logic/test_raw_to_parquet_compaction.py

No mocks: raw objects on disk, Dask threads, Parquet read back by pyarrow.
"""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.errors import BatchManifestMismatch, PartitionConflict, RejectLimitExceeded
from briquette.model import MIB, OnEmpty, Status

DS = "2024-01-15"
DAY = "market/prices/interval=1d/data_source=yahoo/year=2024/month=01/day=15"
NAMES = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "yahoo", "ds": DS}
HEADER = "symbol,timestamp,open,high,low,close,adjusted_close,volume"


class Pipeline:
    """A raw and a curated root, as the pipeline lays them out."""

    def __init__(self, root: Path) -> None:
        self.raw, self.curated = root / "raw", root / "curated"
        self.day = self.raw / DAY
        self.day.mkdir(parents=True)
        self.dataset = self.curated / "market/prices/compacted" / f"ds={DS}"

    def land(self, name: str, data: bytes | str) -> None:
        (self.day / name).write_bytes(data.encode() if isinstance(data, str) else data)

    def land_symbols(self, count: int, close: float = 10.5) -> None:
        for i in range(count):
            self.land(f"S{i:04d}.json", line(f"S{i:04d}", close=close + i))

    def compact(self, **changes):
        return compact(raw=self.raw, curated=self.curated, **{**NAMES, **changes})

    def rows(self) -> list[dict[str, object]]:
        return pq.read_table(self.dataset).to_pylist()

    def visible(self) -> list[str]:
        return sorted(p.name for p in self.dataset.iterdir() if p.name[0] not in "_.")


@pytest.fixture
def pipeline(tmp_path) -> Pipeline:
    return Pipeline(tmp_path)


def line(symbol: str, close: float = 10.5, **changes: object) -> str:
    record = {
        "symbol": symbol,
        "timestamp": f"{DS}T00:00:00",
        "adjusted_close": close,
        "open": 10.0,
        "high": 11.0,
        "low": 9.5,
        "close": close,
        "volume": 1_234_567.0,
    }
    return json.dumps({**record, **changes}) + "\n"


def test_a_day_of_json_objects_becomes_one_parquet_part_under_ds(pipeline):
    pipeline.land_symbols(50)
    result = pipeline.compact()
    assert result.status is Status.PUBLISHED
    assert pipeline.visible() == ["part-00000.parquet"]
    rows = pipeline.rows()
    assert [r["symbol"] for r in rows] == [f"S{i:04d}" for i in range(50)]
    assert rows[3] == {
        "symbol": "S0003",
        "timestamp": datetime(2024, 1, 15, tzinfo=UTC),
        "adjusted_close": 13.5,
        "open": 10.0,
        "high": 11.0,
        "low": 9.5,
        "close": 13.5,
        "volume": 1_234_567.0,
    }


def test_the_part_is_zstd_with_the_declared_columns_in_order(pipeline):
    pipeline.land_symbols(3)
    pipeline.compact()
    footer = pq.ParquetFile(pipeline.dataset / "part-00000.parquet").metadata
    names = ["symbol", "timestamp", "adjusted_close", "open", "high", "low", "close", "volume"]
    assert [footer.schema.column(i).name for i in range(footer.num_columns)] == names
    assert {footer.row_group(0).column(i).compression for i in range(footer.num_columns)} == {"ZSTD"}


def test_json_csv_and_gzip_mix_in_one_day(pipeline):
    pipeline.land("A.json", line("A"))
    pipeline.land("B.csv", f"{HEADER}\nB,{DS}T00:00:00,10,11,9.5,10.5,10.5,1.23457e+06\n")
    pipeline.land("C.json.gz", gzip.compress(line("C").encode()))
    pipeline.land("BRK.B.json", line("BRK.B"))
    pipeline.compact()
    assert [(r["symbol"], r["volume"]) for r in pipeline.rows()] == [
        ("A", 1_234_567.0),
        ("B", 1_234_570.0),
        ("BRK.B", 1_234_567.0),
        ("C", 1_234_567.0),
    ]


def test_no_raw_objects_succeeds_with_nothing_written_and_names_the_prefix(pipeline):
    result = pipeline.compact()
    assert result.status is Status.EMPTY
    assert DAY in result.message
    assert not pipeline.curated.exists() or not any(pipeline.curated.rglob("*.parquet"))


def test_raw_objects_without_records_are_nothing_to_do(pipeline):
    pipeline.land("A.json", "")
    pipeline.land("B.csv", HEADER + "\n")
    assert pipeline.compact().status is Status.EMPTY


def test_running_again_changes_nothing(pipeline):
    pipeline.land_symbols(5)
    pipeline.compact()
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in pipeline.dataset.iterdir()}
    assert pipeline.compact().status is Status.UNCHANGED
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in pipeline.dataset.iterdir()} == before


def test_a_corrected_object_overwrites_the_day(pipeline):
    pipeline.land_symbols(5)
    pipeline.compact()
    pipeline.land("S0002.json", line("S0002", close=99.0))
    assert pipeline.compact().status is Status.PUBLISHED
    assert [r["close"] for r in pipeline.rows()] == [10.5, 11.5, 99.0, 13.5, 14.5]
    assert pipeline.visible() == ["part-00000.parquet"]


def test_force_writes_the_same_bytes(pipeline):
    pipeline.land_symbols(5)
    first = pipeline.compact()
    again = pipeline.compact(options=RunOptions(force=True))
    assert again.status is Status.PUBLISHED
    assert again.manifest.files[0].sha256 == first.manifest.files[0].sha256


def test_a_bad_record_is_set_aside_and_its_neighbours_stay(pipeline):
    pipeline.land_symbols(50)
    pipeline.land("X.json", line("X") + '{"symbol": "X", "timestamp":\n' + line("X", close=12.0))
    result = pipeline.compact()
    assert (result.manifest.rows, result.manifest.rejects) == (52, 1)
    (reject,) = (pipeline.curated / "market/prices/compacted/_rejects").rglob("*.jsonl")
    said = json.loads(reject.read_text())
    assert (said["key"], said["position"]) == (f"{DAY}/X.json", 1)
    assert said["raw"] == '{"symbol": "X", "timestamp":'


def test_too_many_bad_records_publish_nothing(pipeline):
    pipeline.land_symbols(5)
    pipeline.compact()
    before = pipeline.rows()
    pipeline.land("X.json", "not json\n" * 5)
    with pytest.raises(RejectLimitExceeded, match="5 of 10 records"):
        pipeline.compact()
    assert pipeline.rows() == before


def test_parts_have_the_target_size(pipeline):
    for i in range(40):
        rows = (line(f"S{i:02d}", close=(i * 7919 + j * 104_729) % 99_991 / 100) for j in range(2_000))
        pipeline.land(f"S{i:02d}.json", "".join(rows))
    result = pipeline.compact(target_file_mb=0.125, split_bytes=MIB)
    sizes = [f.size_bytes for f in result.manifest.files]
    assert len(sizes) > 2
    assert all(abs(size / (0.125 * MIB) - 1) <= 0.05 for size in sizes[:-1])
    assert pipeline.visible() == [f"part-{i:05d}.parquet" for i in range(len(sizes))]
    assert len(pipeline.rows()) == 80_000


def test_another_source_may_not_overwrite_the_day(pipeline):
    pipeline.land_symbols(2)
    pipeline.compact()
    other = pipeline.raw / DAY.replace("data_source=yahoo", "data_source=polygon")
    other.mkdir(parents=True)
    (other / "S0000.json").write_text(line("S0000"))
    with pytest.raises(PartitionConflict, match="polygon"):
        pipeline.compact(data_source="polygon")


def test_a_batch_manifest_is_a_cross_check_and_never_an_input(pipeline):
    pipeline.land_symbols(2)
    entries = [{"symbol": "S0000", "key": f"{DAY}/S0000.json", "records": 1}]
    pipeline.land("_batch.manifest.json", json.dumps({"objects": entries}))
    assert pipeline.compact().manifest.rows == 2
    entries.append({"symbol": "GONE", "key": f"{DAY}/GONE.json", "records": 1})
    pipeline.land("_batch.manifest.json", json.dumps({"objects": entries}))
    with pytest.raises(BatchManifestMismatch, match=r"GONE\.json"):
        pipeline.compact()


@pytest.mark.parametrize(("on_empty", "stays"), [(OnEmpty.KEEP, True), (OnEmpty.REMOVE, False)])
def test_what_becomes_of_a_published_day_when_the_raw_is_gone_is_a_choice(pipeline, on_empty, stays):
    pipeline.land_symbols(2)
    pipeline.compact()
    for file in pipeline.day.iterdir():
        os.unlink(file)
    result = pipeline.compact(options=RunOptions(on_empty=on_empty))
    assert result.status is Status.EMPTY
    assert (pipeline.dataset / "part-00000.parquet").exists() is stays
    assert "published earlier" in result.message
