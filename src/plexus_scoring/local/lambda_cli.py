"""What ``plexus-scoring lambda serve`` and ``lambda invoke`` do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from plexus_scoring.local.discovery import find_function
from plexus_scoring.local.emulator import Emulator
from plexus_scoring.local.function import InvokeResult, LocalFunction
from plexus_scoring.local.http import LOOPBACK
from plexus_scoring.local.invoke_api import InvokeApi
from plexus_scoring.local.lambda_runtime import LambdaRuntime
from plexus_scoring.local.log_tail import LogSink
from plexus_scoring.model.errors import ConfigurationError

DEFAULT_PORT = 9000
DEFAULT_TIMEOUT = 300.0


def serve(
    function: str,
    port: int = DEFAULT_PORT,
    *,
    host: str = LOOPBACK,
    timeout: float = DEFAULT_TIMEOUT,
    max_concurrency: int = 4,
    environment: Mapping[str, str] | None = None,
    root: Path | None = None,
    on_ready: Callable[[str], None] | None = None,
    log_sink: LogSink | None = None,
    rie: bool = False,
) -> None:
    """Serve a function at the emulator's address until SIGINT or SIGTERM; returns once its processes have ended.

    Args:
        function: Folder under ``lambda_functions``.
        port: Port, or 0 for any free one.
        host: Address to listen on. Whoever reaches it can run the function.
        timeout: Seconds that one invocation may take.
        max_concurrency: Processes at once; further invocations wait.
        environment: The function's variables; by default those of this process.
        root: Directory with the ``lambda_functions`` folder; by default the shipped one.
        on_ready: Called with the address that takes events; by default it is written to stderr.
        log_sink: Gets what the function writes; by default stderr.
        rie: Under AWS's emulator instead of our own runtime: one event at a time, and its log on stderr.

    Raises:
        NotFound: no such function.
        ConfigurationError: the runtime client or the emulator is missing, or the port is taken.
    """
    local = _local_function(function, timeout, max_concurrency, environment, root)
    if rie:
        _serve_under_emulator(local, host, port, on_ready or _announce)
        return
    asyncio.run(_serve(local, host, port, on_ready or _announce, log_sink or _to_stderr))


def invoke(
    function: str,
    event: bytes,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    environment: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> InvokeResult:
    """Run a function once in a process of its own.

    Args:
        function: Folder under ``lambda_functions``.
        event: JSON.
        timeout: Seconds that the invocation may take.
        environment: The function's variables; by default those of this process.
        root: Directory with the ``lambda_functions`` folder; by default the shipped one.

    Raises:
        NotFound: no such function.
        ConfigurationError: the runtime client is missing.
        InvocationRefused: the event is too large or not JSON.
    """
    local = _local_function(function, timeout, 1, environment, root)
    return asyncio.run(_invoke_once(local, event))


def _local_function(
    name: str,
    timeout: float,
    max_concurrency: int,
    environment: Mapping[str, str] | None,
    root: Path | None,
) -> LocalFunction:
    if importlib.util.find_spec("awslambdaric") is None:
        raise ConfigurationError(
            "the Lambda runtime client is not installed: pip install 'plexus-scoring[local]'"
        )
    task_root, handler = find_function(name, root)
    return LocalFunction(
        name=name,
        handler=handler,
        task_root=task_root,
        environment=os.environ if environment is None else environment,
        timeout=timeout,
        max_concurrency=max_concurrency,
    )


async def _invoke_once(function: LocalFunction, event: bytes) -> InvokeResult:
    async with LambdaRuntime(function) as runtime:
        return await runtime.invoke(event)


async def _serve(
    function: LocalFunction,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    log_sink: LogSink,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(RuntimeError):  # outside the main thread the caller decides
            loop.add_signal_handler(number, stop.set)
    async with LambdaRuntime(function, log_sink) as runtime, contextlib.AsyncExitStack() as stack:
        try:
            api = await stack.enter_async_context(InvokeApi([runtime], host=host, port=port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        on_ready(api.invocations_url())
        await stop.wait()


def _serve_under_emulator(
    function: LocalFunction, host: str, port: int, on_ready: Callable[[str], None]
) -> None:
    with Emulator(function, host=host, port=port) as emulator:
        # SIGINT too: a shell has a command in the background ignore it.
        stops = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, signal.default_int_handler) for number in stops}
        try:
            on_ready(emulator.invocations_url)
            code = emulator.wait()
        except KeyboardInterrupt:
            return
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    raise ConfigurationError(f"the emulator ended with exit status {code}; its log says why")


def _announce(url: str) -> None:
    sys.stderr.write(f"Serving at {url} (Ctrl-C stops)\n")
    sys.stderr.flush()


def _to_stderr(chunk: bytes) -> None:
    sys.stderr.write(chunk.decode("utf-8", "replace"))
    sys.stderr.flush()
