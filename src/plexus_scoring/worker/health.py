"""Health and metrics over HTTP, from a thread of its own: it answers while the loop is busy."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from plexus_scoring.model.errors import ConfigurationError

ALIVE_PATHS = frozenset({"/livez", "/healthz", "/health"})


class Health:
    """What the process knows of itself. Written by the loop, read by the server's threads."""

    def __init__(
        self, *, stale_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A loop that has not run for `stale_seconds` hangs; `clock` gives monotonic seconds."""
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._beat = clock()
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {"start": "starting"}

    def beat(self) -> None:
        """The loop runs."""
        self._beat = self._clock()

    def set_problem(self, what: str, problem: str | None) -> None:
        """Note why no work can be done, or that `what` is well again."""
        with self._lock:
            if problem is None:
                self._problems.pop(what, None)
            else:
                self._problems[what] = problem

    def alive(self) -> tuple[bool, dict[str, object]]:
        """Return whether the loop runs. No dependency is asked: a restart would not repair one."""
        age = self._clock() - self._beat
        alive = age <= self._stale_seconds
        body: dict[str, object] = {"status": "ok" if alive else "hanging"}
        if not alive:
            body["loop_silent_seconds"] = round(age, 1)
        return alive, body

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Return whether work can be taken, and if not why."""
        alive, body = self.alive()
        with self._lock:
            problems = dict(self._problems)
        if problems:
            return False, {"status": "not ready", "problems": problems}
        return alive, body


class HealthServer:
    """Serves ``/livez /healthz /health``, ``/readyz`` and ``/metrics``."""

    def __init__(
        self, health: Health, render: Callable[[], tuple[bytes, str]], *, host: str, port: int
    ) -> None:
        """Listen on `host` and `port` (0: any free one); `render` gives the metrics and their type.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        try:
            self._server = _Server((host, port), _handler(health, render))
        except OSError as error:
            raise ConfigurationError(
                f"PLEXUS_HEALTH_HOST:PLEXUS_HEALTH_PORT {host}:{port} cannot be listened on: {error.strerror}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="health",
            daemon=True,
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in fact."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64


def _handler(
    health: Health, render: Callable[[], tuple[bytes, str]]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "plexus-scoring"
        sys_version = ""
        timeout = 10  # a probe that sends nothing must not hold a thread

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in ALIVE_PATHS:
                self._answer_json(*health.alive())
            elif path == "/readyz":
                self._answer_json(*health.ready())
            elif path == "/metrics":
                self._answer(200, *render())
            else:
                self._answer(404, b"not found\n", "text/plain")

        do_HEAD = do_GET  # noqa: N815  http.server looks for this name

        def _answer_json(self, good: bool, body: dict[str, object]) -> None:  # noqa: FBT001  a pair, passed on
            text = json.dumps(body).encode() + b"\n"
            self._answer(200 if good else 503, text, "application/json")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
            """Probes every few seconds are no news."""

    return Handler
