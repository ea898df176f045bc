"""Which sandbox code runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from plexus_scoring.engines.sandbox.base import Sandbox
from plexus_scoring.engines.sandbox.local import LocalSandbox
from plexus_scoring.model.errors import ConfigurationError

Kind = Literal["auto", "local", "e2b"]


def make_sandbox(kind: str = "auto", *, environ: Mapping[str, str] | None = None) -> Sandbox:
    """Return a sandbox: `auto` is E2B where ``E2B_API_KEY`` is set, else this machine.

    Args:
        kind: auto, local or e2b. ``PLEXUS_SANDBOX`` decides what auto is.
        environ: Where the variables are looked up. Default: the process's environment.

    Raises:
        ConfigurationError: no such kind, or E2B without its key.
    """
    environ = os.environ if environ is None else environ
    kind = chosen_kind(environ) if kind == "auto" else kind
    if kind == "local":
        return LocalSandbox()
    if kind == "e2b":
        from plexus_scoring.engines.sandbox.e2b import E2BSandbox  # noqa: PLC0415  an extra

        return E2BSandbox(environ)
    raise ConfigurationError(f"there is no sandbox {kind!r}: say auto, local or e2b")


def chosen_kind(environ: Mapping[str, str]) -> str:
    """Return what `auto` is in this environment."""
    return environ.get("PLEXUS_SANDBOX") or ("e2b" if environ.get("E2B_API_KEY") else "local")
