"""Plexus's API behind real HTTP: executes GraphQL over records in memory, with AppSync's and DynamoDB's manners.

    with GraphQLServer() as server:
        account = server.put("Account", name="Acme", key="acme")
        ... PLEXUS_API_URL=server.url, PLEXUS_API_KEY=server.key ...
    assert server.operations == ["Job", "UpdateJob", "Publish"]

Conditions are evaluated and written in one step; refusals are ``DynamoDB:ConditionalCheckFailedException``. Filters
apply to what a page read, as in DynamoDB, so that a page may be empty and yet not the last. Keys of indexes may not be
empty, records not larger than 400 KB. Requests without the key get 401, introspection is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Self

from graphql import DocumentNode, GraphQLError, execute_sync, parse, validate

from tests.support.graphql_schema import MODELS, index_query, schema
from tests.support.graphql_tables import Record, Tables

MAX_REQUEST_BYTES = 1_000_000
_UNKNOWN_INPUT = re.compile(r"Expected value of type '(\w+)' not to include unknown field '(\w+)'")


class Executor:
    """Runs documents against the tables."""

    def __init__(self, tables: Tables, absent: frozenset[tuple[str, str]], *, claims: bool) -> None:
        self._tables = tables
        self.schema = schema(absent, claims=claims)
        self._root = dict(self._fields())
        self._parsed: dict[str, tuple[DocumentNode, list[GraphQLError]]] = {}

    def run(self, text: str, variables: Record, name: str | None) -> Record:
        if "__schema" in text or "__type(" in text:
            return _errors("Introspection is disabled for this API", "ValidationError")
        if text not in self._parsed:
            try:
                document = parse(text)
            except GraphQLError as error:
                return _errors(error.message, "MalformedHttpRequestException")
            self._parsed[text] = document, validate(self.schema, document)
        document, problems = self._parsed[text]
        if problems:
            return {"data": None, "errors": [_as_appsync(problem) for problem in problems]}
        result = execute_sync(
            self.schema, document, self._root, variable_values=variables, operation_name=name,
            field_resolver=self._resolve,
        )  # fmt: skip
        answer: Record = {"data": result.data}
        if result.errors:
            answer["errors"] = [_as_appsync(error) for error in result.errors]
        return answer

    def _resolve(self, source: Any, info: Any, **args: Any) -> Any:
        name = info.field_name
        model = MODELS.get(source.get("__typename", ""))
        if model is not None and name in model.one:
            kind, key = model.one[name]
            return self._tables.get(kind, source.get(key))
        if model is not None and name in model.many:
            kind, key = model.many[name]
            return self._tables.query(kind, (key,), {**args, key: source["id"]})
        value = source.get(name)
        return value(**args) if callable(value) else value

    def _fields(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        tables = self._tables

        def listing(model: str, keys: tuple[str, ...]) -> Callable[..., Record]:
            return lambda **args: tables.query(model, keys, args)

        def mutation(method: Callable[..., Record], model: str) -> Callable[..., Record]:
            return lambda input, condition=None: method(model, input, condition)  # noqa: A006  GraphQL's word

        def getter(model: str) -> Callable[..., Record | None]:
            return lambda id: tables.get(model, id)  # noqa: A006  GraphQL's word

        yield "claimScoringJob", tables.claim
        for model, spec in MODELS.items():
            yield f"get{model}", getter(model)
            yield f"list{model}s", listing(model, ())
            for keys in spec.indexes:
                yield index_query(model, keys), listing(model, keys)
            yield f"create{model}", mutation(tables.create, model)
            yield f"update{model}", mutation(tables.update, model)
            yield f"delete{model}", mutation(tables.delete, model)


class GraphQLServer:
    """Serves the tables on 127.0.0.1 from a thread of its own.

    Args:
        now: Time for createdAt and updatedAt.
        any_account: Make the account of any key that is asked for.
        absent: Fields (model, field) that this release's schema lacks.
        claims: Whether the schema has `claimScoringJob`, as 1.63's proxy does in its local mode.
        accepts: Whether headers and body show that the caller may call; default: they have the key.
        port: 0 takes a free one.
    """

    key = "da2-test"

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        any_account: bool = False,
        absent: frozenset[tuple[str, str]] = frozenset(),
        claims: bool = False,
        accepts: Callable[[Mapping[str, str], bytes], bool] | None = None,
        port: int = 0,
    ) -> None:
        self._accepts = accepts or (lambda headers, _: headers.get("x-api-key") == self.key)
        self.tables = Tables(now, any_account=any_account)
        self.operations: list[str] = []
        self.requests: list[Record] = []
        self.connections = 0
        self.faults: list[tuple[int, Any, dict[str, str]]] = []
        self.before: dict[str, Callable[[Record], None]] = {}
        self._executor = Executor(self.tables, absent, claims=claims)
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="graphql-server", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/graphql"

    def environment(self) -> dict[str, str]:
        """Return the variables that send a process here."""
        return {"PLEXUS_API_URL": self.url, "PLEXUS_API_KEY": self.key}

    def put(self, model: str, **values: Any) -> Record:
        """Store a record."""
        return self.tables.put(model, values)

    def get(self, model: str, record_id: str) -> Record | None:
        """Return a record."""
        return self.tables.records[model].get(record_id)

    def all(self, model: str) -> list[Record]:
        """Return all records of a model."""
        return list(self.tables.records[model].values())

    def fail(self, status: int, body: Any = None, *, times: int = 1, **headers: str) -> None:
        """Answer the next requests with this instead."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults += [(status, {} if body is None else body, named)] * times

    def counted(self) -> Counter[str]:
        """Return how often each operation was asked for."""
        return Counter(self.operations)

    def forget(self) -> None:
        """Count from 0."""
        self.operations.clear()
        self.requests.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            self.connections += 1
            try:
                with contextlib.suppress(
                    ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
                ):
                    while True:
                        await self._exchange(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a turn of the loop in which the transports let go of their sockets

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, answer, extra = self._answer(headers, body)
        if status == 0:
            raise ConnectionError
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            *(f"{name}: {value}" for name, value in extra.items()),
        ]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content)
        await writer.drain()

    def _answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        request = json.loads(body)
        name = request.get("operationName")
        self.operations.append(name or "")
        self.requests.append(request)
        if name in self.before:
            self.before[name](request)
        if self.faults:
            return self.faults.pop(0)
        if not self._accepts(headers, body):
            return (
                401,
                _errors("You are not authorized to make this call.", "UnauthorizedException"),
                {},
            )
        if len(body) > MAX_REQUEST_BYTES:
            return 413, _errors("Request too large", "RequestEntityTooLarge"), {}
        return 200, self._executor.run(request["query"], request.get("variables") or {}, name), {}


