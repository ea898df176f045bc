"""Runs commands in a virtual machine of E2B, made for the purpose and removed afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import shlex
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plexus_scoring.engines.sandbox.base import SandboxLimits, SandboxResult
from plexus_scoring.engines.sandbox.local import check_path
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, ProviderDown

if TYPE_CHECKING:
    from e2b import AsyncSandbox

log = logging.getLogger(__name__)

LIFETIME_SECONDS = 900
"""After which E2B itself ends the machine, whatever became of us."""

ROUND_TRIP_SECONDS = 30.0
_TRANSPORTS = frozenset({"httpx", "pyqwest", "connectrpc"})
_KILLED = 137
_NO_WORKSPACE = 125

# The output goes to files first: what the program prints is then complete and bounded before any of it travels.
# The last line is ours: exit code, then seconds of wall clock, user and system time.
_SCRIPT = """\
cp -r {root}/src {run} && cd {run} || exit {no_workspace}
export HOME={run} TMPDIR={run}
TIMEFORMAT='%R %U %S'
{{ time {{ ( ulimit -c 0; ulimit -v {memory_kb}; ulimit -t {cpu}; ulimit -f {disk_kb}; ulimit -n {files}; \
ulimit -u {processes}; exec timeout -s KILL {seconds} {command} \
<{run}.in >{run}.out 2>{run}.err ) ; }} ; }} 2>{run}.time
code=$?
head -c {most} {run}.out
head -c {most} {run}.err >&2
printf '\\n%s %s' "$code" "$(tail -n 1 {run}.time)"
"""


class E2BSandbox:
    """E2B (``E2B_API_KEY``; ``E2B_DOMAIN`` for one's own; ``TEMPLATE_ID`` or E2B's base template).

    The machine has no way to the internet. A submission owns it until it is removed, also while a later command
    of the same workspace runs.

    Args:
        environ: Where the variables are looked up. Default: the process's environment.

    Raises:
        ConfigurationError: no key, or the e2b extra is not installed.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        if not environ.get("E2B_API_KEY"):
            raise ConfigurationError("no key for E2B: set E2B_API_KEY, or PLEXUS_SANDBOX=local")
        self._template = environ.get("TEMPLATE_ID") or environ.get("E2B_TEMPLATE_ID") or None
        self._options = {
            option: environ[name]
            for option, name in (
                ("api_key", "E2B_API_KEY"),
                ("domain", "E2B_DOMAIN"),
                ("api_url", "E2B_API_URL"),
                ("sandbox_url", "E2B_SANDBOX_URL"),
                ("http_version", "E2B_HTTP_VERSION"),
            )
            if environ.get(name)
        }

    @contextlib.asynccontextmanager
    async def open(self, files: Mapping[str, bytes]) -> AsyncIterator[E2BWorkspace]:
        """Create a machine with these files. See `Sandbox.open`."""
        for path in files:
            check_path(path)
        with _translated():
            machine = await self._create()
        try:
            root = f"/tmp/plexus-{uuid.uuid4().hex}"  # noqa: S108  in a machine of its own
            with _translated():
                await machine.files.write_files(
                    [
                        {"path": f"{root}/src/{path}", "data": content}
                        for path, content in files.items()
                    ],
                    use_octet_stream=True,
                )
            yield E2BWorkspace(machine, root)
        finally:
            await asyncio.shield(_remove(machine))

    async def aclose(self) -> None:
        """Do nothing: every workspace removes its machine."""

    async def _create(self) -> AsyncSandbox:
        try:
            from e2b import AsyncSandbox  # noqa: PLC0415  an extra
        except ImportError as error:
            raise ConfigurationError(
                "the e2b package is not installed: pip install 'plexus-scoring[e2b]'"
            ) from error
        options: Any = self._options
        return await AsyncSandbox.create(
            self._template, timeout=LIFETIME_SECONDS, allow_internet_access=False, **options
        )


class E2BWorkspace:
    """Files in one machine. Each command gets a fresh copy of them."""

    def __init__(self, machine: AsyncSandbox, root: str) -> None:
        self._machine = machine
        self._root = root
        self._numbers = itertools.count(1)

    async def run(
        self,
        command: Sequence[str],
        *,
        stdin: str = "",
        limits: SandboxLimits | None = None,
    ) -> SandboxResult:
        """Run a command. See `Workspace.run`."""
        limits = limits or SandboxLimits()
        run = f"{self._root}/run-{next(self._numbers)}"
        with _translated():
            await self._machine.files.write(f"{run}.in", stdin.encode("utf-8", "surrogatepass"))
            ended = await self._machine.commands.run(
                _script(self._root, run, command, limits),
                timeout=limits.seconds + ROUND_TRIP_SECONDS,
            )
        return _result(ended.stdout, ended.stderr, limits)


def _script(root: str, run: str, command: Sequence[str], limits: SandboxLimits) -> str:
    return _SCRIPT.format(
        root=root,
        run=run,
        no_workspace=_NO_WORKSPACE,
        memory_kb=limits.memory_bytes // 1024,
        cpu=limits.cpu_seconds or math.ceil(limits.seconds),
        disk_kb=limits.disk_bytes // 1024,
        files=limits.open_files,
        processes=limits.processes,
        seconds=limits.seconds,
        command=shlex.join(command),
        most=limits.output_bytes + 1,
    )


def _result(stdout: str, stderr: str, limits: SandboxLimits) -> SandboxResult:
    output, _, last = stdout.rpartition("\n")
    try:
        code, wall, user, system = (float(word) for word in last.split())
    except ValueError as error:
        raise EngineUnavailable("E2B: the command's end was not reported") from error
    most = limits.output_bytes
    exceeded = len(output.encode()) > most or len(stderr.encode()) > most
    timed_out = code == _KILLED and wall >= limits.seconds
    return SandboxResult(
        exit_code=None if timed_out or exceeded else int(code),
        stdout=output.encode()[:most].decode("utf-8", "replace"),
        stderr=stderr.encode()[:most].decode("utf-8", "replace"),
        seconds=wall,
        cpu_seconds=user + system,
        timed_out=timed_out,
        output_exceeded=exceeded,
        isolation=("machine", "network"),
    )


async def _remove(machine: AsyncSandbox) -> None:
    for pause in (0.2, 1.0, None):
        try:
            await machine.kill()
        except Exception:
            if pause is None:
                log.warning("an E2B sandbox could not be removed: it ends by itself", exc_info=True)
            else:
                await asyncio.sleep(pause)
        else:
            return


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise what the SDK raises as our own errors."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: Exception) -> ConfigurationError | EngineUnavailable | None:
    import e2b  # noqa: PLC0415  an extra, imported by now
    from e2b.exceptions import ServiceBusyException  # noqa: PLC0415

    if isinstance(error, (ConfigurationError, EngineUnavailable)):
        return error
    if isinstance(error, e2b.AuthenticationException):
        return ConfigurationError("E2B refuses the key: check E2B_API_KEY and E2B_DOMAIN")
    refused = getattr(error, "status_code", None) in (400, 404)
    if refused or isinstance(error, (e2b.NotFoundException, e2b.InvalidArgumentException)):
        return ConfigurationError(f"E2B: {error}; check TEMPLATE_ID")
    from_the_network = type(error).__module__.partition(".")[0] in _TRANSPORTS
    known = isinstance(error, (e2b.SandboxException, ServiceBusyException, OSError))
    if known or from_the_network:
        return ProviderDown(f"E2B: {type(error).__name__}: {error}")
    return None
