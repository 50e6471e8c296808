"""What each role may do, action by action and resource by resource; a right more or less fails here.

The templates' policies are read from the snapshots, which `test_stacks.py` holds to what is synthesised.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from tests.faults import FaultyWire
from tests.orchestration.conftest import WORDS, Account
from tests.orchestration.synthesis import ENVIRONMENTS
from tests.servers import Bucket

HERE = Path(__file__).parent
TRACED = (
    "FlowRole",
    *(f"Functions{name}Role" for name in ("Alert", "Catalog", "Guard", "Preflight", "Results", "Trigger")),
)
TRACES = tuple(
    f"xray:{name}"
    for name in ("GetSamplingRules", "GetSamplingTargets", "PutTelemetryRecords", "PutTraceSegments")
)
Rights = dict[str, list[str]]  # action -> resources


def rights(environment: str) -> dict[str, Rights]:
    """Of each role: its actions and on what, with the account's own names shortened."""
    found: dict[str, Rights] = {}
    snapshot = json.loads((HERE / "snapshots" / f"{environment}.json").read_text())
    for name, properties in snapshot.items():
        kind, _, logical = name.partition(" ")
        if kind not in ("AWS::IAM::Role", "AWS::IAM::Policy"):
            continue
        documents = [p["PolicyDocument"] for p in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        role = found.setdefault(logical.removesuffix("DefaultPolicy"), {})
        for statement in (s for document in documents for s in document["Statement"]):
            assert statement["Effect"] == "Allow"
            assert not {"NotAction", "NotResource"} & set(statement), (logical, statement)
            for action in _listed(statement["Action"]):
                where = [_short(r, environment) for r in _listed(statement["Resource"])]
                if "Condition" in statement:
                    where.append(f"if {json.dumps(statement['Condition'], sort_keys=True)}")
                role[action] = sorted({*role.get(action, []), *where})
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _short(resource: str, environment: str) -> str:
    for long, short in (
        ("arn:<AWS::Partition>:", ""),
        ("<AWS::Region>:<AWS::AccountId>:", ""),
        (f"{environment}-", "ENV-"),
        (f"{environment}_", "ENV_"),
    ):
        resource = resource.replace(long, short)
    return resource


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_role_may_do_what_its_table_says_and_nothing_else(environment: str) -> None:
    """A new right is written into `roles.json` by hand, with a reader of the difference asking what for."""
    table: dict[str, Rights] = json.loads((HERE / "roles.json").read_text())
    if environment != "dev":  # where traces are on (config/environments), and nothing else differs
        for role in TRACED:
            table[role] |= {action: ["*"] for action in TRACES}
    assert rights(environment) == table


def allows(role: Rights, action: str, resource: str) -> bool:
    return any(fnmatchcase(resource, pattern) for pattern in role.get(action, []))


RAW, CURATED = "s3:::ENV-data-platform-raw", "s3:::ENV-data-platform-curated"
STAGES = ("CompactionTaskRole", "StagesRole")
FORBIDDEN = [
    *[
        (role, action, f"{RAW}/market/x.json")
        for role in STAGES
        for action in ("s3:PutObject", "s3:DeleteObject")
    ],
    *[(role, "s3:GetObject", "s3:::another-bucket/x") for role in STAGES],
    *[(role, "s3:DeleteBucket", CURATED) for role in STAGES],
    *[(role, "iam:PassRole", "iam::<AWS::AccountId>:role/admin") for role in (*STAGES, "FlowRole")],
    ("FunctionsGuardRole", "s3:PutObject", f"{CURATED}/market/x"),
    ("FunctionsCatalogRole", "s3:PutObject", f"{CURATED}/market/x"),
    ("FunctionsPreflightRole", "s3:PutObject", f"{CURATED}/market/x"),
    ("FunctionsTriggerRole", "s3:GetObject", f"{RAW}/market/x"),
    ("FlowRole", "s3:GetObject", f"{CURATED}/market/x"),
    # It reads all that lies below curated_url, because a table may have any name, and writes nothing there.
    ("StagesCrawlerRole", "s3:PutObject", f"{CURATED}/market/x"),
    ("StagesCrawlerRole", "s3:GetObject", "s3:::ENV-data-platform-artifacts/market/x"),
    ("StagesCrawlerRole", "s3:GetObject", f"{RAW}/market/x"),
    ("CompactionExecutionRole", "s3:GetObject", f"{RAW}/market/x"),
]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(("role", "action", "resource"), FORBIDDEN)
def test_a_role_may_not_do_what_would_harm(environment: str, role: str, action: str, resource: str) -> None:
    assert not allows(rights(environment)[role], action, resource)


ACTIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}


def test_a_run_asks_for_nothing_that_its_role_may_not_do(
    faulty_s3: tuple[Bucket, FaultyWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request of a compaction on the wire, against the policy of the container's role."""
    bucket, wire = faulty_s3
    account = Account(bucket)
    account.land("AAPL", "MSFT")
    wire.break_()
    places = {"raw": f"{bucket.url}/raw", "curated": f"{bucket.url}/curated"}
    for force in (False, True):
        options = RunOptions(executor="serial", force=force)
        compact(**places, ds="2025-09-09", options=options, **WORDS)
    role, used = rights("dev")["CompactionTaskRole"], set()
    assert wire.seen
    for operation, path in wire.seen:
        split = urlsplit(path)
        key = unquote(split.path).removeprefix(f"/{bucket.name}").removeprefix("/")
        key = key or parse_qs(split.query).get("prefix", [""])[0]
        place, _, rest = key.partition("/")
        action = ACTIONS.get(operation, "s3:PutObject")
        resource = f"s3:::ENV-data-platform-{place}" + (f"/{rest}" if action != "s3:ListBucket" else "")
        assert allows(role, action, resource), (operation, path)
        used.add(action)
    assert used >= {"s3:GetObject", "s3:ListBucket", "s3:PutObject"}
