"""Every key of an environment changed at once, and every consumer asked: nothing may keep the old value.

A copy of this checkout has one environment, `lab`, in which no key is what it was in dev. Its templates are
synthesised; its Lambdas run from the deployed folder, with the deployed variables, on a real S3 server; a day
goes through all stages by the command line with `--env lab`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest

from briquette.serialization import manifest_from_bytes
from briquette.settings.environments import load_environment, setting_keys
from tests.needs import needs_node
from tests.orchestration.synthesis import ROOT, Assembly, readable, synthesise
from tests.servers import environment, ministack

pytestmark = [needs_node(), pytest.mark.xdist_group("cdk")]

CHANGED: dict[str, Any] = {
    "name_prefix": "odd-",
    "existing_buckets": ["artifacts"],
    "alert_topic_arn": "arn:aws:sns:eu-central-1:123456789012:somebody",
    "alert_email": "night@example.com",
    "duplicates": "reject",
    "region": "eu-central-1",
    "raw_url": "s3://lab-in/landing/zone",
    "curated_url": "s3://lab-out/lake",
    "artifacts_url": "s3://lab-work/things",
    "raw_manifest_basename": "_done",
    "raw_manifest_suffix": ".ready.json",
    "engine": "glue",
    "fallback": "none",
    "compaction_target_file_mb": 17,
    "compaction_codec": "snappy",
    "compaction_output_subdir": "pressed",
    "compaction_timeout_minutes": 41,
    "transform_timeout_minutes": 42,
    "indicators_timeout_minutes": 43,
    "compaction_worker_type": "G.4X",
    "compaction_number_workers": 7,
    "glue_max_concurrent_runs": 19,
    "dask_task_vcpus": 8,
    "dask_task_memory_gb": 32,
    "dask_task_spot": False,
    "sfn_max_concurrency": 11,
    "step_function_timeout_hours": 13,
    "max_backfill_days": 23,
    "indicators_lookback_days": 400,
    "catalog_update": "force",
    "expected_min_records": 5,
    "max_critical_error_rate": 1.5,
    "lambda_timeout": 77,
    "log_retention_days": 180,
    "enable_xray_tracing": True,
    "removal_policy": "retain",
    "monitored_glue_jobs": ["odd-job"],
    "monitored_state_machines": ["odd-machine"],
}
DS, WORDS = "2025-09-09", ("market", "prices", "1d", "yahoo_finance")
NAMES = ("domain", "table_name", "interval", "data_source")
DAY = "market/prices/interval=1d/data_source=yahoo_finance/year=2025/month=09/day=09"
RAW_KEY, MANIFEST_KEY = f"landing/zone/{DAY}/AAPL.json", f"landing/zone/{DAY}/_done.ready.json"
EVENT = dict(zip(NAMES, WORDS, strict=True)) | {"ds": DS}
LAB = "lab"
NAMED = "odd-lab"  # what the names of its resources begin with
# Runs in the deployed folder with a function's own variables: its handler and its module's ways in.
ASK = """
import json, os, sys
asked = json.load(sys.stdin)
from orchestration.handlers import arguments, preflight, trigger
from orchestration.handlers.request import read_request
from orchestration.handlers.settings import settings_from
settings = settings_from(os.environ)
request = read_request(asked["event"], environment="lab", max_days=99)
answers = {
    "day": preflight.preflight(asked["event"], os.environ),
    "days": preflight.preflight({**asked["event"], "expand": True}, os.environ),
    "refused": preflight.preflight({**asked["event"], "date_range": asked["range"]}, os.environ),
    "start": trigger.start_of(asked["announced"], settings).input,
    "unplanned": list(arguments.container_command(request, settings, asked["event"]["ds"], "", "s3://r/r")),
}
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Lab:
    """The changed checkout, its templates, and the server that its places are on."""

    root: Path
    assembly: Assembly
    endpoint: str

    @property
    def variables(self) -> dict[str, str]:
        """Of a process that reaches the server, without a region of its own."""
        mine = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "BRIQUETTE_"))}
        lab = environment(self.endpoint)
        here = {"PYTHONPATH": f"{self.root}{os.pathsep}{self.root / 'engine'}"}
        return mine | {n: v for n, v in lab.items() if "REGION" not in n} | here

    def one(self, kind: str, **properties: Any) -> dict[str, Any]:
        """The properties of the one resource of a kind that has these."""
        found = [r["Properties"] for r in self.assembly.resources(NAMED, kind).values()]
        [one] = [p for p in found if all(p.get(k) == v for k, v in properties.items())]
        return one

    def all(self, kind: str, name: str) -> set[Any]:
        """A property of every resource of a kind."""
        return {r["Properties"].get(name) for r in self.assembly.resources(NAMED, kind).values()}

    @cached_property
    def flow(self) -> dict[str, Any]:
        machine = self.one("AWS::StepFunctions::StateMachine")
        return {**machine, "definition": json.loads(machine["DefinitionString"])}

    @cached_property
    def crawled(self) -> dict[str, Any]:
        crawler = self.one("AWS::Glue::Crawler")
        [target] = crawler["Targets"]["S3Targets"]
        return {
            **target,
            "level": json.loads(crawler["Configuration"])["Grouping"]["TableLevelConfiguration"],
        }

    @cached_property
    def answers(self) -> dict[str, Any]:
        """What the Lambdas say, as deployed."""
        [asset] = [
            a
            for a in self.assembly.assets(NAMED, "compute")["files"].values()
            if a["source"]["packaging"] == "zip"
        ]
        preflight = self.one("AWS::Lambda::Function", Handler="orchestration.handlers.preflight.handler")
        told = {name: str(readable(v)) for name, v in preflight["Environment"]["Variables"].items()}
        folder = self.assembly.folder / asset["source"]["path"]
        announced = {"bucket": {"name": "lab-in"}, "object": {"key": MANIFEST_KEY, "etag": "e" * 32}}
        asked = {"event": EVENT, "announced": {"detail": announced}}
        asked["range"] = {"start": "2025-01-01", "end": "2025-01-24"}
        told |= {"AWS_REGION": "eu-central-1", "PYTHONPATH": str(folder)}  # Lambda gives the stack's region
        done = self.run([sys.executable, "-c", ASK], json.dumps(asked), cwd=folder, **told)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(
        self, command: list[str], given: str = "", cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.variables | more,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )

    def briquette(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run([sys.executable, "-m", "briquette", *words])

    @cached_property
    def ran(self) -> dict[str, Any]:
        """What a local run of all stages has published, by table."""
        places = [
            w
            for pair in zip(("domain", "table", "interval", "data-source"), WORDS, strict=True)
            for w in pair
        ]
        words = [f"--{w}" if n % 2 == 0 else w for n, w in enumerate(places)]
        done = self.briquette("run", "--env", LAB, *words, "--ds", DS, "--quiet")
        assert done.returncode == 0, done.stdout + done.stderr
        return {table: self.manifest(table) for table in ("prices/pressed", "prices", "indicators")}

    def manifest(self, table: str) -> Any:
        body = self.s3.get_object(Bucket="lab-out", Key=f"lake/market/{table}/ds={DS}/_manifest.json")["Body"]
        return manifest_from_bytes(body.read())

    @cached_property
    def s3(self) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-central-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)

    def land(self) -> None:
        """A raw day of two symbols, announced under the name that the environment says."""
        for bucket in ("lab-in", "lab-out", "lab-work"):
            where = {"LocationConstraint": "eu-central-1"}
            self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        record = {"timestamp": f"{DS}T00:00:00", "adjusted_close": 1.0, "open": 1.0, "high": 1.0, "low": 1.0}
        record |= {"close": 1.0, "volume": 5.0}
        for symbol in ("AAPL", "MSFT"):
            body = json.dumps({"symbol": symbol, **record}).encode()
            self.s3.put_object(Bucket="lab-in", Key=RAW_KEY.replace("AAPL", symbol), Body=body)
        self.announce("AAPL.json")

    def announce(self, name: str) -> None:
        entries = {"objects": [{"key": RAW_KEY.replace("AAPL.json", name), "records": 1}]}
        self.s3.put_object(Bucket="lab-in", Key=MANIFEST_KEY, Body=json.dumps(entries).encode())

    def refusal_of_a_manifest(self) -> str:
        """What the local plan says when the announced day lacks an object."""
        self.announce("GONE.json")
        words = [
            w
            for n, v in zip(("domain", "table", "interval", "data-source"), WORDS, strict=True)
            for w in (f"--{n}", v)
        ]
        done = self.briquette("plan", "--env", LAB, *words, "--ds", DS)
        self.announce("AAPL.json")
        return done.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    root = folder / "checkout"
    for name in ("config", "engine", "glue_wrappers", "orchestration", "scripts"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, root / name)
    for file in (root / "config/environments").glob("*.toml"):
        file.unlink()
    lines = [f"{key} = {json.dumps(value)}" for key, value in CHANGED.items()]
    (root / "config/environments/lab.toml").write_text("\n".join(lines) + "\n")
    with ministack(folder) as endpoint:
        made = Lab(root, synthesise(folder, root), endpoint)
        made.land()
        yield made


