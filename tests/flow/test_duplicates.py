"""One rule for records of one key, over all stages: a day of thousands of symbols, some of them twice."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette.compaction.new_plan import resolve_spec
from briquette.compaction.options import RunOptions
from briquette.datasets.read import open_dataset, read_tables
from briquette.errors import DataQualityFailed, InputError, RejectLimitExceeded, SeveralBars, UsageError
from briquette.model import Partition
from briquette.pipeline.indicators import IndicatorsOptions, indicators
from briquette.pipeline.run_day import FlowOptions, run_day
from briquette.pipeline.transform import TransformOptions, transform
from briquette.planning.target import daily
from briquette.prices.duplicates import RULES, key_columns, key_hashes, repeated, resolve, resolved_table
from tests.flow.price_days import bars, publish_day, publish_history, sessions
from tests.invariants import assert_conserves

SERIAL = RunOptions(executor="serial")
WORDS = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "yahoo"}
DAYS = ("2024-01-15", "2024-01-16", "2024-01-17")
SYMBOLS, EXACT, CONFLICTING = 5_990, 5, 3


def record(ds: str, i: int, **changes: object) -> bytes:
    found = {
        "symbol": f"S{i:05d}",
        "timestamp": f"{ds}T00:00:00",
        "adjusted_close": 5.0 + i,
        "open": 10.0 + i,
    }
    found |= {"high": 12.0 + 2 * i, "low": 9.0 + i, "close": 10.0 + i, "volume": 100.0}
    return json.dumps(found | changes).encode() + b"\n"


def land(raw: Path, ds: str, *, conflicting: int = 0, symbols: int = SYMBOLS, interval: str = "1d") -> None:
    """A day as ingestion leaves it, in a few objects: five symbols exactly twice, some with another close."""
    year, month, day = ds.split("-")
    folder = raw / f"market/prices/interval={interval}/data_source=yahoo/year={year}/month={month}/day={day}"
    folder.mkdir(parents=True)
    for start in range(0, symbols, 2_000):
        lines = b"".join(record(ds, i) for i in range(start, min(start + 2_000, symbols)))
        (folder / f"a{start:05d}.json").write_bytes(lines)
    (folder / "z-again.json").write_bytes(b"".join(record(ds, 7 + 31 * i) for i in range(EXACT)))
    other = (record(ds, 500 + i, close=3.0, adjusted_close=3.0) for i in range(conflicting))
    (folder / "z-other.json").write_bytes(b"".join(other))


def run(tmp_path: Path, ds: str, rule: str = "keep_last", **words: str):
    place = daily(
        Partition(**{**WORDS, **words}, ds=ds), raw=str(tmp_path / "raw"), curated=str(tmp_path / "c")
    )
    options = FlowOptions(
        run=SERIAL,
        transform=TransformOptions(duplicates_rule=rule),
        indicators=IndicatorsOptions(duplicates_rule=rule),
    )
    return run_day(place, lambda target: resolve_spec(target, None, {}), options)


def rows(tmp_path: Path, table: str, ds: str) -> pa.Table:
    return pa.concat_tables(read_tables(open_dataset(f"{tmp_path}/c/market/{table}", ds)))


# -- whole days ------------------------------------------------------------------------------------


def test_real_days_with_exact_duplicates_go_through_all_stages(tmp_path):
    for ds in DAYS:
        land(tmp_path / "raw", ds)
        made = run(tmp_path, ds)
        assert made.error is None, made.error
        prices = open_dataset(tmp_path / "c/market/prices", ds).manifest
        assert (prices.rows, prices.duplicates) == (SYMBOLS, EXACT)
        assert_conserves(prices)
        assert open_dataset(tmp_path / "c/market/indicators", ds).manifest.rows == SYMBOLS
    assert run(tmp_path, DAYS[0]).status == "UNCHANGED"


@pytest.mark.parametrize("rule", RULES)
def test_conflicting_duplicates_go_by_the_rule_in_every_stage(tmp_path, rule):
    ds = DAYS[0]
    land(tmp_path / "raw", ds, conflicting=CONFLICTING, symbols=600)
    made = run(tmp_path, ds, rule)
    if rule == "fail":
        assert isinstance(made.error, DataQualityFailed)
        assert "S00500, S00501, S00502" in made.error.message
        assert made.steps[-1].name == "transform"
        aside = open_dataset(tmp_path / "c/market/prices/quarantine", ds).manifest
        assert aside.rows == 600 + EXACT + CONFLICTING
        return
    assert made.error is None, made.error
    manifest = open_dataset(tmp_path / "c/market/prices", ds).manifest
    assert_conserves(manifest)
    closes = dict(
        zip(
            *(rows(tmp_path, "prices", ds).column(n).to_pylist() for n in ("symbol", "raw_close")),
            strict=True,
        )
    )
    assert closes["S00499"] == 509.0
    if rule == "keep_last":
        assert (manifest.rows, manifest.duplicates, manifest.rejects) == (600, EXACT + CONFLICTING, 0)
        assert closes["S00500"] == 3.0  # the object z-other.json comes after a00000.json
    else:
        assert (manifest.rows, manifest.duplicates, manifest.rejects) == (597, EXACT, 2 * CONFLICTING)
        assert "S00500" not in closes
        lines = (tmp_path / "c/market/prices" / manifest.rejects_file.key).read_text().splitlines()
        found = [json.loads(line) for line in lines]
        assert {line["reason"] for line in found} == {"conflicting duplicate"}
        assert sorted(json.loads(line["raw"])["close"] for line in found) == [3.0] * 3 + [510.0, 511.0, 512.0]
        assert all(line["key"].endswith("part-00000.parquet") for line in found)
    assert open_dataset(tmp_path / "c/market/indicators", ds).manifest.rows == manifest.rows


def test_duplicates_in_different_splits_are_found_and_the_bytes_do_not_depend_on_the_cut(
    tmp_path, monkeypatch
):
    ds = DAYS[0]
    land(tmp_path / "raw", ds, conflicting=CONFLICTING)
    made = run(tmp_path, ds)
    whole = rows(tmp_path, "prices", ds)
    places = {"raw": tmp_path / "raw", "curated": tmp_path / "c", "ds": ds, "options": SERIAL, **WORDS}
    (tmp_path / "c/market/prices" / f"ds={ds}").rename(tmp_path / "aside")
    monkeypatch.setattr("briquette.pipeline.transform_source.SPLIT_SHARE", 1 << 11)
    cut = transform(**places)
    assert made.error is None
    assert cut.compaction.splits >= 1
    assert rows(tmp_path, "prices", ds).equals(whole)
    assert (cut.duplicates.exact, cut.duplicates.conflicting) == (EXACT, CONFLICTING)


@pytest.mark.parametrize("rule", ["keep_last", "reject"])
def test_raw_days_of_several_splits(tmp_path, rule):
    """Without a compaction the transform reads the raw objects, here one split each."""
    ds = DAYS[0]
    land(tmp_path / "raw", ds, conflicting=CONFLICTING, symbols=4_100)
    result = transform(
        raw=tmp_path / "raw",
        curated=tmp_path / "c",
        ds=ds,
        duplicates_rule=rule,
        options=SERIAL,
        split_objects=1,
        **WORDS,
    )
    assert result.source == "raw"
    assert result.compaction.splits == 5
    manifest = result.compaction.manifest
    assert_conserves(manifest)
    assert manifest.duplicates == EXACT + (CONFLICTING if rule == "keep_last" else 0)
    if rule == "reject":
        lines = (tmp_path / "c" / manifest.rejects_file.key).read_text().splitlines()
        places = [(Path(found["key"]).name, found["position"]) for found in map(json.loads, lines)]
        assert places == [("a00000.json", n) for n in (500, 501, 502)] + [
            ("z-other.json", n) for n in range(3)
        ]


def test_more_rejects_than_the_limit_stop_the_day(tmp_path):
    land(tmp_path / "raw", DAYS[0], conflicting=60, symbols=600)
    made = run(tmp_path, DAYS[0], "reject")
    assert isinstance(made.error, RejectLimitExceeded)


def test_bars_within_a_day_are_no_duplicates_of_one_another(tmp_path):
    ds = DAYS[0]
    land(tmp_path / "raw", ds, symbols=600, interval="1h")
    folder = next((tmp_path / "raw").rglob("a00000.json")).parent
    later = b"".join(record(ds, i, timestamp=f"{ds}T01:00:00") for i in range(600))
    (folder / "b.json").write_bytes(later)
    made = run(tmp_path, ds, interval="1h")
    manifest = open_dataset(tmp_path / "c/market/prices", ds).manifest
    assert (manifest.rows, manifest.duplicates) == (1_200, EXACT)
    assert isinstance(made.error, SeveralBars)  # they have no daily indicators
    assert made.error.exit_code == 4


def test_of_daily_bars_the_symbol_alone_is_the_key(tmp_path):
    """Two times of one day are two records of one bar."""
    land(tmp_path / "raw", DAYS[0], symbols=600)
    folder = next((tmp_path / "raw").rglob("a00000.json")).parent
    (folder / "b.json").write_bytes(record(DAYS[0], 3, timestamp=f"{DAYS[0]}T05:00:00", close=4.0))
    made = run(tmp_path, DAYS[0])
    assert made.error is None
    assert open_dataset(tmp_path / "c/market/prices", DAYS[0]).manifest.rows == 600


# -- prices that others published -------------------------------------------------------------------


def compute(curated: Path, ds: str, rule: str):
    options = IndicatorsOptions(run=SERIAL, duplicates_rule=rule)
    return indicators(curated=curated, domain="market", ds=ds, options=options)


def twice(table: pa.Table, **changes: float) -> pa.Table:
    """The first symbol exactly twice, and another time with these changes."""
    again = table.slice(0, 1)
    if changes:
        other = [
            pa.array([changes.get(n, again.column(n)[0].as_py())], again.schema.field(n).type)
            for n in again.column_names
        ]
        return pa.concat_tables([table, again, pa.table(other, schema=again.schema)])
    return pa.concat_tables([table, again])


@pytest.mark.parametrize("which", [0, -1], ids=["look-back", "today"])
@pytest.mark.parametrize("rule", RULES)
def test_published_duplicates_go_by_the_same_rule_whichever_session_has_them(tmp_path, rule, which):
    curated = tmp_path / "c"
    days = publish_history(str(curated), tmp_path, 3)
    table = dict(bars(days))[days[which]]
    publish_day(str(curated), days[which], twice(table), tmp_path)
    exact = compute(curated, days[-1], rule)
    counted = "exact_duplicates" if which else "duplicates_in_lookback"
    assert exact.findings[counted] == 1
    publish_day(str(curated), days[which], twice(table, close=1.5, low=1.0), tmp_path)
    if rule == "fail":
        with pytest.raises(DataQualityFailed if which else InputError, match=f"AAPL.*{days[which]}"):
            compute(curated, days[-1], rule)
        return
    made = compute(curated, days[-1], rule)
    symbols = rows_of_indicators(curated, days[-1])
    assert ("AAPL" in symbols) is not (rule == "reject" and which == -1)
    assert_conserves(made.run.manifest)


def rows_of_indicators(curated: Path, ds: str) -> list[str]:
    return (
        pa.concat_tables(read_tables(open_dataset(f"{curated}/market/indicators", ds)))
        .column("symbol")
        .to_pylist()
    )


def test_several_bars_of_unknown_interval_are_refused(tmp_path):
    curated = tmp_path / "c"
    days = sessions(2)
    tables = dict(bars(days))
    publish_day(str(curated), days[1], tables[days[1]], tmp_path)
    folder = curated / f"market/prices/ds={days[0]}"
    folder.mkdir(parents=True)
    later = tables[days[1]].set_column(1, "timestamp", tables[days[1]].column("timestamp"))
    pq.write_table(pa.concat_tables([tables[days[0]], later]), folder / "part-0-x.parquet")
    with pytest.raises(SeveralBars, match=days[0]):
        compute(curated, days[1], "keep_last")


# -- the rule itself ---------------------------------------------------------------------------------


def test_the_key_and_its_hashes():
    assert key_columns(["symbol", "timestamp", "close"], "1d") == ("symbol",)
    assert (
        key_columns(["symbol", "timestamp"], "5m")
        == key_columns(["symbol", "timestamp"], "")
        == ("symbol", "timestamp")
    )
    table = pa.table({"symbol": ["a", None, "b", "a", None], "n": [1, 1, 1, 1, 1]})
    assert len(key_hashes(table, ("symbol",))) == 3
    assert len(repeated([key_hashes(table, ("symbol",)), key_hashes(table.slice(0, 0), ("symbol",))])) == 1
    chunked = pa.chunked_array(
        [pa.array(["a"]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode()]
    )
    assert len(repeated([key_hashes(pa.table({"symbol": chunked}), ("symbol",))])) == 1


@pytest.mark.parametrize("rule", RULES)
def test_nan_equals_nan_and_null_equals_null_and_three_times_is_two_beyond_the_first(rule):
    table = pa.table(
        {
            "symbol": ["a", "b", "a", "a", None, None],
            "v": [float("nan"), 1.0, float("nan"), float("nan"), 1.0, 1.0],
            "w": [None] * 6,
        }
    )
    kept, found = resolved_table(table, ("symbol",), rule)
    assert (found.exact, found.conflicting, kept.num_rows) == (2, 0, 4)


def test_of_several_equal_records_in_a_conflict_each_state_is_rejected_once():
    records = [{"symbol": "a", "v": v} for v in (1, 2, 1)]
    found = resolve(records, ("symbol",), "reject")
    assert (found.exact, found.conflicting, found.rejected, found.dropped) == (1, 1, (1, 2), (0,))
    kept = resolve(records, ("symbol",), "keep_last")
    assert (kept.rejected, kept.dropped) == ((), (0, 1))


def test_another_word_is_refused(tmp_path):
    with pytest.raises(UsageError, match="keep_last, reject, fail"):
        compute(tmp_path, "2024-01-01", "first")
