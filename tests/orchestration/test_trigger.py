"""The trigger: names and inputs by hand, and a real Step Functions API that knows what runs already."""

from __future__ import annotations

import json
import re
import uuid

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette.settings.environments import load_environment
from orchestration.handlers.preflight import preflight
from orchestration.handlers.trigger import execution_name, handler, start_of
from tests.orchestration.conftest import PREFIX

KEY = f"{PREFIX}_batch.manifest.json"
DEV = load_environment("dev", env={})
ETAG = "0123456789abcdef0123456789abcdef"


def event(key=KEY, etag=ETAG):
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "raw"}, "object": {"key": key, "etag": etag, "sequencer": "0A1B"}},
    }


@pytest.fixture
def machine(s3, monkeypatch):
    """The ARN of a state machine that waits, on the local server."""
    states = boto3.client("stepfunctions")
    flow = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
    arn = states.create_state_machine(
        name=f"flow-{uuid.uuid4().hex[:8]}",
        definition=json.dumps(flow),
        roleArn="arn:aws:iam::000000000000:role/flow",
    )["stateMachineArn"]
    monkeypatch.setenv("STATE_MACHINE_ARN", arn)
    return arn


def test_a_batch_manifest_asks_for_its_day():
    start = start_of(event(), DEV)
    assert start.name == "prices-1d-yahoo_finance-2025-09-09-0123456789ab"
    assert start.correlation_id == "market:prices:2025-09-09"
    assert start.input == {
        "domain": "market",
        "table_name": "prices",
        "interval": "1d",
        "data_source": "yahoo_finance",
        "file_type": "json",
        "allowed_suffixes": [".manifest.json"],
        "source_bucket": "raw",
        "source_key": KEY,
    }


def test_preflight_understands_the_input():
    answer = preflight(
        {**start_of(event(), DEV).input, "expand": True}, {"ENVIRONMENT": "dev", "RAW_BUCKET": "raw"}
    )
    assert answer["days"] == [{"ds": "2025-09-09"}]


def test_an_encoded_key_and_one_below_a_prefix_mean_the_same_day():
    assert start_of(event(KEY.replace("=", "%3D")), DEV) == start_of(event(), DEV)
    assert start_of(event(f"landing/{KEY}"), DEV).name == start_of(event(), DEV).name


@pytest.mark.parametrize(
    "key",
    [
        f"{PREFIX}AAPL.json",
        f"{PREFIX}_batch.manifest.json.tmp",
        f"{PREFIX}x_batch.manifest.json",
        f"{PREFIX}_batch.manifest.json\n",
        f"{PREFIX}deeper/_batch.manifest.json",
        "manifests/tmp/1/2.json",
        "_batch.manifest.json",
    ],
)
def test_other_objects_start_nothing(key):
    assert start_of(event(key), DEV) is None
    assert handler(event(key), None) == {"started": False, "reason": "IGNORED_OBJECT"}


@pytest.mark.parametrize("broken", [{}, {"detail": {}}, {"detail": {"bucket": {"name": "b"}, "object": {}}}])
def test_an_event_of_no_object_is_a_value_error(broken):
    with pytest.raises(ValueError, match="not an event of an S3 object"):
        start_of(broken, DEV)


def test_a_duplicate_event_starts_nothing_and_a_changed_manifest_starts_anew(machine):
    first = handler(event(), None)
    assert (first["started"], first["name"]) == (True, "prices-1d-yahoo_finance-2025-09-09-0123456789ab")
    again = handler(event(), None)
    assert again["name"] == first["name"]
    states = boto3.client("stepfunctions")
    states.stop_execution(executionArn=first["executionArn"])
    assert handler(event(), None) == {
        "started": False,
        "reason": "ALREADY_STARTED",
        "name": first["name"],
    }
    assert handler(event(etag="ffff" * 8), None)["started"]
    running = states.list_executions(stateMachineArn=machine)["executions"]
    assert len(running) == 2
    told = json.loads(states.describe_execution(executionArn=first["executionArn"])["input"])
    assert told == start_of(event(), DEV).input


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_names_are_valid_and_distinct(left, right):
    for wanted in (left, right):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", execution_name(wanted))
        assert execution_name(wanted) == execution_name(wanted)
    assert (execution_name(left) == execution_name(right)) == (left == right)


def test_a_name_that_was_changed_differs_from_the_plain_name_it_looks_like():
    assert execution_name("a.b") != execution_name("a_b") == "a_b"
    assert execution_name("x" * 81) != execution_name("x" * 82)


def test_an_event_of_another_account_is_refused(machine):
    with pytest.raises(ValueError, match="of account 111111111111"):
        handler({**event(), "account": "111111111111"}, None)
    assert handler({**event(), "account": machine.split(":")[4]}, None)["started"]
