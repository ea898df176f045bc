"""Lambda's Invoke API over HTTP, at the address that the runtime interface emulator has.

``POST /2015-03-31/functions/{name}/invocations``. ``function`` names the only function, as in the emulator; with
several functions the name or the ARN tells which. boto3's Lambda client and ``aws lambda`` work with this address, too;
they may also ask what a function is (``get-function``, ``get-function-configuration``, ``list-functions``).
Source: AWS Lambda API reference, "Invoke", "GetFunction", "ListFunctions".
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from plexus_scoring.local.function import InvocationRefused, InvokeResult, LocalFunction
from plexus_scoring.local.http import LOOPBACK, HttpServer, Request, Response, json_response
from plexus_scoring.local.lambda_runtime import LambdaRuntime

EMULATOR_NAME = "function"
_FUNCTIONS = "/2015-03-31/functions/"
_PATH = re.compile(_FUNCTIONS + r"(?P<name>[^/]+)/invocations")
_DESCRIPTION = re.compile(_FUNCTIONS + r"(?P<name>[^/]+)(?P<configuration>/configuration)?")
# Well above Lambda's limit, so that a payload beyond it gets Lambda's own answer.
_MAX_BODY_BYTES = 32 * 1024 * 1024


class InvokeApi:
    """Serves some functions until closed; use as ``async with``.

    Args:
        runtimes: The functions. Their lives are the caller's.
        host: Address to listen on. Whoever reaches it can run the functions: keep it on loopback.
        port: Port, or 0 for any free one.
    """

    def __init__(
        self, runtimes: Iterable[LambdaRuntime], *, host: str = LOOPBACK, port: int = 0
    ) -> None:
        self._runtimes = {runtime.function.name: runtime for runtime in runtimes}
        self._server = HttpServer(self._route, host=host, port=port, max_body_bytes=_MAX_BODY_BYTES)

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: the port is taken.
        """
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
    def endpoint_url(self) -> str:
        """Base address, as boto3's ``endpoint_url``."""
        return f"http://{self._server.address}"

    def invocations_url(self, name: str = EMULATOR_NAME) -> str:
        """Return the address that runs a function."""
        return f"{self.endpoint_url}/2015-03-31/functions/{name}/invocations"

    async def _route(self, request: Request) -> Response:
        request_id = str(uuid.uuid4())
        try:
            return await self._invoke(request, request_id)
        except InvocationRefused as refusal:
            kind = "User" if refusal.status < 500 else "Service"  # noqa: PLR2004 - HTTP's classes
            return json_response(
                refusal.status,
                {"Type": kind, "message": refusal.message},
                x_amzn_ErrorType=refusal.error_type,
                x_amzn_RequestId=request_id,
            )

    async def _invoke(self, request: Request, request_id: str) -> Response:
        # A page in a browser can post to loopback, and its browser then sends Origin; no Lambda client does.
        if "origin" in request.headers:
            raise _refused(403, "AccessDeniedException", "requests from web pages are refused")
        path = urlsplit(request.path).path
        if request.method == "GET" and (described := self._describe(path)) is not None:
            return described
        match = _PATH.fullmatch(path)
        if match is None:
            raise _refused(404, "ResourceNotFoundException", f"no resource at {request.path}")
        if request.method != "POST":
            raise _refused(405, "InvalidRequestContentException", "use POST to invoke")
        runtime = self._find(unquote(match["name"]))
        headers = {"x-amzn-RequestId": request_id, "X-Amz-Executed-Version": "$LATEST"}
        context = _client_context(request.headers.get("x-amz-client-context"))
        trace_id = request.headers.get("x-amzn-trace-id")
        match request.headers.get("x-amz-invocation-type", "RequestResponse"):
            case "DryRun":
                return Response(204, headers=headers)
            case "Event":
                runtime.invoke_later(
                    request.body, client_context=context, trace_id=trace_id, request_id=request_id
                )
                return Response(202, headers=headers)
            case "RequestResponse":
                result = await runtime.invoke(
                    request.body, client_context=context, trace_id=trace_id, request_id=request_id
                )
                tail = request.headers.get("x-amz-log-type") == "Tail"
                return _answer(result, headers, tail=tail)
            case unknown:
                raise _refused(
                    400, "InvalidParameterValueException", f"unknown invocation type {unknown!r}"
                )

    def _describe(self, path: str) -> Response | None:
        """Return what the functions are, or None for a path that asks for something else."""
        if path in {_FUNCTIONS, _FUNCTIONS.rstrip("/")}:
            found = [describe(runtime.function) for runtime in self._runtimes.values()]
            return json_response(200, {"Functions": found})
        match = _DESCRIPTION.fullmatch(path)
        if match is None:
            return None
        configuration = describe(self._find(unquote(match["name"])).function)
        if match["configuration"]:
            return json_response(200, configuration)
        return json_response(200, {"Configuration": configuration, "Code": {}, "Tags": {}})

    def _find(self, name: str) -> LambdaRuntime:
        short = name.rpartition(":function:")[2].partition(":")[0]
        runtime = self._runtimes.get(short)
        if runtime is None and short == EMULATOR_NAME and len(self._runtimes) == 1:
            runtime = next(iter(self._runtimes.values()))
        if runtime is None:
            known = ", ".join(sorted(self._runtimes))
            raise _refused(
                404, "ResourceNotFoundException", f"Function not found: {name} (here are: {known})"
            )
        return runtime


def describe(function: LocalFunction) -> dict[str, object]:
    """Return a function's configuration as Lambda names it. Its variables are left out: they hold keys."""
    return {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Version": "$LATEST",
        "Handler": function.handler,
        "Runtime": function.runtime,
        "PackageType": "Zip",
        "Timeout": max(1, round(function.timeout)),
        "MemorySize": function.memory_mb,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.name}"},
    }


def _answer(result: InvokeResult, headers: dict[str, str], *, tail: bool) -> Response:
    headers = headers | {"Content-Type": "application/json"}
    if result.function_error is not None:
        headers["X-Amz-Function-Error"] = result.function_error
    if tail:
        headers["X-Amz-Log-Result"] = base64.b64encode(result.log_tail).decode("ascii")
    return Response(200, result.payload, headers)


def _client_context(header: str | None) -> str | None:
    """Return the JSON of the base64 header."""
    if header is None:
        return None
    try:
        return base64.b64decode(header, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _refused(
            400, "InvalidRequestContentException", "X-Amz-Client-Context is not base64 of JSON"
        ) from error


def _refused(status: int, error_type: str, message: str) -> InvocationRefused:
    return InvocationRefused(message, status=status, error_type=error_type)
