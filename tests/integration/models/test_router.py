"""The router and the real SDKs against a scripted model over HTTP."""

import asyncio
import time

import pytest

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import (
    AccountRefused,
    ConfigurationError,
    DeadlineExceeded,
    EngineUnavailable,
    ScorecardError,
    ScoreFailed,
)
from tests.support.chat_server import ScriptedChatServer

PROVIDERS = ["ChatOpenAI", "AzureChatOpenAI", "ChatOllama", "ChatAnthropic", "BedrockChat"]
PARAMETERS = {
    "ChatOpenAI": {"stream": False, "max_completion_tokens": 9, "temperature": 0.0, "top_p": 0.5},
    "AzureChatOpenAI": {"stream": False, "max_tokens": 9, "temperature": 0.0, "top_p": 0.5},
    "ChatOllama": {"stream": False, "max_tokens": 9, "temperature": 0.0, "top_p": 0.5},
    "ChatAnthropic": {"max_tokens": 9, "temperature": 0.0},
    "BedrockChat": {"inferenceConfig": {"maxTokens": 9, "temperature": 0.0}},
}


def ask(provider="ChatOpenAI", **fields) -> ChatRequest:
    defaults = {
        "provider": provider,
        "model": "some-model",
        "messages": (ChatMessage("system", "be brief"), ChatMessage("user", "greeting there?")),
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 0.5,
    }
    return ChatRequest(**defaults | fields)


