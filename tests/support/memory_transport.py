"""A transport whose queue ends with the process."""

from __future__ import annotations

from plexus_scoring.transports.memory import MemoryQueue, MemorySource
from plexus_scoring.transports.requests import RequestHandler
from plexus_scoring.worker.connect import Transport


def memory_transport(concurrency: int = 10) -> Transport:
    """Return what a worker takes its requests from."""
    queue = MemoryQueue()
    return Transport(
        system="memory",
        source=MemorySource(queue),
        responder=queue,
        admin=queue,
        concurrency=concurrency,
        decide=lambda application: RequestHandler(
            application.service.handle,
            system="memory",
            default_account=application.settings.account,
            responder=application.responder,
            metrics=application.metrics,
        ),
        close=queue.aclose,
    )
