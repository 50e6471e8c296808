"""The templates of every environment: what is in them, what they allow, and what the checkers say of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from briquette import __version__
from briquette.settings.environments import load_environment
from orchestration import alarms
from tests.needs import needs_node
from tests.orchestration.synthesis import ENVIRONMENTS, ROOT, Assembly, logical, readable, synthesise

pytestmark = [needs_node(), pytest.mark.xdist_group("cdk")]

SNAPSHOTS = Path(__file__).parent / "snapshots"

# cfn-lint: each with its reason; anything else fails.
LINT_ALLOWED = {
    # A role is named as a dependency and by its ARN: the construct library does that for every Lambda.
    "W3005": r"dependency already enforced by a 'GetAtt'.*Properties/Role'",
    # Step Functions takes JSONata for both numbers; the schema inside cfn-lint does not know that.
    "E3601": r"^'\{% .* %\}' is not of type 'number' at '.*/(TimeoutSeconds|MaxConcurrency)'$",
}

# Statements of roles with a * resource: the first action, and why there is no resource to name.
STARS = {
    "cloudwatch:PutMetricData": "takes no resource; a condition holds it to the namespace Glue",
    "ecr:GetAuthorizationToken": "a token is for the registry, not for a repository",
    "logs:CreateLogDelivery": "log deliveries of Step Functions have no ARN",
    "xray:GetSamplingRules": "segments and sampling rules have no ARN",
    "xray:PutTraceSegments": "the same, as the construct library writes it for a traced Lambda",
}


def statements(assembly: Assembly, environment: str):
    """(who, statement) of every role and policy."""
    for name, found in assembly.resources(environment, "AWS::IAM::Role", "AWS::IAM::Policy").items():
        properties = found["Properties"]
        documents = [p["PolicyDocument"] for p in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            for statement in document["Statement"]:
                yield logical(name), statement


def as_list(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_resources_are_those_that_were_agreed(assembly, environment):
    """`UPDATE_SNAPSHOTS=1 pytest …` writes them anew; read the difference before you commit it."""
    seen = {}
    for name, found in sorted(assembly.resources(environment).items()):
        properties = dict(found.get("Properties", {}))
        for unreadable in ("DefinitionString", "DashboardBody", "Tags", "Code"):
            properties.pop(unreadable, None)  # texts of their own, and hashes
        for container in properties.get("ContainerDefinitions", []):
            container["Image"] = "<image>"
        if "DefaultArguments" in properties:
            properties["DefaultArguments"]["--additional-python-modules"] = "<wheel and pins>"
        kept = {key: found[key] for key in ("DeletionPolicy", "UpdateReplacePolicy") if key in found}
        seen[f"{found['Type']} {logical(name)}"] = {**kept, **readable(properties)}
    text = json.dumps(seen, indent=1, sort_keys=True) + "\n"
    file = SNAPSHOTS / f"{environment}.json"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(text)
    assert text == file.read_text(), f"{file.name} differs: UPDATE_SNAPSHOTS=1 writes it anew"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_cfn_lint_finds_nothing_but_what_is_known(assembly, environment):
    files = [str(assembly.template_file(environment, stack)) for stack in ("storage", "compute")]
    told = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *files, "--format", "json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    found = [(match["Rule"]["Id"], match["Message"]) for match in json.loads(told.stdout or "[]")]
    assert [f for f in found if not re.search(LINT_ALLOWED.get(f[0], "(?!)"), f[1])] == []
    assert {rule for rule, _ in found} == set(LINT_ALLOWED), "an allowance that nothing needs: take it out"


def test_cdk_nag_is_content_and_every_acknowledgement_has_a_reason(assembly):
    report = json.loads((assembly.folder / "validation-report.json").read_text())
    [nag] = report["pluginReports"]
    assert (nag["pluginName"], nag["conclusion"], nag["violations"]) == ("AwsSolutions", "success", [])
    reasons = {(found["acknowledgedId"], found["reason"]) for found in nag["suppressedViolations"]}
    rules = {rule.rpartition("-")[2] for rule, _ in reasons}
    assert rules == {"S1", "VPC7", "ECS2", "L1", "GL1", "GL3", "SF1", "SF2", "SQS3"}
    assert [rule for rule, reason in reasons if len(reason.split()) < 6] == []
    wildcards = [
        (rule, reason)
        for file in assembly.folder.glob("*.metadata.json")
        for entries in json.loads(file.read_text()).values()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for rule, reason in entry["data"].items()
        if "IAM5[" in rule
    ]
    assert wildcards
    assert [rule for rule, reason in wildcards if len(str(reason).split()) < 6] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_statement_allows_a_wildcard_action(assembly, environment):
    wide = [(who, s["Action"]) for who, s in statements(assembly, environment) if "*" in str(s["Action"])]
    assert wide == []


def test_every_star_resource_is_on_the_list_with_its_reason(assembly):
    found = {
        as_list(s["Action"])[0]
        for environment in ENVIRONMENTS
        for _, s in statements(assembly, environment)
        if "*" in as_list(s["Resource"])
    }
    assert found == set(STARS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_roles_are_passed_to_containers_only_and_only_the_two(assembly, environment):
    passing = [
        (who, s) for who, s in statements(assembly, environment) if "iam:PassRole" in as_list(s["Action"])
    ]
    assert [who for who, _ in passing] == ["FlowRole"]
    [(_, statement)] = passing
    assert sorted(map(readable, statement["Resource"])) == [
        "<CompactionExecutionRole.Arn>",
        "<CompactionTaskRole.Arn>",
    ]
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_role_has_a_managed_policy_or_trusts_more_than_one_service(assembly, environment):
    for name, found in assembly.resources(environment, "AWS::IAM::Role").items():
        properties = found["Properties"]
        assert "ManagedPolicyArns" not in properties, name
        [trust] = properties["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"]["Service"].endswith(".amazonaws.com"), name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_but_the_stages_may_write_curated(assembly, environment):
    curated = load_environment(environment, env={}).curated_bucket
    writers = {
        who
        for who, s in statements(assembly, environment)
        if "s3:PutObject" in as_list(s["Action"])
        and any(curated in str(readable(r)) for r in as_list(s["Resource"]))
    }
    assert writers == {"CompactionTaskRole", "StagesRole"}
    raw = load_environment(environment, env={}).raw_bucket
    assert not [
        who
        for who, s in statements(assembly, environment)
        if {"s3:PutObject", "s3:DeleteObject"} & set(as_list(s["Action"]))
        and any(raw in str(readable(r)) for r in as_list(s["Resource"]))
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_buckets_are_closed_encrypted_and_live_as_long_as_the_setting_says(assembly, environment):
    settings = load_environment(environment, env={})
    kept = "Retain" if settings.removal_policy == "retain" else "Delete"
    buckets = assembly.resources(environment, "AWS::S3::Bucket")
    assert {b["Properties"]["BucketName"] for b in buckets.values()} == {
        settings.raw_bucket,
        settings.curated_bucket,
        settings.artifacts_bucket,
    }
    for bucket in buckets.values():
        properties = bucket["Properties"]
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == (kept, kept)
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties["BucketEncryption"]
        assert any(
            "AbortIncompleteMultipartUpload" in r for r in properties["LifecycleConfiguration"]["Rules"]
        )
        assert ("EventBridgeConfiguration" in properties.get("NotificationConfiguration", {})) == (
            properties["BucketName"] == settings.raw_bucket
        )
    policies = assembly.resources(environment, "AWS::S3::BucketPolicy")
    assert len(policies) == 3
    for policy in policies.values():
        assert "aws:SecureTransport" in json.dumps(policy)


def test_what_is_retained_cannot_be_deleted_by_accident(assembly):
    artifacts = json.loads((assembly.folder / "manifest.json").read_text())["artifacts"]
    protected = {n for n, a in artifacts.items() if a.get("properties", {}).get("terminationProtection")}
    assert protected == {
        f"{env}-briquette-{s}" for env in ("staging", "prod") for s in ("storage", "compute")
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sizes_times_and_capacity_are_those_of_the_settings(assembly, environment):
    settings = load_environment(environment, env={})
    [task] = assembly.resources(environment, "AWS::ECS::TaskDefinition").values()
    assert task["Properties"]["Cpu"] == str(settings.dask_task_vcpus * 1024)
    assert task["Properties"]["Memory"] == str(settings.dask_task_memory_gb * 1024)
    assert task["Properties"]["RuntimePlatform"]["CpuArchitecture"] == "ARM64"
    [container] = task["Properties"]["ContainerDefinitions"]
    assert container["StopTimeout"] == 120
    jobs = {
        j["Properties"]["Name"]: j["Properties"]
        for j in assembly.resources(environment, "AWS::Glue::Job").values()
    }
    assert set(jobs) == {
        f"{environment}-{j}"
        for j in ("daily-prices-compaction", "daily-prices-data-etl", "market-indicators-etl")
    }
    for job in jobs.values():
        assert (job["GlueVersion"], job["MaxRetries"]) == ("6.0", 0)
        assert job["WorkerType"] == settings.compaction_worker_type
        assert job["NumberOfWorkers"] == settings.compaction_number_workers
        assert job["ExecutionProperty"]["MaxConcurrentRuns"] >= settings.sfn_max_concurrency
    assert jobs[f"{environment}-daily-prices-compaction"]["Timeout"] == settings.compaction_timeout_minutes
    for function in assembly.resources(environment, "AWS::Lambda::Function").values():
        assert function["Properties"]["Runtime"] == "python3.13"
        assert function["Properties"]["Timeout"] == settings.lambda_timeout
    for group in assembly.resources(environment, "AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] == settings.log_retention_days
    [machine] = assembly.resources(environment, "AWS::StepFunctions::StateMachine").values()
    properties = machine["Properties"]
    assert properties["StateMachineType"] == "STANDARD"
    assert properties["DefinitionSubstitutions"]["CapacityProvider"] == (
        "FARGATE_SPOT" if settings.dask_task_spot else "FARGATE"
    )
    assert (
        json.loads(properties["DefinitionString"])["TimeoutSeconds"]
        == settings.step_function_timeout_hours * 3600
    )
    assert properties["TracingConfiguration"]["Enabled"] is settings.enable_xray_tracing
    if environment == "prod":
        assert properties["LoggingConfiguration"]["Level"] == "ERROR"
        assert properties["LoggingConfiguration"]["IncludeExecutionData"] is False


def test_the_flow_is_the_file_and_every_name_in_it_is_given(assembly):
    [machine] = assembly.resources("dev", "AWS::StepFunctions::StateMachine").values()
    deployed = json.loads(machine["Properties"]["DefinitionString"])
    written = json.loads((ROOT / "orchestration/flow.asl.json").read_text())
    assert {**deployed, "TimeoutSeconds": 0} == {**written, "TimeoutSeconds": 0}
    asked = set(re.findall(r"\$\{(\w+)\}", machine["Properties"]["DefinitionString"]))
    assert asked == set(machine["Properties"]["DefinitionSubstitutions"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_alarm_and_rule_of_the_tuple_is_in_the_template(assembly, environment):
    told = alarms.watched(load_environment(environment, env={}))
    found = {
        a["Properties"]["AlarmName"]: a["Properties"]
        for a in assembly.resources(environment, "AWS::CloudWatch::Alarm").values()
    }
    assert set(found) == {alarm.name for alarm in told.alarms}
    for alarm in told.alarms:
        assert found[alarm.name]["TreatMissingData"] == alarm.missing
        assert readable(found[alarm.name]["AlarmActions"]) == ["<AlertingTopic>"]
    rules = {r["Properties"]["Name"] for r in assembly.resources(environment, "AWS::Events::Rule").values()}
    assert rules == {rule.name for rule in told.rules} | {f"{environment}-daily-prices-announced"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_eventbridge_may_use_topic_and_key_without_a_condition(assembly, environment):
    """An encrypted topic gets nothing from EventBridge where aws:SourceAccount or aws:SourceArn is asked."""
    [key] = assembly.resources(environment, "AWS::KMS::Key").values()
    [topic] = assembly.resources(environment, "AWS::SNS::TopicPolicy").values()
    for policy, actions in (
        (key["Properties"]["KeyPolicy"], {"kms:Decrypt", "kms:GenerateDataKey"}),
        (topic["Properties"]["PolicyDocument"], {"sns:Publish"}),
    ):
        allowed = [s for s in policy["Statement"] if s["Effect"] == "Allow" and "Service" in s["Principal"]]
        by_service = {s["Principal"]["Service"]: s for s in allowed}
        assert set(by_service) == {"cloudwatch.amazonaws.com", "events.amazonaws.com"}, allowed
        assert len(allowed) == 2, "one statement for each"
        assert "Condition" not in by_service["events.amazonaws.com"]
        assert set(as_list(by_service["events.amazonaws.com"]["Action"])) == actions
        condition = by_service["cloudwatch.amazonaws.com"]["Condition"]
        assert readable(condition) == {"StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"}}
        refused = [s for s in policy["Statement"] if s["Effect"] == "Deny"]
        assert {tuple(s["Condition"]["Bool"]) for s in refused} <= {("aws:SecureTransport",)}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_rule_keeps_what_it_cannot_deliver_and_has_an_alarm_for_it(assembly, environment):
    queues = assembly.resources(environment, "AWS::SQS::Queue")
    allowed = {
        (readable(s["Resource"]), readable(s["Condition"]["ArnEquals"]["aws:SourceArn"]))
        for policy in assembly.resources(environment, "AWS::SQS::QueuePolicy").values()
        for s in policy["Properties"]["PolicyDocument"]["Statement"]
        if s["Effect"] == "Allow"
        and s["Principal"] == {"Service": "events.amazonaws.com"}
        and s["Action"] == "sqs:SendMessage"
    }
    series = {
        (a["Properties"].get("MetricName"), d["Value"])
        for a in assembly.resources(environment, "AWS::CloudWatch::Alarm").values()
        for d in a["Properties"].get("Dimensions", ())
    }
    rules = assembly.resources(environment, "AWS::Events::Rule")
    assert len(rules) == 9
    for name, rule in rules.items():
        assert ("FailedInvocations", rule["Properties"]["Name"]) in series
        for target in rule["Properties"]["Targets"]:
            letters = readable(target["DeadLetterConfig"]["Arn"])
            assert (letters, f"<{logical(name)}.Arn>") in allowed
            [queue] = [q["Properties"] for n, q in queues.items() if f"<{logical(n)}.Arn>" == letters]
            # A key of one's own would have to let EventBridge in, too.
            assert (queue["SqsManagedSseEnabled"], "KmsMasterKeyId" in queue) == (True, False)
            assert ("ApproximateNumberOfMessagesVisible", queue["QueueName"]) in series
            assert 0 < target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 86400
            assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0


def test_an_announced_day_starts_one_lambda_that_keeps_what_it_cannot_do(assembly):
    rules = assembly.resources("dev", "AWS::Events::Rule").values()
    [rule] = [r["Properties"] for r in rules if r["Properties"]["Name"] == "dev-daily-prices-announced"]
    assert rule["EventPattern"]["detail"]["object"]["key"] == [{"suffix": "/_batch.manifest.json"}]
    [target] = rule["Targets"]
    assert readable(target["DeadLetterConfig"]["Arn"]) == "<TriggerDeadLetters.Arn>"
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 21600, "MaximumRetryAttempts": 8}
    [function] = [
        f
        for f in assembly.resources("dev", "AWS::Lambda::Function").values()
        if "DeadLetterConfig" in f["Properties"]
    ]
    assert function["Properties"]["Handler"] == "orchestration.handlers.trigger.handler"


def test_the_lambdas_asset_holds_nothing_but_the_three_packages(assembly):
    [asset] = [
        a for a in assembly.assets("dev", "compute")["files"].values() if a["source"]["packaging"] == "zip"
    ]
    folder = assembly.folder / asset["source"]["path"]
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert {file.parts[0] for file in files} == {"briquette", "orchestration"}
    assert {file.parts[1] for file in files if file.parts[0] == "orchestration"} == {
        "__init__.py",
        "handlers",
    }
    assert {file.suffix for file in files} <= {".py", ".toml"}
    assert sum((folder / file).stat().st_size for file in files) < 2_000_000


@pytest.mark.parametrize("name", ["catalog", "guard", "preflight", "results", "trigger"])
def test_a_handler_starts_from_the_asset_alone(assembly, name):
    [asset] = [
        a for a in assembly.assets("dev", "compute")["files"].values() if a["source"]["packaging"] == "zip"
    ]
    folder = assembly.folder / asset["source"]["path"]
    # -I -S: neither this checkout nor any installed package can be imported, as on Lambda but for boto3.
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from orchestration.handlers.{name} import handler"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.slow
def test_a_given_image_and_network_are_taken_as_they_are(tmp_path):
    assembly = synthesise(
        tmp_path,
        environments="dev",
        image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/briquette:1.2",
        vpc="vpc-1",
        subnets="subnet-a,subnet-b",
    )
    assert not assembly.resources("dev", "AWS::EC2::VPC", "AWS::EC2::Subnet")
    [machine] = assembly.resources("dev", "AWS::StepFunctions::StateMachine").values()
    given = machine["Properties"]["DefinitionSubstitutions"]
    assert (given["Subnets"], given["AssignPublicIp"]) == ("subnet-a,subnet-b", "DISABLED")
    [task] = assembly.resources("dev", "AWS::ECS::TaskDefinition").values()
    assert task["Properties"]["ContainerDefinitions"][0]["Image"].endswith("/briquette:1.2")
    assert (
        "dockerImages" not in assembly.assets("dev", "compute")
        or not assembly.assets("dev", "compute")["dockerImages"]
    )
    pulls = [s for _, s in statements(assembly, "dev") if "ecr:BatchGetImage" in as_list(s["Action"])]
    assert [readable(s["Resource"]) for s in pulls] == [
        "arn:<AWS::Partition>:ecr:eu-west-1:123456789012:repository/briquette"
    ]


def test_the_glue_arguments_are_those_of_make_glue(assembly):
    jobs = assembly.resources("dev", "AWS::Glue::Job").values()
    modules = {job["Properties"]["DefaultArguments"]["--additional-python-modules"] for job in jobs}
    [listed] = modules
    wheel, *pins = listed.split(",")
    assert wheel == f"s3://dev-data-platform-artifacts/glue/briquette-{__version__}-py3-none-any.whl"
    lock = (ROOT / "requirements.lock").read_text()
    assert pins
    assert [pin for pin in pins if pin not in lock] == []
