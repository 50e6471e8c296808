"""Days that depend on one another, and days that go wrong, in the flow's own file: see test_flow.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from briquette.pipeline.lookback import READ, parameters_of
from orchestration.flow import definition, substituted
from tests.needs import needs_java
from tests.orchestration.flow_lab import CURATED, PREFIX, RAW, ROLE, FlowLab, flow_lab

pytestmark = [
    pytest.mark.spark,
    pytest.mark.xdist_group("flow"),
    pytest.mark.timeout(600),
    needs_java(),
]

DAYS = ("2025-04-01", "2025-04-02", "2025-04-03")
SPAN = {"date_range": {"start": DAYS[0], "end": DAYS[-1]}}
MOVED, RESTLESS, GONE, BROKEN = "2025-05-01", "2025-05-02", "2025-05-03", "2025-05-05"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowLab]:
    with flow_lab(tmp_path_factory.mktemp("days")) as found:
        yield found


def read(lab: FlowLab, ds: str) -> dict[str, str]:
    """The sessions that a day's indicators have read, and what each held."""
    said = parameters_of(lab.manifest(f"market/indicators/ds={ds}"))[READ]
    return dict(entry.split("=") for entry in said.split())


def prices(lab: FlowLab, *days: str) -> dict[str, str]:
    """What the days' prices hold now."""
    return {ds: lab.manifest(f"market/prices/ds={ds}").content_digest[:32] for ds in days}


