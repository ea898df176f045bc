"""What a host process gets of the service's environment and files: by lists of what it may have, never of what not.

Where bubblewrap can be used, the process sees its interpreter, the system's libraries and certificates, an empty
/tmp, and no other process. Elsewhere it starts with the same short environment in an empty directory, but can read
what its user may read.
"""

from __future__ import annotations

import ctypes
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from plexus_scoring.model.errors import ConfigurationError

Isolation = Literal["auto", "bubblewrap", "none"]

DEFAULT_PYTHON = "/opt/plexus/bin/python"
HOSTS = Path(__file__).with_name("hosts")
_PR_SET_DUMPABLE = 4

_SYSTEM = (
    "HTTPS_PROXY", "HTTP_PROXY", "LANG", "LC_ALL", "LOG_LEVEL", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR",
    "SSL_CERT_FILE", "TZ", "https_proxy", "http_proxy", "no_proxy",
)  # fmt: skip
MODEL_VARIABLES = (
    "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "AZURE_API_BASE", "AZURE_API_KEY", "AZURE_API_VERSION",
    "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "COHERE_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY",
    "GOOGLE_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "OLLAMA_HOST", "OPENAI_API_BASE", "OPENAI_API_KEY",
    "OPENAI_BASE_URL", "OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENROUTER_API_KEY",
    "XAI_API_KEY",
)  # fmt: skip
# Plexus asks Bedrock and reads attached files from S3 with the service's own rights. Lua never gets them.
_AWS = (
    "AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_REGION",
    "AWS_REGION_NAME", "AWS_ROLE_ARN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE",
)  # fmt: skip
PLEXUS_VARIABLES = ("LANGGRAPH_TIMEOUT", "NLTK_DATA", "PLEXUS_ACCOUNT_KEY", *_AWS)
_FIXED = {
    "HOME": "/tmp",  # noqa: S108  a function's only writable directory
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/mpl",  # noqa: S108  as above
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PLEXUS_DISABLE_CLOUDWATCH_LOGS": "1",
    "PLEXUS_FETCH_SCHEMA_FROM_TRANSPORT": "0",
    "PYDANTIC_DISABLE_PLUGINS": "1",
}
_EMPTY = "/tmp/work"  # noqa: S108  in a file system of its own
_FILES = (
    "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ca-certificates", "/etc/hosts",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
    "/etc/nsswitch.conf", "/etc/pki", "/etc/resolv.conf", "/etc/ssl",
)  # fmt: skip
_PATHS = ("AWS_CA_BUNDLE", "NLTK_DATA", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE")


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """How a kind of host is started.

    Attributes:
        name: What it is called in errors and logs.
        program: The script in `hosts/`.
        python: The interpreter that has its packages.
        variables: The environment that it gets, whole.
        options: What the script is told.
        isolation: `auto` is bubblewrap where it can be used; `bubblewrap` refuses to start without.
        warns: Whether warnings of its packages may stand in the service's own lines, not only in the job's log.
    """

    name: str
    program: str
    python: str
    variables: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    isolation: Isolation = "auto"
    warns: bool = False

    def command(self) -> list[str]:
        """Return the command without any isolation."""
        return [self.python, "-I", str(HOSTS / self.program), json.dumps(dict(self.options))]

    def isolated_command(self) -> list[str] | None:
        """Return the command inside bubblewrap; None where bubblewrap is not installed."""
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None:
            return None
        given = [Path(self.variables[name]) for name in _PATHS if self.variables.get(name)]
        shown = [*map(Path, _FILES), *_prefixes(Path(self.python)), HOSTS, *given]
        binds = [part for path in shown for part in ("--ro-bind-try", str(path), str(path))]
        flags = ("--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
                 "--unshare-user-try", "--unshare-cgroup-try", "--proc", "/proc", "--dev", "/dev",
                 "--tmpfs", "/tmp", "--dir", _EMPTY, "--chdir", _EMPTY)  # fmt: skip # noqa: S108
        return [bubblewrap, *flags, *binds, *self.command()]


def find_python(setting: str | None) -> str | None:
    """Return the interpreter that has Plexus or tactus: PLEXUS_PYTHON, else that of our image, else None.

    Raises ConfigurationError where PLEXUS_PYTHON names no program.
    """
    if setting is not None:
        found = shutil.which(setting)
        if found is None:
            raise ConfigurationError(
                f"PLEXUS_PYTHON: there is no program {setting!r}: name the interpreter of the environment that holds"
                " Plexus or tactus"
            )
        return str(Path(found).absolute())
    return DEFAULT_PYTHON if shutil.which(DEFAULT_PYTHON) else None


def choose_variables(
    environ: Mapping[str, str], names: tuple[str, ...], more: str | None
) -> dict[str, str]:
    """Return the environment of a host: fixed values, and of the service's settings those that are named.

    Args:
        environ: The service's settings.
        names: Names beside the system's and the model providers'.
        more: PLEXUS_HOST_VARIABLES: further names, separated by commas.
    """
    wanted = (
        *_SYSTEM,
        *MODEL_VARIABLES,
        *names,
        *(name.strip() for name in (more or "").split(",")),
    )
    return _FIXED | {name: environ[name] for name in wanted if environ.get(name)}


def hide_environment() -> None:
    """Keep this process's memory and environment from other processes of its user, as far as the kernel does."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)


def _prefixes(python: Path) -> list[Path]:
    """Return the directories of an interpreter: its environment, and the installation that this was made from."""
    found = [python.parent.parent]
    settings = found[0] / "pyvenv.cfg"
    if settings.is_file():
        for line in settings.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home":
                found.append(Path(value.strip()).parent)
    found.append(python.resolve().parent.parent)
    return [path for path in dict.fromkeys(found) if path != Path("/")]
