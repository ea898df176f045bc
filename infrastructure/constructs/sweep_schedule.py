"""The sweeper runs on a schedule."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from constructs import Construct


class SweepSchedule(Construct):
    """Invokes the sweeper every few minutes. A run that fails is not repeated: the next one does the same work."""

    def __init__(
        self, scope: Construct, construct_id: str, *, alias: lambda_.IFunction, every_minutes: int
    ) -> None:
        """Create the schedule and the role that may invoke this one alias."""
        super().__init__(scope, construct_id)
        scheduler.Schedule(
            self,
            "Schedule",
            description="Put stranded scoring jobs back on the queue",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(every_minutes)),
            target=targets.LambdaInvoke(alias, retry_attempts=0),
        )
