"""What a job's model calls used, what they may use, and the answers that a retried job need not pay again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from plexus_scoring.engines.models.base import ChatModel, ChatReply, ChatRequest
from plexus_scoring.engines.models.prices import price
from plexus_scoring.engines.models.turns import TurnClock
from plexus_scoring.engines.portable.base import Noted
from plexus_scoring.model.cost import Cost, CostComponent
from plexus_scoring.model.errors import BudgetExceeded, DeadlineExceeded, ProviderBusy
from plexus_scoring.model.job import JobKey
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.ports import Checkpoints

log = logging.getLogger(__name__)

_PROVIDERS = {
    "chatopenai": "openai",
    "azurechatopenai": "azure_openai",
    "bedrockchat": "bedrock",
    "chatvertexai": "vertexai",
    "chatollama": "ollama",
    "chatanthropic": "anthropic",
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one job may use in all, its dependencies included. None: no bound.

    Attributes:
        seconds: From the start of the attempt.
        calls: Model calls.
        tokens: Prompt and completion tokens.
        usd: US dollars at list prices; calls to models without a known price count nothing.
    """

    seconds: float | None = 300.0
    calls: int | None = 500
    tokens: int | None = 5_000_000
    usd: float | None = None


class Purse:
    """What is left of a job's budget, shared by all scores of the job."""

    def __init__(
        self, budget: Budget, deadline: float | None, turns: TurnClock | None = None
    ) -> None:
        """Start the clock. `deadline` is the caller's own, in seconds since the epoch."""
        self.budget = budget
        self.turns = turns or TurnClock()
        own = time.time() + budget.seconds if budget.seconds is not None else None
        self.own_deadline = own
        self.caller_deadline = deadline
        ends = [end for end in (own, deadline) if end is not None]
        self.deadline = min(ends) if ends else None
        self.calls = 0
        self.tokens = 0
        self.usd = 0.0
        self.waits: dict[object, str] = {}
        """What is waited for now, by who waits, for the error that ends the job."""

    def open(self) -> None:
        """Count a call that is about to be made. Raises BudgetExceeded if nothing is left for it."""
        limits = (
            ("calls", self.calls, self.budget.calls, "model calls"),
            ("tokens", self.tokens, self.budget.tokens, "tokens"),
            ("usd", self.usd, self.budget.usd, "USD"),
        )
        for _name, used, limit, unit in limits:
            if limit is not None and used >= limit:
                raise BudgetExceeded(
                    f"the job's budget of {limit:g} {unit} is used up: the scorecard asks models too often"
                    " (a loop of edges?), or the budget is too small"
                )
        if self.deadline is not None and time.time() >= self.deadline:
            raise self.late()
        self.calls += 1

    def late(self) -> BudgetExceeded | DeadlineExceeded | ProviderBusy:
        """Return the error that says which of the two deadlines has come, or that turns were waited for until then."""
        waits = next(iter(self.waits.values()), None)
        waited = f": it was waiting for {waits}" if waits else ""
        if self.turns.mostly:
            return ProviderBusy(f"no turn at the provider came before the deadline{waited}")
        own = self.own_deadline
        if own is not None and own == self.deadline:
            return BudgetExceeded(
                f"the job's budget of {self.budget.seconds:g} s is used up before the score has a value{waited}"
            )
        return DeadlineExceeded(f"the score was not done before its deadline{waited}")


@dataclass
class Usage:
    """Calls and tokens of one component, to one model."""

    provider: str
    model: str
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def usd(self) -> tuple[float, float] | None:
        """Return the USD of prompt and completion tokens; None where the model has no known price."""
        return price(
            self.provider,
            self.model,
            self.prompt_tokens,
            self.completion_tokens,
            self.cached_tokens,
        )


class AnswerCache:
    """The answers that earlier attempts of a job paid for, read when the first model is to be asked."""

    def __init__(self, checkpoints: Checkpoints | None, job: JobKey | None) -> None:
        """Read nothing yet: a score that asks no model costs no call to the store."""
        self._checkpoints = checkpoints
        self._job = job
        self._known: dict[str, bytes] | None = None
        self._reading = asyncio.Lock()

    async def get(self, name: str) -> ChatReply | None:
        """Return a kept answer, or None. Answers that cannot be read cost money, never the job."""
        async with self._reading:
            if self._known is None:
                self._known = await self._load()
        kept = self._known.get(name)
        if kept is None:
            return None
        try:
            return msgspec.msgpack.decode(kept, type=ChatReply)
        except msgspec.MsgspecError:
            return None

    async def _load(self) -> dict[str, bytes]:
        if self._checkpoints is None or self._job is None:
            return {}
        try:
            return await self._checkpoints.load(self._job)
        except Exception:
            log.warning(
                "the job's checkpoints cannot be read: models are asked again", exc_info=True
            )
            return {}

    async def put(self, name: str, reply: ChatReply) -> None:
        """Keep an answer."""
        if self._checkpoints is None or self._job is None:
            return
        try:
            await self._checkpoints.save(self._job, name, msgspec.msgpack.encode(reply))
        except Exception:
            log.warning("an answer could not be kept for a retry", exc_info=True)


