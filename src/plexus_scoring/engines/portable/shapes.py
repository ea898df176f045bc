"""What Python in a scorecard sees: `Score.Parameters`, `Score.Input`, `Score.Result`, the state, and `log`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

code_log = logging.getLogger("plexus_scoring.scorecard")


class Parameters:
    """A score's or node's parameters, as attributes. What is not said is None."""

    def __init__(self, **values: Any) -> None:
        self.scorecard_name: Any = None
        self.name: Any = None
        self.id: Any = None
        self.key: Any = None
        self.dependencies: Any = None
        self.data: Any = None
        self.number_of_classes: Any = None
        self.label_score_name: Any = None
        self.label_field: Any = None
        self.validation: Any = None
        self.__dict__.update(values)

    def model_dump(self) -> dict[str, Any]:
        """Return all parameters."""
        return dict(self.__dict__)


class ScoreInputShape:
    """`Score.Input`: the text, and metadata merged with the state's fields."""

    def __init__(
        self,
        text: str = "",
        metadata: dict[str, Any] | None = None,
        results: list[Any] | None = None,
    ) -> None:
        self.text = text
        self.metadata = metadata if metadata is not None else {}
        self.results = results


class Result:
    """`Score.Result`: what `score` returns. The explanation that counts is `metadata["explanation"]`."""

    def __init__(
        self,
        parameters: Any = None,
        value: Any = None,
        explanation: str | None = None,
        confidence: float | None = None,
        metadata: dict[str, Any] | None = None,
        error: str | None = None,
        code: str | None = None,
        **others: Any,
    ) -> None:
        if value is None:
            raise ValueError("Score.Result needs a value")
        self.parameters = parameters
        self.value = value
        self.explanation = explanation
        self.confidence = confidence
        self.metadata = metadata if metadata is not None else {}
        self.error = error
        self.code = code
        self.__dict__.update(
            {name: kept for name, kept in others.items() if name not in self.__dict__}
        )

    def is_yes(self) -> bool:
        """Whether the value is "yes", whatever its case."""
        return str(self.value).lower() == "yes"

    def is_no(self) -> bool:
        """Whether the value is "no", whatever its case."""
        return str(self.value).lower() == "no"

    def __eq__(self, other: object) -> bool:
        value = other.value if isinstance(other, Result) else other
        return isinstance(value, str) and str(self.value).lower() == value.lower()

    def __hash__(self) -> int:
        return hash(str(self.value).lower())


ScoreInputShape.__name__ = "ScoreInput"  # what `type(input).__name__` is upstream


class ScoreNamespace:
    """`Score`."""

    Parameters = Parameters
    Input = ScoreInputShape
    Result = Result


class StateView:
    """The state as `context["state"]` gives it: fields as attributes."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)

    def model_dump(self) -> dict[str, Any]:
        """Return all fields."""
        return dict(self.__dict__)


def log_functions(node: str) -> dict[str, Any]:
    """Return `logging`, `log`, `log_info`, … and a `print` that writes to the job's log."""

    def at(level: int) -> Callable[..., None]:
        def write(*values: Any, sep: str = " ", **_: Any) -> None:
            code_log.log(level, "[%s] %s", node, (sep or " ").join(str(value) for value in values))

        return write

    return {
        "logging": logging,  # restricted code gets a front that has its functions only
        "print": at(logging.DEBUG),
        "log": at(logging.DEBUG),
        "log_info": at(logging.DEBUG),
        "log_debug": at(logging.DEBUG),
        "log_warning": at(logging.WARNING),
        "log_error": at(logging.ERROR),
    }
