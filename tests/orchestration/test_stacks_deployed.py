"""The stacks of dev on the local AWS server: all is there, the Lambdas answer, an alarm is heard."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from briquette.settings.environments import load_environment
from orchestration import alarms
from tests.needs import needs_node
from tests.orchestration.synthesis import Assembly
from tests.servers import environment, ministack

pytestmark = [needs_node(), pytest.mark.xdist_group("cdk")]

ACCOUNT, REGION = "000000000000", "us-east-1"
ASSETS = f"cdk-hnb659fds-assets-{ACCOUNT}-{load_environment('dev', env={}).region}"
STACKS = ("storage", "compute")
SECONDS = 60


@dataclass(frozen=True)
class Deployed:
    """The server, and what was asked of it."""

    endpoint: str
    asked: dict[str, dict[str, Any]]  # resources by logical name
    left_out: tuple[str, ...]  # alarms that this server's CloudFormation does not take

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
        return boto3.client(service, endpoint_url=self.endpoint, **keys)

    def names(self, kind: str, key: str) -> set[str]:
        return {r["Properties"][key] for r in self.asked.values() if r["Type"] == kind}


@pytest.fixture(scope="module")
def deployed(assembly, tmp_path_factory) -> Iterator[Deployed]:
    with ministack(tmp_path_factory.mktemp("aws")) as endpoint:
        lab = Deployed(endpoint, {}, ())
        lab.client("s3").create_bucket(Bucket=ASSETS)
        lab.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
        asked, left_out = {}, []
        for stack in STACKS:
            publish_assets(lab, assembly, stack)
            template = assembly.template("dev", stack)
            for name, found in list(template["Resources"].items()):
                if found["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in found["Properties"]:
                    left_out.append(template["Resources"].pop(name)["Properties"]["AlarmName"])
            create(lab, f"dev-briquette-{stack}", template)
            asked |= template["Resources"]
        yield Deployed(endpoint, asked, tuple(sorted(left_out)))


def publish_assets(lab: Deployed, assembly: Assembly, stack: str) -> None:
    """What `cdk-assets publish` does with folders that become zip files."""
    for asset in assembly.assets("dev", stack)["files"].values():
        if asset["source"]["packaging"] == "zip":
            folder, packed = assembly.folder / asset["source"]["path"], io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(folder.rglob("*")):
                    archive.write(path, path.relative_to(folder))
            [destination] = asset["destinations"].values()
            lab.client("s3").put_object(Bucket=ASSETS, Key=destination["objectKey"], Body=packed.getvalue())


def create(lab: Deployed, name: str, template: dict[str, Any]) -> None:
    formation = lab.client("cloudformation")
    lab.client("s3").put_object(Bucket=ASSETS, Key=f"{name}.json", Body=json.dumps(template))
    formation.create_stack(
        StackName=name,
        TemplateURL=f"{lab.endpoint}/{ASSETS}/{name}.json",
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    until = time.monotonic() + SECONDS
    while (status := formation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]).endswith(
        "_PROGRESS"
    ):
        assert time.monotonic() < until, status
        time.sleep(0.2)
    events = formation.describe_stack_events(StackName=name)["StackEvents"]
    failed = [
        (e["LogicalResourceId"], e.get("ResourceStatusReason"))
        for e in events
        if "FAIL" in e["ResourceStatus"]
    ]
    assert status == "CREATE_COMPLETE", failed


def test_every_resource_is_created(deployed):
    found = Counter()
    for stack in STACKS:
        formation = deployed.client("cloudformation")
        for resource in formation.describe_stack_resources(StackName=f"dev-briquette-{stack}")[
            "StackResources"
        ]:
            assert resource["ResourceStatus"] == "CREATE_COMPLETE", resource
            found[resource["ResourceType"]] += 1
    assert found == Counter(resource["Type"] for resource in deployed.asked.values())


def test_only_alarms_on_expressions_are_left_to_aws_itself(deployed):
    # MiniStack's CloudFormation refuses Properties.Metrics; test_stacks.py and cfn-lint check those two.
    assert deployed.left_out == ("dev-daily-prices-data-processing-failures", "dev-data-pipeline-failures")


def test_the_services_show_what_the_templates_ask_for(deployed):
    # moto, for one, says CREATE_COMPLETE and makes no job, crawler or alarm. So each service is asked itself.
    client = deployed.client
    names = deployed.names
    shown = {
        "AWS::CloudWatch::Alarm": {
            a["AlarmName"] for a in client("cloudwatch").describe_alarms()["MetricAlarms"]
        },
        "AWS::CloudWatch::Dashboard": {
            d["DashboardName"] for d in client("cloudwatch").list_dashboards()["DashboardEntries"]
        },
        "AWS::Glue::Job": {j["Name"] for j in client("glue").get_jobs()["Jobs"]},
        "AWS::Glue::Crawler": {c["Name"] for c in client("glue").get_crawlers()["Crawlers"]},
        "AWS::Events::Rule": {r["Name"] for r in client("events").list_rules()["Rules"]},
        "AWS::StepFunctions::StateMachine": {
            m["name"] for m in client("stepfunctions").list_state_machines()["stateMachines"]
        },
        "AWS::SNS::Topic": {t["TopicArn"].rpartition(":")[2] for t in client("sns").list_topics()["Topics"]},
        "AWS::SQS::Queue": {u.rpartition("/")[2] for u in client("sqs").list_queues()["QueueUrls"]},
        "AWS::Lambda::Function": {f["FunctionName"] for f in client("lambda").list_functions()["Functions"]},
        "AWS::ECS::Cluster": {arn.rpartition("/")[2] for arn in client("ecs").list_clusters()["clusterArns"]},
        "AWS::Logs::LogGroup": {g["logGroupName"] for g in client("logs").describe_log_groups()["logGroups"]},
    }
    keys = {
        "AWS::CloudWatch::Alarm": "AlarmName",
        "AWS::CloudWatch::Dashboard": "DashboardName",
        "AWS::SNS::Topic": "TopicName",
        "AWS::SQS::Queue": "QueueName",
        "AWS::StepFunctions::StateMachine": "StateMachineName",
        "AWS::Lambda::Function": "FunctionName",
        "AWS::ECS::Cluster": "ClusterName",
        "AWS::Logs::LogGroup": "LogGroupName",
    }
    for kind, found in shown.items():
        assert names(kind, keys.get(kind, "Name")) - found == set(), kind
        assert names(kind, keys.get(kind, "Name")), kind
    buckets = {bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]}
    assert names("AWS::S3::Bucket", "BucketName") <= buckets
    assert client("glue").get_database(Name="dev_data_platform")


def test_the_deployed_flow_has_no_name_left_to_fill_in(deployed):
    states = deployed.client("stepfunctions")
    [machine] = states.list_state_machines()["stateMachines"]
    definition = states.describe_state_machine(stateMachineArn=machine["stateMachineArn"])["definition"]
    assert "${" not in definition
    assert "dev-daily-prices-compaction" in definition
    assert (
        alarms.machine_arn(machine["name"]).rpartition(":")[2]
        == machine["stateMachineArn"].rpartition(":")[2]
    )


def test_the_deployed_lambdas_answer(deployed, monkeypatch):
    for name, value in environment(deployed.endpoint).items():
        monkeypatch.setenv(name, value)
    guard = invoke(
        deployed,
        "dev-daily-prices-guard",
        {"bucket": "dev-data-platform-curated", "prefix": "market/prices/compacted", "ds": "2025-09-09"},
    )
    assert (guard["shouldProcess"], guard["objectCount"]) == (False, 0)
    preflight = invoke(
        deployed,
        "dev-daily-prices-preflight",
        {
            "domain": "market",
            "table_name": "prices",
            "interval": "1d",
            "data_source": "yahoo_finance",
            "file_type": "json",
            "ds": "2025-09-09",
        },
    )
    assert preflight["proceed"] is True
    assert preflight["glue_args"]["--raw_bucket"] == "dev-data-platform-raw"


def invoke(deployed: Deployed, name: str, event: dict[str, Any]) -> dict[str, Any]:
    answer = deployed.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    text = answer["Payload"].read()
    assert "FunctionError" not in answer, text
    return json.loads(text)


@pytest.fixture
def subscriber(deployed) -> Iterator[Any]:
    """A queue that listens to the deployed topic; called, it waits for the messages that have come."""
    sqs, sns = deployed.client("sqs"), deployed.client("sns")
    queue = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:dev-data-platform-alerts"
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]

    def received(wanted: str) -> str:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                body = json.loads(message["Body"])
                if wanted in body["Message"]:
                    return body["Message"]
        pytest.fail(f"no message with {wanted!r} arrived")

    yield received
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=queue)


def test_a_matched_rule_raises_the_alarm_and_the_subscriber_reads_it(deployed, subscriber):
    name = "dev-daily-prices-compaction-failures"
    matched = {
        "MetricName": "TriggeredRules",
        "Dimensions": [{"Name": "RuleName", "Value": name}],
        "Value": 1.0,
        "Unit": "Count",
    }
    deployed.client("cloudwatch").put_metric_data(Namespace="AWS/Events", MetricData=[matched])
    told = json.loads(subscriber(name))
    assert told["NewStateValue"] == "ALARM"
    assert (
        told["AlarmDescription"] == "A run of the Glue job dev-daily-prices-compaction failed or timed out."
    )


@pytest.mark.parametrize(
    ("rule", "state", "what"),
    [
        ("dev-daily-prices-compaction-failures", "TIMEOUT", "failed"),
        ("dev-daily-prices-compaction-stopped", "STOPPED", "Warning: somebody stopped a run"),
    ],
)
def test_a_glue_run_that_ends_badly_is_told_in_a_sentence(deployed, subscriber, rule, state, what):
    # Only AWS may send events of aws.glue: so the deployed rule listens to another source for once.
    events = deployed.client("events")
    pattern = json.loads(events.describe_rule(Name=rule)["EventPattern"])
    events.put_rule(Name=rule, EventPattern=json.dumps({**pattern, "source": ["lab.glue"]}), State="ENABLED")
    ended = {"jobName": "dev-daily-prices-compaction", "jobRunId": "jr_17", "severity": "ERROR"}
    detail = {**ended, "state": state, "message": "SourceChanged: AAPL.json changed"}
    entry = {"Source": "lab.glue", "DetailType": "Glue Job State Change", "Detail": json.dumps(detail)}
    events.put_events(Entries=[entry])
    assert subscriber("Glue job").strip('"') == (
        f"Glue job dev-daily-prices-compaction: {what}. State {state}, run jr_17. "
        f"Glue says: SourceChanged: AAPL.json changed"
    )


@pytest.mark.parametrize(
    ("source", "kind", "detail", "matches"),
    [
        *(
            ("aws.glue", "Glue Job State Change", {"jobName": job, "state": state}, matches)
            for job, state, matches in (
                ("dev-market-indicators-etl", "FAILED", 1),
                ("dev-market-indicators-etl", "STOPPED", 1),
                ("dev-market-indicators-etl", "SUCCEEDED", 0),
                ("somebody-else", "FAILED", 0),
            )
        ),
        *(
            ("aws.ecs", "ECS Task State Change", {"containers": [container], "stopCode": code}, matches)
            for container, code, matches in (
                ({"exitCode": 137}, "EssentialContainerExited", 1),
                ({"exitCode": 0}, "EssentialContainerExited", 0),
                ({"exitCode": 3}, "EssentialContainerExited", 0),
                ({}, "TaskFailedToStart", 1),
            )
        ),
        *(
            ("aws.s3", "Object Created", {"bucket": {"name": bucket}, "object": {"key": key}}, matches)
            for bucket, key, matches in (
                ("dev-data-platform-raw", "market/prices/day=09/_batch.manifest.json", 1),
                ("dev-data-platform-raw", "market/prices/day=09/AAPL.json", 0),
                ("dev-data-platform-curated", "market/prices/day=09/_batch.manifest.json", 0),
            )
        ),
    ],
)
def test_rules_match_what_they_are_for_and_nothing_else(deployed, source, kind, detail, matches):
    if source == "aws.ecs":
        cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/dev-data-platform"
        detail = {**detail, "clusterArn": cluster, "lastStatus": "STOPPED"}
    event = {
        "id": "1",
        "account": ACCOUNT,
        "region": REGION,
        "time": "2025-09-09T00:00:00Z",
        "resources": [],
        "source": source,
        "detail-type": kind,
        "detail": detail,
    }
    events = deployed.client("events")
    patterns = [
        r["Properties"]["EventPattern"] for r in deployed.asked.values() if r["Type"] == "AWS::Events::Rule"
    ]
    found = [
        events.test_event_pattern(EventPattern=resolved(pattern), Event=json.dumps(event))["Result"]
        for pattern in patterns
    ]
    assert sum(found) == matches


def resolved(pattern: Any) -> str:
    """The pattern of the template with this server's account in it."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
            known = {"Partition": "aws", "Region": REGION, "AccountId": ACCOUNT}
            text = value["Fn::Sub"]
            for name, meant in known.items():
                text = text.replace(f"${{AWS::{name}}}", meant)
            return text
        if isinstance(value, dict):
            return {key: walk(part) for key, part in value.items()}
        return [walk(part) for part in value] if isinstance(value, list) else value

    return json.dumps(walk(pattern))


def test_the_alarms_that_were_created_are_those_of_the_tuple(deployed):
    told = {alarm.name: alarm for alarm in alarms.alarms(load_environment("dev", env={}))}
    for found in deployed.client("cloudwatch").describe_alarms()["MetricAlarms"]:
        [metric] = told[found["AlarmName"]].metrics
        assert (found["Namespace"], found["MetricName"]) == (metric.namespace, metric.name)
        assert {d["Name"] for d in found["Dimensions"]} == {name for name, _ in metric.dimensions}
        assert found["TreatMissingData"] == told[found["AlarmName"]].missing
        assert found["AlarmActions"] == [f"arn:aws:sns:{REGION}:{ACCOUNT}:dev-data-platform-alerts"]
