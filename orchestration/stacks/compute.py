"""What can be made anew at any time: the flow, what it calls, and what watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk import App, CfnOutput, Environment, Stack

from briquette.settings.environments import Settings
from orchestration.alarms import dashboard_name
from orchestration.constructs.alerts import Alerts, Topic
from orchestration.constructs.container_task import ContainerTask
from orchestration.constructs.flow import Flow, FlowParts, with_timeout
from orchestration.constructs.functions import Functions
from orchestration.constructs.glue_stages import GlueStages
from orchestration.constructs.network import Network
from orchestration.constructs.trigger import Trigger
from orchestration.stacks.storage import StorageStack


@dataclass(frozen=True, slots=True)
class Sources:
    """What is deployed: the flow's text, the Lambdas' folder, the image or its context, Glue's arguments."""

    definition: str
    functions: Path
    glue_parameters: Mapping[str, Any]
    container: Path | None = None
    image: str = ""
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()


class ComputeStack(Stack):
    """Everything that runs."""

    def __init__(self, app: App, settings: Settings, *, storage: StorageStack, sources: Sources) -> None:
        super().__init__(
            app,
            f"{settings.resource_prefix}-briquette-compute",
            description=f"briquette {settings.resource_prefix}: flow, stages and alarms",
            env=Environment(region=settings.region),
            termination_protection=settings.removal_policy == "retain",
        )
        self.add_stack_dependency(storage, "roles and rules name its buckets and database")
        topic = Topic(self, "Alerting", settings)
        network = Network(self, "Network", vpc_id=sources.vpc_id, subnet_ids=sources.subnet_ids)
        task = ContainerTask(
            self,
            "Compaction",
            settings,
            network=network,
            context=sources.container,
            image=sources.image,
        )
        stages = GlueStages(self, "Stages", settings, parameters=sources.glue_parameters)
        functions = Functions(self, "Functions", settings, source=sources.functions)
        parts = FlowParts(
            definition=with_timeout(sources.definition, settings),
            functions=functions,
            task=task,
            network=network,
            stages=stages,
            topic=topic.topic,
            topic_key=topic.key,
        )
        flow = Flow(self, "Flow", settings, parts)
        trigger = Trigger(self, "Trigger", settings, functions=functions, flow=flow)
        Alerts(self, "Alerts", settings, topic=topic.topic)
        for output, value in (
            ("StateMachineArn", flow.machine_arn),
            ("AlertTopicArn", topic.topic.topic_arn),
            ("DeadLetterQueueUrl", trigger.dead_letters.queue_url),
            ("ClusterName", task.cluster.cluster_name),
            ("LogGroups", f"/briquette/{settings.resource_prefix}/"),
            ("Dashboard", dashboard_name(settings)),
        ):
            CfnOutput(self, output, value=value)
