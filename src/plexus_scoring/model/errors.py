"""The one tree of errors that the service speaks.

Adapters translate what their libraries raise into these, so that the service decides on meaning
(may it be tried again? is it anyone's fault?) and never on a library's class name.
"""

from __future__ import annotations

import traceback
from typing import ClassVar

import msgspec

MAX_MESSAGE_CHARACTERS = 2_000


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it is stored with a job and sent in a response.

    Attributes:
        code: Stable machine-readable name, for example ``scorecard_error``.
        message: One line for a person: what, where and what to do. Where a score's own code raised, or nobody foresaw
            the error, it may quote the item: `loggable` is for logs.
        type: Name of the exception's class where the error was not foreseen.
        retryable: Whether another attempt may succeed.
        fault: Whether a message that ends this way belongs in the dead-letter queue.
        failures: In a job's `last_error`, the attempts so far that ended with an error; the others' workers died.
        since: In a job's `last_error`, when its model provider was first found to be down (seconds since the epoch).
    """

    code: str
    message: str
    type: str | None = None
    retryable: bool = False
    fault: bool = True
    failures: int = 0
    since: float | None = None


class ScoringError(Exception):
    """Base of every foreseen error. Subclasses fix `code`, `retryable`, `fault` and `counted`.

    `counted` is False where the failure says nothing about the job: it costs the job no attempt.
    """

    code: ClassVar[str] = "scoring_error"
    retryable: ClassVar[bool] = False
    fault: ClassVar[bool] = True
    counted: ClassVar[bool] = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep a one-line message and, where a provider named one, the wait in seconds."""
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def info(self) -> ErrorInfo:
        """Return this error in its stored form."""
        return ErrorInfo(
            code=self.code,
            message=shorten(self.message),
            retryable=self.retryable,
            fault=self.fault,
        )


class InvalidRequest(ScoringError):
    """The message or command cannot be understood; sending it again cannot help."""

    code = "invalid_request"


class NotFound(ScoringError):
    """A job, item, scorecard or score that the request names does not exist."""

    code = "not_found"


class ScorecardError(ScoringError):
    """The scorecard is wrong: bad YAML, an unknown class or key, a cycle, a duplicate name.

    Attributes:
        file: Name of the scorecard's file or its key, if known.
        line: 1-based line, if known.
        column: 1-based column, if known.
    """

    code = "scorecard_error"

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        """Put the place in front of the message, as compilers do: ``file:line:column: message``."""
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)
        self.bare_message = message
        self.file = file
        self.line = line
        self.column = column


class ScoreFailed(ScoringError):
    """The engine ran and says that it has no value: the same input would fail again."""

    code = "score_failed"


class BudgetExceeded(ScoreFailed):
    """The score used up its budget of time, calls, tokens or USD."""

    code = "budget_exceeded"


class DependencyUnmet(ScoringError):
    """A score it depends on did not have the value it asks for: final, and no error."""

    code = "dependency_unmet"
    fault = False


class ScoreDisabled(ScoringError):
    """The scorecard says that this score is not to be run: final, and no error."""

    code = "score_disabled"
    fault = False


class EngineUnavailable(ScoringError):
    """A model provider or sandbox cannot answer now: 429, 5xx, timeout, connection lost."""

    code = "engine_unavailable"
    retryable = True


class ProviderDown(EngineUnavailable):
    """A model provider or sandbox fails for whoever asks: 5xx, no connection. Retries end by age, not by number."""

    counted = False


class ProviderBusy(EngineUnavailable):
    """A model provider wants to be asked later, or the job's turn at it did not come."""

    counted = False


class AccountRefused(EngineUnavailable):
    """A model provider refuses our account: no credit, a revoked key, no access to a model, or no such model."""

    code = "account_refused"
    counted = False


class DeadlineExceeded(ScoringError):
    """The score did not end before its deadline. It counts as an attempt."""

    code = "deadline_exceeded"
    retryable = True


class LeaseLost(ScoringError):
    """Another claimer holds the job by now: this one's work must be dropped."""

    code = "lease_lost"
    retryable = True


class StoreUnavailable(ScoringError):
    """A store or queue cannot be reached, throttles, or refuses for a reason that may pass."""

    code = "store_unavailable"
    retryable = True
    counted = False


class AttemptsExhausted(ScoringError):
    """Every attempt ended without an answer, for example because each worker died."""

    code = "attempts_exhausted"


class ConfigurationError(ScoringError):
    """The process is set up wrongly: a missing variable, an extra that is not installed. Jobs wait until it is not."""

    code = "configuration_error"
    retryable = True
    counted = False


def describe(error: BaseException) -> ErrorInfo:
    """Return the stored form of any exception.

    An exception outside the tree was not foreseen: it is retryable until the attempts run out, and its
    class is kept. Its message is shortened to one line, because libraries put whole bodies there.
    """
    if isinstance(error, ScoringError):
        return error.info()
    last = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    where = f" (in {last[0].name})" if last else ""
    return ErrorInfo(
        code="unexpected_error",
        message=shorten(f"{type(error).__name__}: {error}{where}"),
        type=f"{type(error).__module__}.{type(error).__qualname__}",
        retryable=True,
    )


_MAY_QUOTE = frozenset({"score_failed", "unexpected_error", "attempts_exhausted"})


def loggable(info: ErrorInfo) -> str:
    """Return what a log may say of an error: its message, unless that may quote the item that was scored."""
    if info.code not in _MAY_QUOTE:
        return info.message
    kind = f" ({info.type})" if info.type else ""
    return f"{info.code}{kind}: the job's last_error says why"


def frames(error: BaseException) -> list[str]:
    """Return where an exception came from, the raising line last, without its message."""
    return [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


def shorten(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Return `text` on one line and no longer than `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
