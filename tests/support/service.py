"""A service on in-memory parts, whose process can be made to die between any two calls."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from plexus_scoring.model.errors import NotFound
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard, content_version
from plexus_scoring.ports import ScoreContext
from plexus_scoring.service import Policy, ScoringService
from plexus_scoring.stores.memory import MemoryCatalog, MemoryJobStore
from plexus_scoring.telemetry.metrics import MemoryMetrics

SOURCE = "name: Card\nkey: card\nscores:\n- name: Greeting\n  id: 1\n  class: KeywordClassifier\n"
CARD = Scorecard(id="card", key="card", name="Card", source=SOURCE, version=content_version(SOURCE))


class Crash(BaseException):
    """The process died here. No handler for Exception may see it, as none would see a kill -9."""


class FakeClock:
    """Time that moves only when told."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


class MemoryAttachments:
    """Attachments in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.foreign: dict[ObjectRef, bytes] = {}

    async def put(self, key: str, body: bytes, *, content_type: str = "") -> None:
        self.objects[key] = body

    async def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(f"no attachment {key}")
        return self.objects[key]

    async def read(self, ref: ObjectRef) -> bytes:
        if ref not in self.foreign:
            raise NotFound(f"no object s3://{ref.bucket}/{ref.key}")
        return self.foreign[ref]

    async def aclose(self) -> None: ...


class RecordingResponder:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[ScoringResponse] = []

    async def respond(self, response: ScoringResponse) -> None:
        self.sent.append(response)

    async def aclose(self) -> None: ...


Behaviour = Callable[[ScoreContext], Awaitable[ScoreOutcome]]


class ScriptedEngine:
    """Does what the next entry of its script says; then answers."""

    def __init__(self) -> None:
        self.script: list[Exception | Behaviour] = []
        self.contexts: list[ScoreContext] = []

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        self.contexts.append(context)
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            return await step(context)
        return ScoreOutcome(value="Yes", explanation="found", trace={"nodes": [context.item.id]})

    async def aclose(self) -> None: ...


class Faulty:
    """A port whose calls can be made to fail: by name, before or after the call takes effect."""

    def __init__(self, port: Any, name: str) -> None:
        self._port, self._name = port, name
        self.faults: dict[tuple[str, str], BaseException] = {}
        self.calls: Counter[str] = Counter()

    def __getattr__(self, method: str) -> Any:
        target = getattr(self._port, method)
        if not inspect.iscoroutinefunction(target):
            return target

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[method] += 1
            if (fault := self.faults.pop((method, "before"), None)) is not None:
                raise fault
            answer = await target(*args, **kwargs)
            if (fault := self.faults.pop((method, "after"), None)) is not None:
                raise fault
            return answer

        return call


@dataclass
class Bench:
    """The service and all its parts."""

    clock: FakeClock = field(default_factory=FakeClock)
    policy: Policy = field(default_factory=lambda: Policy(lease_seconds=60, max_attempts=3))

    def __post_init__(self) -> None:
        self.responder = RecordingResponder()
        self.engine = ScriptedEngine()
        self.attachments = MemoryAttachments()
        self.metrics = MemoryMetrics()
        self.store = MemoryJobStore(clock=self.clock)
        self.items = MemoryCatalog()
        self.ports = {
            "jobs": Faulty(self.store, "jobs"),
            "catalog": Faulty(self.items, "catalog"),
            "attachments": Faulty(self.attachments, "attachments"),
            "responder": Faulty(self.responder, "responder"),
            "engine": Faulty(self.engine, "engine"),
        }
        self.service = ScoringService(
            **self.ports, clock=self.clock, policy=self.policy, metrics=self.metrics
        )

    async def fill(self, item: Item | None = None) -> None:
        await self.items.put_scorecard(CARD)
        await self.items.put_item(item or Item(id="item-1", text="Hello there"))

    def fail(self, port: str, method: str, when: str, fault: BaseException) -> None:
        self.ports[port].faults[method, when] = fault


__all__ = ["CARD", "Bench", "Crash", "FakeClock", "MemoryAttachments"]
