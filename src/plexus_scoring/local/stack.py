"""The whole service on this machine: embedded AWS, queues, table, bucket and the functions that work on them.

What AWS would be given by the infrastructure's stacks is made here with the same names of settings, so that
the demo and the end-to-end tests run the handlers as they are deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.discovery import find_function
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.local.event_source import (
    MAX_RECEIVE_COUNT,
    Queue,
    QueueWithDeadLetters,
    create_queue,
    create_queue_with_dead_letters,
    map_queue,
    visibility_for,
)
from plexus_scoring.local.function import InvokeResult, LocalFunction
from plexus_scoring.settings import describe_settings
from plexus_scoring.stores.dynamodb.table import create_table

SCORE_PROCESSING = "score_processing"
SWEEPER = "sweeper"
BUCKET = "plexus-scoring-attachments"
TABLE = "plexus-scoring-jobs"

# What a deployment's own resources set.
_RESOURCES = frozenset(
    {
        "account_key",
        "attachments_bucket",
        "dead_letter_queue_url",
        "environment",
        "jobs_table_name",
        "request_queue_url",
        "response_queue_url",
        "scorecard_cache_dir",
        "store",
    }
)

TableMaker = Callable[[Any, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """How the local deployment is set up.

    Attributes:
        environment: Variables of the functions beside those that name the resources; they win.
        functions: Folders under ``lambda_functions``. The first one works on the queue.
        function_root: Directory with the ``lambda_functions`` folder; by default the shipped one.
        timeout: Seconds that one invocation may take.
        max_concurrency: Processes of one function at once, and batches in flight (2 or more).
        batch_size: Records in one event.
        window: Seconds to gather a batch.
        visibility_timeout: Seconds; by default six times `timeout`, as AWS recommends.
        max_receive_count: Receives before a message goes to the dead-letter queue.
        create_table: Makes the jobs table, given a DynamoDB client and the name.
        poll: Whether the queue is polled from the start; else call `LocalDeployment.start_polling`.
    """

    environment: Mapping[str, str] | None = None
    functions: tuple[str, ...] = (SCORE_PROCESSING, SWEEPER)
    function_root: Path | None = None
    timeout: float = 60.0
    max_concurrency: int = 2
    batch_size: int = 10
    window: int = 0
    visibility_timeout: int | None = None
    max_receive_count: int = MAX_RECEIVE_COUNT
    create_table: TableMaker = create_table
    poll: bool = True


def settings_beside_resources(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings and providers' keys of an environment that do not name what a deployment makes."""
    made = {setting.name for setting in describe_settings() if setting.field in _RESOURCES}
    prefixes = ("PLEXUS_", "OPENAI_", "AZURE_OPENAI_", "ANTHROPIC_", "OLLAMA_", "LOG_LEVEL")
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(prefixes) and name not in made
    }


class LocalDeployment:
    """The service, deployed on this machine until it is closed; use as ``with``.

    Args:
        folder: Where logs and caches go: ``ministack.log`` and ``NAME.log`` of each function.
        options: The set-up.

    Attributes:
        aws: The embedded AWS.
        requests: The request queue and its dead-letter queue.
        responses: The response queue.
        functions: The local Lambda runtime.
    """

    def __init__(self, folder: Path, options: StackOptions | None = None) -> None:
        self.folder = folder.resolve()
        self.options = options or StackOptions()
        self.aws = EmbeddedAws(log_file=self.folder / "ministack.log")
        self.requests: QueueWithDeadLetters
        self.responses: Queue
        self.functions: LocalLambda
        self._worker: LocalFunction
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            NotFound: there is no such function.
            ConfigurationError: ministack is missing.
            StoreUnavailable: the embedded AWS does not start.
        """
        found = [
            (name, *find_function(name, self.options.function_root))
            for name in self.options.functions
        ]
        with ExitStack() as stack:
            stack.enter_context(self.aws)
            self._create_resources()
            environment = self.environment()
            functions = [
                LocalFunction(
                    name=name,
                    handler=handler,
                    task_root=root,
                    environment=environment,
                    timeout=self.options.timeout,
                    max_concurrency=self.options.max_concurrency,
                )
                for name, root, handler in found
            ]
            self._worker = functions[0]
            self.functions = stack.enter_context(LocalLambda(functions, self.folder))
            if self.options.poll:
                self.start_polling()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; what was in the queues, the table and the bucket is gone."""
        self._stack.close()

    def start_polling(self) -> str:
        """Let the event source mapping drive the first function from now on; return the mapping's id."""
        return map_queue(
            self.aws,
            self._worker,
            self.functions.invocations_url(self._worker.name),
            self.requests.arn,
            batch_size=self.options.batch_size,
            window=self.options.window,
            max_concurrency=self.options.max_concurrency,
        )

    def environment(self) -> dict[str, str]:
        """Return the functions' variables; a process of the caller's that gets them works on the same stores."""
        names = {setting.field: setting.name for setting in describe_settings()}
        values = {
            "environment": "local",
            "store": "dynamodb",
            "request_queue_url": self.requests.url,
            "response_queue_url": self.responses.url,
            "dead_letter_queue_url": self.requests.dead_letters.url,
            "jobs_table_name": TABLE,
            "attachments_bucket": BUCKET,
            "account_key": "local",
            "scorecard_cache_dir": str(self.folder / "scorecards"),
        }
        settings = {names[field]: values[field] for field in _RESOURCES}
        return settings | self.aws.environment() | dict(self.options.environment or {})

    def invoke(self, name: str, payload: bytes = b"{}") -> InvokeResult:
        """Run one of the functions directly, for example the sweeper."""
        return self.functions.invoke(name, payload)

    def _create_resources(self) -> None:
        options = self.options
        sqs = self.aws.client("sqs")
        visibility = options.visibility_timeout or visibility_for(options.timeout)
        self.requests = create_queue_with_dead_letters(
            sqs,
            "plexus-scoring-requests",
            visibility_timeout=visibility,
            max_receive_count=options.max_receive_count,
        )
        self.responses = create_queue(sqs, "plexus-scoring-responses")
        self.aws.client("s3").create_bucket(Bucket=BUCKET)
        options.create_table(self.aws.client("dynamodb"), TABLE)