@dataclass
class Ledger:
    """One score's run: asks models under the job's purse and keeps the accounts. Implements `ScoreRun`."""

    score: str
    models: ChatModel
    purse: Purse
    cache: AnswerCache
    noted: Noted = field(default_factory=Noted)
    doubts: dict[str, str] = field(default_factory=dict)
    """Why the last answer that a component judges by is not whole, by component."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """What the trace keeps of answers: reasoning, refusals, why they are not whole."""
    _usage: dict[tuple[str, str, str], Usage] = field(default_factory=dict)
    _asked: Counter[str] = field(default_factory=Counter)

    @property
    def deadline(self) -> float | None:
        """When the run must have ended."""
        return self.purse.deadline

    def note(self, noted: Noted) -> None:
        """Keep what the score knew at its end; see `ScoreRun.note`."""
        self.noted = noted

    async def ask(self, component: str, request: ChatRequest, *, judging: bool = True) -> ChatReply:
        """Ask a model; see `ScoreRun.ask`."""
        name = self._name(component, request)
        reply = await self.cache.get(name)
        if reply is None:
            self.purse.open()
            reply = await self._chat(component, request)
            self._count(component, request, reply)
            await self.cache.put(name, reply)
        else:
            self._count(component, request, reply)
        self._look(component, reply, judging=judging)
        return reply

    def _look(self, component: str, reply: ChatReply, *, judging: bool) -> None:
        """Keep why an answer is not whole, and what the model thought."""
        doubt = reply.withheld or reply.cut
        if judging:
            self.doubts.pop(component, None)
            if doubt is not None:
                self.doubts[component] = doubt
        told = {
            "undetermined": doubt,
            "refusal": reply.refusal,
            "reasoning": reply.reasoning,
            "reasoning_tokens": reply.reasoning_tokens or None,
        }
        kept = {name: value for name, value in told.items() if value is not None}
        if kept:
            self.answers.append({"node_name": component, **kept})

    def complete(self, outcome: ScoreOutcome) -> ScoreOutcome:
        """Return the outcome of the run, marked where an answer that it rests on was cut or withheld."""
        if not (self.doubts or self.answers):
            return outcome
        trace = outcome.trace
        if self.answers:
            trace = {**(trace or {}), "answers": self.answers}
        reasons = [f"{component}: {reason}" for component, reason in self.doubts.items()]
        return msgspec.structs.replace(
            outcome,
            trace=trace,
            undetermined=outcome.undetermined or bool(reasons),
            undetermined_reason="; ".join(reasons) or outcome.undetermined_reason,
        )

    async def _chat(self, component: str, request: ChatRequest) -> ChatReply:
        """Ask. Who is still waiting at the deadline stays in the purse, for the error that tells of it."""
        waiter = object()
        self.purse.waits[waiter] = (
            f"{request.provider} model {request.model} (score {self.score!r}, {component!r})"
        )
        try:
            reply = await self.models.chat(request, deadline=self.purse.deadline)
        except Exception:
            del self.purse.waits[waiter]
            raise
        del self.purse.waits[waiter]
        return reply

    def _name(self, component: str, request: ChatRequest) -> str:
        """Return the checkpoint's name: the same question asked twice in one run is two answers."""
        body = msgspec.msgpack.encode((self.score, component, request))
        digest = hashlib.sha256(body).hexdigest()[:32]
        self._asked[digest] += 1
        return f"answer-{digest}-{self._asked[digest]}"

    def _count(self, component: str, request: ChatRequest, reply: ChatReply) -> None:
        key = (component, request.provider, request.model)
        usage = self._usage.setdefault(key, Usage(request.provider, request.model.strip()))
        usage.calls += 1
        usage.prompt_tokens += reply.prompt_tokens
        usage.completion_tokens += reply.completion_tokens
        usage.cached_tokens += reply.cached_tokens
        self.purse.tokens += reply.prompt_tokens + reply.completion_tokens
        if self.purse.budget.usd is not None:
            one = Usage(
                usage.provider,
                usage.model,
                1,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.cached_tokens,
            )
            self.purse.usd += sum(one.usd() or (0.0, 0.0))

    def cost(self, order: tuple[str, ...] = ()) -> Cost:
        """Return what the run cost: a component for each name and model, names in `order` first."""
        rank = {name: index for index, name in enumerate(order)}
        used = sorted(self._usage.items(), key=lambda entry: rank.get(entry[0][0], len(rank)))
        components = []
        input_cost = output_cost = 0.0
        for (component, _, _), usage in used:
            prompt, completion = usage.usd() or (0.0, 0.0)
            input_cost += prompt
            output_cost += completion
            components.append(
                CostComponent(
                    provider=_PROVIDERS.get(usage.provider.lower(), usage.provider.lower()),
                    model=usage.model,
                    prompt_tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                    cached_tokens=usage.cached_tokens,
                    llm_calls=usage.calls,
                    usd=prompt + completion,  # as upstream: 0.0 where the model has no known price
                    metadata={"node_name": component},
                )
            )
        prompt_tokens = sum(part.prompt_tokens for part in components)
        completion_tokens = sum(part.completion_tokens for part in components)
        return Cost(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            llm_calls=sum(part.llm_calls for part in components),
            cached_tokens=sum(part.cached_tokens for part in components),
            input_cost=input_cost,
            output_cost=output_cost,
            total_cost=input_cost + output_cost,
            components=tuple(components),
        )
