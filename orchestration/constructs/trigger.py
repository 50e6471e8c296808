"""A raw day that ingestion has announced starts an execution; an announcement that cannot is kept."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from briquette.settings.environments import Settings
from orchestration import alarms
from orchestration.constructs import permissions as may
from orchestration.constructs.flow import Flow
from orchestration.constructs.functions import Functions

RETRIES = 8
GIVE_UP_HOURS = 6


class Trigger(Construct):
    """One rule on the last key that ingestion writes: one event for a day, not one for each raw object.

    ``dead_letters`` keeps those that started nothing.
    """

    def __init__(
        self, scope: Construct, name: str, settings: Settings, *, functions: Functions, flow: Flow
    ) -> None:
        super().__init__(scope, name)
        env = settings.resource_prefix
        # One queue for both: EventBridge that cannot reach the Lambda, and the Lambda that fails three times.
        self.dead_letters = queue = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=alarms.dead_letters(env),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        function = functions.function(
            "trigger",
            [
                may.allow(("states:StartExecution",), (flow.machine_arn,)),
                may.allow(("sqs:SendMessage",), (queue.queue_arn,)),
            ],
            environment={"STATE_MACHINE_ARN": flow.machine_arn},
            dead_letters=queue,
        )
        manifest = settings.raw_manifest_name
        rule = events.Rule(
            self,
            "Announced",
            rule_name=alarms.announced_rule_name(env),
            description=f"Ingestion has written a day: its {manifest} was created.",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [settings.raw_bucket]},
                    "object": {"key": [_ends_in(manifest, below=settings.raw_folder)]},
                },
            ),
        )
        rule.add_target(
            targets.LambdaFunction(
                function,
                dead_letter_queue=queue,
                retry_attempts=RETRIES,
                max_event_age=Duration.hours(GIVE_UP_HOURS),
            )
        )


def _ends_in(name: str, *, below: str) -> dict[str, str]:
    """The matcher of keys that end in a name, in any folder below a prefix."""
    if not below:
        return {"suffix": f"/{name}"}
    literally = [part.replace("\\", "\\\\").replace("*", "\\*") for part in (below, name)]
    return {"wildcard": f"{literally[0]}*/{literally[1]}"}
