"""Every alarm looks at a metric that somebody publishes, and is quiet while there is none."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import pytest

from briquette.aws import telemetry
from briquette.settings.environments import environment_names, load_environment
from orchestration import alarms
from orchestration.alarms import Alarm, Metric

# (namespace, metric, names of the dimensions, statistics that mean something) and where AWS says so.
DOCUMENTED = {
    # Step Functions Developer Guide: "Monitoring Step Functions metrics using Amazon CloudWatch"
    ("AWS/States", "ExecutionsFailed", ("StateMachineArn",), "Sum"),
    ("AWS/States", "ExecutionsTimedOut", ("StateMachineArn",), "Sum"),
    ("AWS/States", "ExecutionsAborted", ("StateMachineArn",), "Sum"),
    # EventBridge User Guide: "Monitoring Amazon EventBridge", EventBridge metrics, dimension RuleName
    ("AWS/Events", "TriggeredRules", ("RuleName",), "Sum"),
    ("AWS/Events", "FailedInvocations", ("RuleName",), "Sum"),
    # SQS Developer Guide: "Available CloudWatch metrics for Amazon SQS"
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible", ("QueueName",), "Maximum"),
    # Our own: briquette/aws/telemetry.py, the guard writes it
    ("Briquette", "PartitionCommitted", ("Environment",), "Sum"),
}
# CloudWatch User Guide: "Metrics Insights query components and syntax", SCHEMA
DOCUMENTED_QUERIES = {'SELECT SUM(ExecutionsFailed) FROM SCHEMA("AWS/States", StateMachineArn)'}

MAY_MISS = "-daily-prices-freshness"


@pytest.fixture(params=environment_names())
def settings(request):
    return load_environment(request.param, env={})


def undocumented(alarm: Alarm) -> list[str]:
    if alarm.query is not None:
        return [] if alarm.query in DOCUMENTED_QUERIES and not alarm.metrics else [f"query {alarm.query}"]
    found = [
        (m.namespace, m.name, tuple(name for name, _ in m.dimensions), m.statistic) for m in alarm.metrics
    ]
    return [str(series) for series in found if series not in DOCUMENTED] or ([] if found else ["no metric"])


def test_every_alarm_looks_at_a_documented_metric(settings):
    assert {alarm.name: undocumented(alarm) for alarm in alarms.alarms(settings) if undocumented(alarm)} == {}


@pytest.mark.parametrize(
    "metric",
    [
        Metric("Glue", "glue.jobrun.failed", (("JobName", "dev-daily-prices-compaction"),)),
        Metric("AWS/States", "ExecutionsFailed", ()),  # it is published for each state machine only
        Metric("AWS/Events", "TriggeredRules", (("RuleName", "x"),), "Average"),
    ],
)
def test_a_metric_that_nobody_publishes_is_noticed(metric):
    assert undocumented(Alarm("a", "b", (metric,)))


def test_only_freshness_alarms_where_there_is_no_value(settings):
    breaching = [alarm.name for alarm in alarms.alarms(settings) if alarm.missing == "breaching"]
    assert breaching == [f"{settings.environment}{MAY_MISS}"]


def test_one_failure_within_five_minutes_is_enough(settings):
    for alarm in alarms.alarms(settings):
        if not alarm.name.endswith(MAY_MISS):
            assert (alarm.threshold, alarm.comparison) == (1, "GreaterThanOrEqualToThreshold"), alarm.name
            assert (alarm.period_seconds, alarm.periods) == (300, 1), alarm.name


def test_freshness_looks_back_26_hours_within_what_cloudwatch_allows(settings):
    [fresh] = [alarm for alarm in alarms.alarms(settings) if alarm.name.endswith(MAY_MISS)]
    assert fresh.period_seconds * fresh.periods == 26 * 3600
    assert fresh.period_seconds >= 3600, "windows beyond a day need periods of an hour or more"
    assert fresh.comparison == "LessThanThreshold"


def test_what_freshness_waits_for_is_what_the_guard_writes():
    document = telemetry.metric_document(
        {"PartitionCommitted": 1}, environment="dev", timestamp_ms=0, table="market.prices"
    )
    [directive] = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == alarms.NAMESPACE
    assert ["Environment"] in directive["Dimensions"]


def test_names_are_those_of_the_pipeline():
    told = alarms.watched(load_environment("dev", env={}))
    assert told.topic == "dev-data-platform-alerts"
    assert [alarm.name for alarm in told.alarms] == [
        "dev-data-pipeline-failures",
        "dev-daily-prices-data-processing-failures",
        "dev-daily-prices-compaction-failures",
        "dev-daily-prices-data-etl-failures",
        "dev-market-indicators-etl-failures",
        "dev-compaction-container-failures",
        "dev-curated-data-crawler-failures",
        "dev-trigger-dead-letters",
        "dev-undelivered-alerts",
        "dev-daily-prices-announced-undelivered",
        "dev-daily-prices-compaction-failures-undelivered",
        "dev-daily-prices-data-etl-failures-undelivered",
        "dev-market-indicators-etl-failures-undelivered",
        "dev-daily-prices-compaction-stopped-undelivered",
        "dev-daily-prices-data-etl-stopped-undelivered",
        "dev-market-indicators-etl-stopped-undelivered",
        "dev-compaction-container-failures-undelivered",
        "dev-curated-data-crawler-failures-undelivered",
        "dev-daily-prices-freshness",
    ]


def test_an_alarm_on_a_rule_names_a_rule_that_exists(settings):
    rules = {rule.name for rule in alarms.rules(settings)}
    announced = alarms.announced_rule_name(settings.environment)
    named = {
        metric.name: {
            dict(m.dimensions)["RuleName"]
            for alarm in alarms.alarms(settings)
            for m in alarm.metrics
            if m.name == metric.name
        }
        for alarm in alarms.alarms(settings)
        for metric in alarm.metrics
        if "RuleName" in dict(metric.dimensions)
    }
    assert named["FailedInvocations"] == {*rules, announced}
    watched = named["TriggeredRules"]
    assert watched <= rules
    # Those without an alarm only warn.
    assert all("Warning" in rule.message for rule in alarms.rules(settings) if rule.name not in watched)


def test_a_message_uses_each_path_it_asks_for(settings):
    for rule in alarms.rules(settings):
        assert set(re.findall(r"<(\w+)>", rule.message)) == {name for name, _ in rule.paths}, rule.name


def test_every_state_machine_adds_up_its_three_ways_to_fail(settings):
    [alarm] = [a for a in alarms.alarms(settings) if a.name.endswith("-data-processing-failures")]
    assert alarm.expression == "FILL(m1,0)+FILL(m2,0)+FILL(m3,0)"


def test_another_monitored_name_gets_its_alarm():
    settings = dataclasses.replace(
        load_environment("dev", env={}),
        monitored_glue_jobs=("new-etl",),
        monitored_state_machines=("new-flow",),
    )
    names = {alarm.name for alarm in alarms.alarms(settings)}
    assert {"dev-new-etl-failures", "dev-new-flow-failures"} <= names
    assert "dev-daily-prices-compaction-failures" not in names


def test_the_dashboard_shows_every_alarm_in_a_grid_of_24(settings):
    widgets = alarms.dashboard(settings)["widgets"]
    shown = {arn.rpartition(":")[2] for arn in widgets[0]["properties"]["alarms"]}
    assert shown == {alarm.name for alarm in alarms.alarms(settings)}
    places = {
        (x, y)
        for w in widgets
        for x in range(w["x"], w["x"] + w["width"])
        for y in range(w["y"], w["y"] + w["height"])
    }
    assert len(places) == sum(w["width"] * w["height"] for w in widgets), "widgets overlap"
    assert max(x for x, _ in places) < 24
    assert os.linesep not in json.dumps(widgets)
