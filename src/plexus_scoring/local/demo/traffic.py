"""Sends the demo's messages and gathers what comes out, with boto3 alone: the outside's view of the service."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from plexus_scoring.local.demo.plan import Entry, Mishap
from plexus_scoring.local.stack import LocalDeployment
from plexus_scoring.model.errors import StoreUnavailable

_BATCH = 10
_WAIT_SECONDS = 1


@dataclass
class Outbox:
    """What came out: responses by request id, and dead letters by the body of their message."""

    responses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dead_letters: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def response_count(self) -> int:
        """Return how many responses came."""
        return sum(map(len, self.responses.values()))

    def dead_letter_count(self) -> int:
        """Return how many dead letters came."""
        return sum(map(len, self.dead_letters.values()))


class Traffic:
    """Sends to the request queue; reads the response queue and the dead-letter queue to their end."""

    def __init__(self, deployment: LocalDeployment, *, give_up: float) -> None:
        """Work on a deployment; raise StoreUnavailable when nothing comes for `give_up` seconds."""
        self._sqs = deployment.aws.client("sqs")
        self._requests = deployment.requests.url
        self._responses = deployment.responses.url
        self._dead_letters = deployment.requests.dead_letters.url
        self._give_up = give_up
        self.outbox = Outbox()

    def send(self, bodies: Iterable[str]) -> None:
        """Send messages, ten in a request."""
        waiting = list(bodies)
        for start in range(0, len(waiting), _BATCH):
            entries = [
                {"Id": str(index), "MessageBody": body}
                for index, body in enumerate(waiting[start : start + _BATCH])
            ]
            answer = self._sqs.send_message_batch(QueueUrl=self._requests, Entries=entries)
            if answer.get("Failed"):
                raise StoreUnavailable(f"the request queue refused messages: {answer['Failed']}")

    def gather(
        self, *, responses: int, dead_letters: int, on_progress: Callable[[int], None]
    ) -> None:
        """Read until there are so many responses and dead letters in all.

        Raises:
            StoreUnavailable: nothing more came for `give_up` seconds.
        """
        last = time.monotonic()
        while (
            self.outbox.response_count() < responses
            or self.outbox.dead_letter_count() < dead_letters
        ):
            wait = _WAIT_SECONDS if self.outbox.response_count() < responses else 0
            came = self._read_responses(wait)
            came += self._read_dead_letters(0 if wait else _WAIT_SECONDS)
            if came:
                last = time.monotonic()
                on_progress(self.outbox.response_count() + self.outbox.dead_letter_count())
            elif time.monotonic() - last > self._give_up:
                raise StoreUnavailable(
                    f"{self.outbox.response_count()} of {responses} responses and "
                    f"{self.outbox.dead_letter_count()} of {dead_letters} dead letters came, "
                    f"then nothing for {self._give_up:.0f} s"
                )

    def drain(self) -> int:
        """Read what may still be there; return how many requests are left on the queue."""
        while self._read_responses(_WAIT_SECONDS) + self._read_dead_letters(0):
            pass
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._sqs.get_queue_attributes(QueueUrl=self._requests, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def _read_responses(self, wait: int) -> int:
        messages = self._receive(self._responses, wait)
        for message in messages:
            body = json.loads(message["Body"])
            self.outbox.responses.setdefault(body["request_id"], []).append(body)
        return len(messages)

    def _read_dead_letters(self, wait: int) -> int:
        messages = self._receive(self._dead_letters, wait)
        for message in messages:
            attributes = message.get("MessageAttributes", {})
            reason = {name: value["StringValue"] for name, value in attributes.items()}
            self.outbox.dead_letters.setdefault(message["Body"], []).append(reason)
        return len(messages)

    def _receive(self, url: str, wait: int) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=_BATCH,
            WaitTimeSeconds=wait,
            MessageAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        if messages:
            entries = [
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                for index, message in enumerate(messages)
            ]
            self._sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        return messages


def expected(plan: Iterable[Entry]) -> Counter[str]:
    """Return how many responses and dead letters the first delivery of every message brings."""
    dead = {Mishap.POISON, Mishap.UNKNOWN, Mishap.OBJECT_MISSING, Mishap.SCORE_MISSING}
    counts: Counter[str] = Counter()
    for entry in plan:
        counts["responses"] += entry.mishap is not Mishap.POISON  # who sent it cannot be told
        counts["dead_letters"] += entry.mishap in dead
    return counts
