import threading

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from plexus_scoring.model.disposition import Ack
from plexus_scoring.telemetry import names, tracing
from plexus_scoring.transports.base import Envelope
from plexus_scoring.transports.requests import RequestHandler

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter():
    exporter = InMemorySpanExporter()
    assert tracing.configure(exporter=exporter, environ={})
    yield exporter
    tracing.shutdown()


def test_it_is_off_and_free_unless_configured():
    assert not tracing.configure(environ={})
    assert not tracing.enabled()
    target = object()
    assert tracing.traced(target, {"claim": names.SPAN_CLAIM}) is target
    assert tracing.span("x") is tracing.span("y")
    assert tracing.traceparent() is None


async def test_spans_hang_below_the_senders(exporter):
    class Jobs:
        async def claim(self):
            return "claimed"

        name = "jobs"

    jobs = tracing.traced(Jobs(), {"claim": names.SPAN_CLAIM})
    seen = []

    async def handle(request, deadline):
        seen.append(request.traceparent)
        assert await jobs.claim() == "claimed"
        assert jobs.name == "jobs"
        return Ack()

    handler = RequestHandler(handle, system="rabbitmq")
    await handler(Envelope(message_id="1", body='{"scoring_job_id": "j"}', traceparent=PARENT), 0.0)
    provider = tracing._State.provider
    assert provider is not None
    provider.force_flush()
    claim, receive = exporter.get_finished_spans()
    assert (claim.name, receive.name) == (names.SPAN_CLAIM, names.SPAN_RECEIVE)
    assert claim.parent.span_id == receive.context.span_id
    assert f"{receive.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert receive.attributes["messaging.system"] == "rabbitmq"
    # The response goes out under our own span, not under the sender's.
    assert seen[0].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert seen[0] != PARENT


def test_a_collector_that_hangs_does_not_hold_up_a_stop(caplog):
    answered = threading.Event()

    class Hanging(InMemorySpanExporter):
        def export(self, spans):
            answered.wait()
            return super().export(spans)

    assert tracing.configure(exporter=Hanging(), environ={})
    with tracing.span("x"):
        pass
    try:
        tracing.shutdown(seconds=0.01)
    finally:
        answered.set()
    assert "not sent" in caplog.text
