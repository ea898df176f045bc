"""What a local Lambda function is, what an invocation of it gives, and Lambda's fixed limits.

Sources: AWS Lambda developer guide, "Lambda quotas", "Lambda environment variables" and "Lambda
runtime lifecycle"; the Invoke API reference.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plexus_scoring.model.errors import ConfigurationError, ScoringError

MAX_SYNC_PAYLOAD_BYTES = 6 * 1024 * 1024
MAX_ASYNC_PAYLOAD_BYTES = 1024 * 1024
MAX_RESPONSE_BYTES = 6_291_556  # 6 MB and the 100 bytes that Lambda grants on top
LOG_TAIL_BYTES = 4 * 1024
INIT_TIMEOUT = 10.0
MAX_TIMEOUT = 900.0

LOCAL_ACCOUNT = "000000000000"
LOCAL_REGION = "us-east-1"

# What a process needs of its surroundings to run at all; anything else must be given to the function.
_INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "HOME",
    "TMPDIR",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFunction:
    """One function as it is configured on Lambda.

    Attributes:
        name: Function name.
        handler: ``module.path.function`` under `task_root`.
        task_root: Directory that Lambda would unpack the code into (``/var/task``).
        environment: The function's own variables. Nothing else of the caller's environment is seen by it.
        timeout: Seconds that one invocation may take, 0 < timeout ≤ 900.
        memory_mb: Announced to the function; the local runtime does not enforce it.
        python: Interpreter that has awslambdaric and the function's dependencies.
        max_concurrency: Execution environments that may run at once.
        max_waiting: Invocations that may wait for one; the next is throttled (429).
        stop_grace: Seconds between SIGTERM and SIGKILL at shutdown.
        region: Region in the function's ARN and, unless `environment` says otherwise, AWS_REGION.
    """

    name: str
    handler: str
    task_root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    memory_mb: int = 1024
    python: str = sys.executable
    max_concurrency: int = 4
    max_waiting: int = 1000
    stop_grace: float = 0.5
    region: str = LOCAL_REGION

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: a value is out of Lambda's bounds.
        """
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise ConfigurationError(
                f"function {self.name}: timeout must be above 0 and at most {MAX_TIMEOUT:.0f} s"
            )
        if self.max_concurrency < 1 or self.max_waiting < 0:
            raise ConfigurationError(
                f"function {self.name}: max_concurrency must be at least 1, max_waiting at least 0"
            )

    @property
    def arn(self) -> str:
        """The function's ARN, in the account that the embedded AWS uses."""
        return f"arn:aws:lambda:{self.region}:{LOCAL_ACCOUNT}:function:{self.name}"

    @property
    def command(self) -> tuple[str, ...]:
        """The command that an execution environment runs, as Lambda's base image does."""
        return (self.python, "-m", "awslambdaric", self.handler)

    @property
    def runtime(self) -> str:
        """Lambda's name of the Python that runs it, for example ``python3.12``."""
        return "python{}.{}".format(*sys.version_info[:2])

    def process_environment(self, runtime_api: str, log_stream: str) -> dict[str, str]:
        """Return the whole environment of one execution environment's process.

        Variables that Lambda reserves win over the function's own; region and credentials may be given.
        """
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        defaults = {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": "",
        }
        # The name decides how the runtime client polls: from 3.12 on in a thread, so that signals arrive.
        reserved = {
            "_HANDLER": self.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{self.runtime}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
        }
        return inherited | defaults | dict(self.environment) | reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One event on its way to a function.

    Attributes:
        request_id: Lambda's id of the invocation.
        payload: The event, JSON.
        trace_id: X-Ray trace header.
        client_context: JSON that a mobile client sends along, if any.
    """

    request_id: str
    payload: bytes
    trace_id: str
    client_context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeResult:
    """What an invocation gave.

    Attributes:
        request_id: Lambda's id of the invocation.
        payload: JSON: the handler's return value, or the error object.
        log_tail: The last 4 KB of what the function wrote, with Lambda's START, END and REPORT lines.
        function_error: ``Unhandled`` where the payload is an error object, else None.
        duration: Seconds that the handler took.
        init_duration: Seconds of the cold start, where this invocation had one.
    """

    request_id: str
    payload: bytes
    log_tail: bytes
    function_error: str | None = None
    duration: float = 0.0
    init_duration: float | None = None


class InvocationRefused(ScoringError):
    """The function was not run: too many at once, a payload too large, not JSON, an unknown name.

    Attributes:
        status: HTTP status of Lambda's Invoke API.
        error_type: Lambda's name of the refusal.
    """

    code = "invocation_refused"

    def __init__(self, message: str, *, status: int, error_type: str) -> None:
        """Keep Lambda's status and name beside the one-line message."""
        super().__init__(message)
        self.status = status
        self.error_type = error_type
