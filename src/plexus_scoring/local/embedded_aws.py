"""The embedded AWS: ministack, in an environment and a process of its own, reachable from this machine only.

It pins an old botocore, hence its own virtual environment, which ``make setup`` makes. Facts about what it
can and cannot do stand in ``docs/local-lambda.md``.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plexus_scoring.local.function import LOCAL_ACCOUNT, LOCAL_REGION
from plexus_scoring.local.http import LOOPBACK
from plexus_scoring.local.leash import kill_group, leash
from plexus_scoring.model.errors import ConfigurationError, StoreUnavailable

PYTHON_VARIABLE = "PLEXUS_LOCAL_MINISTACK_PYTHON"
_ENVIRONMENT_FOLDER = ".venv-ministack"
_START_TIMEOUT = 60.0
_STOP_GRACE = 5.0
_POLL = 0.02
_ATTEMPTS = 3


class EmbeddedAws:
    """SQS, DynamoDB, S3 and Lambda on a free loopback port; use as ``with`` or ``async with``.

    Everything is in memory and gone when it stops. It does not check permissions.

    Args:
        log_file: Where its log goes; by default a file in its temporary folder.
        python: Interpreter that has ministack; by default `find_python`.
    """

    def __init__(self, *, log_file: Path | None = None, python: Path | None = None) -> None:
        self._python = python
        self._log_file = log_file
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def endpoint_url(self) -> str:
        """Address of every service, as AWS_ENDPOINT_URL takes it."""
        if self._process is None:
            raise RuntimeError("the embedded AWS is not started")
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """Process id, which is also its process group."""
        if self._process is None:
            raise RuntimeError("the embedded AWS is not started")
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """Return the variables that point any AWS client at it, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": LOCAL_REGION,
            "AWS_DEFAULT_REGION": LOCAL_REGION,
            "AWS_ACCESS_KEY_ID": LOCAL_ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": LOOPBACK,
        }

    def client(self, service: str, **config: Any) -> Any:
        """Return a boto3 client of it, whatever profile or proxy the caller's own environment names.

        Args:
            service: For example ``sqs``.
            config: Further arguments of botocore's Config.
        """
        import boto3  # noqa: PLC0415 - 0.2 s that starting alone does not need
        from botocore.config import Config  # noqa: PLC0415

        values = self.environment()
        session = boto3.Session(
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name=LOCAL_REGION,
        )
        make: Any = session.client  # its overloads name every service; here it is a variable
        return make(service, endpoint_url=self.endpoint_url, config=Config(proxies={}, **config))

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ConfigurationError: ministack is not installed.
            StoreUnavailable: it ended, or does not answer within a minute; shows the end of its log.
        """
        python = self._python or find_python()
        self._folder = tempfile.TemporaryDirectory(prefix="plexus-aws-")
        log_file = self._log_file or Path(self._folder.name) / "ministack.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        problem = ""
        for _ in range(
            _ATTEMPTS
        ):  # another process may take the port between our look and its bind
            self._port = _free_port()
            self._process = self._spawn(python, log_file)
            leash.hold(self._process.pid)
            try:
                problem = self._wait_until_ready(self._process)
            except BaseException:
                self.stop()
                raise
            if not problem:
                return
            self._end_process()
        log = log_file.read_text(encoding="utf-8", errors="replace")[-1500:]
        self.stop()
        raise StoreUnavailable(f"the embedded AWS did not start ({problem}); its log ends: {log}")

    def stop(self) -> None:
        """Stop it and delete what it wrote. Stopping twice is fine."""
        self._end_process()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start, without holding up the event loop."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, without holding up the event loop."""
        await asyncio.to_thread(self.stop)

    def _spawn(self, python: Path, log_file: Path) -> subprocess.Popen[bytes]:
        if self._folder is None:
            raise RuntimeError("the embedded AWS has no folder")
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "TMPDIR": self._folder.name,
            "BIND_HOST": LOOPBACK,  # ministack's own default is every interface
            "MINISTACK_HOST": LOOPBACK,
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_REGION": LOCAL_REGION,
            "MINISTACK_ACCOUNT_ID": LOCAL_ACCOUNT,
            "LAMBDA_EXECUTOR": "local",
        }
        with log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the interpreter that the developer set up
                [python, "-m", "ministack"],
                cwd=self._folder.name,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> str:
        """Return what is wrong, or nothing once it is ready."""
        give_up = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < give_up:
            if process.poll() is not None:
                return f"exit status {process.returncode}"
            if _is_ready(self._port):
                return ""
            time.sleep(_POLL)
        return f"no answer within {_START_TIMEOUT:.0f} s"

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        kill_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_GRACE)
        kill_group(process.pid)  # its warm function workers share the group
        process.wait()
        leash.release(process.pid)


def find_python() -> Path:
    """Return the interpreter that has ministack.

    In this order: the one that PLEXUS_LOCAL_MINISTACK_PYTHON names, ``.venv-ministack`` in the working directory
    or beside the source, this interpreter.

    Raises:
        ConfigurationError: there is none; says how to get it.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigurationError(f"{PYTHON_VARIABLE} names {named}, which is not a file")
        return Path(named)
    for root in (Path.cwd(), *Path(__file__).resolve().parents):
        python = root / _ENVIRONMENT_FOLDER / "bin" / "python"
        if python.is_file():
            return python
    if importlib.util.find_spec("ministack") is not None:
        return Path(sys.executable)
    raise ConfigurationError(
        "the embedded AWS (ministack) is not installed: run `make setup` in the checkout, "
        f"or let {PYTHON_VARIABLE} name a Python that has ministack"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/_ministack/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
