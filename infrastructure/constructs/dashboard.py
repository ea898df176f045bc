"""What the engineer on call looks at first."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infrastructure.config.model import StageConfig
from infrastructure.constructs.alarms import FIVE_MINUTES, Alarms, cost_metric, service_metric
from infrastructure.constructs.queues import Queues

OUTCOMES = ("completed", "failed", "skipped", "retried", "duplicate", "busy", "unknown", "dropped")


class ServiceDashboard(Construct):
    """Alarms on top; then queues, jobs by outcome, the function, latency and cost."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        queues: Queues,
        scoring: lambda_.Alias,
        alarms: Alarms,
    ) -> None:
        """Create the dashboard named after the stage."""
        super().__init__(scope, construct_id)
        graph = cloudwatch.GraphWidget
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=config.prefix,
            widgets=[
                [
                    cloudwatch.AlarmStatusWidget(
                        title="Alarms", alarms=list(alarms.all), width=24, height=3
                    )
                ],
                [
                    graph(
                        title="Messages waiting",
                        left=[
                            queues.request.metric_approximate_number_of_messages_visible(),
                            queues.request.metric_approximate_number_of_messages_not_visible(),
                            queues.request_dead_letters.metric_approximate_number_of_messages_visible(),
                        ],
                    ),
                    graph(
                        title="Age of the oldest request (s)",
                        left=[queues.request.metric_approximate_age_of_oldest_message()],
                    ),
                    graph(
                        title="Jobs by outcome",
                        left=[
                            service_metric(config, "plexus_scoring_jobs_total", outcome=outcome)
                            for outcome in OUTCOMES
                        ],
                    ),
                    graph(title="Cost of language models (USD/h)", left=[cost_metric(config)]),
                ],
                [
                    graph(
                        title="Invocations, errors, throttles",
                        left=[
                            scoring.metric_invocations(),
                            scoring.metric_errors(),
                            scoring.metric_throttles(),
                        ],
                    ),
                    graph(
                        title="Duration of an invocation (ms)",
                        left=[
                            scoring.metric_duration(statistic=statistic, period=FIVE_MINUTES)
                            for statistic in ("p50", "p90", "p99")
                        ],
                    ),
                    graph(
                        title="Duration of a job (s)",
                        left=[
                            service_metric(
                                config, "plexus_scoring_job_seconds", statistic=statistic
                            )
                            for statistic in ("p50", "p90", "p99")
                        ],
                    ),
                    graph(
                        title="Leases lost, jobs swept, cold starts",
                        left=[
                            service_metric(config, name)
                            for name in (
                                "plexus_scoring_leases_lost_total",
                                "plexus_scoring_swept_total",
                                "plexus_scoring_cold_starts_total",
                            )
                        ],
                    ),
                ],
            ],
        )
