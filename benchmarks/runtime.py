"""What the local Lambda runtime adds to an invocation, against the least that the real runtime client can need.

    python benchmarks/runtime.py [--invocations 2000]

The bare loop is one TCP listener that answers awslambdaric with bytes prepared in advance: no HTTP parser, no pool, no
deadline, no log. Both drive the same handler, which returns its event, in a warm process. Runs alternate, so that a
busy machine weighs on both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY, create_server, socket

from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.function import LocalFunction
from plexus_scoring.local.lambda_runtime import LambdaRuntime

HANDLER = "def handler(event, context):\n    return event\n"
EVENT = b'{"scoring_job_id": "0123456789"}'
ROUNDS = 5

NEXT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Lambda-Runtime-Aws-Request-Id: 00000000-0000-0000-0000-000000000000\r\n"
    b"Lambda-Runtime-Deadline-Ms: 9999999999999\r\n"
    b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:f\r\n"
    b"Lambda-Runtime-Trace-Id: Root=1-0-0\r\n"
    b"Content-Length: " + str(len(EVENT)).encode() + b"\r\n\r\n" + EVENT
)
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class BareLoop:
    """Drives one awslambdaric process with prepared answers."""

    def __init__(self, connection_of: Callable[[], socket]) -> None:
        self._accept = connection_of
        self._connection = self._accept()
        self._read_request()  # the first poll

    def invoke(self) -> None:
        """Answer the waiting poll, take the response, and wait for the next poll."""
        self._connection.sendall(NEXT)
        self._read_request()
        self._connection.sendall(ACCEPTED)
        self._read_request()

    def _read_request(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += self._receive()

    def _receive(self) -> bytes:
        while not (chunk := self._connection.recv(65_536)):
            self._connection = self._accept()  # the client opened a new connection
        return chunk


@contextmanager
def bare_loop(root: Path) -> Iterator[BareLoop]:
    """Start the process and the listener."""
    with create_server(("127.0.0.1", 0)) as listener:

        def accept() -> socket:
            connection, _ = listener.accept()
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            return connection

        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "handler.handler"],
            cwd=root,
            env=os.environ | {"AWS_LAMBDA_RUNTIME_API": address},
        )
        try:
            yield BareLoop(accept)
        finally:
            process.kill()
            process.wait()


def sample(action: Callable[[], object], times: int) -> list[float]:
    """Return the seconds of each call."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds


async def in_process(function: LocalFunction, times: int) -> tuple[float, list[float]]:
    """Return the cold start and the warm invocations, without the Invoke API's HTTP."""
    async with LambdaRuntime(function) as runtime:
        cold = (await runtime.invoke(EVENT)).init_duration or 0.0
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            await runtime.invoke(EVENT)
            seconds.append(time.perf_counter() - started)
    return cold, seconds


def report(name: str, seconds: list[float], bare: list[float]) -> None:
    """Print one line, and its ratio to the bare loop."""
    line = [f"{name:34}"]
    for label, percent in (("p50", 50), ("p99", 99)):
        own, base = (statistics.quantiles(run, n=100)[percent - 1] for run in (seconds, bare))
        line.append(f"{label} {own * 1000:6.2f} ms  ({own / base:4.1f} x bare)")
    print("   ".join(line))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invocations", type=int, default=2000)
    times = parser.parse_args().invocations // ROUNDS
    bare: list[float] = []
    direct: list[float] = []
    over_http: list[float] = []
    cold: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "handler.py").write_text(HANDLER, encoding="utf-8")
        function = LocalFunction(name="echo", handler="handler.handler", task_root=root)
        for _ in range(ROUNDS):
            with bare_loop(root) as loop:
                loop.invoke()
                bare += sample(loop.invoke, times)
            started, seconds = asyncio.run(in_process(function, times))
            cold.append(started)
            direct += seconds
            with LocalLambda([function], root) as served:
                address = served.endpoint_url.removeprefix("http://")
                connection = http.client.HTTPConnection(address)
                path = served.invocations_url("echo").removeprefix(served.endpoint_url)

                def post(
                    connection: http.client.HTTPConnection = connection, path: str = path
                ) -> None:
                    connection.request("POST", path, EVENT)
                    connection.getresponse().read()

                post()
                over_http += sample(post, times)
                connection.close()
    report("bare loop", bare, bare)
    report("local runtime", direct, bare)
    report("local runtime and its Invoke API", over_http, bare)
    print(f"cold start of a trivial handler    median {statistics.median(cold) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
