"""The process that renders templates: it reads requests from its standard input, and answers there.

`pool` starts it as ``python -I -S worker.py DIRECTORY…`` with the directories of jinja2 and markupsafe and with an
empty environment. Once all is imported the process gives up what it does not need: it can then open no file or socket,
start no process, and grow by `MAX_MEMORY` only. Nothing of this package is imported here.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path += sys.argv[1:]

import contextlib
import os
import pickle
import signal
import struct
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import jinja2
from jinja2.runtime import Undefined
from jinja2.sandbox import SandboxedEnvironment, modifies_known_mutable
from markupsafe import Markup

MAX_MEMORY: Final = 256 * 1024 * 1024
MAX_OUTPUT: Final = 8_000_000
MAX_MESSAGE: Final = 2_000
OUT_OF_MEMORY: Final = 3
"""The process's exit code once its memory is used up."""

READY: Final = b"r"
TEXT, SCORECARD_ERROR, FAILED, BUDGET_EXCEEDED = range(4)
REQUEST: Final = struct.Struct("<Id")
"""The request's length in bytes, and the processor time that it may take in seconds. The pickled request follows."""

ANSWER: Final = struct.Struct("<BI")
"""One of the kinds above, and the length in bytes of the text that follows."""

_CACHED_TEMPLATES: Final = 128
_CACHED_LENGTH: Final = 20_000
_NOBODY: Final = 65534
# Filters, error messages and values import these when they are first used, and then no file can be opened any more.
_NEEDED_LATER: Final = (
    "ctypes", "datetime", "decimal", "encodings.ascii", "encodings.cp1252", "encodings.idna", "encodings.latin_1",
    "encodings.punycode", "encodings.unicode_escape", "encodings.utf_16", "encodings.utf_32", "html",
    "jinja2.constants", "jinja2.debug", "pprint", "textwrap", "unicodedata",
)  # fmt: skip


class PromptEnvironment(SandboxedEnvironment):
    """Jinja2's sandbox, with Plexus's treatment of what is missing. No template changes what it was given.

    Attributes:
        given: The values of the template that is being rendered. None: every value is taken for one of them.
    """

    given: Mapping[str, Any] | None = None

    def __init__(self, *, escaping: bool = False) -> None:
        super().__init__(
            undefined=jinja2.ChainableUndefined,
            autoescape=escaping,
            cache_size=0,
            optimized=False,
        )
        self.globals["range"] = range  # the sandbox's own refuses more than 100,000
        self.globals.pop("lipsum", None)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read it: nothing private, and nothing that changes what the template was given."""
        if not super().is_safe_attribute(obj, attr, value):
            return False
        return not (modifies_known_mutable(obj, attr) and self._is_given(obj))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Raise: an undefined value would render empty, and the author must learn that this cannot work."""
        kind = "str" if isinstance(obj, str) else type(obj).__name__
        raise jinja2.exceptions.SecurityError(
            f"access to {attribute!r} of a {kind} is not allowed in a template"
        )

    def _is_given(self, value: Any) -> bool:
        """Tell whether `value` is one of the template's inputs or a part of one; its own lists it may change."""
        stack: list[Any] = [self.given]
        seen: set[int] = set()
        while stack:
            item = stack.pop()
            if item is value or item is None:
                return True
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, Mapping):
                stack.extend(part for part in item.values() if part is not None)
            elif isinstance(item, (list, tuple, set)):
                stack.extend(part for part in item if part is not None)
            elif hasattr(item, "__dict__"):
                stack.extend(part for part in vars(item).values() if part is not None)
        return False


_ENVIRONMENTS: Final = {
    escaping: PromptEnvironment(escaping=escaping) for escaping in (False, True)
}


@lru_cache(maxsize=_CACHED_TEMPLATES)
def _compiled(source: str, *, escaping: bool) -> jinja2.Template:
    return _ENVIRONMENTS[escaping].from_string(source)


def render(source: str, values: Mapping[str, Any], *, escaping: bool) -> tuple[int, str]:
    """Return the kind of the answer, and the text or the error's message. Raises MemoryError."""
    environment = _ENVIRONMENTS[escaping]
    try:
        compile_ = _compiled if len(source) <= _CACHED_LENGTH else _compiled.__wrapped__
        compiled = compile_(source, escaping=escaping)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - also Python's compiler, for example of 21 loops within each other
        return SCORECARD_ERROR, _refusal(error)
    try:
        if escaping:
            values = {name: _marked(value) for name, value in values.items()}
        environment.given = values
        return TEXT, _joined(compiled.generate(values))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a template may raise
        return _failure(error)
    finally:
        environment.given = {}


