"""What model servers really answer, one file of exchanges for each in tests/support/dialects, over HTTP."""

import json
import re
from pathlib import Path

import pytest
import yaml

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model import errors
from tests.support.chat_server import ScriptedChatServer

FOLDER = Path(__file__).parents[2] / "support" / "dialects"
SERVERS = ["anthropic", "azure", "bedrock", "deepseek", "gemini", "groq", "lm_studio", "mistral"]
SERVERS += ["ollama", "openai", "openrouter", "together", "vllm"]
DEFAULTS = {"max_tokens": 9, "temperature": 0.0, "top_p": 0.5}
HALVES = ("cut", "withheld")


def exchanges():
    for file in sorted(FOLDER.glob("*.yaml")):
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry in document["exchanges"]:
            yield pytest.param(
                document["provider"], entry, id=f"{file.stem}: {entry['name']}".replace(" ", "-")
            )


def error_class(name):
    return getattr(failures, name, None) or getattr(errors, name)


def scripted(answer):
    reply = {key: value for key, value in answer.items() if key != "body"}
    return reply | {"raw": json.dumps(answer["body"])}


@pytest.mark.parametrize(("provider", "exchange"), list(exchanges()))
async def test_a_server_is_understood(provider, exchange, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    replies = [scripted(answer) for answer in exchange["answers"]]
    with ScriptedChatServer([{"when": "", "replies": replies}]) as server:
        environ = server.environment() | {
            "AZURE_OPENAI_ENDPOINT": server.origin,
            "AZURE_OPENAI_API_KEY": "azure-key",
            "OLLAMA_HOST": server.origin,
            "ANTHROPIC_API_KEY": "anthropic-key",
            "ANTHROPIC_BASE_URL": server.origin,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.origin,
            "PLEXUS_MODEL_ATTEMPTS": "1",
        }
        router = ModelRouter(ModelSettings.from_environment(environ))
        request = ChatRequest(
            provider=provider,
            messages=(ChatMessage("system", "be brief"), ChatMessage("user", "greeting there?")),
            **{"model": "some-model"} | DEFAULTS | exchange.get("ask", {}),
        )
        try:
            await check(router, request, exchange["expect"])
            if "sent" in exchange["expect"]:  # what was learned is kept
                await router.chat(request)
                assert len(server.requests) == len(exchange["answers"]) + 1
        finally:
            await router.aclose()
        sent = exchange["expect"].get("sent", [])
        for one, wanted in zip([*server.requests], sent, strict=False):
            assert {name: one.params.get(name) for name in wanted} == wanted
        assert len(server.requests) == exchange["expect"].get("calls", len(server.requests))
        paths = exchange["expect"].get("paths")
        assert paths in (None, [one.path for one in server.requests][: len(paths or ())])


async def check(router, request, expect):
    if "error" in expect:
        with pytest.raises(errors.ScoringError) as caught:
            await router.chat(request)
        assert type(caught.value) is error_class(expect["error"]), caught.value
        assert re.search(expect.get("says", ""), caught.value.message), caught.value
        assert expect.get("says_not", "no such words") not in caught.value.message
        assert caught.value.retry_after == expect.get("retry_after")
        return
    reply = await router.chat(request)
    assert reply.text == expect["text"]
    for name in HALVES:
        reason = getattr(reply, name)
        assert expect[name] in (reason or "") if name in expect else reason is None
    assert expect.get("reasoning_has", "") in (reply.reasoning or "")
    for name in ("reasoning", "refusal", "reasoning_tokens", "prompt_tokens", "completion_tokens"):
        if name in expect:
            assert getattr(reply, name) == expect[name]
    if "logprobs" in expect:
        found = [[t.token, t.logprob, [list(a) for a in t.alternatives]] for t in reply.logprobs]
        assert found == expect["logprobs"]


def test_every_server_has_its_file():
    assert sorted(file.stem for file in FOLDER.glob("*.yaml")) == SERVERS
