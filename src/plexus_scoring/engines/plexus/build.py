"""Puts the two kinds of hosts together from the settings: which interpreter, which variables, which bounds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from plexus_scoring.engines.plexus.engine import PlexusEngine
from plexus_scoring.engines.plexus.isolation import (
    DEFAULT_PYTHON,
    PLEXUS_VARIABLES,
    HostSpec,
    choose_variables,
    find_python,
)
from plexus_scoring.engines.plexus.tactus import TactusRunner
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings

_MEBIBYTE = 1 << 20


def build_plexus_engine(
    settings: Settings, environ: Mapping[str, str] | None = None
) -> PlexusEngine:
    """Return the engine that runs Plexus itself. Nothing is started yet.

    Args:
        settings: What to build.
        environ: Where the variables for Plexus are looked up, those of the secret included; default: the process's
            environment.

    Raises:
        ConfigurationError: no interpreter is known that could hold Plexus.
    """
    python = find_python(settings.plexus_python)
    if python is None:
        raise ConfigurationError(
            f"PLEXUS_PYTHON is not set and there is no {DEFAULT_PYTHON}: set it to the interpreter of an environment"
            " that holds Plexus (https://github.com/AnthusAI/Plexus)"
        )
    memory = settings.plexus_host_memory_mb
    spec = HostSpec(
        name="Plexus host",
        program="plexus_host.py",
        python=python,
        variables=_variables(settings, environ, PLEXUS_VARIABLES),
        options={"memory_bytes": memory * _MEBIBYTE if memory else None},
        isolation=settings.plexus_host_isolation,
        warns=True,
    )
    return PlexusEngine(spec, size=settings.plexus_hosts)


def build_tactus_runner(
    settings: Settings, environ: Mapping[str, str] | None = None
) -> TactusRunner | None:
    """Return what runs TactusScores; None where no interpreter is known that could. Nothing is started yet.

    Of the settings it gets the models' only: what it runs is a stranger's.

    Args:
        settings: See `build_plexus_engine`.
        environ: See `build_plexus_engine`.

    Raises:
        ConfigurationError: PLEXUS_PYTHON names no program.
    """
    python = find_python(settings.plexus_python)
    if python is None:
        return None
    spec = HostSpec(
        name="Tactus host",
        program="tactus_host.py",
        python=python,
        variables=_variables(settings, environ, ()),
        options={"job_memory_bytes": settings.plexus_tactus_memory_mb * _MEBIBYTE},
        isolation=settings.plexus_host_isolation,
    )
    return TactusRunner(spec, size=settings.plexus_hosts)


def _variables(
    settings: Settings, environ: Mapping[str, str] | None, names: tuple[str, ...]
) -> dict[str, str]:
    environ = os.environ if environ is None else environ
    return choose_variables(environ, names, settings.plexus_host_variables)
