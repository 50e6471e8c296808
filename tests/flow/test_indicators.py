"""The indicators stage: which sessions it reads, what it publishes, and when it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from briquette.compaction.options import RunOptions
from briquette.datasets.read import open_dataset, read_tables
from briquette.datasets.verify import verify
from briquette.errors import DataQualityFailed, MissingColumns, NoPrices, UsageError
from briquette.model import Status
from briquette.pipeline.indicators import IndicatorsOptions, indicators
from briquette.prices.columns import SET_A, SET_B, indicator_set
from briquette.prices.indicators import compute
from briquette.storage.opening import open_store
from tests.flow.price_days import SYMBOLS, bars, panel, publish_day, publish_history, sessions
from tests.invariants import assert_conserves, snapshot

OUTPUT = "market/indicators"


def run(curated: str | Path, ds: str, **changes):
    executor = changes.pop("executor", "auto")
    workers = changes.pop("workers", 0)
    options = IndicatorsOptions(run=RunOptions(executor=executor, workers=workers), **changes)
    return indicators(curated=curated, domain="market", ds=ds, options=options)


def rows(curated: str | Path, ds: str) -> pa.Table:
    return pa.concat_tables(read_tables(open_dataset(f"{curated}/{OUTPUT}", ds)))


@pytest.mark.parametrize("name", ["A", "B"])
def test_a_day_has_the_values_of_a_panel_made_without_the_stage(store_url, tmp_path, name):
    days = publish_history(store_url, tmp_path, 40)
    result = run(store_url, days[-1], set_name=name)
    assert result.status is Status.PUBLISHED
    assert result.sessions == 40
    batch = int(result.run.input_fingerprint[:15], 16)
    expected = compute(panel(days), indicator_set(name), batch_id=batch).table
    published = rows(store_url, days[-1])
    assert published.schema.names == expected.schema.names
    assert published.cast(expected.schema).equals(expected)
    assert_conserves(result.run.manifest)
    assert result.run.manifest.rows == len(SYMBOLS)


def test_running_again_writes_nothing_and_a_corrected_past_day_changes_the_present(store_url, tmp_path):
    days = publish_history(store_url, tmp_path, 30)
    first = run(store_url, days[-1])
    store = open_store(store_url)
    before = store.requests.writes
    again = run(store_url, days[-1])
    assert again.status is Status.UNCHANGED
    assert store.requests.writes == before
    corrected = dict(bars(days))[days[10]].slice(0, 3)  # ZM was not traded that day after all
    publish_day(store_url, days[10], corrected, tmp_path)
    third = run(store_url, days[-1])
    assert third.status is Status.PUBLISHED
    assert third.run.manifest.content_digest != first.run.manifest.content_digest
    past = run(store_url, days[9])
    assert past.sessions == 10
    publish_day(store_url, days[12], corrected, tmp_path)
    assert run(store_url, days[9]).status is Status.UNCHANGED  # what comes later does not matter


def test_the_look_back_is_long_enough_for_every_window(tmp_path):
    """252 calendar days were 174 sessions, so sma_200 was always null; here the sessions are counted."""
    days = publish_history(str(tmp_path), tmp_path, 201)
    result = run(tmp_path, days[-1], lookback_days=5)
    assert result.sessions == 201
    table = rows(tmp_path, days[-1])
    assert table.column("sma_200").null_count == 0
    closes = panel(days).close[-200:]
    assert [float(v) for v in table.column("sma_200").to_pylist()] == pytest.approx(
        closes.mean(axis=0), abs=1e-4
    )
    early = run(tmp_path, days[150])
    assert early.sessions == 151
    assert rows(tmp_path, days[150]).column("sma_200").null_count == len(SYMBOLS)


def test_serial_threads_and_processes_publish_the_same_bytes(tmp_path):
    days = publish_history(str(tmp_path / "a"), tmp_path, 25)
    sums = []
    for options in ({"executor": "serial"}, {"executor": "dask"}, {"executor": "dask", "workers": 1}):
        result = run(tmp_path / "a", days[-1], set_name="B", **options)
        sums.append((result.run.executor, [f.sha256 for f in result.run.manifest.files]))
        assert result.status is Status.PUBLISHED
        for path in sorted((tmp_path / "a" / OUTPUT).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    assert len({str(files) for _, files in sums}) == 1, sums


def test_prices_of_an_older_pipeline_and_versioned_ones_are_sessions_too(tmp_path):
    days = sessions(30)
    curated = str(tmp_path / "curated")
    for i, (day, table) in enumerate(bars(days)):
        if i % 3 == 0:
            folder = tmp_path / f"curated/market/prices/ds={day}"
            folder.mkdir(parents=True)
            pq.write_table(table, folder / "part-0-c0ffee.snappy.parquet")
            (folder / "_SUCCESS").touch()
        else:
            publish_day(curated, day, table, tmp_path, publish="versioned" if i % 3 == 1 else "in_place")
    (tmp_path / "curated/market/prices/ds=2023-12-29").mkdir()  # a folder without a part is no session
    result = run(curated, days[-1])
    assert result.sessions == 30
    batch = int(result.run.input_fingerprint[:15], 16)
    assert (
        rows(curated, days[-1]).cast(SET_A.schema).equals(compute(panel(days), SET_A, batch_id=batch).table)
    )


def test_the_compacted_sibling_is_no_session(tmp_path):
    days = publish_history(str(tmp_path / "c"), tmp_path, 3)
    inside = tmp_path / "c/market/prices/compacted"
    inside.mkdir()
    (tmp_path / f"c/market/prices/ds={days[1]}").rename(inside / f"ds={days[1]}")
    assert run(tmp_path / "c", days[-1]).sessions == 2


def test_records_in_conflict_put_the_day_into_quarantine_by_the_rule_and_the_old_day_stays(
    store_url, tmp_path
):
    days = publish_history(store_url, tmp_path, 5)
    run(store_url, days[-1])
    old = rows(store_url, days[-1])
    table = dict(bars(days))[days[-1]]
    again = table.slice(1, 1)
    other = again.set_column(table.column_names.index("close"), "close", pc.add(again.column("close"), 1.0))
    twice = pa.concat_tables([table, other])
    publish_day(store_url, days[-1], twice, tmp_path)
    with pytest.raises(DataQualityFailed, match=r"DQ_FAILED: 1 records of BRK\.B .*contradict") as caught:
        run(store_url, days[-1], duplicates_rule="fail")
    assert caught.value.exit_code == 5
    aside = open_dataset(f"{store_url}/{OUTPUT}/quarantine", days[-1])
    kept = pa.concat_tables(read_tables(aside))
    assert kept.cast(twice.schema).equals(twice)
    assert rows(store_url, days[-1]).equals(old)
    with pytest.raises(DataQualityFailed):  # and again
        run(store_url, days[-1], duplicates_rule="fail")


def test_a_record_without_a_symbol_is_a_failure_of_quality(tmp_path):
    days = publish_history(str(tmp_path), tmp_path, 3)
    folder = tmp_path / f"market/prices/ds={days[-1]}"
    table = pq.read_table(folder / "part-00000.parquet")
    for file in folder.iterdir():
        file.unlink()
    nameless = pc.if_else(pc.equal(table.column("symbol"), "ZM"), None, table.column("symbol"))
    pq.write_table(table.set_column(0, "symbol", nameless), folder / "old.parquet")
    with pytest.raises(DataQualityFailed, match="1 records without a symbol"):
        run(tmp_path, days[-1])
    assert open_dataset(tmp_path / OUTPUT / "quarantine", days[-1]).manifest.rows == len(SYMBOLS)


def test_a_day_without_prices_is_nothing_to_do(tmp_path):
    days = publish_history(str(tmp_path), tmp_path, 2)
    with pytest.raises(NoPrices, match=r"NO_INPUT_DATA: .*ds=2024-02-01") as caught:
        run(tmp_path, "2024-02-01")
    assert caught.value.exit_code == 3
    assert days[-1] < "2024-02-01"
    assert not (tmp_path / "market/indicators").exists()


def test_prices_without_a_column_are_a_contract_error(tmp_path):
    days = publish_history(str(tmp_path), tmp_path, 2)
    part = tmp_path / f"market/prices/ds={days[0]}/part-00000.parquet"
    table = pq.read_table(part).drop_columns(["volume"])
    for file in part.parent.iterdir():
        file.unlink()
    pq.write_table(table, part.with_name("old.parquet"))
    with pytest.raises(MissingColumns, match=f"ds={days[0]}/old.parquet has no column volume") as caught:
        run(tmp_path, days[-1])
    assert caught.value.exit_code == 4


def test_the_schema_of_each_set_is_recorded(tmp_path):
    days = publish_history(str(tmp_path), tmp_path, 2)
    record = tmp_path / "artifacts/market/indicators/_schema/latest.json"
    assert run(tmp_path, days[-1], schema_fingerprint=str(record)).schema_changed
    names = [c["name"] for c in json.loads(record.read_text())["columns"]]
    assert names == [c.name for c in SET_A.columns]
    assert run(tmp_path, days[-1], schema_fingerprint=str(record)).schema_changed is False
    assert run(tmp_path, days[-1], set_name="B", schema_fingerprint=str(record)).schema_changed
    types = {c["name"]: c["type"] for c in json.loads(record.read_text())["columns"]}
    assert len(types) == len(SET_B.columns)
    assert (types["sma_20"], types["obv"], types["rsi_14"]) == ("decimal(12,4)", "bigint", "double")
    assert (types["quality_score"], types["return_1d"], types["date"]) == ("smallint", "float", "date")


def test_a_published_day_verifies_but_not_against_raw_objects(tmp_path):
    days = publish_history(str(tmp_path), tmp_path, 2)
    run(tmp_path, days[-1])
    place = str(tmp_path / OUTPUT / f"ds={days[-1]}")
    assert verify(place).ok
    with pytest.raises(UsageError, match="'indicators'"):
        verify(place, deep=True)


def test_the_command_says_what_it_did_and_exits_with_the_contract(tmp_path):
    days = publish_history(str(tmp_path), tmp_path, 3)
    words = ["indicators", "--curated", str(tmp_path), "--domain", "market", "--set", "B"]
    command = [sys.executable, "-m", "briquette", *words]
    told = subprocess.run([*command, "--ds", days[-1]], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "PUBLISHED  market/indicators/" in told.stdout
    assert "B, 3 sessions read" in told.stdout
    before = snapshot(tmp_path)
    told = subprocess.run([*command, "--ds", days[-1], "--json"], capture_output=True, text=True, check=False)
    document = json.loads(told.stdout)
    assert (document["status"], document["stage"], document["rows"]) == ("UNCHANGED", "indicators", 4)
    assert snapshot(tmp_path) == before
    told = subprocess.run([*command, "--ds", "2024-02-01"], capture_output=True, text=True, check=False)
    assert told.returncode == 3
    assert "NO_INPUT_DATA" in told.stderr
