"""Which environment a part that runs on AWS belongs to: a Lambda, or the container."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_ENVIRONMENT = "dev"


def environment_name(env: Mapping[str, str]) -> str:
    """The variable ENVIRONMENT, which the stack sets; ``dev`` where it is missing or empty.

    >>> environment_name({"ENVIRONMENT": "prod"}), environment_name({"ENVIRONMENT": ""})
    ('prod', 'dev')
    """
    return env.get("ENVIRONMENT") or DEFAULT_ENVIRONMENT
