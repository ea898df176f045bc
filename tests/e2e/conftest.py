import asyncio
import json
import time

import pytest

from plexus_scoring.local.demo.audit import scored_lines
from plexus_scoring.local.demo.run import application_of
from plexus_scoring.local.stack import SCORE_PROCESSING, LocalDeployment, StackOptions
from plexus_scoring.model.scorecard_yaml import load_scorecard
from tests.support.aws import require_embedded_aws
from tests.support.chat_server import ScriptedChatServer
from tests.support.clock import HANG_SECONDS
from tests.support.stores import key

SCORECARD = """\
name: End to End
key: e2e
scores:
- name: Words
  class: LangGraphScore
  graph:
  - name: count
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          words = len(input.text.split())
          return Score.Result(parameters=parameters, value=str(words), metadata={"explanation": f"{words} words"})
  output: {value: classification, explanation: explanation}
- name: Long
  class: KeywordClassifier
  keywords: [hello]
  depends_on: {Words: '1000'}
- name: Opinion
  class: LangGraphScore
  model_provider: ChatOpenAI
  model_name: gpt-4o-mini
  graph:
  - name: ask
    class: Classifier
    valid_classes: ['Yes', 'No']
    system_message: Judge.
    user_message: '{{text}}'
  output: {value: classification, explanation: explanation}
"""
RULES = [
    {"when": "fails once", "replies": [{"raw": "<html>"}, "Yes"]},
    {"when": "fails always", "replies": [{"raw": "<html>"}]},
    {"when": "is down", "replies": [{"status": 503}] * 3 + ["Yes"]},
    {"when": "", "replies": ["No"]},
]
# No lease runs out on a busy machine; a duplicate that meets a running attempt comes back so late.
SETTINGS = {
    "PLEXUS_LEASE_SECONDS": "30",
    "PLEXUS_MAX_ATTEMPTS": "2",
    "PLEXUS_RETRY_BASE_SECONDS": "0.2",
    "PLEXUS_RETRY_MAX_SECONDS": "1",
    "PLEXUS_MODEL_ATTEMPTS": "1",
    "PLEXUS_SCORECARD_TTL_SECONDS": "0",
    "PLEXUS_SWEEP_PENDING_SECONDS": "0.1",
}


class Service:
    """The deployed service, seen from outside: two queues, the table and the bucket."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.sqs = deployment.aws.client("sqs")
        self.s3 = deployment.aws.client("s3")
        self.responses = {}
        self.dead_letters = []

    def send(self, *bodies):
        for start in range(0, len(bodies), 10):
            entries = [
                {
                    "Id": str(number),
                    "MessageBody": body if isinstance(body, str) else json.dumps(body),
                }
                for number, body in enumerate(bodies[start : start + 10])
            ]
            answer = self.sqs.send_message_batch(
                QueueUrl=self.deployment.requests.url, Entries=entries
            )
            assert not answer.get("Failed")

    def run(self, work):
        """Run `work(application)` on the deployment's stores."""

        async def opened():
            async with application_of(self.deployment) as app:
                return await work(app)

        return asyncio.run(opened())

    def create(self, *jobs):
        async def work(app):
            await asyncio.gather(*(app.jobs.create(job) for job in jobs))

        self.run(work)

    def job(self, job_id):
        return self.run(lambda app: app.jobs.get(key(job_id, "local")))

    def result(self, result_id):
        return self.run(lambda app: app.jobs.result(result_id, account="local"))

    def object(self, key):
        bucket = self.deployment.environment()["AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"]
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def times_scored(self, job_id):
        return scored_lines(self.deployment.folder / f"{SCORE_PROCESSING}.log")[job_id]

    def wait_for_responses(self, counts):
        """Wait until there are so many responses to each request; return all of them."""
        self._until(
            lambda: all(len(self.responses.get(one, [])) >= n for one, n in counts.items()),
            lambda: {one: len(self.responses.get(one, [])) for one in counts},
        )
        return {one: self.responses[one] for one in counts}

    def wait_for_dead_letter(self, body):
        """Wait until this body is dead; return the reason's attributes."""
        self._until(lambda: self._letters(body), lambda: [one for one, _ in self.dead_letters])
        return self._letters(body)[0]

    def wait_until_idle(self):
        """Wait until no message is on the request queue, nor in work."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def left():
            answer = self.sqs.get_queue_attributes(
                QueueUrl=self.deployment.requests.url, AttributeNames=names
            )
            return sum(int(answer["Attributes"][name]) for name in names)

        self._until(lambda: left() == 0, left)

    def _letters(self, body):
        return [reason for one, reason in self.dead_letters if one == body]

    def _until(self, done, progress):
        last = progress()
        since = time.monotonic()
        while not done():
            self._read()
            if (now := progress()) != last:
                last = now
                since = time.monotonic()
            assert time.monotonic() - since < HANG_SECONDS, now  # clock: a hang

    def _read(self):
        for message in self._receive(self.deployment.responses.url, 1):
            body = json.loads(message["Body"])
            self.responses.setdefault(body["request_id"], []).append(body)
        for message in self._receive(self.deployment.requests.dead_letters.url, 0):
            reason = {
                name: value["StringValue"]
                for name, value in message.get("MessageAttributes", {}).items()
            }
            self.dead_letters.append((message["Body"], reason))

    def _receive(self, url, wait):
        answer = self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait,
            MessageAttributeNames=["All"],
        )
        for message in answer.get("Messages", []):
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return answer.get("Messages", [])


@pytest.fixture(scope="session")
def model():
    with ScriptedChatServer(RULES) as server:
        yield server


@pytest.fixture(scope="session")
def service(tmp_path_factory, model):
    require_embedded_aws()
    options = StackOptions(environment=SETTINGS | model.environment(), timeout=900.0)
    with LocalDeployment(tmp_path_factory.mktemp("deployment"), options) as deployment:
        yield Service(deployment)


@pytest.fixture(scope="session")
def scorecard(service):
    card = load_scorecard(SCORECARD)
    service.run(lambda app: app.catalog.put_scorecard(card))
    return card
