"""OpenTelemetry spans, free of cost until `configure` is told where to send them.

The library is imported by `configure` only. Before that `span` gives a context manager that does nothing, and
`traced` returns what it was given.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

T = TypeVar("T")
Attributes = Mapping[str, str | int | float | bool]

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Either of them set turns tracing on (OpenTelemetry, "OTLP Exporter Configuration")."""

SHUTDOWN_SECONDS = 5.0

log = logging.getLogger(__name__)

_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


class _State:
    """The process's tracer, once there is one."""

    tracer: Tracer | None = None
    provider: TracerProvider | None = None


def enabled() -> bool:
    """Whether spans go anywhere."""
    return _State.tracer is not None


def configure(
    *,
    service_name: str = "plexus-scoring",
    environ: Mapping[str, str] | None = None,
    exporter: SpanExporter | None = None,
) -> bool:
    """Turn tracing on if OTLP is configured, or if given an exporter; return whether it is on.

    Raises:
        ImportError: OTLP is configured and the extra `telemetry` is not installed.
    """
    environ = os.environ if environ is None else environ
    if exporter is None and not any(environ.get(name) for name in ENDPOINT_VARIABLES):
        return False
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  90 ms, only when on
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter()
    name = environ.get("OTEL_SERVICE_NAME", service_name)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _State.provider = provider
    _State.tracer = provider.get_tracer("plexus_scoring")
    return True


def shutdown(*, seconds: float = SHUTDOWN_SECONDS) -> None:
    """Turn tracing off, and send what is buffered for so long: a collector that hangs must not hold up a stop."""
    provider, _State.provider, _State.tracer = _State.provider, None, None
    if provider is None:
        return
    # The library waits 30 s, longer than an orchestrator's grace after the drain, and takes no limit.
    sending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    sending.start()
    sending.join(seconds)
    if sending.is_alive():
        log.warning("the last spans were not sent in %.0f s", seconds)


def span(
    name: str,
    *,
    attributes: Attributes | None = None,
    parent: str | None = None,
    kind: Literal["internal", "consumer", "producer", "client"] = "internal",
) -> AbstractContextManager[Any]:
    """Open a span below the current one, or below the remote `parent` (a W3C traceparent)."""
    if _State.tracer is None:
        return _NOTHING
    return _span(_State.tracer, name, attributes, parent, kind)


def traceparent() -> str | None:
    """Return the W3C trace context of the current span, to be put into a message."""
    if _State.tracer is None:
        return None
    from opentelemetry.propagate import inject  # noqa: PLC0415  imported by configure already

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")


def traced(target: T, spans: Mapping[str, str]) -> T:
    """Return `target` with a span around some of its coroutine methods; itself while tracing is off.

    Args:
        target: Any object, for example a store.
        spans: Span name by method name.
    """
    return target if _State.tracer is None else _Traced(target, spans)  # type: ignore[return-value]  # it stands in


@contextlib.contextmanager
def _span(
    tracer: Tracer, name: str, attributes: Attributes | None, parent: str | None, kind: str
) -> Iterator[Any]:
    from opentelemetry.propagate import extract  # noqa: PLC0415  imported by configure already
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    context = extract({"traceparent": parent}) if parent else None
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=SpanKind[kind.upper()],
        attributes=dict(attributes or {}),
    ) as current:
        yield current


class _Traced:
    """Stands in for an object and opens spans around its methods."""

    def __init__(self, target: object, spans: Mapping[str, str]) -> None:
        self._target = target
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        span_name = self._spans.get(name)
        if span_name is None:
            return value
        wrapped = _around(value, span_name)
        self.__dict__[name] = wrapped  # looked up once
        return wrapped


def _around(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with span(name):
            return await method(*args, **kwargs)

    return call
