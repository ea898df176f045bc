"""The request queue feeds the function."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs

from infrastructure.config.model import EventSourceConfig


def feed(alias: lambda_.Alias, queue: sqs.IQueue, config: EventSourceConfig) -> None:
    """Map the queue to the alias: partial batch responses, bounded concurrency."""
    alias.add_event_source(
        sources.SqsEventSource(
            queue,
            batch_size=config.batch_size,
            max_batching_window=Duration.seconds(config.window_seconds),
            max_concurrency=config.max_concurrency,
            report_batch_item_failures=True,
        )
    )
