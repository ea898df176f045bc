"""LangGraph's own checkpoints in PostgreSQL: a job that comes again goes on with its graph where it stopped.

Plexus 1.50.1 compiles its graphs without a checkpointer (its releases before mid-2026 had one, under the same
variable), so it is put in from here. A thread is one score of one job; it is removed when the score has ended.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any

from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, shorten

log = logging.getLogger(__name__)

_job: ContextVar[tuple[Any, str] | None] = ContextVar("plexus_scoring_graph_job", default=None)
_TABLES = ("checkpoint_writes", "checkpoint_blobs", "checkpoints")
_MARK = "_plexus_scoring_resumes"


class Checkpointer:
    """The connection to PostgreSQL. Lives on the loop that runs the graphs.

    Args:
        uri: PLEXUS_LANGGRAPH_CHECKPOINTER_POSTGRES_URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._stack = AsyncExitStack()
        self._saver: Any = None

    async def open(self) -> Any:
        """Return LangGraph's saver, connected, its tables made. Raises ConfigurationError, EngineUnavailable."""
        if self._saver is None:
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
            self._saver = saver
        return self._saver

    async def aclose(self) -> None:
        """Close the connection. Safe to call twice."""
        self._saver = None
        await self._stack.aclose()


def set_job(saver: Any, job_id: str) -> None:
    """Let the graphs that the current task runs keep checkpoints under this job."""
    _job.set((saver, job_id))


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
        saver, job_id = current
        app.checkpointer = saver
        self.workflow = ResumingGraph(app, saver, thread_of(job_id, self.parameters))
        return self.workflow

    graph_class.build_compiled_workflow = build_compiled_workflow
    setattr(graph_class, _MARK, True)


def thread_of(job_id: str, parameters: Any) -> str:
    """Return the thread of one score of a job; a changed configuration begins anew."""
    configuration = parameters.model_dump_json() if parameters is not None else ""
    digest = hashlib.sha256(configuration.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{job_id}/{getattr(parameters, 'name', '')}/{digest}"


class ResumingGraph:
    """A compiled graph that goes on where its thread's last checkpoint is."""

    def __init__(self, app: Any, saver: Any, thread: str) -> None:
        self._app = app
        self._saver = saver
        self._config = {"configurable": {"thread_id": thread}}
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def ainvoke(self, state: Any, **options: Any) -> Any:
        """Run the graph, or the rest of it. The package's own `config` names a new thread each time: it is not used."""
        options.pop("config", None)
        snapshot = await self._app.aget_state(self._config)
        if snapshot.next:
            log.info("resuming the graph at %s", ", ".join(snapshot.next))
            state = None
        result = await self._app.ainvoke(state, config=self._config, **options)
        await _forget(self._saver, self._thread)
        return result


async def _forget(saver: Any, thread: str) -> None:
    """Remove a thread that ended. Release 2.0.9 of the saver, which Plexus 1.50.1 asks for, leaves that to SQL."""
    try:
        await saver.adelete_thread(thread)
    except NotImplementedError:
        async with saver.lock, saver.conn.cursor() as cursor:
            for table in _TABLES:
                await cursor.execute(f"DELETE FROM {table} WHERE thread_id = %s", (thread,))  # noqa: S608  own names
