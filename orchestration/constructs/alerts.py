"""The topic that people subscribe to, and what ``orchestration.alarms`` says in CloudFormation."""

from __future__ import annotations

import json

from aws_cdk import Aws, Duration, Fn, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from briquette.settings.environments import Settings
from orchestration.alarms import Alarm, Metric, Rule, dashboard, dashboard_name, undelivered, watched
from orchestration.constructs.acknowledged import acknowledge

RETRIES = 8
GIVE_UP_HOURS = 1  # a message that comes later is no news

# Who tells the topic, each in a statement of its own, and what AWS lets it be held to. EventBridge may not be
# held to anything: it publishes to an encrypted topic without aws:SourceAccount and aws:SourceArn, so with
# either of them in the key's policy or in the topic's every message is dropped, and nobody hears of it.
# https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
_FROM_HERE = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
_TELLS: tuple[tuple[str, dict[str, dict[str, str]] | None], ...] = (
    ("cloudwatch.amazonaws.com", _FROM_HERE),
    ("events.amazonaws.com", None),
)


class Topic(Construct):
    """``topic``, and the ``key`` of one that is made here; None where the topic was there already.

    A key of our own, because the services that tell the topic may not use that of SNS.
    """

    def __init__(self, scope: Construct, name: str, settings: Settings) -> None:
        super().__init__(scope, name)
        self.key: kms.Key | None = None
        self.topic: sns.ITopic
        if settings.alert_topic_arn:
            self.topic = sns.Topic.from_topic_arn(self, "Topic", settings.alert_topic_arn)
        else:
            self.key = self._new_key(settings)
            self.topic = self._new_topic(settings, self.key)
        if settings.alert_email:
            sns.Subscription(
                self,
                "Email",
                topic=self.topic,
                protocol=sns.SubscriptionProtocol.EMAIL,
                endpoint=settings.alert_email,
            )

    def _new_key(self, settings: Settings) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description=f"Alerts of {settings.resource_prefix}",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        for service, conditions in _TELLS:
            key.add_to_resource_policy(
                iam.PolicyStatement(
                    actions=["kms:Decrypt", "kms:GenerateDataKey"],
                    principals=[iam.ServicePrincipal(service)],
                    resources=["*"],
                    conditions=conditions,
                )
            )
        return key

    def _new_topic(self, settings: Settings, key: kms.Key) -> sns.Topic:
        topic = sns.Topic(
            self,
            "Topic",
            topic_name=watched(settings).topic,
            display_name=f"briquette {settings.resource_prefix}",
            master_key=key,
            enforce_ssl=True,
        )
        for service, conditions in _TELLS:
            topic.add_to_resource_policy(
                iam.PolicyStatement(
                    actions=["sns:Publish"],
                    principals=[iam.ServicePrincipal(service)],
                    resources=[topic.topic_arn],
                    conditions=conditions,
                )
            )
        return topic


class Alerts(Construct):
    """Every rule, alarm and the dashboard of an environment."""

    def __init__(self, scope: Construct, name: str, settings: Settings, *, topic: sns.ITopic) -> None:
        super().__init__(scope, name)
        told = watched(settings)
        # Events that could not be told lie here, as they were. EventBridge may use the keys of SQS itself.
        self._undelivered = sqs.Queue(
            self,
            "Undelivered",
            queue_name=undelivered(settings.resource_prefix),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        acknowledge(self._undelivered, SQS3="It is the dead-letter queue of every rule below.")
        for rule in told.rules:
            self._rule(rule, topic)
        for alarm in told.alarms:
            self._alarm(alarm, topic)
        cloudwatch.CfnDashboard(
            self,
            "Dashboard",
            dashboard_name=dashboard_name(settings),
            dashboard_body=Fn.sub(json.dumps(dashboard(settings))),
        )

    def _rule(self, rule: Rule, topic: sns.ITopic) -> None:
        made = events.CfnRule(
            self,
            f"Rule-{rule.name}",
            name=rule.name,
            description=rule.description,
            event_pattern=_resolved(rule.pattern),
            state="ENABLED",
            targets=[
                events.CfnRule.TargetProperty(
                    id="topic",
                    arn=topic.topic_arn,
                    input_transformer=events.CfnRule.InputTransformerProperty(
                        input_paths_map=dict(rule.paths), input_template=json.dumps(rule.message)
                    ),
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(
                        arn=self._undelivered.queue_arn
                    ),
                    retry_policy=events.CfnRule.RetryPolicyProperty(
                        maximum_retry_attempts=RETRIES,
                        maximum_event_age_in_seconds=Duration.hours(GIVE_UP_HOURS).to_seconds(),
                    ),
                )
            ],
        )
        self._undelivered.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["sqs:SendMessage"],
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                resources=[self._undelivered.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": made.attr_arn}},
            )
        )

    def _alarm(self, alarm: Alarm, topic: sns.ITopic) -> None:
        made = cloudwatch.CfnAlarm(
            self,
            f"Alarm-{alarm.name}",
            alarm_name=alarm.name,
            alarm_description=alarm.description,
            comparison_operator=alarm.comparison,
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            datapoints_to_alarm=alarm.periods,
            treat_missing_data=alarm.missing,
            alarm_actions=[topic.topic_arn],
            ok_actions=[topic.topic_arn],
        )
        if alarm.expression is None:
            [metric] = alarm.metrics
            made.namespace, made.metric_name, made.statistic = (
                metric.namespace,
                metric.name,
                metric.statistic,
            )
            made.dimensions = [*_dimensions(metric)]
            made.period = alarm.period_seconds
        else:
            made.metrics = [
                cloudwatch.CfnAlarm.MetricDataQueryProperty(
                    id="total",
                    expression=alarm.expression,
                    return_data=True,
                    period=alarm.period_seconds if alarm.query else None,
                ),
                *(
                    _series(f"m{n}", metric, alarm.period_seconds)
                    for n, metric in enumerate(alarm.metrics, start=1)
                ),
            ]


def _series(name: str, metric: Metric, period_seconds: int) -> cloudwatch.CfnAlarm.MetricDataQueryProperty:
    return cloudwatch.CfnAlarm.MetricDataQueryProperty(
        id=name,
        return_data=False,
        metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
            metric=cloudwatch.CfnAlarm.MetricProperty(
                namespace=metric.namespace, metric_name=metric.name, dimensions=_dimensions(metric)
            ),
            period=period_seconds,
            stat=metric.statistic,
        ),
    )


def _dimensions(metric: Metric) -> list[cloudwatch.CfnAlarm.DimensionProperty]:
    return [
        cloudwatch.CfnAlarm.DimensionProperty(name=name, value=str(_resolved(value)))
        for name, value in metric.dimensions
    ]


def _resolved(value: object) -> object:
    """Text that names pseudo parameters becomes Fn::Sub, at any depth."""
    if isinstance(value, str):
        return Fn.sub(value) if "${AWS::" in value else value
    if isinstance(value, (list, tuple)):
        return [_resolved(part) for part in value]
    if isinstance(value, dict):
        return {key: _resolved(part) for key, part in value.items()}
    return value
