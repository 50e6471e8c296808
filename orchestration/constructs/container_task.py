"""The Fargate task that compacts a day with Dask: cluster, image, roles, sizes."""

from __future__ import annotations

import re
from pathlib import Path

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_ecr_assets as assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from briquette.settings.environments import Settings
from orchestration.constructs import permissions as may
from orchestration.constructs.acknowledged import acknowledge, acknowledge_wildcard
from orchestration.constructs.network import Network
from orchestration.constructs.retention import retention

CONTAINER = "engine"
STOP_SECONDS = 120  # what Spot grants between its notice and the end


class ContainerTask(Construct):
    """``cluster``, ``definition`` and the two roles; ``capacity_provider`` says whether on spare capacity."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        settings: Settings,
        *,
        network: Network,
        context: Path | None,
        image: str,
    ) -> None:
        super().__init__(scope, name)
        env = settings.resource_prefix
        self.capacity_provider = "FARGATE_SPOT" if settings.dask_task_spot else "FARGATE"
        self.cluster = self._cluster(env, network)
        group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/briquette/{env}/compaction",
            retention=retention(settings),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.task_role = may.role(
            self,
            "TaskRole",
            "ecs-tasks.amazonaws.com",
            [
                *may.read(settings.raw_bucket),
                *may.read_write(settings.curated_bucket),
                *may.read_write(settings.artifacts_bucket),
            ],
        )
        self.execution_role = may.role(
            self,
            "ExecutionRole",
            "ecs-tasks.amazonaws.com",
            [may.write_logs(group), *_pull(image)],
        )
        # The construct itself allows the pull of an image that is built from the context.
        acknowledge_wildcard(self.execution_role, "*", may.STARS["ecr"])
        self.definition = self._definition(settings)
        self.definition.add_container(
            CONTAINER,
            image=self._image(context, image),
            logging=ecs.LogDrivers.aws_logs(stream_prefix=CONTAINER, log_group=group),
            environment={"ENVIRONMENT": settings.environment, "AWS_DEFAULT_REGION": settings.region},
            stop_timeout=Duration.seconds(STOP_SECONDS),
            essential=True,
        )
        acknowledge(
            self.definition,
            ECS2="""The environment's name and region are no secrets, and change with the deployment only.""",
        )

    def _cluster(self, env: str, network: Network) -> ecs.Cluster:
        made = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=f"{env}-data-platform",
            vpc=network.vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
        )
        resource = made.node.default_child
        assert isinstance(resource, ecs.CfnCluster)
        resource.capacity_providers = ["FARGATE", "FARGATE_SPOT"]
        return made

    def _definition(self, settings: Settings) -> ecs.FargateTaskDefinition:
        return ecs.FargateTaskDefinition(
            self,
            "Task",
            family=f"{settings.resource_prefix}-daily-prices-compaction",
            cpu=settings.dask_task_vcpus * 1024,
            memory_limit_mib=settings.dask_task_memory_gb * 1024,
            task_role=self.task_role,
            execution_role=self.execution_role,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )

    def _image(self, context: Path | None, image: str) -> ecs.ContainerImage:
        if context is None:
            return ecs.ContainerImage.from_registry(image)
        return ecs.ContainerImage.from_asset(
            str(context), platform=assets.Platform.LINUX_ARM64, file="Dockerfile"
        )

    def permissions_to_run(self) -> list[iam.PolicyStatement]:
        """What a state machine needs to run the task and wait for its end."""
        family = may.arn("ecs", f"task-definition/{self.definition.family}:*")
        on_this_cluster = {"ecs:cluster": self.cluster.cluster_arn}
        tasks = may.arn("ecs", f"task/{self.cluster.cluster_name}/*")
        return [
            may.allow(("ecs:RunTask",), (family,), ArnEquals=on_this_cluster),
            may.allow(("ecs:DescribeTasks", "ecs:StopTask"), (tasks,), ArnEquals=on_this_cluster),
            may.allow(
                ("iam:PassRole",),
                (self.task_role.role_arn, self.execution_role.role_arn),
                StringEquals={"iam:PassedToService": "ecs-tasks.amazonaws.com"},
            ),
            may.allow(
                ("events:DescribeRule", "events:PutRule", "events:PutTargets"),
                (may.arn("events", "rule/StepFunctionsGetEventsForECSTaskRule"),),
            ),
        ]


def _pull(image: str) -> list[iam.PolicyStatement]:
    """What the pull of a given image takes, where it lies in ECR."""
    found = re.fullmatch(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com[^/]*/([^:@]+).*", image)
    if found is None:
        return []
    account, region, repository = found.groups()
    layers = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
    return [
        may.allow(("ecr:GetAuthorizationToken",), ("*",)),
        may.allow(layers, (f"arn:{Aws.PARTITION}:ecr:{region}:{account}:repository/{repository}",)),
    ]
