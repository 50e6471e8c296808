"""Log lines and metric documents: their form by hand, and what no text may do to them."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from briquette.aws.telemetry import METRICS, line_of, log, log_document, metric_document, put_metrics


def test_a_metric_document_by_hand():
    metrics = {"Rows": 7, "DurationMs": 12.5}
    document = metric_document(
        metrics, environment="dev", timestamp_ms=1_757_400_000_000, table="market.prices", fields={"ds": "x"}
    )
    assert document == {
        "ds": "x",
        "Environment": "dev",
        "Table": "market.prices",
        "Rows": 7,
        "DurationMs": 12.5,
        "_aws": {
            "Timestamp": 1_757_400_000_000,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Briquette",
                    "Dimensions": [["Environment"], ["Environment", "Table"]],
                    "Metrics": [
                        {"Name": "Rows", "Unit": "Count"},
                        {"Name": "DurationMs", "Unit": "Milliseconds"},
                    ],
                }
            ],
        },
    }


def test_every_metric_and_dimension_that_is_announced_is_in_the_document():
    document = metric_document(dict.fromkeys(METRICS, 1), environment="dev", timestamp_ms=0)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    names = {m["Name"] for m in directive["Metrics"]} | {
        d for group in directive["Dimensions"] for d in group
    }
    assert names <= document.keys()
    assert "Table" not in document


@pytest.mark.parametrize("metrics", [{"Rwos": 1}, {}])
def test_a_metric_that_no_alarm_knows_is_an_error(metrics):
    with pytest.raises(ValueError, match="no metrics of Briquette"):
        metric_document(metrics, environment="dev", timestamp_ms=0)


@example("a\x7fb\n\x1b[2J", {})
@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_whatever_a_key_holds_an_entry_is_one_line_that_reads_back(message, fields):
    line = line_of(log_document("INFO", message, "market:prices:x", fields))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert (found["level"], found["message"]) == ("INFO", message)


def test_a_field_cannot_pose_as_the_level():
    assert log_document("ERROR", "m", "c", {"level": "INFO", "message": "fine"})["level"] == "ERROR"


def test_what_is_printed_is_one_document_a_line(capsys):
    log("WARNING", "odd\n{}", "c", key="a\nb\u2028c")
    put_metrics({"FallbackUsed": 1}, environment="dev", table="market.prices", ds="2025-09-09")
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {
        "level": "WARNING",
        "message": "odd\n{}",
        "correlation_id": "c",
        "key": "a\nb\u2028c",
    }
    assert json.loads(second)["FallbackUsed"] == 1