def _refusal(error: Exception) -> str:
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"template line {error.lineno}: {error.message}"
    return f"template: {'nested too deeply' if isinstance(error, RecursionError) else error}"


def _failure(error: Exception) -> tuple[int, str]:
    if isinstance(error, _TooLong):
        message = f"its output is longer than {MAX_OUTPUT:,} characters"
        return BUDGET_EXCEEDED, f"the template was stopped: {message}"
    if isinstance(error, RecursionError):
        return BUDGET_EXCEEDED, "the template was stopped: its macros call each other endlessly"
    if isinstance(error, jinja2.exceptions.SecurityError):
        return SCORECARD_ERROR, f"template{_line(error)}: {error}"
    return FAILED, f"template{_line(error)}: {type(error).__name__}: {error}"


class _TooLong(Exception):
    pass


def _joined(chunks: Iterator[str]) -> str:
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_OUTPUT:
            raise _TooLong
        parts.append(chunk)
    return "".join(parts)


def _marked(value: Any) -> Any:
    """Return `value` with its texts marked as not to be escaped."""
    if isinstance(value, str):
        return Markup(value)  # noqa: S704 - the prompt goes to a model, as text, not to a browser
    if isinstance(value, Mapping):
        return {key: _marked(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_marked(part) for part in value]
    return tuple(map(_marked, value)) if isinstance(value, tuple) else value


def _line(error: BaseException) -> str:
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == "<template>"
    ]
    return f" line {lines[-1]}" if lines else ""


def confine() -> None:
    """Give up what rendering does not need, for good. What the system does not offer is left out."""
    import resource  # noqa: PLC0415 - not on every system that imports this module

    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    with contextlib.suppress(OSError):
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib is not imported here
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MAX_MEMORY, size + MAX_MEMORY))
    for name in ("CORE", "FSIZE", "NPROC", "NOFILE"):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (0, 0))
    if sys.platform == "linux":
        _filter_system_calls()


_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_SYSTEM_CALLS: Final = {
    "brk": (12, 214), "clock_gettime": (228, 113), "exit": (60, 93), "exit_group": (231, 94), "futex": (202, 98),
    "getpid": (39, 172), "getrandom": (318, 278), "madvise": (28, 233), "mmap": (9, 222), "mprotect": (10, 226),
    "mremap": (25, 216), "munmap": (11, 215), "read": (0, 63), "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sched_yield": (24, 124),
    "setitimer": (38, 103), "write": (1, 64),
}  # fmt: skip
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_REFUSE, _ALLOW = 0x00050001, 0x7FFF0000  # EPERM


def _filter_system_calls() -> None:
    import ctypes  # noqa: PLC0415 - only for this process

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0)
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        return
    column, architecture = _ARCHITECTURES[machine]
    allowed = [numbers[column] for numbers in _SYSTEM_CALLS.values()]
    count = len(allowed)
    program = [
        (_LOAD, 0, 0, 4),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
        *((_JUMP_IF_EQUAL, count - place, 0, number) for place, number in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), header, 0, 0)


def _read(size: int) -> bytearray:
    buffer = bytearray()
    while len(buffer) < size:
        part = os.read(0, min(size - len(buffer), 1 << 20))
        if not part:
            os._exit(0)  # the service is gone
        buffer += part
    return buffer


def _write(answer: bytes) -> None:
    view = memoryview(answer)
    while view:
        view = view[os.write(0, view) :]


def _serve() -> None:
    while True:
        size, seconds = REQUEST.unpack(_read(REQUEST.size))
        signal.setitimer(signal.ITIMER_PROF, seconds)  # ends the process, should nobody else
        source, escaping, values = pickle.loads(_read(size))  # noqa: S301 - the service wrote it
        kind, text = render(source, values, escaping=escaping)
        if kind != TEXT:
            text = text[:MAX_MESSAGE]
        body = text.encode("utf-8", "surrogatepass")
        _write(ANSWER.pack(kind, len(body)) + body)
        del source, values, text, body


def main() -> None:
    """Render until the service closes the connection or the memory is used up."""
    for name in _NEEDED_LATER:
        __import__(name)
    confine()
    _write(READY)
    try:
        _serve()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
