"""The embedded AWS's own event source mapping drives the real runtime client."""

import json
import time
from collections import Counter

import pytest

from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.event_source import create_queue_with_dead_letters, map_queue
from tests.support.aws import unique_name

MAX_RECEIVES = 3
VISIBILITY = 2


class Source:
    """A queue with its mapping, and the journal that the handler keeps."""

    def __init__(self, sqs, queue, journal):
        self.sqs = sqs
        self.queue = queue
        self._journal = journal

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
            assert messages, f"only {found} came"
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

    def deliveries(self):
        """Return how often each job was handed to the handler."""
        lines = self._journal.read_text(encoding="utf-8").splitlines()
        return Counter(json.loads(line)[0] for line in lines)


@pytest.fixture
def source(embedded_aws, make_function, tmp_path):
    journal = tmp_path / "journal"
    journal.touch()
    name = unique_name("jobs")
    sqs = embedded_aws.client("sqs")
    queue = create_queue_with_dead_letters(
        sqs, name, visibility_timeout=VISIBILITY, max_receive_count=MAX_RECEIVES
    )
    function = make_function(
        "probe.batch", name=name, timeout=1.0, environment={"JOURNAL": str(journal)}
    )
    source = Source(sqs, queue, journal)
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
    source.wait_until_empty()
    assert source.deliveries() == {"good": 1, "once": 2, "also_good": 1}


def test_a_poison_message_ends_in_the_dead_letter_queue_alone(source):
    source.send(good="ok", poison="fail", also_good="ok")
    source.start()
    assert source.dead_letters(1) == ["poison"]
    source.wait_until_empty()
    assert source.deliveries() == {"good": 1, "poison": MAX_RECEIVES, "also_good": 1}


def test_an_exception_brings_the_whole_batch_back(source):
    source.send(bystander="ok", thrower="raise_once")
    source.start()
    source.wait_until_empty()
    assert source.deliveries() == {"bystander": 2, "thrower": 2}


def test_a_timeout_brings_the_whole_batch_back(source):
    source.send(bystander="ok", sleeper="hang_once")
    source.start()
    source.wait_until_empty()
    assert source.deliveries() == {"bystander": 2, "sleeper": 2}
