"""Submit one text over SQS: ``python sqs_producer.py "some text"``. Needs ``pip install boto3``."""

import json
import os
import sys
import uuid

import boto3

queue_url = os.environ["PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL"]
request = {
    "request_id": str(uuid.uuid4()),  # send the same id again, and nothing is scored twice
    "scorecard": os.environ.get("SCORECARD", "call-centre-quality"),
    "score": os.environ.get("SCORE", "Greeting"),
    "item": {"text": sys.argv[1] if len(sys.argv) > 1 else "Hello, how may I help you?"},
}
boto3.client("sqs").send_message(QueueUrl=queue_url, MessageBody=json.dumps(request))
print(request["request_id"])
