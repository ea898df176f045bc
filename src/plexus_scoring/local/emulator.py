"""AWS's Lambda runtime interface emulator in front of a function: AWS's program in place of our own runtime.

``make rie`` fetches it. It runs one process, one event at a time, and answers at the same address as `InvokeApi`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from plexus_scoring.local.function import LocalFunction
from plexus_scoring.local.http import LOOPBACK
from plexus_scoring.local.leash import kill_group, kill_session, leash
from plexus_scoring.model.errors import ConfigurationError

PROGRAM = "aws-lambda-rie"
_FOLDER = Path("build") / "rie"
_START_SECONDS = 30.0
_STOP_GRACE = 5.0
_POLL = 0.02


def find_emulator() -> Path:
    """Return the emulator's program: the one on PATH, else the one that ``make rie`` fetched.

    Raises:
        ConfigurationError: neither is there.
    """
    if (found := shutil.which(PROGRAM)) is not None:
        return Path(found)
    for root in Path(__file__).resolve().parents:
        if (fetched := root / _FOLDER / PROGRAM).is_file():
            return fetched
    raise ConfigurationError(
        f"{PROGRAM}, the Lambda runtime interface emulator, is not on PATH: run `make rie` in the checkout, "
        "or leave out --rie"
    )


class Emulator:
    """One function under the emulator; use as ``with``.

    Args:
        function: The function. Its `max_concurrency` counts for nothing here.
        host: Address to listen on. Whoever reaches it can run the function.
        port: Port, or 0 for any free one.
        program: The emulator; by default `find_emulator`.
        log: File that gets what emulator and function write; by default stderr.
    """

    def __init__(
        self,
        function: LocalFunction,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        program: Path | None = None,
        log: BinaryIO | None = None,
    ) -> None:
        self._function = function
        self._address = (host, port)
        self._program = program
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it, and wait until it listens. The function's process starts with the first event.

        Raises:
            ConfigurationError: there is no emulator, the port is taken, or it ends at once.
        """
        program = self._program or find_emulator()
        host, port = self._address
        self._address = (host, _free_port(host, port))
        self._process = self._spawn(program)
        leash.hold(self._process.pid)
        try:
            self._wait_until_it_listens(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def invocations_url(self) -> str:
        """The address that runs the function."""
        host, port = self._address
        return f"http://{host}:{port}/2015-03-31/functions/function/invocations"

    def wait(self) -> int:
        """Wait until it ends, and return its exit status."""
        if self._process is None:
            raise RuntimeError("the emulator is not started")
        return self._process.wait()

    def stop(self) -> None:
        """End it and, through it, the function's process. Stopping twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        kill_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_GRACE)
        # The function's process is in a group of its own, and it may just have begun another.
        kill_session(process.pid)
        process.wait()
        leash.release(process.pid)

    def _spawn(self, program: Path) -> subprocess.Popen[bytes]:
        function, (host, port) = self._function, self._address
        runtime_api = f"{LOOPBACK}:{_free_port(LOOPBACK, 0)}"
        environment = function.process_environment(runtime_api, "$LATEST")
        # It sets this one for the function's process, and takes its own presence for running on Lambda.
        del environment["AWS_LAMBDA_RUNTIME_API"]
        environment["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(max(1, round(function.timeout)))
        addresses = [
            "--runtime-interface-emulator-address", f"{host}:{port}",
            "--runtime-api-address", runtime_api,
        ]  # fmt: skip
        return subprocess.Popen(  # noqa: S603 - the program that the developer named
            [program, *addresses, *function.command],
            cwd=function.task_root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2
            if self._log is None
            else self._log,  # what is on stdout may be for a program to read
            stderr=self._log,
            start_new_session=True,
        )

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        host, port = self._address
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if (code := process.poll()) is not None:
                raise ConfigurationError(f"{PROGRAM} ended at once with exit status {code}")
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                time.sleep(_POLL)
            else:
                return
        raise ConfigurationError(f"{PROGRAM} does not listen on {host}:{port}")


def _free_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0.

    Raises:
        ConfigurationError: it is taken. The emulator itself ends without a word then.
    """
    try:
        with socket.create_server((host, port)) as probe:
            found: int = probe.getsockname()[1]
            return found
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; choose another --port"
        ) from error
