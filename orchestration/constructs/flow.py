"""The state machine: the text of flow.asl.json, the names it is given, and what it may do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class FlowParts:
    """The text of the flow, what it calls and starts, and where it says that a day failed."""

    definition: str
    functions: Functions
    task: ContainerTask
    network: Network
    stages: GlueStages
    topic: sns.ITopic
    topic_key: kms.IKey | None


class Flow(Construct):
    """``machine``, and its ARN by name, which its own policy and the trigger need."""

    def __init__(self, scope: Construct, name: str, settings: Settings, parts: FlowParts) -> None:
        super().__init__(scope, name)
        self._settings, self._parts = settings, parts
        self._name = f"{settings.resource_prefix}-daily-prices-data-processing"
        self.machine_arn = may.arn("states", f"stateMachine:{self._name}")
        role = may.role(self, "Role", "states.amazonaws.com", self._permissions())
        group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/vendedlogs/states/{self._name}",
            retention=retention(settings),
            removal_policy=RemovalPolicy.DESTROY,
        )
        # Settled as an L1: the construct would add its own statements, wider than those above, to the role.
        self.machine = sfn.CfnStateMachine(
            self,
            "Machine",
            state_machine_name=self._name,
            state_machine_type="STANDARD",
            role_arn=role.role_arn,
            definition_string=parts.definition,
            definition_substitutions=_used(parts.definition, self._names()),
            logging_configuration=_logging(group, settings),
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

    def _permissions(self) -> list[iam.PolicyStatement]:
        parts, settings = self._parts, self._settings
        functions = parts.functions
        children = may.arn("states", f"execution:{self._name}/*")
        called = (
            *(functions.preflight, functions.guard, functions.results),
            *(functions.catalog, functions.alert),
        )
        return [
            may.allow(("lambda:InvokeFunction",), [function.function_arn for function in called]),
            *parts.task.permissions_to_run(),
            *parts.stages.permissions_to_run(),
            # The container leaves its result here, and Step Functions reads it.
            *may.read(settings.artifacts_bucket),
            # The Map leaves the days' results there, in pieces where they are many.
            may.write_results(settings.artifacts_bucket),
            *may.publish(parts.topic.topic_arn, parts.topic_key),
            # A day is a child execution of the Map.
            may.allow(("states:StartExecution",), (self.machine_arn,)),
            may.allow(
                ("states:DescribeExecution", "states:RedriveExecution", "states:StopExecution"),
                (children,),
            ),
            *_deliver_logs(),
            *([may.trace()] if settings.enable_xray_tracing else []),
        ]

    def _names(self) -> dict[str, str]:
        """What stands for each ``${Name}`` of the flow."""
        parts = self._parts
        return {
            "PreflightFunction": parts.functions.preflight.function_arn,
            "GuardFunction": parts.functions.guard.function_arn,
            "ResultsFunction": parts.functions.results.function_arn,
            "CatalogFunction": parts.functions.catalog.function_arn,
            "AlertFunction": parts.functions.alert.function_arn,
            "ClusterArn": parts.task.cluster.cluster_arn,
            "TaskDefinitionArn": parts.task.definition.task_definition_arn,
            "ContainerName": CONTAINER,
            "Subnets": ",".join(parts.network.subnet_ids),
            "SecurityGroups": parts.network.security_group.security_group_id,
            "AssignPublicIp": parts.network.assign_public_ip,
            "CapacityProvider": parts.task.capacity_provider,
            "CompactionJob": parts.stages.compaction,
            "TransformJob": parts.stages.transform,
            "IndicatorsJob": parts.stages.indicators,
            "Crawler": parts.stages.crawler,
            "Topic": parts.topic.topic_arn,
            "Environment": self._settings.environment,
        }


def _logging(group: logs.LogGroup, settings: Settings) -> sfn.CfnStateMachine.LoggingConfigurationProperty:
    prod = settings.environment == "prod"
    return sfn.CfnStateMachine.LoggingConfigurationProperty(
        level="ERROR" if prod else "ALL",
        include_execution_data=not prod,
        destinations=[
            sfn.CfnStateMachine.LogDestinationProperty(
                cloud_watch_logs_log_group=sfn.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                    log_group_arn=group.log_group_arn
                )
            )
        ],
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
