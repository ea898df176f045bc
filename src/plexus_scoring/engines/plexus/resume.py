"""LangGraph's own checkpoints in PostgreSQL: a job that comes again goes on with its graph where it stopped.

Plexus 1.50.1 compiles its graphs without a checkpointer (its releases before mid-2026 had one, under the same
variable), so it is put in from here. A thread is one score of one job; a job's threads are removed when it needs none
any more. Each checkpoint carries what its score had spent by then, so that the last attempt tells the costs of all.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any

import msgspec

from plexus_scoring.engines.plexus.outcome import cost_of
from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, shorten

log = logging.getLogger(__name__)

_job: ContextVar[tuple[Checkpointer, str] | None] = ContextVar(
    "plexus_scoring_graph_job", default=None
)
_TABLES = ("checkpoint_writes", "checkpoint_blobs", "checkpoints")
_MARK = "_plexus_scoring_resumes"
_SPENT = "plexus_scoring_cost"
# So long may a cancelled graph hold up its end to write down what it spent.
_LAST_WRITE_SECONDS = 1.0


class Checkpointer:
    """LangGraph's saver and its connection to PostgreSQL. Lives on the loop that runs the graphs.

    Args:
        uri: PLEXUS_LANGGRAPH_CHECKPOINTER_POSTGRES_URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._stack = AsyncExitStack()
        self._costs: dict[str, Callable[[], Cost]] = {}
        self._threads: dict[str, set[str]] = {}
        self.saver: Any = None

    async def open(self) -> None:
        """Connect, and make the tables. Raises ConfigurationError, EngineUnavailable."""
        if self.saver is not None:
            return
        try:
            from langgraph.checkpoint.postgres.aio import (  # type: ignore[import-not-found]  # noqa: PLC0415
                AsyncPostgresSaver,
            )
        except ImportError as error:
            raise ConfigurationError(
                "PLEXUS_LANGGRAPH_CHECKPOINTER_POSTGRES_URI is set, but langgraph-checkpoint-postgres is not"
                " installed beside Plexus"
            ) from error
        try:
            saver = await self._stack.enter_async_context(
                AsyncPostgresSaver.from_conn_string(self._uri)
            )
            await saver.setup()
        except OSError as error:
            raise EngineUnavailable(f"the checkpoints' PostgreSQL: {error}") from error
        except Exception as error:
            # psycopg's errors may hold the URI's parts; their first line names the cause.
            raise EngineUnavailable(
                f"the checkpoints' PostgreSQL cannot be used: {shorten(type(error).__name__)}"
            ) from error
        self.use(saver)

    def use(self, saver: Any) -> None:
        """Write with this saver, what each thread's score has spent along with its checkpoints."""
        put = saver.aput

        async def aput(config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
            spent = self._costs.get(config["configurable"]["thread_id"])
            if spent is not None:
                metadata = {**metadata, _SPENT: msgspec.to_builtins(spent())}
            return await put(config, checkpoint, metadata, new_versions)

        saver.aput = aput
        self.saver = saver

    def begin(self, job_id: str, thread: str, spent: Callable[[], Cost]) -> None:
        """Note a thread of a job, and how to learn what its score has spent so far, earlier attempts included."""
        self._threads.setdefault(job_id, set()).add(thread)
        self._costs[thread] = spent

    async def spent_before(self, thread: str) -> Cost:
        """Return what earlier attempts had spent when they wrote their last checkpoint."""
        costs = [
            cost_of(entry.metadata.get(_SPENT))
            async for entry in self.saver.alist({"configurable": {"thread_id": thread}})
        ]
        return max(costs, key=lambda cost: (cost.llm_calls, cost.total_tokens), default=Cost())

    async def remember(self, config: Any) -> None:
        """Write down what was spent since the last checkpoint, as far as can be: the attempt is ending anyway."""
        try:
            async with asyncio.timeout(_LAST_WRITE_SECONDS):
                last = await self.saver.aget_tuple(config)
                if last is not None:
                    root = {"configurable": {**config["configurable"], "checkpoint_ns": ""}}
                    await self.saver.aput(
                        last.parent_config or root, last.checkpoint, last.metadata, {}
                    )
        except Exception as error:  # noqa: BLE001  the score's own error is what counts
            log.warning(
                "what this attempt spent is not kept for the next: %s", type(error).__name__
            )

    def leave(self, job_id: str) -> None:
        """End an attempt whose job will come again: its threads stay."""
        for thread in self._threads.pop(job_id, ()):
            self._costs.pop(thread, None)

    async def forget(self, job_id: str) -> None:
        """Remove the threads of a job that needs them no more."""
        threads = self._threads.get(job_id, set())
        self.leave(job_id)
        for thread in threads:
            try:
                await _remove(self.saver, thread)
            except Exception as error:  # noqa: BLE001  what is left over costs disk space, not the result
                log.warning("checkpoints left over: %s", type(error).__name__)

    async def aclose(self) -> None:
        """Close the connection. Safe to call twice."""
        self.saver = None
        await self._stack.aclose()


def set_job(checkpointer: Checkpointer, job_id: str) -> None:
    """Let the graphs that the current task runs keep checkpoints under this job."""
    _job.set((checkpointer, job_id))


def teach(graph_class: Any) -> None:
    """Make the package's graph scores compile with the checkpointer of the job at hand. Once for a process."""
    if getattr(graph_class, _MARK, False):
        return
    compile_graph = graph_class.build_compiled_workflow

    async def build_compiled_workflow(self: Any) -> Any:
        app = await compile_graph(self)
        current = _job.get()
        if current is None:
            return app
        checkpointer, job_id = current
        app.checkpointer = checkpointer.saver
        self.workflow = ResumingGraph(app, self, checkpointer, job_id)
        return self.workflow

    graph_class.build_compiled_workflow = build_compiled_workflow
    setattr(graph_class, _MARK, True)


def thread_of(job_id: str, parameters: Any) -> str:
    """Return the thread of one score of a job; a changed configuration begins anew."""
    configuration = parameters.model_dump_json() if parameters is not None else ""
    digest = hashlib.sha256(configuration.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{job_id}/{getattr(parameters, 'name', '')}/{digest}"


class ResumingGraph:
    """A compiled graph that goes on where its thread's last checkpoint is.

    Args:
        app: The compiled graph.
        score: The package's score that it belongs to.
        checkpointer: Where its checkpoints are.
        job_id: The text of the job's key: no job of another account has the same.
    """

    def __init__(self, app: Any, score: Any, checkpointer: Checkpointer, job_id: str) -> None:
        self._app = app
        self._score = score
        self._checkpointer = checkpointer
        self._job_id = job_id
        self._thread = thread_of(job_id, score.parameters)
        self._config = {"configurable": {"thread_id": self._thread}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def ainvoke(self, state: Any, **options: Any) -> Any:
        """Run the graph, or the rest of it. The package's own `config` names a new thread each time: it is not used."""
        options.pop("config", None)
        snapshot = await self._app.aget_state(self._config)
        begun = snapshot.created_at is not None
        self._count(await self._checkpointer.spent_before(self._thread) if begun else Cost())
        if begun and not snapshot.next:
            log.info("this graph ended in an earlier attempt")
            outputs = self._app.output_channels
            names = [outputs] if isinstance(outputs, str) else outputs
            return {name: snapshot.values[name] for name in names if name in snapshot.values}
        if begun:
            log.info("resuming the graph at %s", ", ".join(snapshot.next))
            state = None
        try:
            return await self._app.ainvoke(state, config=self._config, **options)
        except BaseException:
            await self._checkpointer.remember(self._config)
            raise

    def _count(self, earlier: Cost) -> None:
        """Let the score tell the costs of earlier attempts with its own, to the package and to the checkpoints."""
        score, own = self._score, type(self._score).get_accumulated_costs

        def spent() -> Cost:
            return Cost.total((earlier, cost_of(own(score))))

        if earlier != Cost():
            score.get_accumulated_costs = lambda: msgspec.to_builtins(spent())
        self._checkpointer.begin(self._job_id, self._thread, spent)


async def _remove(saver: Any, thread: str) -> None:
    """Remove a thread. Release 2.0.9 of the saver, which Plexus 1.50.1 asks for, leaves that to SQL."""
    try:
        await saver.adelete_thread(thread)
    except NotImplementedError:
        async with saver.lock, saver.conn.cursor() as cursor:
            for table in _TABLES:
                await cursor.execute(f"DELETE FROM {table} WHERE thread_id = %s", (thread,))  # noqa: S608  own names
