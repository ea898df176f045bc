"""When a message comes back to an SQS queue, which counts whole seconds."""

from types import SimpleNamespace

import pytest

from plexus_scoring.transports.sqs import change_visibility
from plexus_scoring.transports.sqs_fifo import delay


class Aws:
    """Keeps what it was asked."""

    def __init__(self):
        self.sqs = SimpleNamespace(change_message_visibility_batch=None)
        self.entries = []

    async def call(self, _function, *, QueueUrl, Entries):  # noqa: N803  boto3's names
        self.entries += Entries
        return {}


@pytest.mark.parametrize(
    ("seconds", "whole"), [(0.0, 0), (0.1, 1), (0.4, 1), (1.0, 1), (1.2, 2), (90_000.0, 43_200)]
)
async def test_no_message_is_there_before_its_job_is_due(seconds, whole):
    aws = Aws()
    await change_visibility(aws, "http://sqs/q", [("handle", seconds)])
    (entry,) = aws.entries
    assert entry["VisibilityTimeout"] == whole
    assert delay("http://sqs/q", seconds) == {"DelaySeconds": min(900, whole)}
