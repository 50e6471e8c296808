"""Statements of policies, by hand: the actions that a role uses, on the prefixes that it uses them on."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from briquette.errors import ConfigError
from orchestration.constructs.acknowledged import acknowledge_wildcard

# PutObject covers multipart uploads; aborting one is a right of its own.
_READ = ("s3:GetObject",)
_WRITE = ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject")

# Actions that know no resources, by their service, and where AWS says so. No other statement may have a star.
STARS = {
    "cloudwatch": "PutMetricData takes no resource, only a namespace (Service Authorization Reference).",
    "ecr": "GetAuthorizationToken takes no resource (Service Authorization Reference, Amazon ECR).",
    "logs": "Log deliveries take no resource (Step Functions guide, Logging using CloudWatch Logs).",
    "xray": "Segments and sampling rules take no resource (Service Authorization Reference, AWS X-Ray).",
}
_BELOW = "What lies below this prefix does not exist before it is used: objects, runs, revisions, partitions."


def role(scope: Construct, name: str, service: str, statements: Sequence[iam.PolicyStatement]) -> iam.Role:
    """A role that ``service`` takes on, with these statements and no managed policy."""
    made = iam.Role(
        scope,
        name,
        assumed_by=iam.ServicePrincipal(service),
        inline_policies={"own": iam.PolicyDocument(statements=list(statements))},
    )
    for statement in statements:
        for resource in Stack.of(scope).resolve(statement.resources):
            if resource == "*":
                acknowledge_wildcard(made, resource, " ".join(_star_reasons(statement.actions)))
            else:
                acknowledge_wildcard(made, resource, _BELOW)
    return made


def _star_reasons(actions: Sequence[str]) -> list[str]:
    services = sorted({action.partition(":")[0] for action in actions})
    unknown = [service for service in services if service not in STARS]
    if unknown:
        raise ConfigError(
            f"{', '.join(actions)} is allowed on every resource.",
            hint=f"Name the resources; only {', '.join(STARS)} have actions without any.",
        )
    return [STARS[service] for service in services]


def allow(
    actions: Sequence[str], resources: Sequence[str], **conditions: dict[str, str]
) -> iam.PolicyStatement:
    """One statement; conditions as ``StringEquals={…}``."""
    return iam.PolicyStatement(
        actions=list(actions), resources=list(resources), conditions=conditions or None
    )


def read(bucket: str, *prefixes: str) -> list[iam.PolicyStatement]:
    """Read and list what lies below the prefixes (none: the whole bucket)."""
    return [_listing(bucket, prefixes), allow(_READ, _objects(bucket, prefixes))]


def read_write(bucket: str, *prefixes: str) -> list[iam.PolicyStatement]:
    """Read, list, write, delete and abort below the prefixes (none: the whole bucket)."""
    return [_listing(bucket, prefixes), allow((*_READ, *_WRITE), _objects(bucket, prefixes))]


def write_results(bucket: str) -> iam.PolicyStatement:
    """What a Distributed Map's ResultWriter needs, below any ``_runs/days/`` of a bucket."""
    actions = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject")
    return allow(actions, _objects(bucket, ("*/_runs/days/",)))


def write_logs(group: logs.ILogGroup) -> iam.PolicyStatement:
    """Streams and lines of one log group."""
    return allow(("logs:CreateLogStream", "logs:PutLogEvents"), (group.log_group_arn,))


def publish(topic_arn: str, key: kms.IKey | None) -> list[iam.PolicyStatement]:
    """Messages to a topic, encrypted with ``key`` where one is given."""
    encrypted = [allow(("kms:Decrypt", "kms:GenerateDataKey"), (key.key_arn,))] if key else []
    return [allow(("sns:Publish",), (topic_arn,)), *encrypted]


def trace() -> iam.PolicyStatement:
    """Segments to X-Ray, which knows no resources."""
    return allow(
        (
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ),
        ("*",),
    )


def arn(service: str, resource: str) -> str:
    """The ARN of something of this account and region, by its name."""
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def _objects(bucket: str, prefixes: Sequence[str]) -> list[str]:
    return [f"{_bucket_arn(bucket)}/{prefix}*" for prefix in prefixes or ("",)]


def _bucket_arn(bucket: str) -> str:
    return f"arn:{Aws.PARTITION}:s3:::{bucket}"


def _listing(bucket: str, prefixes: Sequence[str]) -> iam.PolicyStatement:
    # Without ListBucket a missing object is AccessDenied, and nobody can tell that from a real refusal.
    if not prefixes:
        return allow(("s3:ListBucket",), (_bucket_arn(bucket),))
    return iam.PolicyStatement(
        actions=["s3:ListBucket"],
        resources=[_bucket_arn(bucket)],
        conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
    )
