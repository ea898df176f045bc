"""The processes that render templates: few, warm, and ended as soon as a template runs too long or grows too large."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
import io
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Final

from plexus_scoring.model.errors import BudgetExceeded, EngineUnavailable, ScoreFailed

MAX_SECONDS: Final = 5.0
START_SECONDS: Final = 60.0
_MAX_ANSWER: Final = 64 * 1024 * 1024
_WORKER: Final = pathlib.Path(__file__).with_name("worker.py")


class Pool:
    """Renders templates in processes of its own. It belongs to no event loop; a process starts when one is needed.

    Args:
        size: How many templates are rendered at the same time; None: one a processor, at least two.
        seconds: How long one may take by the clock.
    """

    def __init__(self, *, size: int | None = None, seconds: float = MAX_SECONDS) -> None:
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(
            size or max(2, os.cpu_count() or 1), thread_name_prefix="templates"
        )
        self._idle: list[Process] = []
        self._lock = threading.Lock()

    async def render(
        self, source: str, values: Mapping[str, Any], *, escaping: bool = False
    ) -> tuple[int, str]:
        """Return the kind of answer (see `worker`) and its text. If the caller is cancelled, the process is ended.

        Raises:
            BudgetExceeded: The template ran too long, took too much memory, or ended its process twice.
            ScoreFailed: The values are nested too deeply.
            EngineUnavailable: No process could be started.
        """
        call = _Call()
        done = self._threads.submit(self._run, call, source, values, escaping)
        try:
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            done.cancel()
            call.cancel()
            raise

    def close(self) -> None:
        """End the idle processes. Rendering again starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _run(
        self,
        call: _Call,
        source: str,
        values: Mapping[str, Any],
        escaping: bool,  # noqa: FBT001
    ) -> tuple[int, str]:
        request = _packed((source, escaping, values))
        with self._lock:
            warm = self._idle.pop() if self._idle else None
        try:
            return self._ask(warm or Process(), call, request)
        except ProcessEnded as ended:
            # Its memory may be what earlier templates left, and a crash somebody else's: a fresh process decides.
            if call.cancelled or (warm is None and ended.out_of_memory):
                raise BudgetExceeded(f"the template was stopped: {ended}") from ended
        try:
            return self._ask(Process(), call, request)
        except ProcessEnded as ended:
            raise BudgetExceeded(f"the template was stopped: {ended}") from ended

    def _ask(self, process: Process, call: _Call, request: bytes) -> tuple[int, str]:
        try:
            call.hold(process)
            answer = process.ask(request, self.seconds)
        except BaseException:
            process.end()
            raise
        finally:
            call.hold(None)
        with self._lock:
            self._idle.append(process)
        return answer


class _Call:
    """A caller's hold on the process that renders for it."""

    def __init__(self) -> None:
        self.cancelled = False
        self._process: Process | None = None
        self._lock = threading.Lock()

    def hold(self, process: Process | None) -> None:
        with self._lock:
            self._process = process
            if process is not None and self.cancelled:
                process.kill()

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._process is not None:
                self._process.kill()


class ProcessEnded(Exception):
    """A process ended while it rendered."""

    def __init__(self, code: int | None) -> None:
        from plexus_scoring.engines.portable.templates import worker  # noqa: PLC0415 - imports jinja2

        self.out_of_memory = code == worker.OUT_OF_MEMORY
        super().__init__(
            f"more than {worker.MAX_MEMORY // 1024 // 1024} MiB of memory"
            if self.out_of_memory
            else f"its process ended with the exit code {code}"
        )


class Process:
    """One `worker`. Raises EngineUnavailable if it does not start."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        try:
            with theirs:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                    [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_WORKER), *_directories()],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            self._connection.close()
            raise EngineUnavailable(
                f"no process for templates could be started: {error}. Free memory or processes."
            ) from error
        try:
            self._read(1, time.monotonic() + START_SECONDS)
        except (OSError, ProcessEnded) as error:
            self.end()
            raise EngineUnavailable(
                f"the process for templates did not start (exit code {self._process.returncode}): "
                f"run {sys.executable} -I {_WORKER} to see why"
            ) from error

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ask(self, request: bytes, seconds: float) -> tuple[int, str]:
        """Return the answer to a packed request. After an error the process is of no more use.

        Raises:
            BudgetExceeded: There is none after so many seconds.
            ProcessEnded: The process ended.
        """
        from plexus_scoring.engines.portable.templates.worker import (  # noqa: PLC0415 - imports jinja2
            ANSWER,
            REQUEST,
        )

        deadline = time.monotonic() + seconds
        try:
            self._connection.settimeout(seconds)
            self._connection.sendall(REQUEST.pack(len(request), seconds + 1) + request)
            kind, size = ANSWER.unpack(self._read(ANSWER.size, deadline))
            if size > _MAX_ANSWER:
                raise ProcessEnded(None)
            return kind, self._read(size, deadline).decode("utf-8", "surrogatepass")
        except TimeoutError:
            raise BudgetExceeded(f"the template was stopped: longer than {seconds:g} s") from None
        except (OSError, ValueError) as error:
            raise ProcessEnded(self.end()) from error

    def kill(self) -> None:
        """End it without waiting, from any thread."""
        self._process.kill()

    def end(self) -> int:
        """End it, and return its exit code."""
        self._process.kill()
        self._connection.close()
        return self._process.wait()

    def _read(self, size: int, deadline: float) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
            count = self._connection.recv_into(view)
            if not count:
                raise ProcessEnded(self.end())
            view = view[count:]
        return buffer


def _directories() -> list[str]:
    found: dict[str, None] = {}
    for name in ("jinja2", "markupsafe"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            found[str(pathlib.Path(spec.origin).parents[1])] = None
    return list(found)


def _environment() -> dict[str, str]:
    # AWS Lambda's interpreter finds its own library by this variable.
    path = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": path} if path else {}


_KEPT: Final = (
    Decimal,
    dt.date,
    dt.datetime,
    dt.time,
    dt.timedelta,
    dt.timezone,
)
_MADE: Final = (*_KEPT, str, int, float, dict, list, SimpleNamespace)


class _Pickler(pickle.Pickler):
    """Reduces values to plain data: of other objects a template sees the attributes, and no method is called."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind in _KEPT or (kind is type and value in _MADE):
            return NotImplemented
        for base, make in _REDUCED:
            if isinstance(value, base):
                return make(value)
        return SimpleNamespace, (), dict(getattr(value, "__dict__", {}))


# Subclasses of these are taken for them, without a call of the subclass's own methods where that is possible.
_REDUCED: Final[Sequence[tuple[type, Callable[[Any], Any]]]] = (
    (str, lambda value: (str, (str.__str__(value),))),
    (int, lambda value: (int, (int.__pos__(value),))),
    (float, lambda value: (float, (float.__pos__(value),))),
    (Mapping, lambda value: (dict, (dict(value),))),
    (Sequence, lambda value: (list, (list(value),))),
    (AbstractSet, lambda value: (list, (list(value),))),
    (type, lambda value: (str, (type.__repr__(value),))),
)


def _packed(request: tuple[str, bool, Mapping[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=5).dump(request)
    except RecursionError as error:
        raise ScoreFailed("a value that the template reads is nested too deeply") from error
    return buffer.getvalue()


POOL: Final = Pool()
"""The service's pool."""
