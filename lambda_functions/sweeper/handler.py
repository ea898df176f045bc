"""The sweeper: re-enqueues jobs whose message got lost or whose worker died."""

from __future__ import annotations

from typing import Any

from lambda_functions.runtime import Container, LambdaContext
from plexus_scoring.model.job import ScoringJob
from plexus_scoring.model.messages import encode_request
from plexus_scoring.service.sweep import sweep
from plexus_scoring.transports.sqs import OutgoingMessage, SqsSender
from plexus_scoring.transports.sqs_admin import SqsAdmin

_container = Container("request_queue_url")
_application, _settings = _container.application, _container.settings
_queue = SqsAdmin(_application.aws, _settings.request_queue_url or "")
_sender = SqsSender(_application.aws, _settings.request_queue_url or "")


async def _enqueue(job: ScoringJob) -> None:
    await _sender.send(OutgoingMessage(encode_request(job), group=job.id))


async def _sweep() -> dict[str, Any]:
    held = (await _queue.live_stats()).held
    swept = await sweep(
        _application.jobs,
        _enqueue,
        _container.metrics,
        _application.clock,
        pending_older_than=_settings.sweep_pending_after,
        limit=_settings.sweep_limit,
        account=_settings.account_key,
        held=held,
    )
    return {"swept": len(swept), "held": held, "scoring_job_ids": [key.id for key in swept]}


def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Sweep once, whatever the event says."""
    del event, context
    return _container.run(_sweep())