def an_object(ds: str, **values: Any) -> dict[str, Any]:
    """One more raw object of a day."""
    record = {"symbol": "LATE", "timestamp": f"{ds}T00:00:00", "adjusted_close": 1.0, "open": 1.0}
    record |= {"high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0} | values
    key = f"{PREFIX}/year={ds[:4]}/month={ds[5:7]}/day={ds[8:]}/LATE.json"
    return {"Bucket": RAW, "Key": key, "Body": json.dumps(record) + "\n"}


# -- what needs no Spark -----------------------------------------------------------------------------


def test_raw_objects_that_change_after_preflight_are_planned_again_and_not_given_to_glue(lab):
    lab.land(MOVED, 12)
    first = lab.keys(RAW, f"{PREFIX}/year=2025/month=05/day=01/")[0]
    changed = {**an_object(MOVED, symbol="AAA"), "Key": first}
    lab.break_(
        MOVED,
        {"service": "ecs", "before": changed},
        {
            "service": "transform",
            "error": "Glue.EntityNotFoundException",
            "cause": "as far as this test goes",
        },
    )
    day = lab.run(ds=MOVED).day(MOVED)
    plans = [call["command"][call["command"].index("--plan-uri") + 1] for call in lab.calls(MOVED, "ecs")]
    assert len(set(plans)) == len(plans) == 2
    assert (day["engine"], day["fallback"], day["step"]) == ("dask", False, "transform")
    assert [call["job"] for call in lab.calls(MOVED, "glue")] == ["transform"]
    assert lab.manifest(f"market/prices/compacted/ds={MOVED}").rows == len(
        lab.keys(RAW, f"{PREFIX}/year=2025/month=05/day=01/")
    )


def test_a_day_whose_raw_objects_never_rest_fails_after_three_plans(lab):
    lab.land(RESTLESS, 12)
    first = lab.keys(RAW, f"{PREFIX}/year=2025/month=05/day=02/")[0]
    states = [{**an_object(RESTLESS, close=float(n)), "Key": first} for n in range(1, 5)]
    lab.break_(RESTLESS, *[{"service": "ecs", "before": state} for state in states])
    day = lab.run(ds=RESTLESS).day(RESTLESS)
    assert (day["status"], day["error"], day["step"]) == ("FAILED", "SourceChanged", "compaction")
    assert len(lab.calls(RESTLESS, "ecs")) == 3
    assert lab.calls(RESTLESS, "glue") == []


def test_a_compaction_that_ended_well_and_left_nothing_is_no_empty_day(lab):
    lab.land(GONE, 12)
    folder = f"market/prices/compacted/ds={GONE}"
    keys = [
        {"Bucket": CURATED, "Key": f"{folder}/{name}"} for name in ("_manifest.json", "part-00000.parquet")
    ]
    lab.break_(GONE, {"service": "ecs", "delete": keys})
    ended = lab.run(ds=GONE)
    day = ended.day(GONE)
    assert (ended.status, ended.error) == ("FAILED", "MissingManifest")
    assert (day["status"], day["step"]) == ("UNPUBLISHED", "guard")
    assert "no manifest and no Parquet" in day["cause"]
    assert (ended.output["stats"]["failed"], ended.output["stats"]["empty"]) == (1, 0)


def test_a_child_that_ends_in_an_error_of_the_text_stops_no_other_day(lab):
    text = substituted(definition(), lab.values)
    said = '"ds": "{% $states.input.ds %}",\n              "settings"'
    assert text.count(said) == 1
    spoiled = said.replace(
        "$states.input.ds %}", f"$states.input.ds = '{BROKEN}' ? $error('oh') : $states.input.ds %}}"
    )
    machine = lab.client("stepfunctions").create_state_machine(
        name="spoiled", definition=text.replace(said, spoiled), roleArn=ROLE, type="STANDARD"
    )["stateMachineArn"]
    ended = lab.run(machine, date_range={"start": "2025-05-04", "end": "2025-05-06"})
    assert [day["status"] for day in ended.output["partitions"]] == ["EMPTY", "FAILED", "EMPTY"]
    assert ended.status == "FAILED"
    assert ended.day(BROKEN)["error"].startswith("States.")
    assert ended.output["stats"]["days"] == 3


# -- whole days ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backfilled(lab: FlowLab) -> Any:
    """Three days at once, of which the first one's transform comes last."""
    for n, ds in enumerate(DAYS):
        lab.land(ds, 20, volume=float(100 + n))
    lab.break_(DAYS[0], *[{"service": "transform", "error": "Glue.ConcurrentRunsExceededException"}] * 3)
    return lab.run(**SPAN)


def test_a_backfill_computes_indicators_in_order_after_every_transform(lab, backfilled):
    assert backfilled.status == "SUCCEEDED", backfilled
    assert [day["status"] for day in backfilled.output["partitions"]] == ["PUBLISHED"] * 3
    assert [day["indicators"] for day in backfilled.output["partitions"]] == ["PUBLISHED"] * 3
    (call,) = [call for call in lab.calls(DAYS[0], "glue") if call["job"] == "indicators"]
    assert call["arguments"]["--days"] == ",".join(DAYS)
    assert not [call for ds in DAYS[1:] for call in lab.calls(ds, "glue") if call["job"] == "indicators"]
    for n, ds in enumerate(DAYS):
        assert read(lab, ds) == prices(lab, *DAYS[: n + 1])
    assert backfilled.output["stale"] == []
    assert len(backfilled.output["glueRunIds"]) == 4


@pytest.fixture(scope="module")
def corrected(lab: FlowLab, backfilled: Any) -> Any:
    """The first day again, with one more raw object; before that, all three are skipped."""
    assert backfilled.status == "SUCCEEDED"
    again = lab.run(**SPAN)
    assert [day["status"] for day in again.output["partitions"]] == ["SKIPPED"] * 3
    lab.s3.put_object(**an_object(DAYS[0]))
    return lab.run(ds=DAYS[0])


@pytest.fixture(scope="module")
def last_again(lab: FlowLab, corrected: Any) -> Any:
    """The last day, whose indicators are stale, and how many containers it had before."""
    before = len(lab.calls(DAYS[2], "ecs"))
    return lab.run(ds=DAYS[2]), before


def test_a_correction_names_the_days_that_it_made_stale(lab, corrected):
    assert corrected.status == "SUCCEEDED", corrected
    reason = f"changed since: {DAYS[0]}"
    assert corrected.output["stale"] == [{"ds": ds, "reason": reason} for ds in DAYS[1:]]


def test_a_stale_day_is_not_called_done_and_only_its_indicators_are_computed(lab, last_again):
    last, before = last_again
    assert (last.day(DAYS[2])["status"], last.day(DAYS[2])["indicators"]) == ("UNCHANGED", "PUBLISHED")
    assert len(lab.calls(DAYS[2], "ecs")) == before  # nothing was compacted or transformed for that
    assert [call["job"] for call in lab.calls(DAYS[2], "glue")] == ["transform", "indicators"]
    assert read(lab, DAYS[2]) == prices(lab, *DAYS)
    assert read(lab, DAYS[1]) != prices(lab, *DAYS[:2])


def test_repair_stale_repairs_the_days_that_are_left(lab, last_again):
    repaired = lab.run(ds=DAYS[0], repair_stale=True)
    assert repaired.status == "SUCCEEDED", repaired
    assert repaired.day(DAYS[1])["reason"] == "its indicators were stale"
    assert repaired.output["stale"] == []
    assert read(lab, DAYS[1]) == prices(lab, *DAYS[:2])
    assert [day["status"] for day in lab.run(**SPAN).output["partitions"]] == ["SKIPPED"] * 3
