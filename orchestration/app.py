"""The CDK app: for each environment what must survive, and what runs. ``make synth`` writes its templates.

Context values (``cdk deploy -c name=value``, ``-c`` may be repeated):
``environments`` (default all), ``image`` (a container image instead of the build context), ``vpc`` and
``subnets`` (separated by commas) instead of a network of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from aws_cdk import App, Tags, Validations
from cdk_nag import AwsSolutionsChecks

from briquette.errors import ConfigError
from briquette.settings.environments import environment_names, load_environment
from orchestration.glue_parameters import parameters
from orchestration.sources import ROOT, copy_container, copy_functions
from orchestration.stacks.compute import ComputeStack, Sources
from orchestration.stacks.storage import StorageStack

# Those of this checkout, which is what is deployed: the Lambdas' folder and the image get the same files.
ENVIRONMENTS = ROOT / "config/environments"
# What `make glue` copies beside the wheel.
SCRIPTS = ("compaction_job.py", "indicators_job.py", "transform_job.py")


def build(app: App, *, sources_folder: Path) -> App:
    """Every environment that is asked for, two stacks each, checked by cdk-nag."""
    functions = copy_functions(sources_folder / "functions")
    image = str(app.node.try_get_context("image") or "")
    container = None if image else copy_container(sources_folder / "container")
    vpc_id, subnet_ids = _network(app)
    for name in _environments(app):
        settings = load_environment(name, env={}, directory=ENVIRONMENTS)
        storage = StorageStack(app, settings)
        sources = Sources(
            definition=(ROOT / "orchestration/flow.asl.json").read_text(encoding="utf-8"),
            functions=functions,
            glue_parameters=parameters(_wheel(), SCRIPTS, f"{settings.artifacts_url.rstrip('/')}/glue"),
            container=container,
            image=image,
            vpc_id=vpc_id,
            subnet_ids=subnet_ids,
        )
        compute = ComputeStack(app, settings, storage=storage, sources=sources)
        for stack in (storage, compute):
            Tags.of(stack).add("project", "briquette")
            Tags.of(stack).add("environment", name)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


def _environments(app: App) -> tuple[str, ...]:
    asked = str(app.node.try_get_context("environments") or "")
    return tuple(asked.split(",")) if asked else environment_names(directory=ENVIRONMENTS)


def _network(app: App) -> tuple[str, tuple[str, ...]]:
    vpc_id = str(app.node.try_get_context("vpc") or "")
    subnets = tuple(part for part in str(app.node.try_get_context("subnets") or "").split(",") if part)
    if bool(vpc_id) != bool(subnets):
        raise ConfigError(
            "Of vpc and subnets only one is given.",
            hint="Give both (-c vpc=vpc-1 -c subnets=subnet-1,subnet-2), or neither for a new network.",
        )
    return vpc_id, subnets


def _wheel() -> str:
    from briquette import __version__

    return f"briquette-{__version__}-py3-none-any.whl"


if __name__ == "__main__":
    # Where the assembly goes, and the context, App takes from the variables of the CDK's command line.
    build(App(), sources_folder=Path(os.environ.get("BRIQUETTE_CDK_SOURCES") or ROOT / "build/cdk")).synth()
