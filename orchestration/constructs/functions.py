"""The Lambdas: one asset of standard-library code, a role and a log group for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from briquette.settings.environments import Settings
from orchestration.constructs import permissions as may
from orchestration.constructs.acknowledged import acknowledge
from orchestration.constructs.lake import database_name
from orchestration.constructs.retention import retention

# Preflight lists raw days.
MEMORY_MIB = {
    "preflight": 1024,
    "guard": 512,
    "results": 256,
    "catalog": 256,
    "trigger": 256,
    "alert": 256,
}


class Functions(Construct):
    """The flow's own functions (``preflight``, ``guard``, …); ``function`` makes the trigger's."""

    def __init__(self, scope: Construct, name: str, settings: Settings, *, source: Path) -> None:
        super().__init__(scope, name)
        self._settings = settings
        self._code = lambda_.Code.from_asset(str(source))
        self._environment = {
            "ENVIRONMENT": settings.environment,
            "RAW_BUCKET": settings.raw_bucket,
            "CURATED_BUCKET": settings.curated_bucket,
            "ARTIFACTS_BUCKET": settings.artifacts_bucket,
            "COMPACTION_OUTPUT_SUBDIR": settings.compaction_output_subdir,
            "MAX_BACKFILL_DAYS": str(settings.max_backfill_days),
            "EXPECTED_MIN_RECORDS": str(settings.expected_min_records),
            "MAX_CRITICAL_ERROR_RATE": str(settings.max_critical_error_rate),
        }
        tables = [may.arn("glue", resource) for resource in _catalog_resources(database_name(settings))]
        self.preflight = self.function(
            "preflight",
            [
                *may.read(settings.raw_bucket),
                *may.read(settings.curated_bucket),
                *may.read_write(settings.artifacts_bucket),
            ],
        )
        self.guard = self.function("guard", may.read(settings.curated_bucket))
        self.alert = self.function("alert", [], environment={"RESOURCE_PREFIX": settings.resource_prefix})
        self.results = self.function("results", may.read(settings.artifacts_bucket))
        self.catalog = self.function(
            "catalog",
            [
                *may.read(settings.artifacts_bucket),
                *may.read(settings.curated_bucket),
                may.allow(
                    (
                        "glue:BatchCreatePartition",
                        "glue:BatchGetPartition",
                        "glue:BatchUpdatePartition",
                        "glue:CreateTable",
                        "glue:GetPartitions",
                        "glue:GetTable",
                        "glue:UpdateTable",
                    ),
                    tables,
                ),
            ],
            environment={"GLUE_DATABASE": database_name(settings)},
        )

    def function(
        self,
        name: str,
        statements: Sequence[iam.PolicyStatement],
        *,
        environment: dict[str, str] | None = None,
        dead_letters: sqs.IQueue | None = None,
    ) -> lambda_.Function:
        """One Lambda of ``orchestration.handlers``."""
        settings = self._settings
        group = logs.LogGroup(
            self,
            f"{name.title()}Logs",
            log_group_name=f"/briquette/{settings.resource_prefix}/{name}",
            retention=retention(settings),
            removal_policy=RemovalPolicy.DESTROY,
        )
        traced = [may.trace()] if settings.enable_xray_tracing else []
        role = may.role(
            self, f"{name.title()}Role", "lambda.amazonaws.com", [may.write_logs(group), *statements, *traced]
        )
        made = lambda_.Function(
            self,
            name.title(),
            function_name=f"{settings.resource_prefix}-daily-prices-{name}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"orchestration.handlers.{name}.handler",
            code=self._code,
            role=role,
            memory_size=MEMORY_MIB[name],
            timeout=Duration.seconds(settings.lambda_timeout),
            environment={**self._environment, **(environment or {})},
            log_group=group,
            dead_letter_queue=dead_letters,
            tracing=lambda_.Tracing.ACTIVE if settings.enable_xray_tracing else lambda_.Tracing.DISABLED,
        )
        acknowledge(
            made,
            L1="""Python 3.13 is the newest that the tests run on, and that Glue runs too; it is supported
            until 2029.""",
        )
        return made


def _catalog_resources(database: str) -> tuple[str, ...]:
    return ("catalog", f"database/{database}", f"table/{database}/*")
