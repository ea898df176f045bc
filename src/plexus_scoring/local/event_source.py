"""Queues with a dead-letter queue, and an event source mapping that drives a local function."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plexus_scoring.local import forwarder
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.local.function import LOCAL_ACCOUNT, MAX_TIMEOUT, LocalFunction

# AWS: "set the queue's visibility timeout to at least six times the function's timeout",
# and maxReceiveCount to at least 5 (Lambda developer guide, "Using Lambda with Amazon SQS").
VISIBILITY_FACTOR = 6
MAX_RECEIVE_COUNT = 5
_MAX_VISIBILITY_SECONDS = 43_200
_FORWARDER_MARGIN = 30
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Queue:
    """One SQS queue."""

    url: str
    arn: str


@dataclass(frozen=True, slots=True)
class QueueWithDeadLetters:
    """A queue, and where its messages go that can never be worked on."""

    url: str
    arn: str
    dead_letters: Queue


def visibility_for(timeout: float) -> int:
    """Return the visibility timeout in whole seconds that AWS recommends for a function's timeout."""
    return min(max(1, round(timeout * VISIBILITY_FACTOR)), _MAX_VISIBILITY_SECONDS)


def create_queue(sqs: Any, name: str, **attributes: str) -> Queue:
    """Create a queue, or return the one that is there with the same attributes."""
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Queue(url, answer["Attributes"]["QueueArn"])


def create_queue_with_dead_letters(
    sqs: Any,
    name: str,
    *,
    visibility_timeout: int,
    max_receive_count: int = MAX_RECEIVE_COUNT,
) -> QueueWithDeadLetters:
    """Create ``name`` and ``name-dlq`` with a redrive policy between them.

    Args:
        sqs: boto3 client.
        name: The queue's name.
        visibility_timeout: Seconds that a received message stays hidden.
        max_receive_count: Receives after which a message moves to the dead-letter queue.
    """
    dead_letters = create_queue(sqs, f"{name}-dlq")
    redrive = {"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": max_receive_count}
    queue = create_queue(
        sqs,
        name,
        VisibilityTimeout=str(visibility_timeout),
        RedrivePolicy=json.dumps(redrive),
    )
    return QueueWithDeadLetters(queue.url, queue.arn, dead_letters)


def map_queue(
    aws: EmbeddedAws,
    function: LocalFunction,
    invocations_url: str,
    queue_arn: str,
    *,
    batch_size: int = 10,
    window: int = 0,
    max_concurrency: int | None = None,
) -> str:
    """Let the embedded AWS poll a queue and run the function with what it finds, failures reported one by one.

    Args:
        aws: The embedded AWS.
        function: The function that runs in the local runtime; its name is the deployed name, too.
        invocations_url: Where the local runtime takes its events.
        queue_arn: The source.
        batch_size: Records in one event, 1 to 10,000.
        window: Seconds to gather a batch. ministack keeps the value and does not wait.
        max_concurrency: Batches at once, 2 to 1000 as on AWS; ministack's default is 5.

    Returns:
        The mapping's id.
    """
    client = aws.client("lambda")
    timeout = min(round(function.timeout) + _FORWARDER_MARGIN, int(MAX_TIMEOUT))
    client.create_function(
        FunctionName=function.name,
        Runtime=function.runtime,
        Role=f"arn:aws:iam::{LOCAL_ACCOUNT}:role/local",
        Handler="forwarder.handler",
        Code={"ZipFile": _package()},
        Timeout=timeout,
        Environment={"Variables": {"PLEXUS_LOCAL_INVOCATIONS_URL": invocations_url}},
    )
    client.get_waiter("function_active_v2").wait(
        FunctionName=function.name, WaiterConfig={"Delay": _POLL_SECONDS, "MaxAttempts": 300}
    )
    scaling = {} if max_concurrency is None else {"MaximumConcurrency": max_concurrency}
    mapping = client.create_event_source_mapping(
        EventSourceArn=queue_arn,
        FunctionName=function.name,
        BatchSize=batch_size,
        MaximumBatchingWindowInSeconds=window,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        **({"ScalingConfig": scaling} if scaling else {}),
    )
    identifier: str = mapping["UUID"]
    return identifier


def _package() -> bytes:
    """Return the forwarder as the zip file that CreateFunction takes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(Path(forwarder.__file__), "forwarder.py")
    return data.getvalue()
