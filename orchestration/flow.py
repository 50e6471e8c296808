"""The flow's text, flow.asl.json, and the names in it that a deployment gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from briquette.errors import ConfigError

FILE = Path(__file__).with_name("flow.asl.json")

# Name in the text, ``${Name}``, and what it stands for.
SUBSTITUTIONS = (
    ("PreflightFunction", "ARN of the preflight Lambda"),
    ("GuardFunction", "ARN of the guard Lambda"),
    ("ResultsFunction", "ARN of the results Lambda"),
    ("CatalogFunction", "ARN of the catalog Lambda"),
    ("AlertFunction", "ARN of the Lambda that writes the message about a failure"),
    ("ClusterArn", "ECS cluster of the compaction"),
    ("TaskDefinitionArn", "its task definition"),
    ("ContainerName", "the container in it that runs briquette.aws.container"),
    ("CapacityProvider", "FARGATE_SPOT or FARGATE"),
    ("Subnets", "ids of the task's subnets, joined by commas"),
    ("SecurityGroups", "ids of the task's security groups, joined by commas"),
    ("AssignPublicIp", "ENABLED where a public address is the task's way out, else DISABLED"),
    ("CompactionJob", "Glue job of the compaction"),
    ("TransformJob", "Glue job of the transform"),
    ("IndicatorsJob", "Glue job of the indicators"),
    ("Crawler", "crawler of the curated tables"),
    ("Topic", "ARN of the topic that is notified of failures"),
)

_NAME = re.compile(r"\$\{(\w+)\}")


def definition() -> str:
    """The text as it stands in the repository."""
    return FILE.read_text(encoding="utf-8")


def names_in(text: str) -> frozenset[str]:
    """The names that a text wants to be given.

    >>> sorted(names_in("{'Name': '${Crawler}', 'TopicArn': '${Topic}'}"))
    ['Crawler', 'Topic']
    """
    return frozenset(_NAME.findall(text))


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with its names replaced, as CloudFormation does it; ``ConfigError`` where one has no value."""
    missing = sorted(names_in(text) - values.keys())
    if missing:
        raise ConfigError(f"The flow asks for {', '.join(missing)}.", hint="Give each of them a value.")
    return _NAME.sub(lambda found: values[found[1]], text)
