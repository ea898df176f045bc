"""When someone is called."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infrastructure.config.model import StageConfig
from infrastructure.constructs.queues import Queues

METRICS_NAMESPACE = "PlexusScoring"
COST_METRIC = "plexus_scoring_llm_cost_usd_total"
ENVIRONMENT_DIMENSION = "environment"
FEWEST_JOBS = 20
FIVE_MINUTES = Duration.minutes(5)


class Alarms(Construct):
    """Alarms on what loses work, delays it or spends money. Missing data is good news for each of them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        queues: Queues,
        scoring: lambda_.Alias,
        sweeper: lambda_.Alias,
        key: kms.IKey,
    ) -> None:
        """Create the alarms; each acts on the stage's topic, or on one of their own that sends e-mails."""
        super().__init__(scope, construct_id)
        self._prefix = config.prefix
        self._topic = self._make_topic(config, key)
        limits = config.alarms
        self.all: list[cloudwatch.Alarm] = []
        for construct_id_, queue in (
            ("RequestDeadLetters", queues.request_dead_letters),
            ("ResponseDeadLetters", queues.response_dead_letters),
        ):
            self._alarm(
                construct_id_,
                _visible(queue),
                threshold=0,
                description="A message could not be worked on: see its Reason attributes, correct it, redrive",
            )
        self._alarm(
            "OldestMessage",
            queues.request.metric_approximate_age_of_oldest_message(
                period=FIVE_MINUTES, statistic="Maximum"
            ),
            threshold=limits.oldest_message_seconds,
            periods=2,
            description="Jobs wait longer than agreed: raise max_concurrency, or see throttles and errors",
        )
        self.errors = self._alarm(
            "ErrorRate",
            cloudwatch.MathExpression(
                expression="100 * errors / MAX([errors, invocations])",
                using_metrics={
                    "errors": scoring.metric_errors(period=FIVE_MINUTES, statistic="Sum"),
                    "invocations": scoring.metric_invocations(period=FIVE_MINUTES, statistic="Sum"),
                },
                label="errors in percent of invocations",
                period=FIVE_MINUTES,
            ),
            threshold=limits.error_percent,
            description="The scoring function itself fails (not its jobs): see its log group",
        )
        self.failed_jobs = self._alarm(
            "FailedJobs",
            failed_jobs_percent(config),
            threshold=limits.failed_jobs_percent,
            description="Jobs fail, are unknown or must be tried again: see jobs list FAILED and the log group",
        )
        self._alarm(
            "SweeperErrors",
            sweeper.metric_errors(period=Duration.minutes(15), statistic="Sum"),
            threshold=1,
            description="Stranded jobs are not put back on the queue",
        )
        self._alarm(
            "SweeperSilent",
            sweeper.metric_invocations(
                period=Duration.minutes(3 * config.sweep_every_minutes), statistic="Sum"
            ),
            threshold=1,
            below=True,
            description="The sweeper does not run: see its schedule, and the account's concurrency",
        )
        self._alarm(
            "Throttles",
            scoring.metric_throttles(period=FIVE_MINUTES, statistic="Sum"),
            threshold=limits.throttles,
            description="The account's or the function's concurrency is used up",
        )
        timeout = config.scoring.timeout_seconds * 1000
        self._alarm(
            "DurationNearTimeout",
            scoring.metric_duration(period=FIVE_MINUTES, statistic="p99"),
            threshold=timeout * limits.duration_percent_of_timeout / 100,
            description="Invocations come close to the function's timeout: smaller batches or a longer timeout",
        )
        self._alarm(
            "CostPerHour",
            cost_metric(config),
            threshold=limits.cost_usd_per_hour,
            description="Language models cost more in an hour than agreed (USD)",
        )

    def _make_topic(self, config: StageConfig, key: kms.IKey) -> sns.ITopic:
        if config.alarms.topic_arn is not None:
            return sns.Topic.from_topic_arn(self, "Topic", config.alarms.topic_arn)
        assert config.alarms.email is not None  # checked with the rest of the configuration
        topic = sns.Topic(self, "Topic", master_key=key, enforce_ssl=True)
        topic.add_subscription(subscriptions.EmailSubscription(config.alarms.email))
        cloudwatch_service = iam.ServicePrincipal("cloudwatch.amazonaws.com")
        topic.grant_publish(cloudwatch_service)
        key.grant(cloudwatch_service, "kms:Decrypt", "kms:GenerateDataKey*")
        return topic

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        description: str,
        periods: int = 1,
        below: bool = False,
    ) -> cloudwatch.Alarm:
        """Call when the metric is above the threshold; with `below`, when it is below or not there at all."""
        comparison = cloudwatch.ComparisonOperator
        missing = cloudwatch.TreatMissingData
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_name=f"{self._prefix}-{construct_id}",
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison.LESS_THAN_THRESHOLD
            if below
            else comparison.GREATER_THAN_THRESHOLD,
            treat_missing_data=missing.BREACHING if below else missing.NOT_BREACHING,
        )
        action = actions.SnsAction(self._topic)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
        self.all.append(alarm)
        return alarm


def cost_metric(config: StageConfig) -> cloudwatch.Metric:
    """Return what language models cost in an hour, in USD."""
    return service_metric(config, COST_METRIC, period=Duration.hours(1))


def failed_jobs_percent(config: StageConfig) -> cloudwatch.MathExpression:
    """Return the share of deliveries that did not end well, where there are enough of them to tell."""
    bad = ("failed", "unknown", "retried")
    outcomes = (*bad, "completed")
    total = " + ".join(f"FILL({outcome}, 0)" for outcome in outcomes)
    share = " + ".join(f"FILL({outcome}, 0)" for outcome in bad)
    return cloudwatch.MathExpression(
        expression=f"IF(({total}) >= {FEWEST_JOBS}, 100 * ({share}) / ({total}), 0)",
        using_metrics={
            outcome: service_metric(config, "plexus_scoring_jobs_total", outcome=outcome)
            for outcome in outcomes
        },
        label="deliveries that failed, were unknown or go back, in percent",
        period=FIVE_MINUTES,
    )


def service_metric(
    config: StageConfig,
    name: str,
    *,
    period: Duration = FIVE_MINUTES,
    statistic: str = "Sum",
    **dimensions: str,
) -> cloudwatch.Metric:
    """Return a metric that the service itself emits (EMF); names are in `plexus_scoring.telemetry.names`."""
    return cloudwatch.Metric(
        namespace=METRICS_NAMESPACE,
        metric_name=name,
        dimensions_map={ENVIRONMENT_DIMENSION: config.name, **dimensions},
        period=period,
        statistic=statistic,
    )


def _visible(queue: sqs.Queue) -> cloudwatch.Metric:
    return queue.metric_approximate_number_of_messages_visible(
        period=Duration.minutes(1), statistic="Maximum"
    )
