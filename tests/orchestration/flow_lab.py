"""The flow as deployed, on one machine: buckets, Lambdas, Glue jobs, topic, and the flow's own file."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest

from briquette.cli.demo import raw_day
from briquette.model import Manifest
from briquette.serialization import manifest_from_bytes
from orchestration.flow import definition, substituted
from orchestration.sources import ROOT, copy_functions
from tests.servers import _server, environment

WORDS = {"domain": "market", "table_name": "prices", "interval": "1d", "data_source": "yahoo_finance"}
PREFIX = "market/prices/interval=1d/data_source=yahoo_finance"
RAW, CURATED, ARTIFACTS = "lab-raw", "lab-curated", "lab-artifacts"
FLOW = "arn:aws:states:us-east-1:000000000000:stateMachine:flow"
ROLE = "arn:aws:iam::000000000000:role/lab"
JOBS = {"CompactionJob": "compaction", "TransformJob": "transform", "IndicatorsJob": "indicators"}
WAIT_SECONDS = 540.0
SETTINGS = {  # over the environment dev
    "BRIQUETTE_RAW_URL": f"s3://{RAW}",
    "BRIQUETTE_CURATED_URL": f"s3://{CURATED}",
    "BRIQUETTE_ARTIFACTS_URL": f"s3://{ARTIFACTS}",
    "BRIQUETTE_EXPECTED_MIN_RECORDS": "1",
}


@dataclass(frozen=True)
class Execution:
    """How an execution of the flow ended."""

    status: str
    output: dict[str, Any]
    error: str
    cause: str

    def day(self, ds: str) -> dict[str, Any]:
        (found,) = [day for day in self.output["partitions"] if day["ds"] == ds]
        return found


@dataclass(frozen=True)
class FlowLab:
    """The deployed flow. Each scenario has its own day, so that many run at once in one account."""

    endpoint: str
    folder: Path

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint)

    @cached_property
    def s3(self) -> Any:
        return self.client("s3")

    # -- deployment ------------------------------------------------------------------------------

    def deploy(self) -> None:
        for bucket in (RAW, CURATED, ARTIFACTS):
            self.s3.create_bucket(Bucket=bucket)
        for name in ("preflight", "guard", "results", "catalog", "alert"):
            self.function(name, name)
        glue = self.client("glue")
        for name in JOBS.values():
            self.s3.upload_file(str(ROOT / f"glue_wrappers/{name}_job.py"), ARTIFACTS, f"glue/{name}_job.py")
            command = {"Name": "glueetl", "ScriptLocation": f"s3://{ARTIFACTS}/glue/{name}_job.py"}
            glue.create_job(Name=name, Role=ROLE, GlueVersion="6.0", Command=command)
        glue.create_database(DatabaseInput={"Name": "dev_data_platform"})
        targets = {"S3Targets": [{"Path": f"s3://{CURATED}/market/prices/"}]}
        glue.create_crawler(Name="crawler", Role=ROLE, DatabaseName="dev_data_platform", Targets=targets)
        self.machine("flow")

    @cached_property
    def code(self) -> bytes:
        """The Lambdas' folder as it is deployed, zipped."""
        zipped = io.BytesIO()
        source = copy_functions(self.folder / "functions")
        with zipfile.ZipFile(zipped, "w") as archive:
            for file in sorted(source.rglob("*")):
                archive.write(file, file.relative_to(source))
        return zipped.getvalue()

    def function(self, name: str, module: str, **settings: str) -> str:
        """The ARN of a new Lambda; ``settings`` are variables over those of all Lambdas."""
        made = self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler=f"orchestration.handlers.{module}.handler",
            Code={"ZipFile": self.code},
            Timeout=60,
            Environment={"Variables": {"ENVIRONMENT": "dev", **SETTINGS, **settings}},
        )
        return str(made["FunctionArn"])

    def machine(self, name: str, **values: str) -> str:
        """The ARN of a new state machine of the flow's file; ``values`` replace what the others are given."""
        text = substituted(definition(), {**self.values, **values})
        made = self.client("stepfunctions").create_state_machine(
            name=name, definition=text, roleArn=ROLE, type="STANDARD"
        )
        return str(made["stateMachineArn"])

    @cached_property
    def values(self) -> dict[str, str]:
        topic, _ = self.topic
        return {
            "PreflightFunction": "arn:aws:lambda:us-east-1:000000000000:function:preflight",
            "GuardFunction": "arn:aws:lambda:us-east-1:000000000000:function:guard",
            "ResultsFunction": "arn:aws:lambda:us-east-1:000000000000:function:results",
            "CatalogFunction": "arn:aws:lambda:us-east-1:000000000000:function:catalog",
            "AlertFunction": "arn:aws:lambda:us-east-1:000000000000:function:alert",
            "ClusterArn": "arn:aws:ecs:us-east-1:000000000000:cluster/lab",
            "TaskDefinitionArn": "arn:aws:ecs:us-east-1:000000000000:task-definition/compaction:1",
            "ContainerName": "engine",
            "CapacityProvider": "FARGATE_SPOT",
            "Subnets": "subnet-1,subnet-2",
            "SecurityGroups": "sg-1",
            "AssignPublicIp": "ENABLED",
            **JOBS,
            "Crawler": "crawler",
            "Topic": topic,
        }

    @cached_property
    def topic(self) -> tuple[str, str]:
        """The topic, and a queue that hears it."""
        sns, sqs = self.client("sns"), self.client("sqs")
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return topic, queue

    # -- raw days --------------------------------------------------------------------------------

    def land(self, ds: str, count: int = 60, **values: Any) -> None:
        """A raw day of so many symbols, one object each; ``values`` replace fields of every record."""
        year, month, day = ds.split("-")
        for file in raw_day(count):
            if not file.name.endswith(".json"):
                continue
            try:
                record = json.loads(file.data)
            except ValueError:  # the day has spoiled files; these are other tests' subject
                continue
            record = {**record, "timestamp": f"{ds}T00:00:00", **values}
            key = f"{PREFIX}/year={year}/month={month}/day={day}/{file.name}"
            self.s3.put_object(Bucket=RAW, Key=key, Body=json.dumps(record).encode() + b"\n")

    def land_corrupt(self, ds: str) -> str:
        """An object whose gzip stream is cut, among good ones."""
        self.land(ds, 20)
        year, month, day = ds.split("-")
        key = f"{PREFIX}/year={year}/month={month}/day={day}/ZZZ.json.gz"
        self.s3.put_object(Bucket=RAW, Key=key, Body=gzip.compress(b'{"symbol": "ZZZ"}\n' * 50)[:-12])
        return key

    def break_(self, ds: str, *faults: dict[str, Any]) -> None:
        """What is to go wrong on a day, in order, each once: ``launcher.next_fault``."""
        folder = self.folder / "faults"
        folder.mkdir(exist_ok=True)
        (folder / f"{ds}.json").write_text(json.dumps(faults))

    # -- executions ------------------------------------------------------------------------------

    def start(self, machine: str = FLOW, **event: Any) -> str:
        started = self.client("stepfunctions").start_execution(
            stateMachineArn=machine, name=uuid.uuid4().hex, input=json.dumps({**WORDS, **event})
        )
        return str(started["executionArn"])

    def wait(self, arn: str) -> Execution:
        states, until = self.client("stepfunctions"), time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            found = states.describe_execution(executionArn=arn)
            if found["status"] != "RUNNING":
                output = json.loads(found["output"]) if found.get("output") else {}
                if found["status"] == "FAILED":
                    output = self.summary(arn)
                return Execution(found["status"], output, found.get("error", ""), found.get("cause", ""))
            time.sleep(0.2)
        raise AssertionError(f"{arn} did not end in {WAIT_SECONDS} s; look into {self.folder}")

    def run(self, machine: str = FLOW, **event: Any) -> Execution:
        return self.wait(self.start(machine, **event))

    def summary(self, arn: str) -> dict[str, Any]:
        """The document of a failed execution: what went into its last state."""
        events = self.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=1000)[
            "events"
        ]
        entered = [e["stateEnteredEventDetails"] for e in events if "stateEnteredEventDetails" in e]
        return json.loads(entered[-1]["input"])

    def calls(self, ds: str, service: str) -> list[dict[str, Any]]:
        """The requests that were made for a day to ``ecs`` or ``glue``, in order."""
        lines = (self.folder / "trace.jsonl").read_text().splitlines()
        made = [json.loads(line) for line in lines]
        return [c for c in made if c.get("service") == service and c["ds"] == ds and "fault" in c]

    def messages(self) -> list[dict[str, Any]]:
        """Every summary that the topic has published since the last call."""
        return [json.loads("{" + told["Message"].partition("\n\n{")[2]) for told in self.told()]

    def told(self) -> list[dict[str, Any]]:
        """``Subject`` and ``Message`` of what the topic has published since the last call."""
        sqs, found = self.client("sqs"), []
        while batch := sqs.receive_message(QueueUrl=self.topic[1], MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.topic[1], ReceiptHandle=message["ReceiptHandle"])
        return found

    def keys(self, bucket: str, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def manifest(self, folder: str) -> Manifest:
        """What is published in a folder of the curated bucket."""
        body = self.s3.get_object(Bucket=CURATED, Key=f"{folder}/_manifest.json")["Body"].read()
        return manifest_from_bytes(body)


@contextlib.contextmanager
def flow_lab(folder: Path) -> Iterator[FlowLab]:
    """A deployed flow, in a MiniStack of its own that listens on this machine only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOW_LAB", str(folder))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("SFN_WAIT_SCALE", "0.01")
        shutil.rmtree(folder / "faults", ignore_errors=True)
        with _server("tests.orchestration.launcher", folder, "/_ministack/health") as endpoint:
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
                patch.delenv(name, raising=False)
            for name, value in environment(endpoint).items():
                patch.setenv(name, value)
            lab = FlowLab(endpoint, folder)
            lab.deploy()
            yield lab
