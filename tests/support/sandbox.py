"""Services that run submitted code, as this user and as another one, with things beside them that must stay theirs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence

import pytest

from plexus_scoring.engines.sandbox.confinement import confinement

DRIVER = pathlib.Path(__file__).parents[1] / "integration" / "sandbox" / "driver.py"
SECRET = "canary-" + "secret"
OTHER_USER = 1001
CANARY = "canary of the service"


def unavailable(message: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def require_confinement() -> None:
    """Skip where this machine confines nothing (fail in CI)."""
    missing = asyncio.run(confinement()).missing
    if missing:
        unavailable(missing)


class Service:
    """A process with a sandbox, and what it owns."""

    def __init__(self, process: subprocess.Popen, home: pathlib.Path, folders: Sequence[str]):
        self.process = process
        self.home = home
        self.folders = list(folders)
        self.canaries = [str(path) for path in sorted(home.rglob("*")) if path.is_file()]

    def run(self, code: str, *, command: Sequence[str] = ("python3", "main.py"), **limits) -> dict:
        """Return how a program ended."""
        self.ask(code, command=command, **limits)
        line = self.process.stdout.readline()
        assert line, "the service ended"
        return json.loads(line)

    def ask(self, code: str, *, command: Sequence[str], **limits) -> None:
        """Let the service start a program."""
        asked = {"files": {"main.py": code}, "command": list(command), "limits": limits}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def spoilt(self) -> list[str]:
        """Return what was changed."""
        changed = [path for path in self.canaries if pathlib.Path(path).read_text() != CANARY]
        planted = [
            folder
            for folder in self.folders
            if [path.name for path in pathlib.Path(folder).iterdir()] != ["canary"]
        ]
        return [*changed, *planted]


@contextlib.contextmanager
def service_of_this_user(*, sources: pathlib.Path | None = None) -> Iterator[Service]:
    """Start a service as the tests' own user."""
    with tempfile.TemporaryDirectory(prefix="plexus-test-") as folder:
        home = pathlib.Path(folder)
        _furnish(home)
        with _started(sys.executable, home, [], [], sources) as service:
            yield service


@contextlib.contextmanager
def service_of_another_user(
    place: str, *, sources: pathlib.Path | None = None
) -> Iterator[Service]:
    """Start a service of a user whose home, below `place`, holds its virtual environment."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a service of another user")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = "import sys; print(*sys.version_info[:2])"
    told = python and subprocess.check_output([python, "-c", version], text=True).split()
    if told != [str(part) for part in sys.version_info[:2]]:
        unavailable(f"no Python {sys.version_info[:2]} in /usr/bin: apt-get install python3")
    with contextlib.ExitStack() as stack:
        home = pathlib.Path(tempfile.mkdtemp(prefix="plexus-test-", dir=place))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        _furnish(home)
        folders = []
        for parent in ("/srv", "/opt", "/var/lib", "/var/tmp", "/dev/shm", "/run", "/"):
            folder = tempfile.mkdtemp(prefix="plexus-test-", dir=parent)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            pathlib.Path(folder, "canary").write_text(CANARY)
            folders.append(folder)
        environment = home / "checkout" / ".venv"
        subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
        (packages,) = environment.glob("lib/python3*/site-packages")
        for name in ("msgspec", "plexus_scoring"):
            origin = pathlib.Path(importlib.util.find_spec(name).origin).parent
            shutil.copytree(origin, packages / name)
        shutil.copy(DRIVER, home / "checkout" / "driver.py")
        for path in (home, *home.rglob("*"), *folders, *(f"{f}/canary" for f in folders)):
            os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)
        user = [f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"]
        program = str(environment / "bin" / "python")
        with _started(program, home, ["setpriv", *user], folders, sources) as service:
            yield service


def _furnish(home: pathlib.Path) -> None:
    home.chmod(0o700)
    for name in (".aws/credentials", ".bashrc", "checkout/.env"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(CANARY)


@contextlib.contextmanager
def _started(python, home, prefix, folders, sources) -> Iterator[Service]:
    driver = home / "checkout" / "driver.py"
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "CANARY_SECRET": SECRET,
    }
    if sources is not None:
        environment["PYTHONPATH"] = str(sources)
    with subprocess.Popen(
        [*prefix, python, str(driver if driver.exists() else DRIVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=home,
    ) as process:
        try:
            service = Service(process, home, folders)
            service.canaries = [
                path for path in service.canaries if ".venv" not in path and "driver" not in path
            ]
            yield service
        finally:
            process.stdin.close()
            process.wait()


class CanaryServer:
    """Listens on loopback and on an abstract socket; counts who came."""

    def __init__(self):
        self.name = f"plexus-canary-{os.getpid()}"
        self.visits = 0
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + self.name)
        abstract.listen()
        self._sockets.append(abstract)

    @contextlib.contextmanager
    def serving(self):
        threads = [threading.Thread(target=self._serve, args=(one,)) for one in self._sockets]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for one in self._sockets:
                one.shutdown(socket.SHUT_RDWR)
                one.close()
            for thread in threads:
                thread.join()

    def _serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.visits += 1
            connection.sendall(b"canary")
            connection.close()
