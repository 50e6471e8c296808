"""What must survive: the buckets and the catalog's database."""

from __future__ import annotations

from aws_cdk import App, Environment, Stack

from briquette.settings.environments import Settings
from orchestration.constructs.lake import Lake, output_buckets


class StorageStack(Stack):
    """Where removal_policy is ``retain`` the stack cannot be deleted by accident either."""

    def __init__(self, app: App, settings: Settings) -> None:
        super().__init__(
            app,
            f"{settings.resource_prefix}-briquette-storage",
            description=f"briquette {settings.resource_prefix}: buckets and catalog",
            env=Environment(region=settings.region),
            termination_protection=settings.removal_policy == "retain",
        )
        Lake(self, "Lake", settings)
        output_buckets(self, settings)
