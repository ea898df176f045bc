"""The embedded AWS's own event source mapping drives the real runtime client."""

import json
import time
from collections import Counter

import pytest

from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.event_source import create_queue_with_dead_letters, map_queue
from tests.support.aws import unique_name

MAX_RECEIVES = 3
VISIBILITY = 3_600  # a message comes back when the test brings it back


class Source:
    """A queue with its mapping, and the journal that the handler keeps."""

    def __init__(self, sqs, queue, journal, log):
        self.sqs = sqs
        self.queue = queue
        self._journal = journal
        self._log = log

    def send(self, **jobs):
        entries = [
            {"Id": name, "MessageBody": json.dumps({"name": name, "do": do})}
            for name, do in jobs.items()
        ]
        answer = self.sqs.send_message_batch(QueueUrl=self.queue.url, Entries=entries)
        assert not answer.get("Failed")

    def dead_letters(self, expected):
        """Return the dead letters' names once `expected` have come."""
        found = []
        while len(found) < expected:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue.dead_letters.url, WaitTimeSeconds=20, MaxNumberOfMessages=10
            )
            messages = answer.get("Messages", [])
            found += [json.loads(message["Body"])["name"] for message in messages]
        return sorted(found)

    def wait_until_empty(self):
        """Return once nothing is visible, hidden or delayed; the counts are SQS's only signal for that."""
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        while True:
            counts = self.sqs.get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=names)
            if not any(int(count) for count in counts["Attributes"].values()):
                return
            time.sleep(0.05)

    def bring_back(self, *names, delivery=1):
        """Once these were delivered for the nth time, let their messages be seen again."""
        for name in names:
            while not (handles := self._handles(name, delivery)):
                time.sleep(0.05)
            self.sqs.change_message_visibility(
                QueueUrl=self.queue.url, ReceiptHandle=handles[0], VisibilityTimeout=0
            )

    def deliveries(self):
        """Return how often each job was handed to the handler."""
        return Counter(name for name, *_ in self._entries())

    def wait_for_ends(self, count):
        """Wait until so many invocations have ended."""
        while self._log.read_text(encoding="utf-8").count("END RequestId") < count:
            time.sleep(0.05)

    def _handles(self, name, delivery):
        return [handle for *entry, handle in self._entries() if entry == [name, delivery]]

    def _entries(self):
        lines = self._journal.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture
def source(embedded_aws, make_function, tmp_path):
    journal = tmp_path / "journal"
    journal.touch()
    name = unique_name("jobs")
    sqs = embedded_aws.client("sqs")
    queue = create_queue_with_dead_letters(
        sqs, name, visibility_timeout=VISIBILITY, max_receive_count=MAX_RECEIVES
    )
    function = make_function("probe.batch", name=name, environment={"JOURNAL": str(journal)})
    source = Source(sqs, queue, journal, tmp_path / f"{name}.log")
    mappings = []
    with LocalLambda([function], tmp_path) as runtime:
        url = runtime.invocations_url(name)
        source.start = lambda: mappings.append(
            map_queue(embedded_aws, function, url, queue.arn, max_concurrency=2)
        )
        yield source
        # Deleted mappings would leave ministack's poller asleep for 5 s, disabled ones do not.
        for mapping in mappings:
            embedded_aws.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=False)


def test_only_the_failed_records_come_back(source):
    source.send(good="ok", once="fail_once", also_good="ok")
    source.start()
    source.bring_back("once")
    source.wait_until_empty()
    assert source.deliveries() == {"good": 1, "once": 2, "also_good": 1}


def test_a_poison_message_ends_in_the_dead_letter_queue_alone(source):
    source.send(good="ok", poison="fail", also_good="ok")
    source.start()
    for delivery in range(1, MAX_RECEIVES + 1):
        source.bring_back("poison", delivery=delivery)
    assert source.dead_letters(1) == ["poison"]
    source.wait_until_empty()
    assert source.deliveries() == {"good": 1, "poison": MAX_RECEIVES, "also_good": 1}


def test_an_exception_brings_the_whole_batch_back(source):
    source.send(bystander="ok", thrower="raise_once")
    source.start()
    source.bring_back("bystander", "thrower")
    source.wait_until_empty()
    assert source.deliveries() == {"bystander": 2, "thrower": 2}


def test_a_timeout_brings_the_whole_batch_back(source, time_up):
    source.send(bystander="ok", sleeper="hang_once")
    source.start()
    while source.deliveries() != {"bystander": 1, "sleeper": 1}:
        time.sleep(0.05)
    time_up.set()
    source.wait_for_ends(1)
    time_up.clear()
    source.bring_back("bystander", "sleeper")
    source.wait_until_empty()
    assert source.deliveries() == {"bystander": 2, "sleeper": 2}