class Waits:
    """Stands in for sleeping between attempts and keeps how long it would have been."""

    def __init__(self):
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
def script(waits, monkeypatch):
    """Return a function that serves replies and returns the server and a router that asks it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    servers = []

    def serve(*replies, rules=None, jitter=lambda: 1.0, **variables):
        server = ScriptedChatServer(rules or [{"when": "", "replies": list(replies)}])
        servers.append(server.__enter__())
        environ = server.environment() | {
            "AZURE_OPENAI_ENDPOINT": server.origin,
            "AZURE_OPENAI_API_KEY": "azure-key",
            "OLLAMA_HOST": server.origin.removeprefix("http://"),
            "ANTHROPIC_API_KEY": "anthropic-key",
            "ANTHROPIC_BASE_URL": server.origin,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.origin,
            **variables,
        }
        settings = ModelSettings.from_environment(environ)
        return server, ModelRouter(settings, sleep=waits, jitter=jitter)

    yield serve
    for server in servers:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_provider_answers_and_counts(provider, script):
    server, router = script("Yes indeed")
    reply = await router.chat(ask(provider))
    await router.aclose()
    assert (reply.text, reply.model) == ("Yes indeed", "some-model")
    assert (reply.prompt_tokens, reply.completion_tokens) == (4, 2)
    (sent,) = server.requests
    assert sent.model == "some-model"
    assert sent.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "greeting there?"},
    ]
    assert sent.params == PARAMETERS[provider]


async def test_keys_travel_where_each_provider_wants_them(script):
    server, router = script("ok")
    for provider in PROVIDERS:
        await router.chat(ask(provider, region="eu-west-1"))
    await router.aclose()
    openai, azure, ollama, anthropic, bedrock = server.requests
    assert openai.headers["authorization"] == "Bearer sk-scripted"
    assert azure.headers["api-key"] == "azure-key"
    assert azure.path == "/openai/deployments/some-model/chat/completions"
    assert ollama.path == "/v1/chat/completions"
    assert anthropic.headers["x-api-key"] == "anthropic-key"
    assert "eu-west-1/bedrock/aws4_request" in bedrock.headers["authorization"]


async def test_reasoning_models_use_the_responses_endpoint(script):
    server, router = script("Yes")
    await router.chat(ask(model="gpt-5-mini", reasoning_effort="low", verbosity="medium"))
    await router.aclose()
    assert server.requests[0].path == "/v1/responses"
    assert server.requests[0].params == {
        "stream": False,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "medium"},
    }


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("passing", [{"status": 500}, {"status": 429}, {"drop": True}])
async def test_what_passes_is_asked_again(provider, passing, script, waits):
    server, router = script(passing, passing, "Yes")
    reply = await router.chat(ask(provider))
    await router.aclose()
    assert reply.text == "Yes"
    assert len(server.requests) == 3
    assert waits.seconds == [0.5, 1.0]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_is_refused_for_good_is_asked_once(provider, script):
    server, router = script({"status": 400, "error": {"message": "no such thing", "code": "x"}})
    with pytest.raises(ScoreFailed, match=f"{provider} model some-model: .*no such thing"):
        await router.chat(ask(provider))
    await router.aclose()
    assert len(server.requests) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_silent_model_is_given_up(provider, script, waits):
    _, router = script(
        {"hang": True}, PLEXUS_MODEL_TIMEOUT_SECONDS="0.3", PLEXUS_MODEL_ATTEMPTS="2"
    )
    with pytest.raises(EngineUnavailable, match="no answer within"):
        await router.chat(ask(provider))
    await router.aclose()
    assert len(waits.seconds) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_deadline_cuts_a_call_off(provider, script):
    _, router = script({"hang": True}, PLEXUS_MODEL_TIMEOUT_SECONDS="3600")
    with pytest.raises(DeadlineExceeded):
        await router.chat(ask(provider), deadline=time.time() + 0.2)
    await router.aclose()


async def test_a_deadline_gone_by_asks_nothing(script):
    server, router = script("Yes")
    with pytest.raises(DeadlineExceeded):
        await router.chat(ask(), deadline=time.time() - 1)
    assert server.requests == []


async def test_no_wait_goes_past_the_deadline(script, waits):
    server, router = script(
        {"status": 429, "headers": {"Retry-After": "7200"}}, PLEXUS_MODEL_RETRY_MAX_SECONDS="9000"
    )
    with pytest.raises(EngineUnavailable) as caught:
        await router.chat(ask(), deadline=time.time() + 600)
    await router.aclose()
    assert waits.seconds == []
    assert caught.value.retry_after == 900  # bounded
    assert len(server.requests) == 1


async def test_retry_after_is_honoured_with_jitter_on_top(script, waits):
    refusal = {"status": 429, "headers": {"Retry-After": "0.05"}}
    _, router = script(refusal, "Yes", jitter=lambda: 0.5)
    assert (await router.chat(ask())).text == "Yes"
    await router.aclose()
    assert waits.seconds == [pytest.approx(0.05 + 0.25)]


async def test_a_long_retry_after_gives_the_job_back(script, waits):
    _, router = script({"status": 429, "headers": {"Retry-After": "120"}})
    with pytest.raises(EngineUnavailable) as caught:
        await router.chat(ask())
    await router.aclose()
    assert caught.value.retry_after == 120
    assert waits.seconds == []


async def test_attempts_are_bounded(script):
    server, router = script({"status": 503}, PLEXUS_MODEL_ATTEMPTS="3")
    with pytest.raises(EngineUnavailable, match="HTTP 503"):
        await router.chat(ask())
    await router.aclose()
    assert len(server.requests) == 3


async def test_a_used_up_quota_is_not_asked_again(script):
    server, router = script({"status": 429, "error": {"code": "insufficient_quota"}})
    with pytest.raises(AccountRefused, match="insufficient_quota"):
        await router.chat(ask())
    await router.aclose()
    assert len(server.requests) == 1


@pytest.mark.parametrize("parameter", ["temperature", "top_p"])
async def test_a_parameter_that_the_model_refuses_is_left_out_from_then_on(parameter, script):
    refusal = {
        "status": 400,
        "error": {"message": "Unsupported", "param": parameter, "code": "unsupported_parameter"},
    }
    server, router = script(refusal, "Yes")
    assert (await router.chat(ask())).text == "Yes"
    assert (await router.chat(ask())).text == "Yes"
    await router.aclose()
    assert [parameter in sent.params for sent in server.requests] == [True, False, False]


async def test_an_overflow_names_the_limit(script):
    message = (
        "This model's maximum context length is 8192 tokens. "
        "However, your messages resulted in 9001 tokens."
    )
    _, router = script(
        {"status": 400, "error": {"message": message, "code": "context_length_exceeded"}}
    )
    with pytest.raises(ScoreFailed, match="overflows the context of 8192 tokens with 9001 tokens"):
        await router.chat(ask())
    await router.aclose()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_garbage_for_an_answer_is_no_answer(provider, script):
    _, router = script({"raw": "<html>gateway</html>"}, PLEXUS_MODEL_ATTEMPTS="1")
    with pytest.raises(failures.MalformedReply, match=provider):
        await router.chat(ask(provider))
    await router.aclose()


async def test_concurrency_falls_when_the_provider_throttles(script):
    rules = [{"when": "", "replies": [{"status": 429}] * 8 + [{"text": "Yes", "delay": 0.01}]}]
    server, router = script(rules=rules, PLEXUS_MODEL_CONCURRENCY_OPENAI="8")
    replies = await asyncio.gather(*(router.chat(ask()) for _ in range(40)))
    await router.aclose()
    assert {reply.text for reply in replies} == {"Yes"}
    assert server.peak_in_flight <= 8


async def test_connections_are_kept(script):
    server, router = script("Yes")
    for _ in range(5):
        await router.chat(ask())
    await router.aclose()
    assert server.connections == 1


def test_each_event_loop_has_its_own_connections(script):
    server, router = script("Yes")

    async def job():
        reply = await router.chat(ask())
        await router.aclose()
        return reply.text

    assert [asyncio.run(job()) for _ in range(3)] == ["Yes"] * 3
    assert len(server.requests) == 3


async def test_azure_not_set_up_falls_to_the_compatible_server(script):
    server, router = script("Yes", AZURE_OPENAI_ENDPOINT="")
    await router.chat(ask("AzureChatOpenAI"))
    await router.aclose()
    assert server.requests[0].path == "/v1/chat/completions"


async def test_upstreams_names_of_azures_variables_work(script):
    server, _ = script("Yes")
    environ = {
        "AZURE_API_BASE": server.origin,
        "AZURE_API_KEY": "k",
        "AZURE_API_VERSION": "2024-10-21",
    }
    router = ModelRouter(ModelSettings.from_environment(environ))
    await router.chat(ask("AzureChatOpenAI"))
    await router.aclose()
    assert server.requests[0].path == "/openai/deployments/some-model/chat/completions"


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("ChatOpenAI", "OPENAI_API_KEY"), ("ChatAnthropic", "ANTHROPIC_API_KEY")],
)
async def test_a_missing_key_is_named(provider, variable):
    router = ModelRouter(ModelSettings.from_environment({}))
    with pytest.raises(ConfigurationError, match=variable):
        await router.chat(ask(provider))


async def test_an_unknown_provider_is_named():
    router = ModelRouter(ModelSettings.from_environment({}))
    with pytest.raises(ScorecardError, match="ChatNobody"):
        await router.chat(ask("ChatNobody"))
