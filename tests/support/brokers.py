"""Private RabbitMQ and Redis servers on free ports, started once per test process and ended with it.

They come from Debian's packages. Where one is missing, tests are skipped on a laptop and fail under CI=true.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plexus_scoring.local.leash import kill_group, leash
from tests.support.clock import HANG_SECONDS

RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def missing(what: str, how: str) -> None:
    text = f"{what} is not installed: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@dataclass
class Server:
    """A server process of our own. `port` stays the same over restarts."""

    name: str
    command: list[str]
    port: int
    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=os.environ | self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        leash.hold(self.process.pid)
        limit = time.monotonic() + HANG_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > limit:  # clock: a hang
                log = (self.directory / "output.log").read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"{self.name} did not start:\n{log}")
            time.sleep(0.05)

    def answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as s,
        ):
            s.settimeout(2)
            s.sendall(b"AMQP\x00\x00\x09\x01" if self.name == "rabbitmq" else b"PING\r\n")
            return bool(s.recv(4))
        return False

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()
            leash.release(self.process.pid)
            self.process = None

    def stop(self, seconds: float = HANG_SECONDS) -> None:
        """End it in order."""
        if self.process is None:
            return
        kill_group(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_rabbitmq() -> Server:
    if not (RABBITMQ_BIN / "rabbitmq-server").exists():
        missing("RabbitMQ", "apt-get install -y --no-install-recommends rabbitmq-server")
    directory = Path(tempfile.mkdtemp(prefix="plexus-rabbitmq-"))
    port, dist, epmd = free_port(), free_port(), free_port()
    (directory / "plugins").write_text("[].\n")
    (directory / "rabbitmq.conf").write_text(
        "loopback_users = none\nlog.console.level = warning\nlog.file = false\nlog.console = true\n"
        "disk_free_limit.absolute = 50MB\ncluster_formation.peer_discovery_backend = classic_config\n"
    )
    server = Server(
        name="rabbitmq",
        # Our own epmd in our own process group: the one that Erlang starts by itself would outlive us.
        command=["sh", "-c", f"epmd & exec {RABBITMQ_BIN}/rabbitmq-server"],
        port=port,
        directory=directory,
        env={
            "PATH": f"{RABBITMQ_BIN}:{os.environ['PATH']}",
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"plexus{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            # Two schedulers that do not spin: the tests need the processor.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        },
    )
    server.start()
    return server


def start_redis() -> Server:
    program = shutil.which("redis-server")
    if program is None:
        missing("Redis", "apt-get install -y --no-install-recommends redis-server")
    directory = Path(tempfile.mkdtemp(prefix="plexus-redis-"))
    port = free_port()
    server = Server(
        name="redis",
        command=[
            str(program),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        ],
        port=port,
        directory=directory,
    )
    server.start()
    return server


@functools.cache
def rabbitmq() -> Server:
    """The test process's RabbitMQ."""
    server = start_rabbitmq()
    atexit.register(server.close)
    return server


@functools.cache
def redis() -> Server:
    """The test process's Redis."""
    server = start_redis()
    atexit.register(server.close)
    return server


def rabbitmq_url(port: int | None = None) -> str:
    return f"amqp://guest:guest@127.0.0.1:{port or rabbitmq().port}/?heartbeat={HANG_SECONDS}"


def redis_url(port: int | None = None) -> str:
    return f"redis://127.0.0.1:{port or redis().port}/0"
