"""What a score's Lua may reach of Python: tactus's own primitives and plain values, nothing behind them.

Lua gets Python objects, and tactus hides only names with an underscore. ``File.base_path`` is a `pathlib.Path`, whose
methods read and write any file; the execution context leads to the runtime. So a list says what may be reached.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

_PLAIN = (
    bool, bytes, date, Decimal, dict, float, frozenset, int, list, set, str, time, timedelta, tuple, type(None),
)  # fmt: skip
_PRIMITIVES = (
    "tactus.core.dsl_stubs", "tactus.dspy.", "tactus.primitives.", "tactus.protocols.", "tactus.stdlib.",
)  # fmt: skip
_LUA = ("_LuaCoroutineFunction", "_LuaFunction", "_LuaTable", "_LuaThread")


def restrain_tactus() -> None:
    """Take from Lua what tactus leaves to it: Python's `eval`, its objects, the environment, files elsewhere."""
    sandbox: Any = importlib.import_module("tactus.core.lua_sandbox")
    files: Any = importlib.import_module("tactus.primitives.file").FilePrimitive
    libraries: Any = importlib.import_module("tactus.utils.safe_libraries")
    if getattr(sandbox.LuaRuntime, "__module__", None) == __name__:
        return
    sandbox.LuaRuntime = _runtime(sandbox.LuaRuntime)
    make_os = libraries.create_safe_os_library
    resolve = files._resolve_path  # noqa: SLF001  there is no setting for it

    def os_library(*arguments: Any, **options: Any) -> dict[str, Any]:
        # The providers' keys are in the environment.
        library: dict[str, Any] = make_os(*arguments, **options)
        return library | {"getenv": lambda *_: None}

    def resolve_inside(self: Any, path: str) -> Any:
        if os.path.isabs(path):  # noqa: PTH117
            raise ValueError(f"a score's Lua reads no file by its absolute path: {path}")
        return resolve(self, path)

    libraries.create_safe_os_library = os_library
    files._resolve_path = resolve_inside  # noqa: SLF001  as above


def _runtime(make: Callable[..., Any]) -> Callable[..., Any]:
    model: Any = importlib.import_module("pydantic").BaseModel

    def runtime(*, attribute_filter: Callable[[Any, str, bool], str], **options: Any) -> Any:
        def reached(target: Any, name: str, is_setting: bool) -> str:  # noqa: FBT001  lupa calls it so
            found = attribute_filter(target, name, is_setting)
            if is_setting:
                raise AttributeError(f"a score's Lua may not set {name!r} of a Python object")
            # A model's own methods read files and pickles.
            inherited = isinstance(target, model) and hasattr(model, found)
            if inherited or not _is_open(target) or not _is_open(getattr(target, found, None)):
                raise AttributeError(f"a score's Lua may not reach {name!r} of a Python object")
            return found

        options |= {"register_eval": False, "register_builtins": False}
        return make(attribute_filter=reached, **options)

    return runtime


def _is_open(value: Any) -> bool:
    """Return whether Lua may use a value. A method belongs to its object."""
    kind = type(value)
    if isinstance(value, (MethodType, BuiltinFunctionType)):
        owner = value.__self__
        return owner is None or _is_open(owner)
    if kind in _PLAIN or kind is FunctionType or kind.__name__ in _LUA:
        return True
    return f"{kind.__module__}.".startswith(_PRIMITIVES)
