"""What a part of the flow says: one JSON document for each line of its log, and metrics in such a document.

CloudWatch Logs makes metrics of the documents with ``_aws`` (the Embedded Metric Format) by itself, from a
Lambda and from a container alike. JSON escapes control characters, so a key cannot forge a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

NAMESPACE = "Briquette"
METRICS = {
    "InputFiles": "Count",
    "InputBytes": "Bytes",
    "Rows": "Count",
    "OutputFiles": "Count",
    "OutputBytes": "Bytes",
    "DurationMs": "Milliseconds",
    "RejectedRecords": "Count",
    "FallbackUsed": "Count",
    "PartitionCommitted": "Count",
}


def log_document(level: str, message: str, correlation_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the log; a field cannot replace its level, message or correlation id."""
    return {**fields, "level": level, "message": message, "correlation_id": correlation_id}


def metric_document(
    metrics: Mapping[str, float],
    *,
    environment: str,
    timestamp_ms: int,
    table: str = "",
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An EMF document: each metric for the environment, and for the table within it.

    ``fields`` are searchable beside the metrics, and no dimensions. Raises ``ValueError`` for a metric that
    ``METRICS`` does not name: no alarm would look at it.

    >>> document = metric_document({"Rows": 7}, environment="dev", timestamp_ms=0, table="market.prices")
    >>> document["_aws"]["CloudWatchMetrics"][0]["Dimensions"], document["Rows"]
    ([['Environment'], ['Environment', 'Table']], 7)
    """
    unknown = sorted(metrics.keys() - METRICS.keys())
    if unknown or not metrics:
        raise ValueError(f"no metrics of {NAMESPACE}: {', '.join(unknown) or 'none given'}")
    dimensions = {"Environment": environment} | ({"Table": table} if table else {})
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Environment"], *([["Environment", "Table"]] if table else [])],
        "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in METRICS if name in metrics],
    }
    described = {"Timestamp": timestamp_ms, "CloudWatchMetrics": [directive]}
    return {**(fields or {}), **dimensions, **metrics, "_aws": described}


def line_of(document: Mapping[str, Any]) -> str:
    """A document as one line of ASCII: what is not JSON by itself is shown as text."""
    text = json.dumps(document, separators=(",", ":"), default=str)
    return text.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


def log(level: str, message: str, correlation_id: str = "", **fields: Any) -> None:
    """Print one entry of the log."""
    _print(log_document(level, message, correlation_id, fields))


def put_metrics(metrics: Mapping[str, float], *, environment: str, table: str = "", **fields: Any) -> None:
    """Print metrics of this moment."""
    now_ms = time.time_ns() // 1_000_000
    _print(metric_document(metrics, environment=environment, timestamp_ms=now_ms, table=table, fields=fields))


def _print(document: Mapping[str, Any]) -> None:
    sys.stdout.write(line_of(document) + "\n")
    sys.stdout.flush()
