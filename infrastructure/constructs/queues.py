"""The request and response queues, each with its dead-letter queue."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infrastructure.config.model import StageConfig

REQUEST_RETENTION = Duration.days(4)
# A dead-lettered message keeps the age it had, so its queue must keep messages longer.
DEAD_LETTER_RETENTION = Duration.days(14)


class Queues(Construct):
    """Encrypted, TLS-only queues. What was delivered `max_receive_count` times lands in the dead-letter queue."""

    def __init__(self, scope: Construct, construct_id: str, *, config: StageConfig) -> None:
        """Create the four queues."""
        super().__init__(scope, construct_id)
        # AWS: six function timeouts, so that a throttled batch is not delivered twice while it waits.
        visibility = Duration.seconds(config.visibility_seconds)
        self.request_dead_letters, self.request = self._pair(
            "Request", f"{config.prefix}-standard-request-queue", config, visibility
        )
        self.response_dead_letters, self.response = self._pair(
            "Response", f"{config.prefix}-response-queue", config, Duration.minutes(5)
        )

    def _pair(
        self, construct_id: str, name: str, config: StageConfig, visibility: Duration
    ) -> tuple[sqs.Queue, sqs.Queue]:
        dead_letters = sqs.Queue(
            self,
            f"{construct_id}DeadLetters",
            queue_name=f"{name}-dlq",
            retention_period=DEAD_LETTER_RETENTION,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        queue = sqs.Queue(
            self,
            construct_id,
            queue_name=name,
            visibility_timeout=visibility,
            retention_period=REQUEST_RETENTION,
            receive_message_wait_time=Duration.seconds(20),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=dead_letters, max_receive_count=config.max_receive_count
            ),
        )
        return dead_letters, queue
