"""Findings of cdk-nag that are meant, each with the reason beside it, where it is meant."""

from __future__ import annotations

from typing import Any

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct

PACK = "AwsSolutions"


def acknowledge(scope: IConstruct, **reasons: str) -> None:
    """``acknowledge(bucket, S1="why there is no access log")``; for every construct below ``scope``."""
    for rule, reason in reasons.items():
        Validations.of(scope).acknowledge(
            Acknowledgment(id=f"{PACK}::{PACK}-{rule}", reason=" ".join(reason.split()))
        )


def acknowledge_wildcard(scope: IConstruct, resource: object, reason: str) -> None:
    """A resource with a wildcard, as it is resolved; without a wildcard nothing is to be acknowledged."""
    text = _as_found(resource)
    if "*" in text:
        # Not through Acknowledgment: it takes the first :: of an id as the end of the plug-in's name.
        found = f"{PACK}-IAM5[Resource::{text}]"
        scope.node.add_metadata(Validations.ACKNOWLEDGED_RULES_METADATA_KEY, {found: reason})


def _as_found(value: Any) -> str:
    """The way cdk-nag writes a resource: ``arn:<AWS::Partition>:s3:::bucket/*``."""
    if isinstance(value, str):
        return value
    [(kind, inner)] = value.items()
    if kind == "Fn::Join":
        return str(inner[0]).join(_as_found(part) for part in inner[1])
    return f"<{'.'.join(inner) if isinstance(inner, list) else inner}>"
