"""The three buckets, and the database of the catalog."""

from __future__ import annotations

from aws_cdk import Aws, CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_glue as glue
from aws_cdk import aws_s3 as s3
from constructs import Construct

from briquette.settings.environments import Settings
from orchestration.constructs.acknowledged import acknowledge

OLD_VERSIONS_DAYS = 30  # how long a replaced part can be brought back
ABANDONED_UPLOAD_DAYS = 2  # longer than any run, so none in flight is cut


class Lake(Construct):
    """The buckets of raw objects, of published tables, and of plans, results and scripts; and the database.

    A bucket that is there already is not made, and nothing about it is changed: its owner turns on
    EventBridge for the raw one (docs/deploy.md).
    """

    def __init__(self, scope: Construct, name: str, settings: Settings) -> None:
        super().__init__(scope, name)
        self._removal = RemovalPolicy.RETAIN if settings.removal_policy == "retain" else RemovalPolicy.DESTROY
        # Raw objects too: an ingestion that went wrong over good objects is undone by their versions.
        there = settings.existing_buckets
        if "raw" not in there:
            self._bucket("Raw", settings.raw_bucket, announce=True)
        if "curated" not in there:
            self._bucket("Curated", settings.curated_bucket)
        if "artifacts" not in there:
            self._bucket("Artifacts", settings.artifacts_bucket)
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=Aws.ACCOUNT_ID,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=database_name(settings), description=f"Curated tables of {settings.environment}"
            ),
        )
        database.apply_removal_policy(self._removal)

    def _bucket(self, name: str, bucket_name: str, *, announce: bool = False) -> None:
        rules = [
            s3.LifecycleRule(
                id="abandoned-uploads",
                abort_incomplete_multipart_upload_after=Duration.days(ABANDONED_UPLOAD_DAYS),
            ),
            s3.LifecycleRule(
                id="old-versions", noncurrent_version_expiration=Duration.days(OLD_VERSIONS_DAYS)
            ),
        ]
        bucket = s3.Bucket(
            self,
            name,
            bucket_name=bucket_name,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            lifecycle_rules=rules,
            removal_policy=self._removal,
        )
        if announce:
            # On the resource itself: the construct's own switch deploys a Lambda that sets it afterwards.
            resource = bucket.node.default_child
            assert isinstance(resource, s3.CfnBucket)
            resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
                    event_bridge_enabled=True
                )
            )
        acknowledge(
            bucket,
            S1="""Access logs would be larger than the raw objects they speak of. Who reads and writes is
            CloudTrail's to record, for the account.""",
        )


def output_buckets(stack: Stack, settings: Settings) -> None:
    """The stack's outputs: where the data is."""
    for name, bucket in (
        ("RawBucket", settings.raw_bucket),
        ("CuratedBucket", settings.curated_bucket),
        ("ArtifactsBucket", settings.artifacts_bucket),
        ("Database", database_name(settings)),
    ):
        CfnOutput(stack, name, value=bucket)


def database_name(settings: Settings) -> str:
    """The catalog's database of an environment."""
    return f"{settings.resource_prefix}_data_platform".replace("-", "_")
