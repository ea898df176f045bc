"""What a worker asks SQS for when it starts: its role may do no more than its queue needs."""

from __future__ import annotations

import json
from types import SimpleNamespace

from plexus_scoring.transports.sqs_poll import MAX_RECEIVES, SqsSource

TARGET = "arn:aws:sqs:us-east-1:111122223333:dead"


class Aws:
    """A queue with the given redrive policy; keeps the operations it was asked for."""

    def __init__(self, policy=None):
        names = ("get_queue_attributes", "get_queue_url")
        self.sqs = SimpleNamespace(**{name: name for name in names})
        self.policy = policy
        self.asked = set()

    async def call(self, function, **_arguments):
        self.asked.add(function)
        if function == "get_queue_url":
            return {"QueueUrl": "http://sqs/dead"}
        return {"Attributes": {"RedrivePolicy": json.dumps(self.policy)} if self.policy else {}}


async def test_a_named_dead_letter_queue_needs_no_right_to_look_it_up():
    aws = Aws({"deadLetterTargetArn": TARGET, "maxReceiveCount": "100"})
    source = SqsSource(aws, "http://sqs/q", dead_letter_queue_url="http://sqs/dead")
    await source.open()
    assert aws.asked == {"get_queue_attributes"}
    assert source.max_deliveries == 99  # the last one that leaves a reason


async def test_without_a_name_the_queue_s_own_policy_names_it():
    aws = Aws({"deadLetterTargetArn": TARGET, "maxReceiveCount": 5})
    source = SqsSource(aws, "http://sqs/q")
    await source.open()
    assert aws.asked == {"get_queue_attributes", "get_queue_url"}
    assert source.max_deliveries == 4


async def test_without_a_policy_our_own_limit_holds():
    source = SqsSource(Aws(), "http://sqs/q", dead_letter_queue_url="http://sqs/dead")
    await source.open()
    assert source.max_deliveries == MAX_RECEIVES
