"""The trigger: one execution for each state of a day's batch manifest, however often S3 tells of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from briquette.aws.telemetry import log
from briquette.settings.environments import Settings
from orchestration.handlers.request import decoded_key
from orchestration.handlers.settings import settings_from

MOST_NAME_CHARACTERS = 80  # Step Functions' own limit
_DAY = re.compile(
    r"(?:^|/)(?P<domain>[^/]+)/(?P<table>[^/]+)/interval=(?P<interval>[^/]+)/data_source=(?P<source>[^/]+)"
    r"/year=(?P<year>\d{4})/month=(?P<month>\d{2})/day=(?P<day>\d{2})/(?P<name>[^/]+)"
)
# Step Functions takes more, but only these are safe in the names of its logs, too.
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """One execution: equal manifests give an equal name and an equal input."""

    name: str
    input: Document
    correlation_id: str


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: start the day of a batch manifest, unless its execution is there already."""
    settings = settings_from(os.environ)
    wanted = start_of(event, settings, file_type=os.environ.get("FILE_TYPE") or "json")
    if wanted is None:
        key = str((event.get("detail") or {}).get("object", {}).get("key", ""))
        log("INFO", "ignored: no batch manifest of a day", key=key)
        return {"started": False, "reason": "IGNORED_OBJECT"}
    _require_own_account(event, os.environ["STATE_MACHINE_ARN"])
    import boto3

    answer = start(wanted, os.environ["STATE_MACHINE_ARN"], boto3.client("stepfunctions"))
    log("INFO", "execution", wanted.correlation_id, **answer)
    return answer


def _require_own_account(event: Mapping[str, Any], state_machine_arn: str) -> None:
    """An event of another account tells of a bucket that is not ours; raises ``ValueError``."""
    account, own = str(event.get("account") or ""), state_machine_arn.split(":")[4]
    if account and account != own:
        raise ValueError(f"The event is of account {account}; this is {own}, and its buckets are others.")


def start_of(event: Mapping[str, Any], settings: Settings, *, file_type: str = "json") -> Start | None:
    """The execution that an event asks for; None for objects that are no batch manifest of a day.

    Raises ``ValueError`` for an event that names no object.
    """
    try:
        detail = event["detail"]
        bucket, key = str(detail["bucket"]["name"]), decoded_key(str(detail["object"]["key"]))
        etag = str(detail["object"].get("etag") or detail["object"]["sequencer"]).strip('"')
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This is not an event of an S3 object: {error!r} is missing.") from error
    found = _DAY.search(key)
    if found is None or found.end() != len(key) or found["name"] != settings.raw_manifest_name:
        return None
    domain, table, interval, source, *date, _ = found.groups()
    ds = "-".join(date)
    asked = {
        "domain": domain,
        "table_name": table,
        "interval": interval,
        "data_source": source,
        "file_type": file_type,
        "allowed_suffixes": [settings.raw_manifest_suffix],
        "source_bucket": bucket,
        "source_key": key,
    }
    name = execution_name(f"{table}-{interval}-{source}-{ds}-{etag[:12]}")
    return Start(name, asked, f"{domain}:{table}:{ds}")


def execution_name(wanted: str) -> str:
    """A name that Step Functions takes; one that had to be changed ends in a hash of what it was.

    >>> execution_name("prices-1d-yahoo_finance-2025-09-09-0123456789ab")
    'prices-1d-yahoo_finance-2025-09-09-0123456789ab'
    """
    safe = _UNSAFE.sub("_", wanted)
    if safe == wanted and len(safe) <= MOST_NAME_CHARACTERS:
        return safe
    mark = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{safe[: MOST_NAME_CHARACTERS - 13]}-{mark}"


def start(wanted: Start, state_machine_arn: str, states: Any) -> Document:
    """Start the execution; one of that name, running or done, is success."""
    text = json.dumps(wanted.input, sort_keys=True)
    try:
        answer = states.start_execution(stateMachineArn=state_machine_arn, name=wanted.name, input=text)
    except states.exceptions.ExecutionAlreadyExists:
        return {"started": False, "reason": "ALREADY_STARTED", "name": wanted.name}
    return {"started": True, "reason": None, "name": wanted.name, "executionArn": answer["executionArn"]}