Consumer = tuple[str, str, Callable[[Lab], Any], Any]
LAMBDA = "orchestration.handlers.preflight.handler"


def variable(lab: Lab, name: str) -> str:
    return lab.one("AWS::Lambda::Function", Handler=LAMBDA)["Environment"]["Variables"][name]


def variable_of(lab: Lab, function: str, name: str) -> str:
    handler = f"orchestration.handlers.{function}.handler"
    return lab.one("AWS::Lambda::Function", Handler=handler)["Environment"]["Variables"][name]


NAMES_OF = (
    ("AWS::StepFunctions::StateMachine", "StateMachineName"),
    ("AWS::Lambda::Function", "FunctionName"),
    ("AWS::Glue::Job", "Name"),
    ("AWS::Glue::Crawler", "Name"),
    ("AWS::ECS::Cluster", "ClusterName"),
    ("AWS::SQS::Queue", "QueueName"),
    ("AWS::Events::Rule", "Name"),
    ("AWS::CloudWatch::Alarm", "AlarmName"),
    ("AWS::CloudWatch::Dashboard", "DashboardName"),
)


def container(lab: Lab) -> dict[str, str]:
    [one] = lab.one("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return {v["Name"]: v["Value"] for v in one["Environment"]}


def script_of(lab: Lab) -> str:
    return lab.one("AWS::Glue::Job", Name="odd-lab-market-indicators-etl")["Command"]["ScriptLocation"]


def rule_key(lab: Lab) -> Any:
    pattern = lab.one("AWS::Events::Rule", Name="odd-lab-daily-prices-announced")["EventPattern"]
    return pattern["detail"]["bucket"]["name"], pattern["detail"]["object"]["key"]


def argument(lab: Lab, of: str, name: str) -> str:
    return lab.answers["day"][of][f"--{name}"]


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def stacks(lab: Lab) -> set[str]:
    artifacts = json.loads((lab.assembly.folder / "manifest.json").read_text())["artifacts"].values()
    return {a["environment"] for a in artifacts if a["type"] == "aws:cloudformation:stack"}


CONSUMERS: tuple[Consumer, ...] = (
    (
        "name_prefix",
        "names",
        lambda s: {n for kind, name in NAMES_OF for n in s.all(kind, name) if not n.startswith("odd-lab-")},
        set(),
    ),
    (
        "name_prefix",
        "database",
        lambda s: variable_of(s, "catalog", "GLUE_DATABASE"),
        "odd_lab_data_platform",
    ),
    ("name_prefix", "messages", lambda s: variable_of(s, "alert", "RESOURCE_PREFIX"), "odd-lab"),
    ("existing_buckets", "buckets", lambda s: s.all("AWS::S3::Bucket", "BucketName"), {"lab-in", "lab-out"}),
    ("alert_topic_arn", "topics", lambda s: s.assembly.resources(NAMED, "AWS::SNS::Topic"), {}),
    (
        "alert_topic_arn",
        "flow",
        lambda s: s.flow["DefinitionSubstitutions"]["Topic"],
        "arn:aws:sns:eu-central-1:123456789012:somebody",
    ),
    (
        "alert_email",
        "subscription",
        lambda s: s.all("AWS::SNS::Subscription", "Endpoint"),
        {"night@example.com"},
    ),
    ("duplicates", "transform job", lambda s: argument(s, "transform_args", "duplicates"), "reject"),
    ("duplicates", "indicators job", lambda s: argument(s, "indicators_args", "duplicates"), "reject"),
    ("region", "where the stacks are made", stacks, {"aws://unknown-account/eu-central-1"}),
    ("region", "container", lambda s: container(s)["AWS_DEFAULT_REGION"], "eu-central-1"),
    (
        "region",
        "local commands",
        lambda s: json.loads(s.briquette("doctor", "--env", LAB, "--json").stdout)["machine"]["aws region"],
        "eu-central-1",
    ),
    ("raw_url", "bucket", lambda s: "lab-in" in s.all("AWS::S3::Bucket", "BucketName"), True),
    ("raw_url", "Lambdas", lambda s: variable(s, "RAW_BUCKET"), "lab-in"),
    (
        "raw_url",
        "rule",
        rule_key,
        (["lab-in"], [{"wildcard": "landing/zone/*/_done.ready.json"}]),
    ),
    (
        "raw_url",
        "compaction",
        lambda s: argument(s, "compaction_args", "raw_prefix")[:13],
        "landing/zone/",
    ),
    ("raw_url", "container", lambda s: after(s.answers["unplanned"], "--raw"), "s3://lab-in/landing/zone"),
    ("raw_url", "local run", lambda s: str(s.ran["prices/pressed"].raw)[:24], "s3://lab-in/landing/zone"),
    ("curated_url", "bucket", lambda s: "lab-out" in s.all("AWS::S3::Bucket", "BucketName"), True),
    ("curated_url", "Lambdas", lambda s: variable(s, "CURATED_BUCKET"), "lab-out"),
    ("curated_url", "crawler", lambda s: (s.crawled["Path"], s.crawled["level"]), ("s3://lab-out/lake/", 4)),
    (
        "curated_url",
        "transform",
        lambda s: argument(s, "transform_args", "curated_prefix"),
        "lake/market/prices/",
    ),
    (
        "curated_url",
        "indicators",
        lambda s: argument(s, "indicators_args", "output_prefix"),
        "lake/market/indicators/",
    ),
    (
        "curated_url",
        "catalog",
        lambda s: s.answers["days"]["catalogArgs"]["--curated_prefix"],
        "lake/market/prices/",
    ),
    ("curated_url", "local run", lambda s: set(s.ran), {"prices/pressed", "prices", "indicators"}),
    ("artifacts_url", "Lambdas", lambda s: variable(s, "ARTIFACTS_BUCKET"), "lab-work"),
    ("artifacts_url", "scripts", script_of, "s3://lab-work/things/glue/indicators_job.py"),
    (
        "artifacts_url",
        "plans",
        lambda s: s.answers["day"]["plan_uri"][:22],
        "s3://lab-work/things/m",
    ),
    (
        "artifacts_url",
        "catalog",
        lambda s: s.answers["days"]["catalogArgs"]["--schema_fingerprint_s3_uri"],
        "s3://lab-work/things/market/prices/_schema/latest.json",
    ),
    ("raw_manifest_basename", "trigger", lambda s: s.answers["start"]["source_key"], MANIFEST_KEY),
    (
        "raw_manifest_basename",
        "Glue",
        lambda s: (
            argument(s, "compaction_args", "batch_manifest_name"),
            argument(s, "transform_args", "batch_manifest_name"),
        ),
        ("_done.ready.json",) * 2,
    ),
    (
        "raw_manifest_basename",
        "container",
        lambda s: after(s.answers["unplanned"], "--batch-manifest-name"),
        "_done.ready.json",
    ),
    ("raw_manifest_basename", "local plan", lambda s: "GONE.json" in s.refusal_of_a_manifest(), True),
    ("raw_manifest_suffix", "trigger", lambda s: s.answers["start"]["allowed_suffixes"], [".ready.json"]),
    ("engine", "flow", lambda s: s.answers["day"]["engine"], "glue"),
    ("fallback", "flow", lambda s: s.answers["day"]["fallback"], "none"),
    ("compaction_target_file_mb", "Glue", lambda s: argument(s, "compaction_args", "target_file_mb"), "17"),
    (
        "compaction_target_file_mb",
        "indicators",
        lambda s: argument(s, "indicators_args", "target_file_mb"),
        "17",
    ),
    (
        "compaction_target_file_mb",
        "container",
        lambda s: after(s.answers["unplanned"], "--target-file-mb"),
        "17",
    ),
    (
        "compaction_target_file_mb",
        "local run",
        lambda s: {m.spec.target_part_bytes for m in s.ran.values()},
        {17 << 20},
    ),
    ("compaction_codec", "Glue", lambda s: argument(s, "transform_args", "codec"), "snappy"),
    ("compaction_codec", "container", lambda s: after(s.answers["unplanned"], "--codec"), "snappy"),
    ("compaction_codec", "local run", lambda s: {m.spec.codec for m in s.ran.values()}, {"snappy"}),
    ("compaction_output_subdir", "Lambdas", lambda s: variable(s, "COMPACTION_OUTPUT_SUBDIR"), "pressed"),
    ("compaction_output_subdir", "crawler", lambda s: "*/*/pressed/**" in s.crawled["Exclusions"], True),
    (
        "compaction_output_subdir",
        "Glue",
        lambda s: argument(s, "compaction_args", "compacted_prefix"),
        "lake/market/prices/pressed",
    ),
    (
        "compaction_output_subdir",
        "guard",
        lambda s: s.answers["day"]["guard"]["prefix"],
        "lake/market/prices/pressed",
    ),
    (
        "compaction_output_subdir",
        "catalog",
        lambda s: s.answers["days"]["catalogArgs"]["--compacted_prefix"],
        "lake/market/prices/pressed",
    ),
    (
        "compaction_output_subdir",
        "container",
        lambda s: after(s.answers["unplanned"], "--compacted-subdir"),
        "pressed",
    ),
    ("compaction_output_subdir", "local run", lambda s: "prices/pressed" in s.ran, True),
    (
        "compaction_timeout_minutes",
        "flow",
        lambda s: s.answers["days"]["settings"]["compactionTimeoutSeconds"],
        2460,
    ),
    ("compaction_timeout_minutes", "job", lambda s: job(s, "daily-prices-compaction")["Timeout"], 41),
    (
        "transform_timeout_minutes",
        "flow",
        lambda s: s.answers["days"]["settings"]["transformTimeoutSeconds"],
        2520,
    ),
    ("transform_timeout_minutes", "job", lambda s: job(s, "daily-prices-data-etl")["Timeout"], 42),
    (
        "indicators_timeout_minutes",
        "flow",
        lambda s: s.answers["days"]["settings"]["indicatorsTimeoutSeconds"],
        2580,
    ),
    ("indicators_timeout_minutes", "job", lambda s: job(s, "market-indicators-etl")["Timeout"], 43),
    ("compaction_worker_type", "jobs", lambda s: s.all("AWS::Glue::Job", "WorkerType"), {"G.4X"}),
    ("compaction_number_workers", "jobs", lambda s: s.all("AWS::Glue::Job", "NumberOfWorkers"), {7}),
    (
        "glue_max_concurrent_runs",
        "jobs",
        lambda s: job(s, "market-indicators-etl")["ExecutionProperty"]["MaxConcurrentRuns"],
        19,
    ),
    ("dask_task_vcpus", "task", lambda s: s.all("AWS::ECS::TaskDefinition", "Cpu"), {"8192"}),
    ("dask_task_memory_gb", "task", lambda s: s.all("AWS::ECS::TaskDefinition", "Memory"), {"32768"}),
    ("dask_task_spot", "flow", lambda s: s.flow["DefinitionSubstitutions"]["CapacityProvider"], "FARGATE"),
    ("sfn_max_concurrency", "flow", lambda s: s.answers["days"]["settings"]["maxConcurrency"], 11),
    ("step_function_timeout_hours", "flow", lambda s: s.flow["definition"]["TimeoutSeconds"], 13 * 3600),
    ("max_backfill_days", "Lambdas", lambda s: variable(s, "MAX_BACKFILL_DAYS"), "23"),
    (
        "max_backfill_days",
        "preflight",
        lambda s: "max_backfill_days = 23" in s.answers["refused"]["reason"],
        True,
    ),
    (
        "indicators_lookback_days",
        "indicators",
        lambda s: argument(s, "indicators_args", "lookback_days"),
        "400",
    ),
    (
        "indicators_lookback_days",
        "local run",
        lambda s: dict(s.ran["indicators"].stage.parameters)["sessions"],
        "400",
    ),
    ("catalog_update", "flow", lambda s: s.answers["days"]["settings"]["catalogUpdate"], "force"),
    ("expected_min_records", "Lambdas", lambda s: variable(s, "EXPECTED_MIN_RECORDS"), "5"),
    (
        "expected_min_records",
        "transform",
        lambda s: argument(s, "transform_args", "expected_min_records"),
        "5",
    ),
    (
        "expected_min_records",
        "local run",
        lambda s: dict(s.ran["prices"].stage.parameters)["expected_min_records"],
        "5",
    ),
    ("max_critical_error_rate", "Lambdas", lambda s: variable(s, "MAX_CRITICAL_ERROR_RATE"), "1.5"),
    (
        "max_critical_error_rate",
        "transform",
        lambda s: argument(s, "transform_args", "max_critical_error_rate"),
        "1.5",
    ),
    (
        "max_critical_error_rate",
        "local run",
        lambda s: dict(s.ran["prices"].stage.parameters)["max_critical_error_rate"],
        "1.5",
    ),
    ("lambda_timeout", "Lambdas", lambda s: s.all("AWS::Lambda::Function", "Timeout"), {77}),
    ("log_retention_days", "log groups", lambda s: s.all("AWS::Logs::LogGroup", "RetentionInDays"), {180}),
    ("enable_xray_tracing", "flow", lambda s: s.flow["TracingConfiguration"], {"Enabled": True}),
    (
        "enable_xray_tracing",
        "Lambdas",
        lambda s: s.one("AWS::Lambda::Function", Handler=LAMBDA)["TracingConfig"],
        {"Mode": "Active"},
    ),
    (
        "removal_policy",
        "buckets and database",
        lambda s: {
            r["DeletionPolicy"]
            for r in s.assembly.template(NAMED, "storage")["Resources"].values()
            if "DeletionPolicy" in r
        },
        {"Retain"},
    ),
    (
        "monitored_glue_jobs",
        "alarms",
        lambda s: {
            n
            for n in s.all("AWS::CloudWatch::Alarm", "AlarmName")
            if n.endswith(("-job-failures", "-etl-failures"))
        },
        {"odd-lab-odd-job-failures"},
    ),
    (
        "monitored_state_machines",
        "alarms",
        lambda s: "odd-lab-odd-machine-failures" in s.all("AWS::CloudWatch::Alarm", "AlarmName"),
        True,
    ),
)


def job(lab: Lab, name: str) -> dict[str, Any]:
    return lab.one("AWS::Glue::Job", Name=f"{NAMED}-{name}")


def seen(lab: Lab, look: Callable[[Lab], Any]) -> Any:
    """What a consumer has; one that has nothing must not hide the others."""
    try:
        return look(lab)
    except (KeyError, ValueError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"


def test_every_key_is_changed_and_consumed():
    dev = load_environment("dev", env={})
    same = {
        key
        for key, value in CHANGED.items()
        if getattr(dev, key) in (value, tuple(value) if isinstance(value, list) else value)
    }
    assert same == set()
    assert set(CHANGED) == set(setting_keys())
    assert {key for key, *_ in CONSUMERS} == set(setting_keys()), (
        "a key that no one consumes is to be removed"
    )


@pytest.mark.timeout(600)
def test_every_consumer_follows_every_key(lab):
    found = {(key, who): seen(lab, look) for key, who, look, _ in CONSUMERS}
    wanted = {(key, who): value for key, who, _, value in CONSUMERS}
    assert len(found) == len(CONSUMERS)
    assert {at: (found[at], wanted[at]) for at in found if found[at] != wanted[at]} == {}


@pytest.mark.timeout(600)
def test_no_text_keeps_what_another_environment_says(lab):
    """Whoever else would consume a key: the values of dev, where they are recognisable, are nowhere."""
    texts = {stack: json.dumps(lab.assembly.template(NAMED, stack)) for stack in ("storage", "compute")}
    texts["answers"] = json.dumps(lab.answers)
    dev = load_environment("dev", env={})
    gone = [
        dev.region,
        dev.raw_bucket,
        dev.curated_bucket,
        dev.artifacts_bucket,
        dev.raw_manifest_name,
        "/compacted",
    ]
    assert [(where, old) for where, text in texts.items() for old in gone if old in text] == []
