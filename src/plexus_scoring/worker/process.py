"""One worker process: put together, run until a signal, drain, close, and say how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

from plexus_scoring.bootstrap import Application, environment, open_application
from plexus_scoring.model.errors import ScoringError, StoreUnavailable
from plexus_scoring.settings import Settings
from plexus_scoring.telemetry import names, tracing
from plexus_scoring.telemetry.prometheus import CONTENT_TYPE, PrometheusMetrics
from plexus_scoring.transports.breaker import Breaker
from plexus_scoring.transports.consumer import Consumer
from plexus_scoring.worker.connect import Kind, Transport, connect
from plexus_scoring.worker.health import Health, HealthServer
from plexus_scoring.worker.slots import Slots

log = logging.getLogger(__name__)

Part = TypeVar("Part")

BEAT_SECONDS = 0.5
PROBE_SECONDS = 5.0
UNREADY_PROBE_SECONDS = 0.5
PROBE_TIMEOUT = 4.0
HOLD_MARGIN_SECONDS = 20.0
"""What a message may be held beyond its job's timeout: to claim, load, complete and respond."""

SPANS = {
    "jobs": {"claim": names.SPAN_CLAIM, "complete": names.SPAN_COMMIT},
    "catalog": {"item": names.SPAN_LOAD, "scorecard": names.SPAN_LOAD},
    "attachments": {"put": names.SPAN_ATTACH, "read": names.SPAN_LOAD},
    "responder": {"respond": names.SPAN_RESPOND},
    "engine": {"score": names.SPAN_SCORE},
}


def run_worker(kind: Kind, settings: Settings | None = None) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the set-up is wrong; every missing variable is named.
        Exception: whatever else makes going on senseless, so that the process ends with a failure's code and is
            restarted.
    """
    settings = settings or Settings.from_environment(environment())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(kind, settings))


async def _run(kind: Kind, settings: Settings) -> None:
    await Worker(settings, connect(settings, kind)).run()


class Worker:
    """The parts of a worker and the order in which they start and stop."""

    def __init__(self, settings: Settings, transport: Transport) -> None:
        """Work on what `transport` brings."""
        self._settings = settings
        self._transport = transport
        self.metrics = PrometheusMetrics(environment=settings.environment)
        self.health = Health(stale_seconds=settings.health_stale_seconds)
        self._breaker = Breaker(
            failures=settings.breaker_failures,
            seconds=settings.breaker_seconds,
            metrics=self.metrics,
            changed=lambda name, problem: self.health.set_problem(f"{name} breaker", problem),
        )
        self._slots = Slots(transport.concurrency)
        self._consumer: Consumer | None = None
        self._stop_asked = False

    async def run(self) -> None:
        """Start, work until stopped, drain, close."""
        settings, transport = self._settings, self._transport
        tracing.configure()
        server = HealthServer(
            self.health, self._render, host=settings.health_host, port=settings.health_port
        )
        # Signals to the very end: a second one while we close must not change the exit code.
        with self._signals():
            # From here on, too: a store that is slow to answer at the start is no loop that hangs.
            beating = asyncio.create_task(self._beat())
            try:
                async with open_application(
                    settings,
                    responder=transport.responder,
                    metrics=self.metrics,
                    observe=self._observe,
                    scores=True,
                ) as application:
                    self._warn()
                    await self._check_store(application)
                    gc.collect()
                    gc.freeze()  # what stands now stays: the collector need not go through it again and again
                    await self._work(application)
            finally:
                await transport.admin.aclose()
                await transport.close()
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
                tracing.shutdown()
                server.close()
        log.info("stopped")

    def stop(self) -> None:
        """Drain and end `run`; called again, release at once."""
        self.health.set_problem("draining", "draining")
        self._stop_asked = True
        if self._consumer is not None:
            log.info("stopping at once" if self._consumer.stopping else "stopping")
            self._consumer.stop()

    async def _work(self, application: Application) -> None:
        if self._stop_asked:  # by a signal while we started
            return
        consumer = self._consumer = self._make_consumer(application)
        probing = asyncio.create_task(self._probe(application))
        log.info(
            "worker started",
            extra={
                "queue": self._transport.source.name,
                "concurrency": self._transport.concurrency,
            },
        )
        try:
            await consumer.run()
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    def _make_consumer(self, application: Application) -> Consumer:
        settings, transport = self._settings, self._transport
        return Consumer(
            transport.source,
            transport.decide(application),
            concurrency=transport.concurrency,
            drain_seconds=settings.drain_seconds,
            max_hold_seconds=settings.job_timeout + HOLD_MARGIN_SECONDS,
            max_deliveries=settings.max_deliveries,
            gate=self._breaker,
            pace=self._slots,
            metrics=self.metrics,
        )

    def _observe(self, name: str, part: Part, /) -> Part:
        watched: Part = self._breaker.watch(name, part)
        if name == "engine":
            watched = self._slots.watch(watched)
        return tracing.traced(watched, SPANS.get(name, {}))

    def _render(self) -> tuple[bytes, str]:
        return self.metrics.render(), CONTENT_TYPE

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)
        for number in handled:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    async def _beat(self) -> None:
        while True:
            self.health.beat()
            self._breaker.tick()
            await asyncio.sleep(BEAT_SECONDS)

    async def _probe(self, application: Application) -> None:
        """Ask broker and store from time to time whether they are there."""
        while True:
            await asyncio.gather(
                self._check("broker", self._transport.source.check()),
                self._check("store", application.jobs.check()),
                self._count_messages(),
            )
            self.health.set_problem("start", None)
            ready, _ = self.health.ready()
            await asyncio.sleep(PROBE_SECONDS if ready else UNREADY_PROBE_SECONDS)

    async def _check(self, what: str, check: Awaitable[object]) -> None:
        problem: str | None = None
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await check
        except ScoringError as error:
            problem = error.message
        except TimeoutError:
            problem = f"no answer in {PROBE_TIMEOUT:.0f} s"
        except Exception as error:
            # Not foreseen. It must not end the probe, whose last word would then stand for ever.
            log.exception("%s: unexpected error of its check", what)
            problem = type(error).__name__
        self.health.set_problem(what, problem)

    async def _count_messages(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                stats = await self._transport.admin.stats()
        except (ScoringError, TimeoutError):
            return  # `_check` reports it
        except Exception:
            log.exception("messages not counted")
            return
        for state in ("waiting", "in_flight", "delayed", "dead"):
            value = getattr(stats, state)
            if value is not None:
                self.metrics.gauge(names.QUEUE_MESSAGES, value, state=state)

    async def _check_store(self, application: Application) -> None:
        """Refuse to start on a store that is set up wrongly; one that is away is waited for."""
        try:
            found = await application.jobs.check()
            log.info("store: %s", found)
        except StoreUnavailable as error:
            log.warning("the store cannot be reached yet: %s", error)

    def _warn(self) -> None:
        settings, asked = self._settings, self._settings.worker_concurrency
        if asked and asked > self._transport.concurrency:
            log.warning(
                "PLEXUS_WORKER_CONCURRENCY=%d is not reached: PLEXUS_RABBITMQ_PREFETCH=%d bounds it",
                asked,
                settings.rabbitmq_prefetch,
            )


def _loop_factory() -> Any:
    """Return uvloop's loop where it is installed: a fifth fewer seconds a job."""
    try:
        import uvloop  # noqa: PLC0415  optional
    except ImportError:
        return None
    return uvloop.new_event_loop
