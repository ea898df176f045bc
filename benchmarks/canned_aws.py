"""AWS as a table in this process, below botocore's parser: for watching a warm handler over many jobs.

It answers the five calls of a no-op job from what the calls themselves say; it is no emulator.
"""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.awsrequest import AWSResponse

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobKey, NewJob

_OPERATION = "X-Amz-Target"


class _Body:
    """What botocore reads a response from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Any:
        yield self._content

    def read(self, *_: Any) -> bytes:
        return self._content


class CannedAws:
    """Answers one handler's calls. `completed` counts the jobs that it was told are done."""

    def __init__(self, card: str) -> None:
        """Serve jobs on the scorecard `card`; rows are recorded from the real adapter against moto."""
        self.completed = 0
        self._rows = _record_rows(card)

    def attach(self, aws: Any) -> None:
        """Answer for these clients from now on."""
        for client in (aws.dynamodb, aws.s3, aws.sqs):
            client.meta.events.register("before-send", self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        target = request.headers.get(_OPERATION, b"")
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        body = request.body or b""
        text = body.decode() if isinstance(body, bytes) else ""
        content = self._content(operation, text)
        return AWSResponse(request.url, 200, {"x-amzn-requestid": "canned"}, _Body(content))

    def _content(self, operation: str, text: str) -> bytes:
        if operation == "UpdateItem":
            return self._claimed(json.loads(text))
        if operation in {"GetItem", "Query", "BatchGetItem"}:
            return self._found(operation, text)
        if operation == "TransactWriteItems":
            self.completed += 1
            return b"{}"
        if operation == "SendMessageBatch":
            entries = json.loads(text)["Entries"]
            done = [
                {"Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": ""}
                for entry in entries
            ]
            return json.dumps({"Successful": done, "Failed": []}).encode()
        return b""

    def _claimed(self, request: dict[str, Any]) -> bytes:
        """The job's row after its claim: the recorded one with this job's id and token."""
        job_id = re.search(r"job-\d+", json.dumps(request["Key"]))
        assert job_id is not None
        row = self._rows["claimed"].replace("job-template", job_id[0])
        return row.encode()

    def _found(self, operation: str, text: str) -> bytes:
        for mark, row in self._rows["found"]:
            if mark == (operation, text):
                return str(row).encode()
        raise AssertionError(f"no recorded answer for {operation} {text}")


def _record_rows(card: str) -> dict[str, Any]:
    """Let the real adapter handle one job against moto, and keep what DynamoDB answered."""
    import asyncio
    import os

    from moto import mock_aws

    from plexus_scoring.aws import Aws
    from plexus_scoring.model.scorecard_yaml import load_scorecard
    from plexus_scoring.stores.dynamodb import connect, create_table

    recorded: dict[str, Any] = {"found": []}

    async def run() -> None:
        aws = Aws(threads=2)
        create_table(aws.dynamodb, "plexus-scoring-jobs")
        stores = connect("plexus-scoring-jobs", client=aws.dynamodb, executor=aws.executor)
        await stores.catalog.put_scorecard(load_scorecard(card))
        await stores.catalog.put_item(Item(id="item", text="Hello, thanks for calling."))
        await stores.jobs.create(
            NewJob(id="job-template", scorecard="card", score="Greeting", item_id="item")
        )
        last: dict[str, str] = {}

        def sent(request: Any, **_: Any) -> None:
            body = request.body
            last["body"] = body.decode() if isinstance(body, bytes) else str(body)

        def received(response_dict: Any, operation_model: Any, **_: Any) -> None:
            operation_name = operation_model.name
            text = response_dict["body"].decode()
            if operation_name == "UpdateItem":
                recorded["claimed"] = text
            else:
                recorded["found"].append(((operation_name, last["body"]), text))

        aws.dynamodb.meta.events.register("before-send", sent)
        aws.dynamodb.meta.events.register("before-parse", received)
        await stores.jobs.claim(JobKey("default", "job-template"), lease_seconds=60)
        await stores.catalog.item("item", account="default")
        await stores.catalog.scorecard("card", account="default")
        await aws.aclose()

    saved = os.environ.pop("AWS_ENDPOINT_URL", None)
    with mock_aws():
        asyncio.run(run())
    if saved is not None:
        os.environ["AWS_ENDPOINT_URL"] = saved
    return recorded
