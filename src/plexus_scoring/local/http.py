"""A small HTTP/1.1 server for the loopback interface: h11 reads the protocol, asyncio the sockets.

The Runtime API needs a listener for each execution environment, in the caller's own event loop and
without signal handlers; that is why no web framework's server stands here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from plexus_scoring.model.errors import ConfigurationError

try:
    import h11
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "the local Lambda runtime needs h11: pip install 'plexus-scoring[local]'"
    ) from error

LOOPBACK = "127.0.0.1"
_CHUNK = 256 * 1024
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. Content-Length is added."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


class BodyTooLargeError(Exception):
    """The request's body passes the server's limit."""


def json_response(status: int, value: Any, **headers: str) -> Response:
    """Return a JSON response; an underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        status, json.dumps(value).encode(), {"Content-Type": "application/json"} | named
    )


class HttpServer:
    """Serves one handler until closed.

    Args:
        handler: Answers every request; what it raises becomes a 500 and a log line.
        host: Address to listen on: loopback, unless the caller means it.
        port: Port, or 0 for any free one.
        max_body_bytes: A longer body is refused with 413.
    """

    def __init__(
        self, handler: Handler, *, host: str = LOOPBACK, port: int = 0, max_body_bytes: int
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._max_body_bytes = max_body_bytes
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to listen and drop the open connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def address(self) -> str:
        """``host:port`` as it is really bound."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - asyncio runs every callback in a task
            raise RuntimeError("a connection is served outside a task")
        self._connections.add(task)
        raw = writer.get_extra_info("socket")
        # Without this, Nagle's algorithm and delayed ACK cost 40 ms a call.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await self._serve_connection(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            try:
                request = await self._read(connection, reader, writer)
            except BodyTooLargeError:
                await _write(connection, writer, _too_large(self._max_body_bytes), close=True)
                return
            except h11.RemoteProtocolError as error:
                if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    refusal = json_response(error.error_status_hint, {"message": str(error)})
                    await _write(connection, writer, refusal, close=True)
                return
            if request is None:
                return
            try:
                response = await self._handler(request)
            except Exception:
                _logger.exception("the local HTTP server failed on %s", request.path)
                response = json_response(500, {"Type": "Service", "message": "internal error"})
            await _write(connection, writer, response)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _read(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    await _continue(connection, writer)
                connection.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Request):
                head = event
                if _announced_length(event) > self._max_body_bytes:
                    raise BodyTooLargeError
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._max_body_bytes:
                    raise BodyTooLargeError
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return Request(
                    method=head.method.decode("ascii"),
                    path=head.target.decode("ascii", "replace"),
                    headers={k.decode("ascii"): v.decode("latin-1") for k, v in head.headers},
                    body=bytes(body),
                )
            else:  # the peer closed the connection between two requests
                return None


def _announced_length(request: h11.Request) -> int:
    lengths = [value for name, value in request.headers if name == b"content-length"]
    return int(lengths[0]) if lengths else 0


def _too_large(limit: int) -> Response:
    return json_response(
        413,
        {"Type": "User", "message": f"Request must be smaller than {limit} bytes"},
        x_amzn_ErrorType="RequestTooLargeException",
    )


async def _continue(connection: h11.Connection, writer: asyncio.StreamWriter) -> None:
    """Tell a client with a large body (curl, above 1 MB) to go on."""
    data = connection.send(h11.InformationalResponse(status_code=100, headers=[]))
    if data:
        writer.write(data)
        await writer.drain()


async def _write(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    response: Response,
    *,
    close: bool = False,
) -> None:
    headers = [*response.headers.items(), ("Content-Length", str(len(response.body)))]
    if close:
        headers.append(("Connection", "close"))
    head = connection.send(h11.Response(status_code=response.status, headers=headers)) or b""
    body = connection.send(h11.Data(data=response.body)) or b""
    end = connection.send(h11.EndOfMessage()) or b""
    writer.write(head + body + end)
    await writer.drain()
