"""Real servers that a test run owns: each on a free port of the loopback interface, in its own directory.

A server that is not installed skips its tests with the command that brings it; where CI=true it fails them, so
that no run is green for want of a server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.clock import HANG_SECONDS


def require(program: str, *, among: str = "", install: str) -> Path:
    """Return the program's path, or skip (fail in CI) with how to get it.

    `among` is a glob pattern of directories that are not on PATH.
    """
    found = shutil.which(program)
    places = sorted(Path("/").glob(f"{among.lstrip('/')}/{program}")) if among else []
    if places:
        found = str(places[-1])
    if found is None:
        message = f"{program} is not installed: {install}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)


def free_port() -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def private_directory(owner: str | None = None) -> Iterator[Path]:
    """Give a directory outside pytest's own (which other users may not enter), and remove it."""
    path = Path(tempfile.mkdtemp(prefix="plexus-scoring-"))
    try:
        if owner is not None:
            path.chmod(0o755)
            shutil.chown(path, owner, owner)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    log: Path,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; enter the block when `ready` says so.

    It is ended with SIGTERM, and with SIGKILL if it hangs. If it does not come up, the end of its log is shown.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, user=user, group=user,
            extra_groups=[] if user else None, env=env, cwd="/", start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_ready(process, ready, log)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def accepts(port: int) -> bool:
    """Whether something listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def postgresql(*, durable: bool = False) -> Iterator[str]:
    """Run a PostgreSQL cluster and give its SQLAlchemy URL (user and database ``postgres``).

    Without `durable` it does not wait for the disk, which tests of meaning do not need and benchmarks do.
    """
    hint = "apt-get install -y postgresql"
    server = require("postgres", among="/usr/lib/postgresql/*/bin", install=hint)
    initdb = require("initdb", among="/usr/lib/postgresql/*/bin", install=hint)
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    with private_directory(user) as home:
        data, port = home / "data", free_port()
        subprocess.run(
            [initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust",
             "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
            check=True, capture_output=True, user=user, group=user,
            extra_groups=[] if user else None, cwd="/",
        )  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": home,
            "max_connections": 200,
            "fsync": "on" if durable else "off",
            "synchronous_commit": "on" if durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

        def ready() -> bool:
            pid_file = data / "postmaster.pid"
            return pid_file.exists() and "ready" in pid_file.read_text() and accepts(port)

        with running(
            [server, "-D", data, *options], ready=ready, log=home.with_suffix(".log"), user=user
        ):
            try:
                yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
            finally:
                home.with_suffix(".log").unlink(missing_ok=True)


@contextlib.contextmanager
def pgbouncer(url: str, *, server_connections: int = 4) -> Iterator[str]:
    """Run PgBouncer in transaction mode before a PostgreSQL server and give the URL that leads through it."""
    program = require("pgbouncer", among="/usr/sbin", install="apt-get install -y pgbouncer")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    there, port = urlsplit(url), free_port()
    with private_directory(user) as home:
        settings = home / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={there.port} user=postgres\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\nmax_client_conn = 200\n"
            f"default_pool_size = {server_connections}\n"
        )
        settings.chmod(0o644)
        log = home.with_suffix(".log")
        with running([program, settings], ready=lambda: accepts(port), log=log, user=user):
            try:
                yield url.replace(f":{there.port}/", f":{port}/")
            finally:
                log.unlink(missing_ok=True)


def _wait_until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:  # clock: a hang
            state = (
                f"ended with {process.returncode}" if process.returncode is not None else "hangs"
            )
            tail = log.read_text(errors="replace")[-2_000:]
            pytest.fail(f"{process.args!r} {state}:\n{tail}")
        time.sleep(0.05)
