"""The Lambda Runtime API of one execution environment, as the real runtime client calls it.

Source: AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes". As on Lambda,
each execution environment has a Runtime API of its own: who asks is known by where it asks.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from plexus_scoring.local.function import MAX_RESPONSE_BYTES, Invocation
from plexus_scoring.local.http import HttpServer, Request, Response, json_response

_PREFIX = "/2018-06-01/runtime"
# Above the payload limit, so that a response that is too large is answered as Lambda answers it.
_MAX_BODY_BYTES = 4 * MAX_RESPONSE_BYTES


@dataclass(frozen=True, slots=True)
class Answer:
    """What the process posted for an invocation."""

    payload: bytes
    error: bool = False


class RuntimeApi:
    """One listener, one process, one invocation at a time.

    Attributes:
        init_error: Done with the error object when the process reports that it cannot start.
        polled: Set while the process is waiting for its next event.
    """

    def __init__(self, function_arn: str) -> None:
        self._arn = function_arn
        self._server = HttpServer(self._route, max_body_bytes=_MAX_BODY_BYTES)
        self._work: asyncio.Queue[tuple[Invocation, int]] = asyncio.Queue(maxsize=1)
        self._current: tuple[Invocation, asyncio.Future[Answer]] | None = None
        self.init_error: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.polled = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen on a free loopback port."""
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to listen."""
        await self._server.__aexit__(kind, error, trace)

    @property
    def address(self) -> str:
        """The value of AWS_LAMBDA_RUNTIME_API."""
        return self._server.address

    def dispatch(self, invocation: Invocation, timeout: float) -> asyncio.Future[Answer]:
        """Hand an invocation to the waiting process and return the answer to come.

        Args:
            invocation: The event.
            timeout: Seconds until the deadline that the process is told.
        """
        deadline_ms = int((time.time() + timeout) * 1000)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._current = (invocation, answer)
        self._work.put_nowait((invocation, deadline_ms))
        self.polled.clear()
        return answer

    async def _route(self, request: Request) -> Response:
        path = request.path.removeprefix(_PREFIX)
        if request.method == "GET" and path == "/invocation/next":
            return await self._next()
        if request.method == "POST" and path == "/init/error":
            if not self.init_error.done():
                self.init_error.set_result(request.body)
            return json_response(202, {"status": "OK"})
        parts = path.strip("/").split("/")
        match (request.method, parts):
            case ("POST", ["invocation", request_id, "response"]):
                return self._answered(request_id, request.body, error=False)
            case ("POST", ["invocation", request_id, "error"]):
                return self._answered(request_id, request.body, error=True)
        return json_response(
            404, {"errorType": "NotFound", "errorMessage": f"no {request.method} {request.path}"}
        )

    async def _next(self) -> Response:
        self.polled.set()
        invocation, deadline_ms = await self._work.get()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self._arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        if invocation.client_context is not None:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        return Response(200, invocation.payload, headers)

    def _answered(self, request_id: str, payload: bytes, *, error: bool) -> Response:
        if self._current is None or self._current[0].request_id != request_id:
            return json_response(
                400, {"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}
            )
        answer = self._current[1]
        if answer.done():
            return json_response(
                400, {"errorType": "InvalidStateTransition", "errorMessage": "Already answered"}
            )
        if len(payload) > MAX_RESPONSE_BYTES:
            message = (
                "Response payload size exceeded maximum allowed payload size "
                f"({MAX_RESPONSE_BYTES} bytes)."
            )
            refusal = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}
            response = json_response(413, refusal)
            answer.set_result(Answer(response.body, error=True))
            return response
        answer.set_result(Answer(payload, error=error))
        return json_response(202, {"status": "OK"})
