"""A language model's address on this machine: it fails once, then passes on to the real one or stands in for it.

The failure is a provider's, outside of the service; so the retry that follows is the service's own. It is an answer
that is cut, which costs an attempt; a provider that is down costs none. Without a key a stand-in answers by counting
words of sympathy: a script, not a judgement.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LOOPBACK = "127.0.0.1"
OPENAI = "https://api.openai.com/v1"
_TIMEOUT = 60.0
_SYMPATHY = (
    "sorry",
    "i understand",
    "must be",
    "thank you for telling",
    "take all the time",
    "glad",
)


class Gateway:
    """Serves OpenAI's chat completions on loopback; use as ``with``.

    Args:
        fail_once: Part of a prompt. The first request that has it gets a cut answer.
        environ: Where the real endpoint and its key are looked up.

    Attributes:
        requests: How many requests came.
        refused: How many of them were made to fail.
    """

    def __init__(self, fail_once: str, environ: Mapping[str, str]) -> None:
        self._fail_once = fail_once
        self._key = environ.get("OPENAI_API_KEY", "")
        base = environ.get("OPENAI_BASE_URL") or (OPENAI if self._key else "")
        self._upstream = base.rstrip("/")
        self._lock = threading.Lock()
        self.requests = 0
        self.refused = 0
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def real(self) -> bool:
        """Whether a real model answers."""
        return bool(self._upstream)

    def environment(self) -> dict[str, str]:
        """Return the functions' variables. One call a request: the retry is to be the job's, not the client's."""
        return {
            "OPENAI_BASE_URL": f"http://{LOOPBACK}:{self._server.server_port}/v1",
            "OPENAI_API_KEY": self._key or "stand-in",
            "PLEXUS_MODEL_ATTEMPTS": "1",
        }

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer to one request."""
        request = json.loads(body)
        prompt = "\n".join(str(message.get("content")) for message in request.get("messages", ()))
        with self._lock:
            self.requests += 1
            refuse = not self.refused and self._fail_once in prompt
            self.refused += refuse
        if refuse:
            return HTTPStatus.OK, {}, b'{"choices": [{"message": {"content": "cut (the demo ask'
        if self._upstream:
            return self._forward(path, body)
        return HTTPStatus.OK, {}, json.dumps(_stand_in(request, prompt)).encode()

    def _forward(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(  # noqa: S310  the endpoint that the user named
            self._upstream + path.removeprefix("/v1"),
            data=body,
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  as above
                return answer.status, {}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                kept = {k: v for k, v in error.headers.items() if k.lower() == "retry-after"}
                return error.code, kept, error.read()
        except OSError as error:
            message = {"error": {"message": f"the endpoint cannot be reached: {error}"}}
            return HTTPStatus.BAD_GATEWAY, {}, json.dumps(message).encode()


def _stand_in(request: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    lower = prompt.lower()
    count = sum(lower.count(words) for words in _SYMPATHY)
    verdict = ("Weak", "Adequate")[count] if count < 2 else "Strong"  # noqa: PLR2004  two or more
    text = f"A stand-in without a model counted {count} phrases of sympathy.\n{verdict}"
    used = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    return {
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model", ""),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": used | {"total_tokens": sum(used.values())},
    }


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer; with Nagle's algorithm two would take 40 ms
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, headers, answer = gateway.answer(self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
            """Say nothing: the demo's own output is the log."""

    return Handler
