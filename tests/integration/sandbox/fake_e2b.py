"""E2B's two interfaces on one local HTTP server: the control plane, and the daemon inside a machine.

The daemon's part is served by the SDK's own generated service, so that what travels is what travels to E2B; commands
run in this machine's bash.
"""

import asyncio
import contextlib
import pathlib
import shutil
import threading
import urllib.parse

import uvicorn
from e2b.envd.process import process_pb
from e2b.envd.process.process_connect import Process, ProcessASGIApplication
from protobuf import Oneof
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route


class FakeE2B:
    """Counts what it was asked; `refuse` answers the control plane with that status instead."""

    def __init__(self):
        self.created: list[dict] = []
        self.removed: list[str] = []
        self.keys: list[str] = []
        self.files: list[pathlib.Path] = []
        self.refuse: int | None = None
        self._server: uvicorn.Server | None = None
        self.url = ""

    def environment(self) -> dict[str, str]:
        return {
            "E2B_API_KEY": "e2b_0000",
            "E2B_API_URL": self.url,
            "E2B_SANDBOX_URL": self.url,
            "E2B_HTTP_VERSION": "1.1",
            "TEMPLATE_ID": "our-template",
        }

    @contextlib.contextmanager
    def serving(self):
        app = Starlette(
            routes=[
                Route("/sandboxes", self._create, methods=["POST"]),
                Route("/v2/sandboxes", self._create, methods=["POST"]),
                Route("/sandboxes/{machine}", self._remove, methods=["DELETE"]),
                Route("/files", self._write, methods=["POST"]),
                Route("/health", self._health),
                Mount("/", ProcessASGIApplication(_Process())),
            ]
        )
        config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        thread = threading.Thread(target=self._server.run)
        thread.start()
        while not self._server.started:
            thread.join(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            self._server.should_exit = True
            thread.join()
            for root in {path.parent.parent for path in self.files if path.parent.name == "src"}:
                shutil.rmtree(root, ignore_errors=True)

    async def _create(self, request: Request) -> Response:
        self.keys.append(request.headers.get("x-api-key", ""))
        if self.refuse:
            return JSONResponse({"code": self.refuse, "message": "refused"}, self.refuse)
        self.created.append(await request.json())
        number = len(self.created)
        return JSONResponse(
            {
                "templateID": self.created[-1]["templateID"],
                "sandboxID": f"machine{number}",
                "clientID": "c",
                "envdVersion": "0.6.7",
                "envdAccessToken": "t",
            },
            201,
        )

    async def _remove(self, request: Request) -> Response:
        self.removed.append(request.path_params["machine"])
        return Response(status_code=204)

    async def _health(self, _request: Request) -> Response:
        return Response(status_code=204)

    async def _write(self, request: Request) -> Response:
        path = pathlib.Path(urllib.parse.unquote(request.query_params["path"]))
        body = await request.body()
        if request.headers["content-type"].startswith("multipart/"):
            body = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        await asyncio.to_thread(_store, path, body)
        self.files.append(path)
        return JSONResponse([{"name": path.name, "path": str(path), "type": "file"}])


def _store(path: pathlib.Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


class _Process(Process):
    """The daemon's process service: start is all that the adapter uses."""

    async def start(self, request, _context):
        process = await asyncio.create_subprocess_exec(
            request.process.cmd,
            *request.process.args,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        yield _event("start", process_pb.ProcessEvent.StartEvent(pid=process.pid))
        stdout, stderr = await process.communicate()
        for kind, data in (("stdout", stdout), ("stderr", stderr)):
            if data:
                output = process_pb.ProcessEvent.DataEvent(output=Oneof(kind, data))
                yield _event("data", output)
        end = process_pb.ProcessEvent.EndEvent(
            exit_code=process.returncode, exited=True, status=f"exit status {process.returncode}"
        )
        yield _event("end", end)


def _event(kind, value):
    return process_pb.StartResponse(event=process_pb.ProcessEvent(event=Oneof(kind, value)))
