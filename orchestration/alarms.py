"""What is watched, as data: event rules with a readable message, alarms, and the dashboard.

Pure: settings in, tuples out. ``orchestration.constructs.alerts`` renders them, and a test holds every
metric against a list of those that AWS documents: an alarm on a metric that nobody publishes stays silent.
ARNs are CloudFormation text (``${AWS::Region}``), so nothing here knows an account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from briquette.settings.environments import Settings

PERIOD_SECONDS = 300
FRESHNESS_HOURS = 26  # a day, and two hours for a run that is late
NAMESPACE = "Briquette"  # our own metrics, written as embedded metric format on standard output
SPOT_RECLAIM = "SpotInterruption"
EXIT_CODES_OF_SUCCESS = (0, 3)  # published or unchanged, and nothing to do

Missing = Literal["notBreaching", "breaching"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One series of CloudWatch."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str = "Sum"


@dataclass(frozen=True, slots=True)
class Alarm:
    """``metrics`` (added where they are several, a missing value counting 0) or ``query``, not both."""

    name: str
    description: str
    metrics: tuple[Metric, ...] = ()
    query: str | None = None  # Metrics Insights
    threshold: float = 1
    comparison: str = "GreaterThanOrEqualToThreshold"
    period_seconds: int = PERIOD_SECONDS
    periods: int = 1
    missing: Missing = "notBreaching"

    @property
    def expression(self) -> str | None:
        """What the metrics m1, m2, … are put together with; None where there is one."""
        if self.query or len(self.metrics) < 2:
            return self.query
        return "+".join(f"FILL(m{n},0)" for n in range(1, len(self.metrics) + 1))


@dataclass(frozen=True, slots=True)
class Rule:
    """Events that are told to the topic as ``message``; ``<name>`` in it is the value of a path."""

    name: str
    description: str
    pattern: Mapping[str, Any]
    paths: tuple[tuple[str, str], ...]
    message: str


@dataclass(frozen=True, slots=True)
class Watched:
    """Everything that is watched in one environment."""

    topic: str
    rules: tuple[Rule, ...]
    alarms: tuple[Alarm, ...]


def watched(settings: Settings) -> Watched:
    """The topic, the rules and the alarms of an environment."""
    return Watched(f"{settings.resource_prefix}-data-platform-alerts", rules(settings), alarms(settings))


def rules(settings: Settings) -> tuple[Rule, ...]:
    """What is told as soon as it happens: failed and stopped Glue runs, failed containers."""
    env = settings.resource_prefix
    jobs = [f"{env}-{job}" for job in settings.monitored_glue_jobs]
    return (
        *(_glue_rule(f"{job}-failures", job, ("FAILED", "TIMEOUT"), "failed") for job in jobs),
        *(_glue_rule(f"{job}-stopped", job, ("STOPPED",), "Warning: somebody stopped a run") for job in jobs),
        _task_rule(env),
        _crawler_rule(env),
    )


def alarms(settings: Settings) -> tuple[Alarm, ...]:
    """Every alarm, in the order of the dashboard."""
    env = settings.resource_prefix
    machines = [f"{env}-{machine}" for machine in settings.monitored_state_machines]
    return (
        Alarm(
            f"{env}-data-pipeline-failures",
            "An execution of any state machine of this account and region failed.",
            query='SELECT SUM(ExecutionsFailed) FROM SCHEMA("AWS/States", StateMachineArn)',
        ),
        *(_machine_alarm(machine) for machine in machines),
        *(
            _rule_alarm(f"{env}-{job}-failures", f"A run of the Glue job {env}-{job} failed or timed out.")
            for job in settings.monitored_glue_jobs
        ),
        _rule_alarm(task_rule_name(env), "A compaction container failed, or could not be started."),
        _rule_alarm(crawler_rule_name(env), f"The crawler {crawler_name(env)} failed."),
        _queue_alarm(dead_letters(env), "Raw days announced by ingestion did not start an execution"),
        _queue_alarm(undelivered(env), "What EventBridge had to tell did not reach the topic"),
        *(
            _undelivered_alarm(rule)
            for rule in (announced_rule_name(env), *(r.name for r in rules(settings)))
        ),
        Alarm(
            f"{env}-daily-prices-freshness",
            f"No partition was committed for {FRESHNESS_HOURS} hours: nothing failed, and nothing came.",
            (Metric(NAMESPACE, "PartitionCommitted", (("Environment", settings.environment),)),),
            comparison="LessThanThreshold",
            period_seconds=3600,
            periods=FRESHNESS_HOURS,
            missing="breaching",
        ),
    )


def dashboard(settings: Settings) -> dict[str, Any]:
    """The body of the dashboard: the alarms, then executions, Glue, containers and what was published."""
    status = {
        "type": "alarm",
        "x": 0,
        "y": 0,
        "width": 24,
        "height": 3,
        "properties": {"title": "Alarms", "alarms": [alarm_arn(alarm.name) for alarm in alarms(settings)]},
    }
    widgets = [
        {
            "type": "metric",
            "x": 12 * (n % 2),
            "y": 3 + 6 * (n // 2),
            "width": 12,
            "height": 6,
            "properties": {
                "title": title,
                "region": "${AWS::Region}",
                "stat": "Sum",
                "period": PERIOD_SECONDS,
                "metrics": metrics,
            },
        }
        for n, (title, metrics) in enumerate(_graphs(settings))
    ]
    return {"widgets": [status, *widgets]}


def _graphs(settings: Settings) -> tuple[tuple[str, list[list[str]]], ...]:
    """The graphs of the dashboard: a title, and the metrics that it draws."""
    env = settings.resource_prefix
    cluster = f"{env}-data-platform"
    return (
        (
            "Executions",
            [
                ["AWS/States", name, "StateMachineArn", machine_arn(f"{env}-{machine}")]
                for machine in settings.monitored_state_machines
                for name in ("ExecutionsStarted", "ExecutionsSucceeded", *_MACHINE_FAILURES)
            ],
        ),
        (
            "Failed Glue runs",
            [
                ["AWS/Events", "TriggeredRules", "RuleName", f"{env}-{job}-failures"]
                for job in settings.monitored_glue_jobs
            ],
        ),
        (
            "Containers: CPU and memory reserved",
            [
                ["ECS/ContainerInsights", name, "ClusterName", cluster]
                for name in ("CpuReserved", "MemoryReserved")
            ],
        ),
        (
            "Partitions committed, rows",
            [
                [NAMESPACE, name, "Environment", settings.environment]
                for name in ("PartitionCommitted", "Rows")
            ],
        ),
        (
            "Events that reached nobody",
            [
                ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]
                for queue in (dead_letters(env), undelivered(env))
            ],
        ),
    )


def dashboard_name(settings: Settings) -> str:
    """The name of the dashboard."""
    return f"{settings.resource_prefix}-data-platform-overview"


def dead_letters(environment: str) -> str:
    """The name of the queue of events that started nothing."""
    return f"{environment}-trigger-dead-letters"


def undelivered(environment: str) -> str:
    """The name of the queue of events that could not be told to the topic."""
    return f"{environment}-undelivered-alerts"


def announced_rule_name(environment: str) -> str:
    """The name of the rule that sees ingestion announce a day."""
    return f"{environment}-daily-prices-announced"


def task_rule_name(environment: str) -> str:
    """The name of the rule that sees containers fail."""
    return f"{environment}-compaction-container-failures"


def crawler_name(environment: str) -> str:
    """The name of the crawler of the curated tables."""
    return f"{environment}-curated-data-crawler"


def crawler_rule_name(environment: str) -> str:
    """The name of the rule that sees the crawler fail: nobody waits for its end."""
    return f"{crawler_name(environment)}-failures"


def machine_arn(name: str) -> str:
    """The ARN of a state machine of this account, as CloudFormation text."""
    return _arn("states", f"stateMachine:{name}")


def cluster_arn(environment: str) -> str:
    """The ARN of the cluster that compaction runs on, as CloudFormation text."""
    return _arn("ecs", f"cluster/{environment}-data-platform")


def alarm_arn(name: str) -> str:
    """The ARN of an alarm, as CloudFormation text."""
    return _arn("cloudwatch", f"alarm:{name}")


def _arn(service: str, resource: str) -> str:
    return f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}"


_MACHINE_FAILURES = ("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")


def _machine_alarm(machine: str) -> Alarm:
    dimensions = (("StateMachineArn", machine_arn(machine)),)
    return Alarm(
        f"{machine}-failures",
        f"An execution of {machine} failed, timed out or was aborted.",
        tuple(Metric("AWS/States", name, dimensions) for name in _MACHINE_FAILURES),
    )


def _rule_alarm(rule: str, description: str) -> Alarm:
    # Glue publishes no metric for a failed run. The event of it does match a rule, and rules are counted.
    return Alarm(rule, description, (Metric("AWS/Events", "TriggeredRules", (("RuleName", rule),)),))


def _queue_alarm(queue: str, what: str) -> Alarm:
    visible = Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", (("QueueName", queue),), "Maximum")
    return Alarm(queue, f"{what}: see the queue {queue}.", (visible,))


def _undelivered_alarm(rule: str) -> Alarm:
    # AWS counts here what neither the target nor the queue took; what the queue took has an alarm of its own.
    failed = Metric("AWS/Events", "FailedInvocations", (("RuleName", rule),))
    return Alarm(f"{rule}-undelivered", f"The rule {rule} matched and its target was not reached.", (failed,))


def _glue_rule(name: str, job: str, states: tuple[str, ...], what: str) -> Rule:
    return Rule(
        name,
        f"Runs of {job} that ended as {' or '.join(states)}.",
        {
            "source": ["aws.glue"],
            "detail-type": ["Glue Job State Change"],
            "detail": {"jobName": [job], "state": list(states)},
        },
        (("run", "$.detail.jobRunId"), ("state", "$.detail.state"), ("said", "$.detail.message")),
        f"Glue job {job}: {what}. State <state>, run <run>. Glue says: <said>",
    )


def _crawler_rule(env: str) -> Rule:
    crawler = crawler_name(env)
    return Rule(
        crawler_rule_name(env),
        f"Runs of the crawler {crawler} that failed.",
        {
            "source": ["aws.glue"],
            "detail-type": ["Glue Crawler State Change"],
            "detail": {"crawlerName": [crawler], "state": ["Failed"]},
        },
        (("said", "$.detail.errorMessage"), ("log", "$.detail.cloudWatchLogLink")),
        f"Glue crawler {crawler} failed: the catalog may lack columns and days; their data is published. "
        "Glue says: <said>. Log: <log>",
    )


def _task_rule(env: str) -> Rule:
    # Spare capacity taken back is no failure: Glue finishes the day, or the execution fails and tells.
    failed = {
        "containers": {"exitCode": [{"anything-but": list(EXIT_CODES_OF_SUCCESS)}]},
        "stopCode": [{"anything-but": [SPOT_RECLAIM]}],
    }
    not_started = {"stopCode": ["TaskFailedToStart"]}  # there is no exit code then
    return Rule(
        task_rule_name(env),
        f"Compaction containers of {env} that failed, or could not be started.",
        {
            "source": ["aws.ecs"],
            "detail-type": ["ECS Task State Change"],
            "detail": {
                "clusterArn": [cluster_arn(env)],
                "lastStatus": ["STOPPED"],
                "$or": [failed, not_started],
            },
        },
        (
            ("task", "$.detail.taskArn"),
            ("code", "$.detail.containers[0].exitCode"),
            ("stop", "$.detail.stopCode"),
            ("why", "$.detail.stoppedReason"),
        ),
        f"Compaction container of {env} failed: exit code <code>, <stop>, <why>. Task <task>. "
        f"Glue compacts the day if the environment has a fallback.",
    )
