"""The three buckets, and the database of the catalog."""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_glue as glue
from aws_cdk import aws_s3 as s3
from constructs import Construct

from config.model import Settings
from orchestration.constructs.acknowledged import acknowledge

OLD_VERSIONS_DAYS = 30  # how long a replaced part can be brought back
ABANDONED_UPLOAD_DAYS = 2  # longer than any run, so none in flight is cut


class Lake(Construct):
    """``raw`` where ingestion lands, ``curated`` published tables, ``artifacts`` plans, results, scripts."""

    def __init__(self, scope: Construct, name: str, settings: Settings) -> None:
        super().__init__(scope, name)
        self._removal = RemovalPolicy.RETAIN if settings.removal_policy == "retain" else RemovalPolicy.DESTROY
        # Raw objects too: an ingestion that went wrong over good objects is undone by their versions.
        self.raw = self._bucket("Raw", settings.raw_bucket, announce=True)
        self.curated = self._bucket("Curated", settings.curated_bucket)
        self.artifacts = self._bucket("Artifacts", settings.artifacts_bucket)
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=Aws.ACCOUNT_ID,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=database_name(settings), description=f"Curated tables of {settings.environment}"
            ),
        )
        database.apply_removal_policy(self._removal)

    def _bucket(self, name: str, bucket_name: str, *, announce: bool = False) -> s3.Bucket:
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
        return bucket


def database_name(settings: Settings) -> str:
    """The catalog's database of an environment."""
    return f"{settings.environment}_data_platform"
