"""Runs TactusScores, each in a process that is forked for it and ends with it.

    PYTHON -I tactus_host.py '{"memory_bytes": …, "models": …}'

The Lua is a stranger's: what one score leaves behind in its process no other score meets. This process imports `tactus`
once and then only passes messages on; it never runs Lua itself. It has no threads, because it forks.

Messages are those of `plexus_host`, with `run` in place of `score`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import resource
import selectors
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plexus_scoring.engines.plexus.hosts import host_wire, lua_reach
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    import host_wire
    import lua_reach

    del sys.path[0]

_READ = 1 << 16
_MAX_FILE_BYTES = 16 << 20
# What a procedure needs to ask a model takes seconds to import, some of it only when a client is made.
_MODELS = (
    "tactus.dspy.agent", "tactus.primitives.model", "litellm.litellm_core_utils.llm_request_utils", "httpcore",
    "openai.lib.streaming.chat", "openai.resources",
)  # fmt: skip
_WARM_UP = """
Procedure {
  input = { text = field.string{required = true} },
  output = { value = field.string{required = true} },
  function(input) return { value = input.text } end
}
"""


class TactusHost:
    """Starts a process for each job, and passes its messages on under the job's own id."""

    def __init__(self, wire: host_wire.Wire, options: dict[str, Any]) -> None:
        self._wire = wire
        self._options = options
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, tuple[int, int]] = {}

    def serve(self) -> None:
        """Take messages until stdin ends."""
        decoder = host_wire.Decoder()
        self._selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                data = os.read(key.fd, _READ)
                if key.fd != 0:
                    self._relay(key.fd, data, *key.data)
                    continue
                if not data:
                    self._end_all()
                for message in decoder.feed(data):
                    self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if message["op"] == "cancel":
            if number in self._children:
                _end(self._children[number][0])
        elif message["op"] == "load":
            self._wire.send({"id": number, **_load(models=message["models"])})
        else:
            self._start(message)

    def _start(self, message: dict[str, Any]) -> None:
        read_end, write_end = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read_end)
            self._selector.close()
            os.close(self._wire.descriptor)
            for _, other in self._children.values():
                os.close(other)
            _run_and_exit(host_wire.Wire(write_end), message, self._options)
        os.close(write_end)
        with contextlib.suppress(OSError):  # the child does so, too: whoever is first
            os.setpgid(process, process)
        self._children[message["id"]] = (process, read_end)
        self._selector.register(
            read_end, selectors.EVENT_READ, (message["id"], host_wire.Decoder())
        )

    def _relay(self, descriptor: int, data: bytes, number: int, decoder: host_wire.Decoder) -> None:
        """Pass on what a child says, never under another job's id, until it has answered."""
        over = not data
        try:
            for message in decoder.feed(data):
                known: dict[str, Any] = {
                    key: message[key] for key in ("log", "ok", "error") if key in message
                }
                over = over or "log" not in known
                self._wire.send({"id": number, **known})
        except (
            ValueError,
            TypeError,
        ):  # no message, and a child that sends such will send no answer
            over = True
        if not over:
            return
        self._selector.unregister(descriptor)
        os.close(descriptor)
        process, _ = self._children.pop(number)
        _end(process)
        _, status = os.waitpid(process, 0)
        # The service keeps the first answer to a job: this one counts where the child died without any.
        how = f"it ended with {os.waitstatus_to_exitcode(status)}"
        self._wire.send({"id": number, "error": {"kind": "Died", "message": how}})

    def _end_all(self) -> None:
        for process, _ in self._children.values():
            _end(process)
        os._exit(0)


def _end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _load(*, models: bool) -> dict[str, Any]:
    """Import everything that a job would otherwise import in its own process, again and again."""
    try:
        for name in ("tactus.core.runtime", *(_MODELS if models else ())):
            importlib.import_module(name)
        lua_reach.restrain_tactus()
        asyncio.run(_run({"name": "warm-up", "code": _WARM_UP, "context": {"text": "x"}}))
    except Exception as error:  # noqa: BLE001  whatever an import raises
        return {"error": {"kind": type(error).__name__, "message": str(error)}}
    host_wire.own_the_log()
    gc.collect()
    gc.freeze()  # what the children do not touch stays one copy
    return {"ok": {}}


def _run_and_exit(wire: host_wire.Wire, message: dict[str, Any], options: dict[str, Any]) -> None:
    """Be the child: run one procedure, say what came of it, end."""
    host_wire.die_with_parent()
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _bound(message, options)
    log = host_wire.JobLog(wire, message["id"])
    host_wire.JobLog.current.set(log)
    try:
        answer = {"ok": asyncio.run(_run(message))}
    except BaseException as error:  # noqa: BLE001  the child ends here, and its answer with it
        answer = {"error": {"kind": type(error).__name__, "message": str(error)}}
    log.send()
    wire.send(answer)
    os._exit(0)


def _bound(message: dict[str, Any], options: dict[str, Any]) -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123  once for each job
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    if options.get("job_memory_bytes"):
        host_wire.limit_memory(mapped + options["job_memory_bytes"])
    seconds = int(message["seconds"]) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))


async def _run(message: dict[str, Any]) -> dict[str, Any]:
    """Run the procedure as Plexus's TactusScore does (plexus/scores/TactusScore.py, `predict`)."""
    runtime_module: Any = importlib.import_module("tactus.core.runtime")
    memory: Any = importlib.import_module("tactus.adapters.memory")
    costs: Any = importlib.import_module("tactus.adapters.cost_collector_log")
    runtime = runtime_module.TactusRuntime(
        procedure_id=message["name"],
        storage_backend=memory.MemoryStorage(),
        openai_api_key=os.environ.get("OPENAI_API_KEY"),
        log_handler=costs.CostCollectorLogHandler(),
    )
    result = await runtime.execute(message["code"], context=message["context"], format="lua")
    return {
        "success": bool(result.get("success", True)),
        "error": result.get("error"),
        "output": result.get("result"),
        "calls": host_wire.model_calls(result),
    }


if __name__ == "__main__":
    TactusHost(*host_wire.start()).serve()
