"""The real worker process on real brokers: what it exports, and what goes on while scores burn the processor."""

from __future__ import annotations

import asyncio
import collections
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.scorecard import Scorecard, content_version
from plexus_scoring.telemetry import names
from tests.support.chaos import PATIENT, Chaos, chaos
from tests.support.clock import HANG_SECONDS
from tests.support.stores import key

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENDER = f"00-{TRACE}-b7ad6b7169203331-01"


def scorecard_of(code: str) -> str:
    body = "\n".join(f"          {line}" for line in code.strip().splitlines())
    return f"""
name: made
key: made
scores:
- name: answer
  id: 1
  key: answer
  class: LangGraphScore
  graph:
  - name: judge
    class: LogicalClassifier
    code: |
      def score(parameters, input):
{body}
          return Score.Result(parameters=parameters, value="Yes", metadata={{"explanation": "done"}})
  output:
    value: classification
    explanation: explanation
"""


async def submit(
    run: Chaos, source: str, count: int, *, text: str = "hello", traceparent: str | None = None
) -> None:
    version = content_version(source)
    await run.stores.catalog.put_scorecard(
        Scorecard(id="made", name="made", source=source, version=version)
    )
    new = [f"job-{len(run.ids) + n}" for n in range(count)]
    run.ids += new
    for job_id in new:
        item = Item(id=job_id, text=text)
        await run.stores.jobs.create(NewJob(id=job_id, scorecard="made", score="answer", item=item))
        body = json.dumps({"scoring_job_id": job_id, "request_id": f"request-{job_id}"})
        await run.rig.admin.send(body, request_id=f"request-{job_id}", traceparent=traceparent)


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    spans: list[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    spans: list[Any] = []
    handler = type("Handler", (Collector,), {"spans": spans})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["rabbitmq", "redis", "sqs"])
async def test_each_step_of_a_job_is_a_span_of_the_senders_trace(kind, collector) -> None:
    endpoint, spans = collector
    async with chaos(kind) as run:
        worker = await run.start_worker(
            **PATIENT,
            PLEXUS_SCORING_MODE="real",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            LOG_LEVEL="INFO",
        )
        await submit(run, scorecard_of("pass"), 1, traceparent=SENDER)
        await run.until_completed(1)
        assert await run.terminate(worker) == 0  # what is buffered is sent first
        (response,) = await run.rig.responses()
    own = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    assert set(own) == {
        names.SPAN_RECEIVE,
        names.SPAN_CLAIM,
        names.SPAN_LOAD,
        names.SPAN_SCORE,
        names.SPAN_NODE,
        names.SPAN_ATTACH,
        names.SPAN_COMMIT,
        names.SPAN_RESPOND,
    }
    receive = own[names.SPAN_RECEIVE]
    assert receive.parent_span_id.hex() == SENDER.split("-")[2]
    assert own[names.SPAN_NODE].parent_span_id == own[names.SPAN_SCORE].span_id
    for step in set(own) - {names.SPAN_RECEIVE, names.SPAN_NODE}:
        assert own[step].parent_span_id == receive.span_id, step
    assert response["value"] == "Yes"


BURN = """
total = 0
for n in range(int(input.text)):
    total = total + n
"""


RENEWALS = 10


@pytest.mark.parametrize("kind", ["rabbitmq", "redis", "sqs"])
async def test_health_and_leases_go_on_while_a_score_burns_the_processor(kind) -> None:
    """One score at a time, and longer ones until a lease was renewed some times within one: no clock is looked at.

    A score that kept the loop from its turns would let no lease be renewed, however long it were.
    """
    steps, ends = 1, collections.defaultdict(set)
    async with chaos(kind) as run:
        rig: Any = run.rig
        rig.url = rig.url.replace("heartbeat=10", f"heartbeat={HANG_SECONDS}")
        worker = await run.start_worker(
            **PATIENT,
            PLEXUS_SCORING_MODE="real",
            PLEXUS_WORKER_CONCURRENCY="1",
            PLEXUS_RABBITMQ_PREFETCH="1",
            CHAOS_RENEWALS_PER_LEASE=str(20 * HANG_SECONDS),
        )
        await run.until(worker.is_ready)
        while max(map(len, ends.values()), default=0) <= RENEWALS:
            await submit(run, scorecard_of(BURN), 3, text=str(steps))
            while await run.count(JobStatus.PENDING, JobStatus.IN_PROGRESS):
                assert (await asyncio.to_thread(worker.get, "/livez"))[0] == 200
                for job_id, end in await run.lease_ends():
                    ends[job_id].add(end)
            if steps == 1:
                ends.clear()  # it was not burning what took so long, but loading and compiling
            for job_id in run.ids:
                job = await run.stores.jobs.get(key(job_id))
                assert job is not None
                assert (job.status, job.attempt) == (JobStatus.COMPLETED, 1), job.last_error
            steps = max(100_000, 2 * steps)
        _, metrics = await asyncio.to_thread(worker.get, "/metrics")
        assert await run.terminate(worker) == 0
        output = worker.output()
    assert "plexus_scoring_leases_lost_total 0.0" in metrics
    assert "consuming" not in output  # again, after a connection was lost
