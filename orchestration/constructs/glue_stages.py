"""The Glue jobs of the stages, and the crawler of what they publish."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws_cdk import RemovalPolicy
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from constructs import Construct

from briquette.settings.environments import Settings
from orchestration import alarms
from orchestration.constructs import permissions as may
from orchestration.constructs.acknowledged import acknowledge
from orchestration.constructs.lake import database_name

GLUE_VERSION = "6.0"  # pinned: without it Glue takes its newest


class GlueStages(Construct):
    """``compaction`` (the fallback), ``transform``, ``indicators`` and ``crawler``, each by its name."""

    def __init__(
        self, scope: Construct, name: str, settings: Settings, *, parameters: Mapping[str, Any]
    ) -> None:
        super().__init__(scope, name)
        self._settings = settings
        self._parameters = parameters[GLUE_VERSION]
        log_groups = may.arn("logs", "log-group:/aws-glue/*")
        self._role = may.role(
            self,
            "Role",
            "glue.amazonaws.com",
            [
                *may.read(settings.raw_bucket),
                *may.read_write(settings.curated_bucket),
                *may.read_write(settings.artifacts_bucket),
                may.allow(
                    ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"), (log_groups,)
                ),
                may.allow(
                    ("cloudwatch:PutMetricData",), ("*",), StringEquals={"cloudwatch:namespace": "Glue"}
                ),
            ],
        )
        minutes = settings.compaction_timeout_minutes
        self.compaction = self._stage("daily-prices-compaction", "compaction_job", minutes)
        self.transform = self._stage(
            "daily-prices-data-etl", "transform_job", settings.transform_timeout_minutes
        )
        self.indicators = self._stage(
            "market-indicators-etl", "indicators_job", settings.indicators_timeout_minutes
        )
        self.crawler = self._crawler(settings)

    def permissions_to_run(self) -> list[iam.PolicyStatement]:
        """What a state machine needs to run the jobs to their end, and to start the crawler."""
        jobs = [may.arn("glue", f"job/{job}") for job in (self.compaction, self.transform, self.indicators)]
        runs = ("glue:BatchStopJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:StartJobRun")
        crawler = may.arn("glue", f"crawler/{self.crawler}")
        return [may.allow(runs, jobs), may.allow(("glue:StartCrawler",), (crawler,))]

    def _stage(self, name: str, script: str, timeout_minutes: int) -> str:
        full = f"{self._settings.resource_prefix}-{name}"
        made = glue.CfnJob(
            self,
            "".join(word.title() for word in name.split("-")),
            name=full,
            role=self._role.role_arn,
            command=glue.CfnJob.JobCommandProperty(
                name="glueetl", python_version="3", script_location=self._parameters["scripts"][script]
            ),
            default_arguments=dict(self._parameters["default_arguments"]),
            glue_version=GLUE_VERSION,
            worker_type=self._settings.compaction_worker_type,
            number_of_workers=self._settings.compaction_number_workers,
            timeout=timeout_minutes,
            max_retries=0,  # Step Functions retries; a retry of Glue's own would go on behind its back
            execution_property=glue.CfnJob.ExecutionPropertyProperty(
                max_concurrent_runs=self._settings.glue_max_concurrent_runs
            ),
        )
        made.apply_removal_policy(RemovalPolicy.DESTROY)
        acknowledge(
            made,
            GL1="""Logs name keys and counts, no rows; CloudWatch encrypts them at rest with its own key.""",
            GL3="""There is no bookmark: what is new is decided by the manifest.""",
        )
        return full

    def _crawler(self, settings: Settings) -> str:
        database = database_name(settings)
        name = alarms.crawler_name(settings.resource_prefix)
        folder = settings.curated_folder
        role = self._crawler_role(settings, database)
        made = glue.CfnCrawler(
            self,
            "Crawler",
            name=name,
            role=role.role_arn,
            database_name=database,
            table_prefix="curated_",
            targets=glue.CfnCrawler.TargetsProperty(
                s3_targets=[
                    glue.CfnCrawler.S3TargetProperty(
                        path=f"s3://{settings.curated_bucket}/{folder}", exclusions=not_crawled(settings)
                    )
                ]
            ),
            schema_change_policy=glue.CfnCrawler.SchemaChangePolicyProperty(
                update_behavior="UPDATE_IN_DATABASE", delete_behavior="LOG"
            ),
            configuration=json.dumps(
                {
                    "Version": 1.0,
                    "Grouping": {
                        "TableGroupingPolicy": "CombineCompatibleSchemas",
                        # <domain>/<table> below the curated root, whichever they are; the bucket is level 1.
                        "TableLevelConfiguration": 1 + folder.count("/") + 2,
                    },
                }
            ),
        )
        acknowledge(made, GL1="The crawler's log names tables and prefixes, no rows.")
        return name

    def _crawler_role(self, settings: Settings, database: str) -> iam.Role:
        folder = settings.curated_folder
        return may.role(
            self,
            "CrawlerRole",
            "glue.amazonaws.com",
            [
                *may.read(settings.curated_bucket, *([folder] if folder else [])),
                may.allow(
                    (
                        "glue:BatchCreatePartition",
                        "glue:BatchGetPartition",
                        "glue:BatchUpdatePartition",
                        "glue:CreateTable",
                        "glue:GetDatabase",
                        "glue:GetPartition",
                        "glue:GetPartitions",
                        "glue:GetTable",
                        "glue:GetTables",
                        "glue:UpdatePartition",
                        "glue:UpdateTable",
                    ),
                    [
                        may.arn("glue", resource)
                        for resource in (
                            "catalog",
                            f"database/{database}",
                            f"table/{database}/*",
                        )
                    ],
                ),
                may.allow(
                    ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
                    (may.arn("logs", "log-group:/aws-glue/crawlers*"),),
                ),
            ],
        )


def not_crawled(settings: Settings) -> list[str]:
    """What the crawler passes over below the curated root, as its patterns say it.

    Names that begin with _ are the engine's own. Compacted rows are an input of the table, not rows of it;
    they have a table of their own in the catalog.
    """
    within = (f"{settings.compaction_output_subdir}/**", "quarantine/**")
    return [*(f"*/*/{pattern}" for pattern in within), "_*", "_*/**", "**/_*", "**/_*/**"]
