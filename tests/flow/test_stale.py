"""Indicators that have not read the prices that are there now: named, and computed again on request."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from briquette.compaction.new_plan import resolve_spec
from briquette.compaction.options import RunOptions
from briquette.datasets.read import open_dataset, read_tables
from briquette.model import Partition
from briquette.pipeline import indicators as stage
from briquette.pipeline.indicators import IndicatorsOptions, IndicatorsResult, indicators, indicators_target
from briquette.pipeline.indicators_days import indicators_days, stale_days
from briquette.pipeline.lookback import PublishedDays, stale_reason
from briquette.pipeline.run_day import FlowOptions, run_day
from briquette.planning.target import daily
from briquette.storage.opening import open_store
from tests.flow.price_days import bars, publish_day, publish_history, sessions
from tests.flow.test_days import briquette, land, steps

SERIAL = RunOptions(executor="serial")
OPTIONS = IndicatorsOptions(run=SERIAL)
DAYS = tuple((date(2024, 1, 1) + timedelta(n)).isoformat() for n in range(24))


def compute(curated: Path, ds: str, **changes: object) -> IndicatorsResult:
    return indicators(
        curated=curated, domain="market", ds=ds, options=IndicatorsOptions(run=SERIAL, **changes)
    )


def digest(curated: Path, ds: str) -> str:
    return open_dataset(curated / "market/indicators", ds).manifest.content_digest


def values(curated: Path, ds: str) -> pa.Table:
    table = pa.concat_tables(read_tables(open_dataset(f"{curated}/market/indicators", ds)))
    return table.drop_columns([name for name in ("batch_id",) if name in table.column_names])


def fresh(tmp_path: Path, curated: Path, ds: str) -> pa.Table:
    """What the indicators of a day are when nothing was there before."""
    elsewhere = tmp_path / f"fresh-{ds}"
    elsewhere.mkdir()
    (elsewhere / "market").mkdir()
    (elsewhere / "market/prices").symlink_to(curated / "market/prices")
    compute(elsewhere, ds)
    return values(elsewhere, ds)


# -- what makes a day stale ----------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """Ten published days with indicators for the last five."""
    curated = tmp_path / "curated"
    days = publish_history(str(curated), tmp_path, 10)
    for ds in days[5:]:
        assert compute(curated, ds).stale == ()
    return curated, days


def reasons(curated: Path, ds: str) -> dict[str, str]:
    target = indicators_target(curated=str(curated), domain="market", ds=ds)
    return {day.ds: day.reason for day in stale_days(target, [ds])}


def test_a_correction_makes_every_later_day_of_its_reach_stale_and_no_other(history, tmp_path):
    curated, days = history
    assert reasons(curated, days[5]) == {}
    publish_day(str(curated), days[7], dict(bars(days))[days[7]].slice(0, 3), tmp_path)
    assert reasons(curated, days[5]) == dict.fromkeys(days[7:], f"changed since: {days[7]}")
    assert compute(curated, days[7]).to_dict()["stale"] == [
        {"ds": ds, "reason": f"changed since: {days[7]}"} for ds in days[8:]
    ]


def test_a_late_day_and_a_day_that_is_gone_make_later_days_stale(tmp_path):
    curated = tmp_path / "curated"
    days = sessions(6)
    tables = dict(bars(days))
    for ds in (days[0], *days[2:]):
        publish_day(str(curated), ds, tables[ds], tmp_path)
    for ds in days[3:]:
        compute(curated, ds)
    publish_day(str(curated), days[1], tables[days[1]], tmp_path)
    assert reasons(curated, days[1]) == dict.fromkeys(days[3:], f"not read: {days[1]}")
    for file in (curated / f"market/prices/ds={days[1]}").iterdir():
        file.unlink()
    assert reasons(curated, days[1]) == {}
    for file in (curated / f"market/prices/ds={days[0]}").iterdir():
        file.unlink()
    assert reasons(curated, days[0]) == dict.fromkeys(days[3:], f"no longer read: {days[0]}")


def test_the_same_rows_published_again_make_nothing_stale(history, tmp_path):
    curated, days = history
    publish_day(str(curated), days[7], dict(bars(days))[days[7]], tmp_path, codec="gzip")
    assert reasons(curated, days[5]) == {}


def test_a_day_beyond_the_look_back_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "sessions_needed", lambda _: 3)
    curated = tmp_path / "curated"
    days = publish_history(str(curated), tmp_path, 8)
    for ds in days[2:]:
        compute(curated, ds, lookback_days=3)
    publish_day(str(curated), days[3], dict(bars(days))[days[3]].slice(0, 3), tmp_path)
    assert list(reasons(curated, days[3])) == list(days[3:6])


def test_indicators_that_do_not_say_what_they_read_are_stale(history, tmp_path):
    curated, days = history
    prices = PublishedDays(
        open_store(str(curated)), indicators_target(curated=str(curated), domain="market", ds=days[0]).prices
    )
    manifest = open_dataset(curated / "market/prices", days[8]).manifest  # of no indicators
    assert "do not say" in stale_reason(days[8], manifest, prices)


def test_asking_again_reads_only_what_changed(history, tmp_path):
    curated, days = history
    store = open_store(str(curated))
    prices = PublishedDays(store, indicators_target(curated=str(curated), domain="market", ds=days[0]).prices)
    before = prices.until(days[9], 99)
    publish_day(str(curated), days[7], dict(bars(days))[days[7]].slice(0, 3), tmp_path)
    store.requests.reset()
    after = prices.again().until(days[9], 99)
    assert store.requests["GET"] == 1
    assert [a.ds for a, b in zip(before, after, strict=True) if a.fingerprint != b.fingerprint] == [days[7]]


# -- computed while others publish ----------------------------------------------------------------


def test_a_neighbour_that_publishes_meanwhile_is_read_before_the_day_is_called_done(tmp_path, monkeypatch):
    curated = tmp_path / "curated"
    days = sessions(25)
    tables = dict(bars(days))
    for ds in days:
        if ds != days[20]:
            publish_day(str(curated), ds, tables[ds], tmp_path)
    late, run_plan = [days[20]], stage.run_plan

    def run(*arguments: object, **words: object) -> object:
        result = run_plan(*arguments, **words)
        if late:  # the day before comes once this one has read its prices
            publish_day(str(curated), late[0], tables[late.pop()], tmp_path)
        return result

    monkeypatch.setattr(stage, "run_plan", run)
    result = compute(curated, days[-1])
    assert (result.stale, result.sessions) == ((), 25)
    assert values(curated, days[-1]).equals(fresh(tmp_path, curated, days[-1]))


def test_one_that_never_comes_to_rest_is_named_as_stale(tmp_path, monkeypatch):
    curated = tmp_path / "curated"
    days = publish_history(str(curated), tmp_path, 5)
    run_plan, codecs = stage.run_plan, iter(range(9))

    def run(*arguments: object, **words: object) -> object:
        result = run_plan(*arguments, **words)
        table = dict(bars(days))[days[3]].slice(0, 1 + next(codecs) % 3)
        publish_day(str(curated), days[3], table, tmp_path)
        return result

    monkeypatch.setattr(stage, "run_plan", run)
    result = compute(curated, days[-1])
    assert [(day.ds, day.reason) for day in result.stale] == [(days[-1], f"changed since: {days[3]}")]
    assert next(codecs) == stage.MOST_ROUNDS


# -- many days ---------------------------------------------------------------------------------------


def test_repair_computes_what_is_stale_and_the_values_are_those_of_a_fresh_start(history, tmp_path):
    curated, days = history
    publish_day(str(curated), days[6], dict(bars(days))[days[6]].slice(0, 3), tmp_path)
    target = indicators_target(curated=str(curated), domain="market", ds=days[6])
    named = indicators_days(target, [days[6]], OPTIONS)
    assert [day.ds for day in named.days] == [days[6]]
    assert [day.ds for day in named.stale] == list(days[7:])
    repaired = indicators_days(target, [days[6]], OPTIONS, repair_stale=True)
    assert [(day.ds, day.repaired) for day in repaired.days] == [
        (days[6], False),
        *((ds, True) for ds in days[7:]),
    ]
    assert repaired.stale == ()
    for ds in days[6:]:
        assert values(curated, ds).equals(fresh(tmp_path, curated, ds))


def test_a_day_that_fails_stops_no_other_and_stays_named(history, tmp_path):
    curated, days = history
    publish_day(str(curated), days[6], dict(bars(days))[days[6]].slice(0, 3), tmp_path)
    target = indicators_target(curated=str(curated), domain="market", ds=days[0])
    made = indicators_days(target, ["2024-06-01", days[7]], OPTIONS)
    assert [day.error and day.error.name for day in made.days] == [None, "NoPrices"]
    assert [day.ds for day in made.stale] == list(days[8:])


def test_a_backfill_of_days_at_once_gives_the_values_of_one_day_after_the_other(tmp_path):
    for ds in DAYS:
        land(tmp_path / "raw", ds, 3, volume=float(ds[-2:]))
    words = ("backfill", "--start", DAYS[0], "--end", DAYS[-1], "--stages", "all", "--json")
    told = briquette(tmp_path, *words, "--days-at-once", "4")
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["stale"] == document["repaired"] == []
    assert [steps(day)["indicators"] for day in document["partitions"]] == ["DONE"] * len(DAYS)
    curated = tmp_path / "curated"
    for ds in (DAYS[3], DAYS[-1]):
        assert values(curated, ds).equals(fresh(tmp_path, curated, ds))
    again = json.loads(briquette(tmp_path, *words, "--days-at-once", "4").stdout)
    assert {day["status"] for day in again["partitions"]} == {"UNCHANGED"}
    assert again["stats"]["bytesWritten"] == 0


def test_the_commands_name_what_a_correction_made_stale_and_repair_it(tmp_path):
    for ds in DAYS[:4]:
        land(tmp_path / "raw", ds, 3)
    words = ("--start", DAYS[0], "--end", DAYS[3], "--stages", "all")
    assert briquette(tmp_path, "backfill", *words).returncode == 0
    before = digest(tmp_path / "curated", DAYS[3])
    land(tmp_path / "raw", DAYS[1], 3, open=4.0, adjusted_close=3.0)
    told = briquette(tmp_path, "run", "--ds", DAYS[1])
    assert told.returncode == 0, told.stderr
    for ds in DAYS[2:4]:
        assert f"{ds}  indicators are stale: changed since: {DAYS[1]}" in told.stdout
    assert "--repair-stale" in told.stdout
    assert digest(tmp_path / "curated", DAYS[3]) == before
    document = json.loads(briquette(tmp_path, "run", "--ds", DAYS[1], "--repair-stale", "--json").stdout)
    assert (document["status"], document["repaired"]) == ("UNCHANGED", list(DAYS[2:4]))
    assert "stale" not in document
    assert digest(tmp_path / "curated", DAYS[3]) != before
    assert values(tmp_path / "curated", DAYS[3]).equals(fresh(tmp_path, tmp_path / "curated", DAYS[3]))


def test_a_backfill_of_a_few_days_names_those_after_them(tmp_path):
    for ds in DAYS[:5]:
        land(tmp_path / "raw", ds, 3)
    words = ("--start", DAYS[0], "--end", DAYS[4], "--stages", "all")
    assert briquette(tmp_path, "backfill", *words).returncode == 0
    land(tmp_path / "raw", DAYS[0], 3, open=4.0)
    some = ("backfill", "--start", DAYS[0], "--end", DAYS[1], "--stages", "all", "--json")
    document = json.loads(briquette(tmp_path, *some).stdout)
    assert [day["ds"] for day in document["stale"]] == list(DAYS[2:5])
    repaired = json.loads(briquette(tmp_path, *some, "--repair-stale").stdout)
    assert [day["ds"] for day in repaired["repaired"]] == list(DAYS[2:5])
    assert repaired["stale"] == []


def test_a_day_through_the_stages_in_this_process_has_its_stale_days_in_its_result(tmp_path):
    def one(ds: str) -> object:
        words = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "yahoo"}
        place = daily(Partition(**words, ds=ds), raw=str(tmp_path / "raw"), curated=str(tmp_path / "curated"))
        return run_day(place, lambda target: resolve_spec(target, None, {}), FlowOptions(run=SERIAL))

    for ds in DAYS[1:3]:
        land(tmp_path / "raw", ds, 2)
        assert one(ds).stale == ()
    land(tmp_path / "raw", DAYS[0], 2)
    assert [day.to_dict() for day in one(DAYS[0]).stale] == [
        {"ds": ds, "reason": f"not read: {DAYS[0]}"} for ds in DAYS[1:3]
    ]
