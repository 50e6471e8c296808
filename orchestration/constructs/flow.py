"""The state machine: the text of flow.asl.json, the names it is given, and what it may do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from briquette.errors import ConfigError
from briquette.settings.environments import Settings
from orchestration.constructs import permissions as may
from orchestration.constructs.acknowledged import acknowledge
from orchestration.constructs.container_task import CONTAINER, ContainerTask
from orchestration.constructs.functions import Functions
from orchestration.constructs.glue_stages import GlueStages
from orchestration.constructs.network import Network
from orchestration.constructs.retention import retention


class Flow(Construct):
    """``machine``, and its ARN by name, which its own policy and the trigger need."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        settings: Settings,
        *,
        definition: str,
        functions: Functions,
        task: ContainerTask,
        network: Network,
        stages: GlueStages,
        topic: sns.ITopic,
        topic_key: kms.IKey | None,
    ) -> None:
        super().__init__(scope, name)
        machine_name = f"{settings.resource_prefix}-daily-prices-data-processing"
        self.machine_arn = may.arn("states", f"stateMachine:{machine_name}")
        children = may.arn("states", f"execution:{machine_name}/*")
        called = (
            *(functions.preflight, functions.guard, functions.results),
            *(functions.catalog, functions.alert),
        )
        role = may.role(
            self,
            "Role",
            "states.amazonaws.com",
            [
                may.allow(("lambda:InvokeFunction",), [function.function_arn for function in called]),
                *task.permissions_to_run(),
                *stages.permissions_to_run(),
                # The container leaves its result here, and Step Functions reads it.
                *may.read(settings.artifacts_bucket),
                # The Map leaves the days' results there, in pieces where they are many.
                may.write_results(settings.artifacts_bucket),
                *may.publish(topic.topic_arn, topic_key),
                # A day is a child execution of the Map.
                may.allow(("states:StartExecution",), (self.machine_arn,)),
                may.allow(
                    ("states:DescribeExecution", "states:RedriveExecution", "states:StopExecution"),
                    (children,),
                ),
                *_deliver_logs(),
                *([may.trace()] if settings.enable_xray_tracing else []),
            ],
        )
        prod = settings.environment == "prod"
        group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/vendedlogs/states/{machine_name}",
            retention=retention(settings),
            removal_policy=RemovalPolicy.DESTROY,
        )
        # Settled as an L1: the construct would add its own statements, wider than those above, to the role.
        self.machine = sfn.CfnStateMachine(
            self,
            "Machine",
            state_machine_name=machine_name,
            state_machine_type="STANDARD",
            role_arn=role.role_arn,
            definition_string=definition,
            definition_substitutions=_used(
                definition,
                {
                    "PreflightFunction": functions.preflight.function_arn,
                    "GuardFunction": functions.guard.function_arn,
                    "ResultsFunction": functions.results.function_arn,
                    "CatalogFunction": functions.catalog.function_arn,
                    "AlertFunction": functions.alert.function_arn,
                    "ClusterArn": task.cluster.cluster_arn,
                    "TaskDefinitionArn": task.definition.task_definition_arn,
                    "ContainerName": CONTAINER,
                    "Subnets": ",".join(network.subnet_ids),
                    "SecurityGroups": network.security_group.security_group_id,
                    "AssignPublicIp": network.assign_public_ip,
                    "CapacityProvider": task.capacity_provider,
                    "CompactionJob": stages.compaction,
                    "TransformJob": stages.transform,
                    "IndicatorsJob": stages.indicators,
                    "Crawler": stages.crawler,
                    "Topic": topic.topic_arn,
                    "Environment": settings.environment,
                },
            ),
            logging_configuration=sfn.CfnStateMachine.LoggingConfigurationProperty(
                level="ERROR" if prod else "ALL",
                include_execution_data=not prod,
                destinations=[
                    sfn.CfnStateMachine.LogDestinationProperty(
                        cloud_watch_logs_log_group=sfn.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                            log_group_arn=group.log_group_arn
                        )
                    )
                ],
            ),
            tracing_configuration=sfn.CfnStateMachine.TracingConfigurationProperty(
                enabled=settings.enable_xray_tracing
            ),
        )
        acknowledge(
            self.machine,
            SF1="""Production logs errors without the executions' contents: payloads name keys, and every
            successful step is in the execution's own history.""",
            SF2="""Tracing follows the setting enable_xray_tracing, which is off where it only costs.""",
        )


def with_timeout(definition: str, settings: Settings) -> str:
    """The flow with the environment's own time limit, which CloudFormation cannot substitute as a number."""
    document = json.loads(definition)
    document["TimeoutSeconds"] = int(Duration.hours(settings.step_function_timeout_hours).to_seconds())
    return json.dumps(document, indent=1, ensure_ascii=False)


def names_in(definition: str) -> frozenset[str]:
    """The names that the flow wants to be given: ``${Name}``."""
    return frozenset(re.findall(r"\$\{(\w+)\}", definition))


def _used(definition: str, given: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(names_in(definition) - set(given))
    if unknown:
        raise ConfigError(
            f"The flow asks for {', '.join(unknown)}, which nobody gives it.",
            hint=f"It may ask for {', '.join(given)}.",
        )
    return {name: given[name] for name in given if name in names_in(definition)}


def _deliver_logs() -> list[iam.PolicyStatement]:
    # Log deliveries have no resources: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
    actions = (
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:GetLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:UpdateLogDelivery",
    )
    return [may.allow(actions, ("*",))]
