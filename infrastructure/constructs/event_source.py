"""The request queue feeds the function."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs

from infrastructure.config.model import EventSourceConfig


def feed(alias: lambda_.Alias, queue: sqs.IQueue, config: EventSourceConfig) -> None:
    """Map the queue to the alias: partial batch responses, bounded concurrency. Its role must be allowed to receive."""
    # `SqsEventSource` would put the path in the app into the name: a stage deployed by its pipeline and by hand would
    # then have two, which AWS refuses.
    alias.add_event_source_mapping(
        "Requests",
        event_source_arn=queue.queue_arn,
        batch_size=config.batch_size,
        max_batching_window=Duration.seconds(config.window_seconds),
        max_concurrency=config.max_concurrency,
        report_batch_item_failures=True,
    )
