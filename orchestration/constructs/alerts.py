"""The topic that people subscribe to, and what ``orchestration.alarms`` says in CloudFormation."""

from __future__ import annotations

import json

from aws_cdk import Aws, Fn, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from config.model import Settings
from orchestration.alarms import Alarm, Metric, Rule, dashboard, watched

_TELLS = ("cloudwatch.amazonaws.com", "events.amazonaws.com")


class Topic(Construct):
    """``topic`` and its ``key``; a key of our own, because those services may not use that of SNS."""

    def __init__(self, scope: Construct, name: str, settings: Settings) -> None:
        super().__init__(scope, name)
        from_here = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        self.key = kms.Key(
            self,
            "Key",
            description=f"Alerts of {settings.environment}",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.topic = sns.Topic(
            self,
            "Topic",
            topic_name=watched(settings).topic,
            display_name=f"briquette {settings.environment}",
            master_key=self.key,
            enforce_ssl=True,
        )
        principals = [iam.ServicePrincipal(service) for service in _TELLS]
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                principals=principals,
                resources=["*"],
                conditions=from_here,
            )
        )
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["sns:Publish"],
                principals=principals,
                resources=[self.topic.topic_arn],
                conditions=from_here,
            )
        )


class Alerts(Construct):
    """Every rule, alarm and the dashboard of an environment."""

    def __init__(self, scope: Construct, name: str, settings: Settings, *, topic: sns.ITopic) -> None:
        super().__init__(scope, name)
        told = watched(settings)
        for rule in told.rules:
            self._rule(rule, topic)
        for alarm in told.alarms:
            self._alarm(alarm, topic)
        cloudwatch.CfnDashboard(
            self,
            "Dashboard",
            dashboard_name=f"{settings.environment}-data-platform-overview",
            dashboard_body=Fn.sub(json.dumps(dashboard(settings))),
        )

    def _rule(self, rule: Rule, topic: sns.ITopic) -> None:
        events.CfnRule(
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
                )
            ],
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