def _errors(message: str, kind: str) -> Record:
    return {"errors": [{"message": message, "errorType": kind}]}


def _as_appsync(error: GraphQLError) -> Record:
    """Return an error in AppSync's words."""
    message, kind = error.message, (error.extensions or {}).get("errorType")
    words = message.replace("'", '"').split('"')
    if message.startswith("Cannot query field"):
        message = f"Validation error of type FieldUndefined: Field '{words[1]}' in type '{words[3]}' is undefined"
    elif message.startswith("Unknown type"):
        message = f"Validation error of type UnknownType: Unknown type {words[1]}"
    elif unknown := _UNKNOWN_INPUT.search(message):
        message = (
            f"The variables input contains a field name '{unknown[2]}' that is not defined for input "
            f"object type '{unknown[1]}'"
        )
    answer: Record = {"message": message, "path": error.path, "locations": None}
    if kind:
        answer |= {"errorType": kind, "data": None}
    return answer


def main() -> None:
    """Serve an API with one account, and print its URL."""
    parser = argparse.ArgumentParser(description="Serve Plexus's API over records in memory.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--account", default="demo", help="key of the account")
    options = parser.parse_args()
    with GraphQLServer(port=options.port) as server, contextlib.suppress(KeyboardInterrupt):
        server.put("Account", name=options.account, key=options.account)
        print(server.url, flush=True)  # noqa: T201 - a command's output
        threading.Event().wait()


if __name__ == "__main__":
    main()
