"""The message about a failed execution: short text first, the document after it."""

from __future__ import annotations

import json
import re

import pytest

from orchestration.handlers.alert import MESSAGE_BYTES, MOST_DAYS, alert, console_link, handler

EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:prod-daily-prices-data-processing:prices-1"
REQUEST = {"domain": "market", "table_name": "prices", "interval": "1d", "data_source": "yahoo_finance"}


def failed(ds: str, **said: object) -> dict[str, object]:
    return {"ds": ds, "status": "FAILED", "engine": "dask", "fallback": False, **said}


def summary(*days: dict[str, object], **said: object) -> dict[str, object]:
    return {
        "ok": False,
        "correlationId": "market:prices:2025-09-09",
        "domain": "market",
        "table_name": "prices",
        "partitions": list(days),
        "stats": {"days": len(days)},
        "glueRunIds": [],
        **said,
    }


def told(*days: dict[str, object], **said: object) -> tuple[str, str, dict[str, object]]:
    """Subject, text and document of a message."""
    event = {"summary": summary(*days, **said), "execution": EXECUTION, "request": REQUEST}
    made = alert(event, "prod")
    text, _, document = made["message"].partition("\n\n{")
    return made["subject"], text, json.loads("{" + document)


def test_a_person_reads_what_where_and_what_to_do_first() -> None:
    day = failed(
        "2025-09-09",
        step="compaction",
        error="CorruptObject",
        cause="MSFT.json.gz is cut.",
        hint="Fetch it again from its source.",
        run="arn:aws:ecs:eu-west-1:123456789012:task/prod-data-platform/0123abcd",
    )
    subject, text, document = told(
        day, error="CorruptObject", cause="MSFT.json.gz is cut.", step="compaction"
    )
    assert subject == "FAILED prod market:prices:2025-09-09 CorruptObject"
    lines = text.splitlines()
    assert lines[0] == "FAILED in prod: market:prices:2025-09-09: CorruptObject"
    for wanted in (
        "2025-09-09 failed in compaction: CorruptObject",
        "  what happened:  MSFT.json.gz is cut.",
        "  what to do:     Fetch it again from its source.",
        "  run:            arn:aws:ecs:eu-west-1:123456789012:task/prod-data-platform/0123abcd",
        (
            "  log:            aws logs tail /briquette/prod/compaction "
            "--log-stream-names engine/engine/0123abcd --since 6h"
        ),
        "environment: prod",
        "interval:    1d",
        "data source: yahoo_finance",
        f"execution:   {EXECUTION}",
    ):
        assert wanted in lines
    assert f"#/v2/executions/details/{EXECUTION}" in text
    assert document["execution"] == EXECUTION
    assert document["partitions"] == [day]
    assert "/briquette/prod/compaction" in document["log_groups"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("day", "wanted"),
    [
        ({"step": "compaction", "error": "OutOfMemory"}, "what to do:     Raise dask_task_memory_gb"),
        (
            {"step": "transform", "error": "DataQualityFailed", "run": "jr_1a"},
            "aws logs tail /aws-glue/jobs/error --log-stream-name-prefix jr_1a --since 6h",
        ),
        ({"step": "guard", "error": "TornDataset"}, "aws logs tail /briquette/prod/guard --since 6h"),
        ({"step": "compaction", "error": "Unheard"}, "see docs/operations.md, A failed compaction"),
    ],
)
def test_each_failure_says_where_its_log_is_or_what_helps(day: dict[str, object], wanted: str) -> None:
    assert wanted in told(failed("2025-09-09", **day))[1]


def test_an_execution_that_reached_no_day_tells_its_own_failure() -> None:
    subject, text, document = told(error="PRE_VALIDATION_FAILED", cause="Missing domain", step="preflight")
    assert "PRE_VALIDATION_FAILED" in subject
    assert "The execution failed in preflight: PRE_VALIDATION_FAILED" in text
    assert "what happened:  Missing domain" in text
    assert document["partitions"] == []


def test_many_days_are_told_of_in_few_words_and_all_stand_in_the_document() -> None:
    days = [
        failed(f"2025-09-{n:02d}", step="guard", error="TornDataset", cause="x" * 300) for n in range(1, 31)
    ]
    _, text, document = told(*days, error="DaysFailed", cause="…", step="days")
    assert text.count("failed in guard") == MOST_DAYS
    assert "and 20 more days" in text
    assert len(document["partitions"]) == 30  # type: ignore[arg-type]


def test_a_message_fits_into_the_topic_however_many_days_failed() -> None:
    days = [failed(f"day-{n}", step="guard", error="TornDataset", cause="é" * 300) for n in range(2_000)]
    made = alert({"summary": summary(*days), "execution": EXECUTION, "request": REQUEST}, "prod")
    assert len(made["message"].encode()) < MESSAGE_BYTES + 20_000 < 262_144
    assert '"partitions_left_out": 2000' in made["message"]


def test_nothing_that_failed_can_forge_a_line_or_a_subject() -> None:
    day = failed(
        "2025-09-09", step="guard", error="X\nenvironment: dev", cause="a\r\n  run: jr_9\x1b[31m\u2028b"
    )
    subject, text, _ = told(day, error="X\r\nBcc: someone", step="guard")
    assert re.fullmatch(r"[ -~]{1,100}", subject)
    assert "\nenvironment: dev" not in text
    assert "\x1b" not in text
    assert "\u2028" not in text


@pytest.mark.parametrize(
    "event", [{}, {"summary": None}, {"summary": {"partitions": [1, None, {}]}, "request": 3}]
)
def test_a_summary_that_lacks_everything_is_told_all_the_same(event: dict[str, object]) -> None:
    made = handler(event, None)
    assert made["subject"].startswith("FAILED dev")
    json.loads("{" + made["message"].partition("\n\n{")[2])


@pytest.mark.parametrize(
    ("arn", "host"),
    [
        (EXECUTION, "https://eu-west-1.console.aws.amazon.com/"),
        (EXECUTION.replace("arn:aws:", "arn:aws-cn:"), "https://console.amazonaws.cn/"),
        (EXECUTION.replace("arn:aws:", "arn:aws-us-gov:"), "https://console.amazonaws-us-gov.com/"),
        ("not an arn", ""),
    ],
)
def test_the_console_is_that_of_the_partition(arn: str, host: str) -> None:
    assert console_link(arn).startswith(host)
