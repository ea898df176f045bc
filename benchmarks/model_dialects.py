"""How many of the recorded exchanges with OpenAI-compatible servers a client library gets right by itself.

    python -m benchmarks.model_dialects [--clients ours sdk pydantic-ai]

Plays the files of tests/support/dialects that speak chat completions over HTTP. An exchange is right where the client
gives the expected text (reasoning left out, nothing for an answer that was withheld), or an error where one is
expected; which error is not compared. `sdk` is openai's typed interface, `pydantic-ai` the package pydantic-ai-slim.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.chat_server import ScriptedChatServer

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "support" / "dialects"
QUESTION = "greeting there?"

Ask = Callable[[str, dict[str, Any]], Awaitable[str]]


async def sdk(base_url: str, given: dict[str, Any]) -> str:
    """Ask by the SDK's typed interface."""
    import openai

    more = {"logprobs": True, "top_logprobs": given["logprobs"]} if given.get("logprobs") else {}
    async with openai.AsyncOpenAI(api_key="x", base_url=base_url, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model=given.get("model", "some-model"),
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0.0,
            max_completion_tokens=9,
            **more,
        )
    return answer.choices[0].message.content or ""


async def pydantic_ai(base_url: str, given: dict[str, Any]) -> str:
    """Ask by pydantic-ai."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 9}
    if given.get("logprobs"):
        settings |= {"openai_logprobs": True, "openai_top_logprobs": given["logprobs"]}
    model = OpenAIChatModel(
        given.get("model", "some-model"), provider=OpenAIProvider(base_url=base_url, api_key="x")
    )
    return (await Agent(model, retries=0).run(QUESTION, model_settings=settings)).output


async def ours(base_url: str, given: dict[str, Any]) -> str:
    """Ask by the router."""
    from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
    from plexus_scoring.engines.models.router import ModelRouter
    from plexus_scoring.engines.models.settings import ModelSettings

    environ = {"OPENAI_BASE_URL": base_url, "PLEXUS_MODEL_ATTEMPTS": "1"}
    router = ModelRouter(ModelSettings.from_environment(environ))
    request = ChatRequest(
        provider="ChatOpenAI",
        messages=(ChatMessage("user", QUESTION),),
        **{"model": "some-model", "max_tokens": 9, "temperature": 0.0} | given,
    )
    try:
        return (await router.chat(request)).text
    finally:
        await router.aclose()


CLIENTS: dict[str, Ask] = {"ours": ours, "sdk": sdk, "pydantic-ai": pydantic_ai}


def exchanges() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the exchanges with servers that speak chat completions."""
    for file in sorted(FOLDER.glob("*.yaml")):
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry in document["exchanges"]:
            speaks = document["provider"] in ("ChatOpenAI", "ChatOllama")
            if speaks and not entry.get("ask", {}).get("model", "").startswith("gpt-5"):
                yield file.stem, entry


async def is_right(ask: Ask, entry: dict[str, Any]) -> bool:
    """Whether the client gives the expected text, or an error where one is expected."""
    replies = [
        {key: value for key, value in answer.items() if key != "body"}
        | {"raw": json.dumps(answer["body"])}
        for answer in entry["answers"]
    ]
    with ScriptedChatServer([{"when": "", "replies": replies}]) as server:
        try:
            text = await ask(server.base_url, entry.get("ask", {}))
        except Exception:  # noqa: BLE001  each library has errors of its own
            return "error" in entry["expect"]
    return "error" not in entry["expect"] and text == entry["expect"]["text"]


def main() -> None:
    """Print the share of each client, and what it gets wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=["ours", "sdk"])
    options = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "x")
    for name in options.clients:
        wrong = [
            f"{server}: {entry['name']}"
            for server, entry in exchanges()
            if not asyncio.run(is_right(CLIENTS[name], entry))
        ]
        count = len(list(exchanges()))
        print(f"{name}: {count - len(wrong)} of {count} right")
        for line in wrong:
            print(f"    wrong: {line}")


if __name__ == "__main__":
    main()
