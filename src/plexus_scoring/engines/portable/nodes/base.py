"""What all nodes share: aliasing around their work, prompts, and the way to the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from plexus_scoring.engines.models.base import ChatMessage, ChatReply, ChatRequest
from plexus_scoring.engines.models.openai_wire import is_reasoning_model
from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun, ScoreSource
from plexus_scoring.engines.portable.language.model_options import ModelOptions
from plexus_scoring.engines.portable.language.nodes import Node
from plexus_scoring.engines.portable.state import State
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed

if TYPE_CHECKING:
    from plexus_scoring.engines.portable.templates import Template

Configuration = TypeVar("Configuration", bound=Node)
Missing = Literal["empty", "raise"]

CONFIDENCE_LOGPROBS = 10
GRAPH_LOGPROBS = 20
_ROLES: Mapping[str, Literal["system", "user"]] = {
    "system_message": "system",
    "user_message": "user",
}
_EFFORTS = frozenset(("low", "medium", "high", "auto"))
_VERBOSITIES = frozenset(("low", "medium", "high"))


class GraphNode(ABC, Generic[Configuration]):
    """A compiled node. It keeps nothing of a run.

    Attributes:
        fields: The fields that this class of node declares.
        prompts: Whether it asks a model.
        aliases_inside: Whether upstream applies the node's `output` once more within the node, with unset fields
            filled ("No" for `value`, else empty text). It does for every class but Classifier and Generator.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    prompts: ClassVar[bool] = True
    aliases_inside: ClassVar[bool] = True

    def __init__(
        self,
        node: Configuration,
        source: ScoreSource,
        position: int,
        options: CompileOptions,
    ) -> None:
        """Check what the model of the language cannot say. Raises ScorecardError."""
        self.node = node
        self.name = node.name
        self.source = source
        self.position = position
        self.messages = self._messages() if self.prompts else []
        if self.prompts and not self.messages:
            raise self.error("needs a user_message", "name")
        self.prepare(options)

    def prepare(self, options: CompileOptions) -> None:
        """Compile what the node needs, once. Raises ScorecardError."""

    def error(self, message: str, *path: Any) -> ScorecardError:
        """Return an error at a key of this node."""
        return self.source.error(f"node {self.name!r} {message}", "graph", self.position, *path)

    def declared(self) -> set[str]:
        """Return the names that this node makes fields of the state."""
        node = self.node
        mappings = [
            node.output,
            node.edge.output if node.edge else None,
            *(c.output for c in node.conditions or ()),
        ]
        return {*self.fields, *(name for mapping in mappings for name in mapping or ())}

    async def run(self, state: State, run: ScoreRun) -> None:
        """Do the node's work on the state."""
        for name, original in (self.node.input or {}).items():
            if original in state.fields:
                state.fields[name] = state.fields[original]
        inside = await self.work(state, run)
        if self.node.output is not None and (self.aliases_inside or inside):
            state.alias_filled(self.node.output)

    @abstractmethod
    async def work(self, state: State, run: ScoreRun) -> bool | None:
        """Do what this class of node is for. True asks for `output` to be applied inside, too."""

    async def render(
        self, values: Mapping[str, Any], missing: Missing, *, required: bool = False
    ) -> list[ChatMessage]:
        """Return the node's messages, filled in. `required`: an empty one is an error."""
        messages = []
        for key, role, template in self.messages:
            text = await self.fill(key, template, values, missing)
            if required and not text.strip():
                raise ScoreFailed(
                    f"{self._place(key)} is empty for this item: nothing that it names has a value"
                )
            messages.append(ChatMessage(role, text))
        return messages

    async def fill(
        self,
        key: str,
        template: Template,
        values: Mapping[str, Any],
        missing: Missing,
        *,
        escaping: bool = False,
    ) -> str:
        """Return a template of this node, filled in; errors name node and key. See `Template.render`."""
        try:
            return await template.render(values, missing=missing, escaping=escaping)
        except ScorecardError as error:
            raise self.error(f"{key}: {error.bare_message}", key) from error
        except BudgetExceeded as error:
            raise BudgetExceeded(f"{self._place(key)}: {error.message}") from error
        except ScoreFailed as error:
            raise ScoreFailed(f"{self._place(key)}: {error.message}") from error

    async def ask(
        self,
        run: ScoreRun,
        messages: Sequence[ChatMessage],
        *,
        options: ModelOptions | None = None,
        logprobs: int | None = None,
        tries: int = 1,
        judging: bool = True,
    ) -> ChatReply:
        """Ask the node's model, or the one of `options`; at most `tries` times while the answer is withheld."""
        chosen = options or self.node
        if not chosen.model_name:
            raise self.error("needs a model: say model_name on the score or the node", "name")
        request = chat_request(chosen, messages, logprobs=logprobs)
        while True:
            tries -= 1
            reply = await run.ask(self.name, request, judging=judging)
            if reply.withheld is None or tries <= 0:
                return reply

    def _place(self, key: str) -> str:
        """Return where a key of this node stands, in front of a message."""
        return self.error(key, key).message

    def template(self, key: str, source: str) -> Template:
        """Parse a template of this node. Raises ScorecardError."""
        from plexus_scoring.engines.portable.templates import Template  # noqa: PLC0415 - 60 ms that only prompts pay

        try:
            return Template(source)
        except ScorecardError as error:
            raise self.error(f"{key}: {error.bare_message}", key) from error

    def _messages(self) -> list[tuple[str, Literal["system", "user"], Template]]:
        found = []
        for key, role in _ROLES.items():
            source = getattr(self.node, key)
            if source:
                single = " ".join(source.split()) if self.node.single_line_messages else source
                found.append((key, role, self.template(key, single)))
        return found


def chat_request(
    options: ModelOptions, messages: Sequence[ChatMessage], *, logprobs: int | None = None
) -> ChatRequest:
    """Return the request with the parameters that upstream sends to this provider and model."""
    model = (options.model_name or "").lower()
    plain = options.model_provider == "ChatOpenAI"
    sampling = "gpt-5" not in model
    reasoning = plain and is_reasoning_model(model)
    if logprobs is None:
        logprobs = (options.top_logprobs or 1) if plain and options.logprobs else 0
    return ChatRequest(
        provider=options.model_provider,
        model=options.model_name or "",
        messages=tuple(messages),
        region=options.model_region,
        temperature=options.temperature if sampling else None,
        top_p=options.top_p if sampling and plain else None,
        max_tokens=options.max_tokens,
        logprobs=logprobs,
        reasoning_effort=_one_of(options.reasoning_effort, _EFFORTS, "low") if reasoning else None,
        verbosity=_one_of(options.verbosity, _VERBOSITIES, "medium") if reasoning else None,
    )


def _one_of(value: str | None, allowed: frozenset[str], default: str) -> str:
    lower = (value or default).lower()
    return lower if lower in allowed else default
