"""The message about a failed execution: what a person reads first, then the whole document for machines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from briquette.aws.environment import environment_name
from briquette.aws.telemetry import log

MOST_DAYS = 10  # told of one by one; the document has all of them
SUBJECT_CHARS = 100  # SNS: printable ASCII
MESSAGE_BYTES = 200_000  # SNS takes 262,144
CAUSE_CHARS = 1_000
GUIDE = "docs/operations.md"

# What helps, where the failure itself does not say it. The engine's own errors bring a hint.
NEXT = {
    "OutOfMemory": "Raise dask_task_memory_gb (Dask) or compaction_worker_type (Glue) of the environment, "
    "deploy, and run the day again; or force Glue for this run.",
    "States.Timeout": "A step ran longer than its setting (…_timeout_minutes, step_function_timeout_hours). "
    "Look at its log, then run the day again or raise the setting.",
    "States.Runtime": "The flow itself could not read what a step gave it: a defect. Keep the execution.",
    "Glue.ConcurrentRunsExceededException": "Raise glue_max_concurrent_runs, or run the day again later.",
    "PartitionsNotRegistered": "The day is published. Run it again to register it in the catalog.",
    "IngestionLate": "Wait for the ingestion, then run the day again.",
}
Document = dict[str, Any]


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: ``{summary, execution, request}`` as ``{subject, message}``."""
    told = alert(event, environment_name(os.environ), os.environ.get("RESOURCE_PREFIX", ""))
    log("ERROR", told["subject"], str(_mapping(event.get("summary")).get("correlationId", "")))
    return told


def alert(event: Mapping[str, Any], environment: str, prefix: str = "") -> Document:
    """Subject and message; whatever the summary lacks is left out, for it tells of a failure.

    ``prefix`` is what the names of the environment's resources begin with, where that is not its own name.
    """
    summary, request = _mapping(event.get("summary")), _mapping(event.get("request"))
    execution = str(event.get("execution") or "")
    failed = [day for day in _days(summary) if day.get("error")]
    document = {
        **summary,
        "environment": environment,
        "interval": str(request.get("interval") or ""),
        "data_source": str(request.get("data_source") or ""),
        "execution": execution,
        "console": console_link(execution),
        "log_groups": list(_log_groups(prefix or environment)),
    }
    message = _message(document, failed, environment, prefix or environment)
    return {"subject": _subject(summary, environment), "message": message}


def console_link(execution: str) -> str:
    """The console's page of an execution, or "" where the ARN is none.

    >>> console_link("arn:aws:states:eu-west-1:123456789012:execution:dev-flow:a-1")[:66]
    'https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west'
    """
    found = re.fullmatch(r"arn:(aws[a-z-]*):states:([a-z0-9-]+):\d{12}:execution:[^:]+:.+", execution)
    if not found:
        return ""
    partition, region = found.groups()
    hosts = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
    host = hosts.get(partition, f"{region}.console.aws.amazon.com")
    return f"https://{host}/states/home?region={region}#/v2/executions/details/{execution}"


def _subject(summary: Mapping[str, Any], environment: str) -> str:
    words = f"FAILED {environment} {summary.get('correlationId') or 'briquette'} {summary.get('error') or ''}"
    return re.sub(r"[^ -~]", "?", words).strip()[:SUBJECT_CHARS]


def _message(document: Document, failed: Sequence[Mapping[str, Any]], environment: str, prefix: str) -> str:
    correlation, error = document.get("correlationId") or "an execution", document.get("error") or "?"
    lines = [f"FAILED in {environment}: {_line(correlation)}: {_line(error)}"]
    for day in failed[:MOST_DAYS]:
        lines += ["", *_of_day(day, prefix)]
    if len(failed) > MOST_DAYS:
        lines += ["", f"… and {len(failed) - MOST_DAYS} more days, see below."]
    if not failed:
        lines += ["", *_of_day(document, prefix)]
    lines.append("")
    told = {
        "environment": environment,
        "interval": document["interval"],
        "data source": document["data_source"],
        "execution": document["execution"],
        "console": document["console"],
    }
    lines += [f"{name + ':':<13}{_line(value)}" for name, value in told.items() if value]
    lines += ["", f"The guide is {GUIDE}: 'When an alarm rings'."]
    return "\n".join(lines) + "\n\n" + _as_json(document)


def _of_day(day: Mapping[str, Any], prefix: str) -> list[str]:
    """A failed day (or the whole, where no day was reached) in a few lines."""
    step, error, cause = (str(day.get(name) or "") for name in ("step", "error", "cause"))
    hint = str(day.get("hint") or NEXT.get(error) or "")
    run = str(day.get("run") or "")
    where = f" in {step}" if step else ""
    lines = [f"{_line(day.get('ds') or 'The execution')} failed{where}: {_line(error)}"]
    if cause:
        lines.append(f"  what happened:  {_line(cause)[:CAUSE_CHARS]}")
    lines.append(f"  what to do:     {_line(hint) if hint else f'see {GUIDE}, A failed compaction'}")
    if run:
        lines.append(f"  run:            {_line(run)}")
    lines += [f"  log:            {command}" for command in _logs(step, run, prefix)]
    return lines


def _logs(step: str, run: str, prefix: str) -> list[str]:
    """The commands that show what the failed step logged."""
    tail = "aws logs tail"
    if run.startswith("jr_"):
        groups = ("/aws-glue/jobs/error", "/aws-glue/jobs/output")
        return [f"{tail} {group} --log-stream-name-prefix {run} --since 6h" for group in groups]
    if ":task/" in run:
        stream = run.rpartition("/")[2]
        return [f"{tail} /briquette/{prefix}/compaction --log-stream-names engine/engine/{stream} --since 6h"]
    if step in ("preflight", "guard", "catalog"):
        return [f"{tail} /briquette/{prefix}/{step} --since 6h"]
    return []


def _log_groups(prefix: str) -> tuple[str, ...]:
    ours = ("preflight", "compaction", "guard", "catalog", "trigger", "alert")
    machine = f"/aws/vendedlogs/states/{prefix}-daily-prices-data-processing"
    return (*(f"/briquette/{prefix}/{name}" for name in ours), "/aws-glue/jobs/error", machine)


def _as_json(document: Document) -> str:
    """The document; with the failed days alone where all of them would be too much for a message."""
    text = json.dumps(document, indent=1, ensure_ascii=True)
    if len(text) <= MESSAGE_BYTES:
        return text
    failed = [day for day in _days(document) if day.get("error")]
    short = {**document, "partitions": failed[:MOST_DAYS], "partitions_left_out": len(_days(document))}
    return json.dumps(short, indent=1, ensure_ascii=True)[:MESSAGE_BYTES]


def _days(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = summary.get("partitions")
    return [day for day in found if isinstance(day, Mapping)] if isinstance(found, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _line(value: object) -> str:
    """A value on one line: what it says must not look like a line of ours."""
    return re.sub(r"\s+", " ", re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", str(value))).strip()
