"""The second stage end to end: what it reads, what it refuses, what it leaves, and what readers see."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from pathlib import Path

import duckdb
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from briquette import compact
from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE, write_raw_day
from briquette.compaction.map_splits import CompactSplits
from briquette.compaction.options import RunOptions
from briquette.datasets.read import open_dataset, read_tables
from briquette.errors import (
    BatchManifestMismatch,
    DataQualityFailed,
    InputError,
    MissingColumns,
    NoRawData,
    OutputOccupied,
    PartitionConflict,
    RejectLimitExceeded,
    SourceChanged,
    StoreError,
    UsageError,
)
from briquette.model import Partition, Status
from briquette.pipeline.transform import transform
from briquette.pipeline.transform_source import places_of
from briquette.planning.layout import PLAN
from briquette.planning.target import resolve_target
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import ANY, WRITE_VERBS
from briquette.storage.opening import open_store
from briquette.storage.urls import below
from tests.flow.test_cli import NAMES, briquette
from tests.flow.test_cli import document as printed
from tests.invariants import assert_conserves, assert_only_parts_are_visible, snapshot

DAY = f"raw/{DOMAIN}/{TABLE}/interval={INTERVAL}/data_source={DATA_SOURCE}/year=2025/month=09/day=09/"
ROOT = f"curated/{DOMAIN}/{TABLE}/"
OUT, QUARANTINE = f"{ROOT}ds={DS}/", f"{ROOT}quarantine/ds={DS}/"
COMPACTED = f"{ROOT}compacted/ds={DS}/"
MARKET = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}


def bar(symbol: str, close: float = 10.0, adjusted_close: float | None = 5.0, **more: object) -> dict:
    return {
        "symbol": symbol,
        "timestamp": f"{DS}T00:00:00",
        "adjusted_close": adjusted_close,
        "open": 8.0,
        "high": 16.0,
        "low": 4.0,
        "close": close,
        "volume": 100.0,
        **more,
    }


def land(url: str, bars: list[dict], folder: str = DAY) -> None:
    """One raw object for each bar, named by its place and symbol."""
    store = open_store(url)
    for i, record in enumerate(bars):
        store.put(f"{folder}{i:03d}{record['symbol']}.json", json.dumps(record).encode() + b"\n")


def names(url: str) -> dict:
    return {"raw": f"{url}/raw", "curated": f"{url}/curated", **MARKET}


def compacted(url: str, bars: list[dict] | None = None, **options: object) -> dict:
    """The words of a target whose day is landed and compacted."""
    land(url, bars or [bar("A"), bar("B", 4.0, 4.0), bar("C", 2.0, None)])
    compact(**names(url), **options)
    return names(url)


def rows(url: str, prefix: str = OUT) -> list[dict]:
    dataset = open_dataset(f"{url}/{prefix}")
    return [r for t in read_tables(dataset) for r in t.to_pylist()]


def keys(url: str, prefix: str = ROOT) -> set[str]:
    return {s.key for s in open_store(url).list(prefix)}


def bad_day(count: int = 20, bad: int = 2) -> list[dict]:
    return [bar(f"S{i}", -1.0 if i < bad else 10.0) for i in range(count)]


# -- the normal way ----------------------------------------------------------------------------------


def test_a_compacted_day_is_adjusted_and_published(store_url):
    result = transform(**compacted(store_url))
    assert (result.status, result.source, result.compaction.message) == (Status.PUBLISHED, "compacted", "")
    assert (result.quality.records, result.quality.critical, result.quality.warnings) == (3, 0, 1)
    assert_conserves(result.compaction.manifest)
    found = {r["symbol"]: r for r in rows(store_url)}
    assert (found["A"]["open"], found["A"]["raw_open"]) == (4.0, 8.0)
    assert (found["A"]["close"], found["A"]["volume"], found["A"]["adjustment_factor"]) == (5.0, 200.0, 0.5)
    assert (found["B"]["open"], found["C"]["close"], found["C"]["adjustment_factor"]) == (8.0, 2.0, 1.0)
    assert list(found["A"])[8:] == [
        "raw_open",
        "raw_high",
        "raw_low",
        "raw_close",
        "raw_volume",
        "adjustment_factor",
    ]
    assert "ds" not in found["A"]


def test_the_published_dataset_is_what_its_manifest_says(store_url):
    result = transform(**compacted(store_url))
    place = below(result.compaction.output)
    assert verify_dataset(open_store(place.url), place) == []
    made = result.compaction.manifest
    assert (made.stage.name, str(made.raw)) == ("transform", str(result.read_from))
    assert dict(made.stage.parameters)["max_critical_error_rate"] == "5.0"


def test_running_again_writes_nothing_and_says_unchanged(store_url):
    where = compacted(store_url)
    transform(**where)
    store = open_store(f"{store_url}/curated")
    store.requests.reset()
    again = transform(**where)
    assert (again.status, again.quality, store.requests.writes) == (Status.UNCHANGED, None, 0)
    assert again.to_dict()["quality"] is None


@pytest.mark.parametrize(
    "changed", [{"expected_min_records": 2}, {"max_critical_error_rate": 7.0}, {"codec": "gzip"}]
)
def test_another_threshold_or_codec_is_not_unchanged(tmp_path, changed):
    where = compacted(str(tmp_path))
    transform(**where)
    assert transform(**where, **changed).status is Status.PUBLISHED
    assert transform(**where, **changed).status is Status.UNCHANGED


def test_a_late_compaction_is_noticed(store_url):
    where = compacted(store_url)
    transform(**where)
    open_store(store_url).put(f"{DAY}late.json", json.dumps(bar("Z")).encode())
    assert transform(**where).status is Status.UNCHANGED
    compact(**where)
    assert transform(**where).quality.records == 4
    assert [r["symbol"] for r in rows(store_url)] == ["A", "B", "C", "Z"]


def test_force_writes_the_same_bytes(tmp_path):
    where = compacted(str(tmp_path))
    first = transform(**where).compaction.manifest
    again = transform(**where, options=RunOptions(force=True))
    assert again.status is Status.PUBLISHED
    assert [f.sha256 for f in again.compaction.manifest.files] == [f.sha256 for f in first.files]


def test_any_compacted_dataset_goes_to_any_ds_folder(tmp_path):
    compacted(str(tmp_path))
    source = tmp_path / COMPACTED
    result = transform(input=source, output=tmp_path / "out" / f"ds={DS}")
    assert (result.source, result.quality.records) == ("compacted", 3)
    assert_only_parts_are_visible(tmp_path / "out" / f"ds={DS}")
    with pytest.raises(UsageError, match="know the table"):
        transform(input=source, output=tmp_path / "elsewhere")


# -- many splits, every executor ---------------------------------------------------------------------


SMALL = {"split_bytes": 1 << 17, "target_file_mb": 0.25}


def test_every_executor_publishes_the_same_bytes(tmp_path, s3):
    write_raw_day(tmp_path / "raw", 2_000)
    where = names(str(tmp_path)) | {"curated": f"{s3.url}/curated"}  # etags of S3 depend on nothing but bytes
    compact(**where, target_file_mb=0.0625, split_bytes=1 << 15)
    made, store = {}, open_store(s3.url)
    for name, options in {
        "serial": RunOptions(executor="serial"),
        "threads": RunOptions(executor="dask", threads=2),
        "processes": RunOptions(executor="dask", workers=2),
    }.items():
        result = transform(**where, **SMALL, options=options)
        assert result.compaction.splits > 2
        assert len(result.compaction.manifest.files) > 1
        made[name] = {k: hashlib.sha256(store.get(k)).hexdigest() for k in keys(s3.url, OUT)}
        assert f"{OUT}_manifest.json" in made[name]
        for key in made[name]:
            store.delete(key)
    assert made["serial"] == made["threads"] == made["processes"]


def test_a_huge_part_is_read_by_ranges_of_its_row_groups(tmp_path):
    write_raw_day(tmp_path / "raw", 4_000)
    where = names(str(tmp_path))
    compact(**where, split_bytes=1 << 16)  # one part of many row groups
    whole = transform(**where)
    expected = rows(str(tmp_path))
    ranged = transform(**where, split_bytes=1 << 16, options=RunOptions(force=True))
    assert (whole.compaction.raw_objects, whole.compaction.splits) == (1, 1)
    assert ranged.compaction.splits > 5
    assert {s.byte_range is None for s in _plan_splits(ranged)} == {False}
    assert repr(rows(str(tmp_path))) == repr(expected)
    assert ranged.quality == whole.quality
    assert ranged.compaction.manifest.records == whole.compaction.manifest.records


def _plan_splits(result):
    from briquette.pipeline.transform import plan_transform
    from briquette.pipeline.transform_source import Places, find_source
    from briquette.prices.quality import Thresholds

    made, root = result.compaction.manifest, result.compaction.output
    places = Places(made.partition, made.raw, made.raw, below(root))
    source = find_source(places, RunOptions(), overrides={"split_bytes": 1 << 16})
    return plan_transform(places, source, Thresholds()).splits


def test_the_verdict_counts_keys_that_meet_only_across_splits(tmp_path):
    day = [bar(f"S{i % 500}", low=float(i)) for i in range(1_000)]
    where = compacted(str(tmp_path), day, split_bytes=1 << 14, target_file_mb=0.0625)
    result = transform(**where, split_bytes=1 << 14)
    assert result.compaction.splits > 1
    assert result.quality.duplicate_keys == 500


def test_a_verdict_after_late_data_counts_the_parts_that_did_not_change_too(tmp_path, s3):
    write_raw_day(tmp_path / "raw", 3_000)
    # On S3 a part with the same bytes keeps its etag, and so its split keeps its fingerprint.
    where = names(str(tmp_path)) | {"curated": f"{s3.url}/curated"}
    small = {"target_file_mb": 0.0625, "split_bytes": 1 << 15}
    compact(**where, **small)
    first = transform(**where, split_bytes=1 << 16)
    (tmp_path / DAY / "ZZZZZZ.json").write_text(json.dumps(bar("ZZZZZZ")) + "\n")
    compact(**where, **small)
    again = transform(**where, split_bytes=1 << 16)
    common = _fingerprints(first) & _fingerprints(again)
    assert common, "the case needs a split that stayed as it was"
    assert again.quality.records == first.quality.records + 1 == again.compaction.manifest.rows


def _fingerprints(result) -> set[str]:
    return {s.fingerprint for s in result.compaction.manifest.splits}


# -- data quality ------------------------------------------------------------------------------------


def test_too_many_critical_errors_go_to_quarantine_as_they_were_read(store_url):
    where = compacted(store_url, bad_day())
    with pytest.raises(DataQualityFailed) as caught:
        transform(**where)
    assert caught.value.message.startswith("DQ_FAILED: 2 critical errors in 20 records, 10.00 % (at most 5.0")
    assert caught.value.exit_code == 5
    assert QUARANTINE in caught.value.message
    assert rows(store_url, QUARANTINE) == rows(store_url, COMPACTED)
    assert not keys(store_url, OUT)


def test_a_failing_day_leaves_what_was_published_before(store_url):
    where = compacted(store_url, bad_day(bad=0))
    transform(**where)
    store = open_store(store_url)
    before = {s.key: s.etag for s in store.list(OUT)}
    for i in range(2):
        store.put(f"{DAY}{i:03d}S{i}.json", json.dumps(bar(f"S{i}", -1.0)).encode())
    compact(**where)
    for _ in range(2):
        with pytest.raises(DataQualityFailed):
            transform(**where)
    assert {s.key: s.etag for s in store.list(OUT)} == before


def test_failing_again_rewrites_no_quarantine(tmp_path):
    where = compacted(str(tmp_path), bad_day())
    for i in range(2):
        with pytest.raises(DataQualityFailed):
            transform(**where)
        if i == 0:
            before = snapshot(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_crash_after_the_quarantine_is_made_good_by_running_again(tmp_path, monkeypatch):
    where = compacted(str(tmp_path), bad_day())
    with monkeypatch.context() as patch:
        patch.setattr(
            "briquette.pipeline.transform_splits.DataQualityFailed", lambda *_, **__: StoreError("died")
        )
        with pytest.raises(StoreError, match="died"):
            transform(**where)
    before = snapshot(tmp_path)
    with pytest.raises(DataQualityFailed):
        transform(**where)
    assert snapshot(tmp_path) == before


def test_a_crash_while_the_quarantine_is_written_is_made_good_by_running_again(store_url):
    where = compacted(store_url, bad_day())
    store = open_store(f"{store_url}/curated")

    def die(verb: str, key: str) -> None:
        if QUARANTINE.removeprefix("curated/") in f"{key}/" and verb in WRITE_VERBS:
            store.requests.before = None
            raise StoreError("the machine is gone")

    store.requests.before = die
    with pytest.raises(StoreError, match="gone"):
        transform(**where)
    store.requests.before = None
    with pytest.raises(DataQualityFailed):
        transform(**where)
    assert len(rows(store_url, QUARANTINE)) == 20
    assert not keys(store_url, OUT)


def test_a_quarantine_of_another_writer_stays_and_the_error_says_so(tmp_path):
    where = compacted(str(tmp_path), bad_day())
    (tmp_path / QUARANTINE).mkdir(parents=True)
    (tmp_path / QUARANTINE / "part-00000-9f2b.snappy.parquet").write_bytes(b"of Spark")
    for force in (False, True):
        with pytest.raises(
            DataQualityFailed, match=r"could not be set aside: .* which briquette did not publish"
        ):
            transform(**where, options=RunOptions(force=force))
    assert (tmp_path / QUARANTINE / "part-00000-9f2b.snappy.parquet").read_bytes() == b"of Spark"


def test_a_day_that_was_mended_is_published(tmp_path):
    where = compacted(str(tmp_path), bad_day())
    with pytest.raises(DataQualityFailed):
        transform(**where)
    land(str(tmp_path), bad_day(bad=1))
    compact(**where)
    assert transform(**where).quality.critical_error_rate == 5.0
    assert transform(**where, max_critical_error_rate=5.0).status is Status.UNCHANGED


def test_a_higher_limit_lets_the_day_through(tmp_path):
    where = compacted(str(tmp_path), bad_day())
    result = transform(**where, max_critical_error_rate=10.0)
    assert result.quality.negatives == (("close", 2),)
    assert rows(str(tmp_path))[0]["adjustment_factor"] == -5.0


@pytest.mark.parametrize("bad", [{"expected_min_records": -1}, {"max_critical_error_rate": math.nan}])
def test_thresholds_that_mean_nothing_are_refused(tmp_path, bad):
    with pytest.raises(UsageError):
        transform(**names(str(tmp_path)), **bad)


def test_rows_without_the_columns_of_prices_are_refused(tmp_path):
    land(str(tmp_path), [{"symbol": "A", "price": 1.0}])
    schema = tmp_path / "s.toml"
    schema.write_text('[columns]\nsymbol = "string"\nprice = "float64"\n')
    compact(**names(str(tmp_path)), schema=schema)
    with pytest.raises(MissingColumns, match="lack close, timestamp or date") as caught:
        transform(**names(str(tmp_path)))
    assert caught.value.exit_code == 4


def test_an_output_of_this_stage_is_not_transformed_again(tmp_path):
    transform(**compacted(str(tmp_path)))
    with pytest.raises(InputError, match="which the adjustment adds"):
        transform(input=tmp_path / OUT, output=tmp_path / "again" / f"ds={DS}")


# -- what it reads where there is no compacted day ---------------------------------------------------


def test_nothing_to_read_names_both_places(store_url):
    if "://" not in store_url:  # a root that is not there is a mistake of the command (exit code 2)
        (Path(store_url) / "raw").mkdir()
    with pytest.raises(NoRawData) as caught:
        transform(**names(store_url))
    assert caught.value.message.startswith("NO_RAW_DATA: ")
    for place in (COMPACTED, DAY):
        assert place in caught.value.message
    assert caught.value.exit_code == 3
    assert not keys(store_url, "curated")


def test_a_raw_day_is_read_itself_and_said_so(store_url, caplog, monkeypatch):
    land(store_url, [bar("A"), bar("B")])
    monkeypatch.setattr(logging.getLogger("briquette"), "propagate", True)
    with caplog.at_level(logging.WARNING, "briquette.pipeline.transform"):
        result = transform(**names(store_url))
    assert result.source == "raw"
    assert "the raw day" in result.compaction.message
    assert result.compaction.message in caplog.text
    compact(**names(store_url))
    transform(**names(store_url))
    assert [r["adjustment_factor"] for r in rows(store_url)] == [0.5, 0.5]


def test_a_raw_day_gives_the_bytes_of_its_compaction(tmp_path):
    write_raw_day(tmp_path / "raw", 400)
    direct = transform(**names(str(tmp_path)))
    compact(**names(str(tmp_path)))
    again = transform(**names(str(tmp_path)))
    assert (direct.source, again.source) == ("raw", "compacted")
    sums = [[f.sha256 for f in r.compaction.manifest.files] for r in (direct, again)]
    assert sums[0] == sums[1]
    assert direct.compaction.rejects > 0
    assert again.compaction.rejects == 0


def test_the_raw_day_keeps_to_the_limits_of_a_compaction(tmp_path):
    url = str(tmp_path)
    land(url, [bar("A", timestamp="never"), bar("B")])
    with pytest.raises(RejectLimitExceeded):
        transform(**names(url))
    assert any("_rejects/" in k for k in keys(url))
    store = open_store(url)
    store.put(f"{DAY}_batch.manifest.json", b'{"objects": [{"key": "missing.json", "records": 1}]}')
    with pytest.raises(BatchManifestMismatch):
        transform(**names(url))


def test_a_raw_day_of_rejects_within_the_limit_has_no_rows(tmp_path):
    land(str(tmp_path), [bar("A", timestamp="never")])
    with pytest.raises(NoRawData, match="no rows in the 1 objects"):
        transform(**names(str(tmp_path)), max_reject_ratio=1.0)
    assert any("_rejects/" in k for k in keys(str(tmp_path)))
    assert not (tmp_path / OUT).exists()


def test_a_unique_key_wants_a_compaction_first(tmp_path):
    land(str(tmp_path), [bar("A"), bar("A")])
    keyed = {"unique_key": ("symbol", "timestamp")}
    with pytest.raises(UsageError, match="unique key symbol, timestamp") as caught:
        transform(**names(str(tmp_path)), **keyed)
    assert "briquette compact" in caught.value.hint
    compact(**names(str(tmp_path)), **keyed)
    assert transform(**names(str(tmp_path))).quality.records == 1


def test_parquet_of_another_writer_is_used_before_the_raw_day(store_url):
    land(store_url, [bar("RAW")])
    store = open_store(store_url)
    # As the old Spark job wrote it: columns by name, the timestamp as text, a marker beside it.
    table = pads.dataset(_spark_like([bar("OLD"), bar("OLDER", 4.0, 4.0)])).to_table()
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put(f"{COMPACTED}part-00000-1b2c.c000.zstd.parquet", buffer.getvalue())
    store.put(f"{COMPACTED}_SUCCESS", b"")
    result = transform(**names(store_url))
    assert (result.source, result.quality.records) == ("parquet", 2)
    assert "has no manifest" in result.compaction.message
    assert [(r["symbol"], r["open"]) for r in rows(store_url)] == [("OLD", 4.0), ("OLDER", 8.0)]
    assert transform(**names(store_url)).status is Status.UNCHANGED


def _spark_like(bars):
    import pyarrow as pa

    return pa.Table.from_pylist([dict(sorted(b.items())) for b in bars])


def test_parts_of_a_compaction_that_died_are_not_taken_for_a_day(store_url):
    land(store_url, [bar("A")])
    open_store(store_url).put(f"{COMPACTED}part-00000.parquet", b"half", ANY, {PLAN: "x"})
    with pytest.raises(SourceChanged, match="did not finish"):
        transform(**names(store_url))


def test_parts_that_are_not_those_of_the_manifest_are_not_read(store_url):
    where = compacted(store_url)
    open_store(store_url).put(f"{COMPACTED}part-00000.parquet", b"other")
    with pytest.raises(SourceChanged, match="not those of their manifest"):
        transform(**where)


def test_a_compaction_published_between_plan_and_reading_is_noticed(store_url):
    where = compacted(store_url)
    transform(**where)
    open_store(store_url).put(f"{DAY}late.json", json.dumps(bar("Z")).encode())
    compact(**where)
    store = open_store(f"{store_url}/curated")
    before = rows(store_url)

    def publish_again(verb: str, key: str) -> None:
        if verb == "GET" and "compacted" in key and key.endswith(".parquet"):
            store.requests.before = None
            open_store(store_url).put(f"{DAY}later.json", json.dumps(bar("ZZ")).encode())
            compact(**where)

    store.requests.before = publish_again
    with pytest.raises(SourceChanged):
        transform(**where)
    assert store.requests.before is None
    assert rows(store_url) == before
    assert transform(**where).quality.records == 5


def test_a_folder_that_is_not_the_compacted_one_is_refused(tmp_path):
    target = resolve_target(Partition(**MARKET), raw=str(tmp_path), curated=str(tmp_path))
    with pytest.raises(UsageError, match="not below a folder 'pressed'"):
        places_of(target, "pressed")


def test_another_data_source_s_day_is_refused(tmp_path):
    where = compacted(str(tmp_path))
    with pytest.raises(PartitionConflict, match="holds data_source"):
        transform(**where | {"data_source": "other"})


def test_files_of_another_writer_in_the_output_are_not_overwritten(tmp_path):
    where = compacted(str(tmp_path))
    (tmp_path / OUT).mkdir(parents=True)
    (tmp_path / OUT / "part-0000-uuid.parquet").write_bytes(b"old")
    for force in (False, True):
        with pytest.raises(OutputOccupied):
            transform(**where, options=RunOptions(force=force))
    assert [p.name for p in (tmp_path / OUT).iterdir()] == ["part-0000-uuid.parquet"]


def test_rescued_fields_pass_through(tmp_path):
    land(str(tmp_path), [bar("A", note="hello")])
    compact(**names(str(tmp_path)), extra_fields="rescue")
    transform(**names(str(tmp_path)))
    assert rows(str(tmp_path))[0]["_rescued"] == '{"note":"hello"}'


# -- what readers see --------------------------------------------------------------------------------


def test_readers_of_a_day_and_of_all_days_see_only_adjusted_rows(tmp_path):
    where = compacted(str(tmp_path), bad_day(bad=1))
    transform(**where)
    with pytest.raises(DataQualityFailed):
        transform(**where, max_critical_error_rate=0.0)  # leaves a quarantine beside it
    root = tmp_path / ROOT
    assert {p.name for p in root.iterdir() if p.is_dir()} >= {"compacted", "quarantine", f"ds={DS}"}
    assert pads.dataset(root / f"ds={DS}", format="parquet").count_rows() == 20
    assert duckdb.sql(f"select count(*) from '{root}/ds={DS}/*.parquet'").fetchall() == [(20,)]
    for_all = f"read_parquet('{root}/ds=*/*.parquet', hive_partitioning = true)"
    found = duckdb.sql(f"select ds, count(*), count(adjustment_factor) from {for_all} group by ds").fetchall()
    assert [(str(ds), n, m) for ds, n, m in found] == [(DS, 20, 20)]
    files = sorted(map(str, root.glob("ds=*/*.parquet")))
    assert pads.dataset(files).count_rows() == 20


# -- the schema record -------------------------------------------------------------------------------


def test_the_schema_is_recorded_once(store_url):
    where = compacted(store_url) | {"schema_fingerprint": f"{store_url}/artifacts/_schema/latest.json"}
    assert transform(**where).schema_changed
    store = open_store(store_url)
    store.requests.reset()
    again = transform(**where)
    assert (again.status, again.schema_changed, store.requests.writes) == (Status.UNCHANGED, False, 0)
    columns = json.loads(store.get("artifacts/_schema/latest.json"))["columns"]
    assert columns[:3] == [
        {"name": "symbol", "type": "string"},
        {"name": "timestamp", "type": "timestamp"},
        {"name": "adjusted_close", "type": "double"},
    ]
    assert columns[-1] == {"name": "adjustment_factor", "type": "double"}


def test_a_record_that_failed_is_made_by_running_again(tmp_path):
    where = compacted(str(tmp_path))
    transform(**where)
    url = f"{tmp_path}/artifacts/latest.json"
    again = transform(**where, schema_fingerprint=url)
    assert (again.status, again.schema_changed) == (Status.UNCHANGED, True)


# -- the command -------------------------------------------------------------------------------------


def test_the_command_publishes_and_says_what_it_found(tmp_path):
    compacted(str(tmp_path), bad_day(bad=0))
    places = ("--raw", tmp_path / "raw", "--curated", tmp_path / "curated", *NAMES)
    done = briquette("transform", *places, "--json")
    assert done.returncode == 0, done.stderr
    found = printed(done)
    assert (found["status"], found["source"], found["quality"]["records"]) == ("PUBLISHED", "compacted", 20)
    again = briquette("transform", *places)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("UNCHANGED")
    assert f"compacted/ds={DS}/  (compacted)" in again.stdout
    text = briquette("transform", *places, "--force", "--expected-min-records", "50").stdout
    assert "0 critical errors in 20 records" in text
    assert "1: fewer than 50 records" in text


def test_the_command_ends_with_5_for_quality_and_3_for_nothing_to_read(tmp_path):
    places = ("--raw", tmp_path / "raw", "--curated", tmp_path / "curated", *NAMES, "--json")
    assert briquette("transform", *places).returncode == 2
    (tmp_path / "raw").mkdir()
    nothing = briquette("transform", *places)
    assert (nothing.returncode, printed(nothing)["error"]["name"]) == (3, "NoRawData")
    compacted(str(tmp_path), bad_day())
    failed = briquette("transform", *places)
    assert (failed.returncode, printed(failed)["error"]["name"]) == (5, "DataQualityFailed")
    assert printed(failed)["error"]["message"].startswith("DQ_FAILED: ")
    assert briquette("transform", *places, "--max-critical-error-rate", "10").returncode == 0


def test_a_plan_of_this_stage_is_not_run_as_a_compaction(tmp_path):
    from briquette.compaction.run import run_plan
    from briquette.errors import PlanError
    from briquette.pipeline.transform import plan_transform
    from briquette.pipeline.transform_source import Places, find_source
    from briquette.prices.quality import Thresholds

    made = compact(**names(str(tmp_path))) if compacted(str(tmp_path)) else None
    places = Places(made.partition, made.output, made.output, below(made.output, "x"))
    plan = plan_transform(places, find_source(places, RunOptions()), Thresholds())
    with pytest.raises(PlanError, match="transform"):
        run_plan(plan, work=CompactSplits())
