"""The scoring function. Accepted events are listed in ``docs/messages.md``."""

from __future__ import annotations

from typing import Any

from lambda_functions.runtime import Container, LambdaContext, remaining_seconds
from plexus_scoring.transports.lambda_function import ScoringFunction
from plexus_scoring.transports.sqs_messages import SqsMessages

_container = Container("account_key", "response_queue_url", "attachments_bucket", scores=True)
_application, _settings = _container.application, _container.settings
_function = ScoringFunction(
    messages=SqsMessages(
        handle=_application.service.handle,
        attachments=_application.attachments,
        aws=_application.aws,
        clock=_application.clock,
        metrics=_container.metrics,
        request_queue_url=_settings.request_queue_url,
        dead_letter_queue_url=_settings.dead_letter_queue_url,
        account=_settings.account,
        responder=_application.responder,
    ),
    handle_oldest=_application.service.handle_oldest,
    aws=_application.aws,
    clock=_application.clock,
    request_queue_url=_settings.request_queue_url,
    account=_settings.account,
    concurrency=_settings.concurrency,
    margin=_settings.deadline_margin,
    gate=_container.breaker,
)


def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Work on an event; for SQS records, answer which of them must come again."""
    return _container.run(_function.run(event, remaining=remaining_seconds(context)))
