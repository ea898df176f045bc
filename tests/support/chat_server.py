"""A scripted model behind real HTTP, for tests and benchmarks.

    with ScriptedChatServer([{"when": "greeting", "replies": ["Yes"]}]) as server:
        ... OPENAI_BASE_URL=server.base_url ...
    assert server.requests[0].params["temperature"] == 0.0

Rules are tried in order. One matches when `when` is contained in the text of all messages joined by newlines and
`last`, if given, in the last message. Its `replies` are used in order and the last one repeats. A reply is a text or
an object with any of:

    text, logprobs      what the model says
    status, error       an HTTP error and its object (message, code, param)
    headers             further response headers, for example Retry-After
    delay               seconds before the answer
    usage               replaces the counted usage
    finish_reason       default "stop"
    raw                 a body to send as it is
    hang, drop          never answer; close the connection without an answer

Usage counts whitespace-separated words. A request that no rule matches gets 400. Chat completions (also below an Azure
deployment's path), responses, Anthropic's messages and Bedrock's Converse are served.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote

from tests.support.chat_dialects import DIALECTS, Dialect

MAX_HEADER_BYTES = 64 * 1024
PHRASES = {int(status): status.phrase for status in HTTPStatus}
ENVELOPE = frozenset({"model", "messages", "input", "system"})


@dataclass(frozen=True)
class RecordedRequest:
    """A request as the recorded cases write it down (`model_requests`)."""

    path: str
    model: str
    messages: list[dict[str, str]]
    params: dict[str, Any]
    headers: dict[str, str] = field(repr=False)
    body: dict[str, Any] = field(repr=False)

    def as_case(self) -> dict[str, Any]:
        """Return the four fields that `expected.json` keeps."""
        return {
            "path": self.path,
            "model": self.model,
            "messages": self.messages,
            "params": self.params,
        }


class Script:
    """Which reply comes next."""

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self._rules = rules
        self._used = [0] * len(rules)

    def next_reply(self, messages: list[dict[str, str]]) -> dict[str, Any] | None:
        everything = "\n".join(message["content"] for message in messages)
        last = messages[-1]["content"] if messages else ""
        for number, rule in enumerate(self._rules):
            if rule.get("when", "") in everything and rule.get("last", "") in last:
                replies = rule["replies"]
                reply = replies[min(self._used[number], len(replies) - 1)]
                self._used[number] += 1
                return {"text": reply} if isinstance(reply, str) else dict(reply)
        return None


class ScriptedChatServer:
    """Serves a script on 127.0.0.1 from a thread of its own, so that any event loop can be its client."""

    def __init__(
        self,
        rules: Sequence[Mapping[str, Any]] | Mapping[str, Any] = (),
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.script = Script(rules["rules"] if isinstance(rules, Mapping) else rules)
        self.requests: list[RecordedRequest] = []
        self.connections = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="scripted-chat-server", daemon=True)

    @property
    def origin(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"{self.origin}/v1"

    def environment(self) -> dict[str, str]:
        """Return the variables that send a process's OpenAI calls here."""
        return {"OPENAI_API_KEY": "sk-scripted", "OPENAI_BASE_URL": self.base_url}

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in __enter__
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            self.connections += 1
            try:
                with contextlib.suppress(
                    ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
                ):
                    await self._connection(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(
            connected,
            "127.0.0.1",
            self._port,
            limit=MAX_HEADER_BYTES,
            backlog=2048,
            ssl=self._tls,
        )
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a turn of the loop in which the transports let go of their sockets

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            try:
                answer = await self._answer(method, path.partition("?")[0], headers, body)
            finally:
                self.in_flight -= 1
            if answer is None:
                return
            writer.write(answer)
            await writer.drain()

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> bytes | None:
        dialect = next((DIALECTS[end] for end in DIALECTS if path.endswith(end)), None)
        if method != "POST" or dialect is None:
            return _http(HTTPStatus.NOT_FOUND, _error(f"no such endpoint: {method} {path}"))
        try:
            request: dict[str, Any] = json.loads(body)
        except ValueError:
            return _http(HTTPStatus.BAD_REQUEST, _error("the body is not JSON"))
        messages = dialect.read(request)
        params = {name: value for name, value in request.items() if name not in ENVELOPE}
        # Bedrock names the model in the path.
        model = request.get("model") or unquote(path.split("/")[-2])
        self.requests.append(RecordedRequest(path, model, messages, params, headers, request))
        reply = self.script.next_reply(messages)
        if reply is None:
            return _http(HTTPStatus.BAD_REQUEST, _error("no rule of the script matches"))
        return await self._play(dialect, reply, model, messages)

    async def _play(
        self,
        dialect: Dialect,
        reply: Mapping[str, Any],
        model: str,
        messages: list[dict[str, str]],
    ) -> bytes | None:
        if reply.get("delay"):
            await asyncio.sleep(reply["delay"])  # clock: as the script says
        if reply.get("hang"):
            await self._stop.wait()
        if reply.get("hang") or reply.get("drop"):
            return None
        status, headers = reply.get("status", 200), reply.get("headers")
        if "raw" in reply:
            return _http(status, reply["raw"].encode(), headers)
        if status >= HTTPStatus.BAD_REQUEST:
            error = reply.get("error", {"message": f"scripted status {status}"})
            return _http(status, dialect.error(error), headers)
        return _http(status, dialect.write(model, messages, reply), headers)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def _http(
    status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {int(status)} {PHRASES.get(int(status), 'of its own')}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def main() -> None:
    """Serve a replies file until interrupted; prints the base URL."""
    parser = argparse.ArgumentParser(description="Serve a scripted model.")
    parser.add_argument("replies", help="a replies.json, or JSON text that begins with {")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    text = options.replies
    if not text.startswith("{"):
        with open(text, encoding="utf-8") as file:  # noqa: PTH123 - one small file of a test tool
            text = file.read()
    with (
        ScriptedChatServer(json.loads(text), port=options.port) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(server.base_url, flush=True)  # noqa: T201 - a command's output
        threading.Event().wait()


if __name__ == "__main__":
    main()
