"""The LangChain adapter with LangChain's own base classes: a chat model that asks the scripted server."""

import asyncio
import sys
import types

import pytest

from plexus_scoring.engines.models.base import ChatMessage, ChatRequest, TokenLogprob
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, ScoreFailed


class HTTPError(Exception):
    """As provider packages raise it: the status on the response."""

    def __init__(self, status, headers):
        super().__init__(f"HTTP {status}")
        self.response = types.SimpleNamespace(status_code=status, headers=headers)


@pytest.fixture
def package(monkeypatch):
    """Install `langchain_example` with a chat model that answers what `package.answers` says, in order."""
    from langchain_core.language_models import BaseChatModel  # noqa: PLC0415
    from langchain_core.messages import AIMessage  # noqa: PLC0415
    from langchain_core.outputs import ChatGeneration, ChatResult  # noqa: PLC0415

    module = types.ModuleType("langchain_example")
    module.answers = []
    module.asked = []

    class ChatExample(BaseChatModel):
        model: str
        temperature: float | None = None
        max_output_tokens: int | None = None
        region: str | None = None
        max_retries: int = 6

        @property
        def _llm_type(self):
            return "example"

        def _generate(self, *_, **__):
            raise NotImplementedError

        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            module.asked.append((self, messages))
            answer = module.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            if answer == "never":
                await asyncio.Event().wait()
            return ChatResult(generations=[ChatGeneration(message=AIMessage(**answer))])

    module.ChatExample = ChatExample
    module.NotAModel = dict
    monkeypatch.setitem(sys.modules, "langchain_example", module)
    return module


@pytest.fixture
def patience():
    """Seconds for an answer: ample, since LangChain's first call imports for seconds on a busy machine."""
    return "60"


@pytest.fixture
def ask(patience):
    async def no_wait(_seconds):
        pass

    settings = ModelSettings.from_environment({"PLEXUS_MODEL_TIMEOUT_SECONDS": patience})
    router = ModelRouter(settings, sleep=no_wait)

    async def ask_it(provider="langchain_example.ChatExample"):
        request = ChatRequest(
            provider=provider,
            model="example-1",
            messages=(ChatMessage("system", "Judge."), ChatMessage("user", "Well?")),
            temperature=0.0,
            max_tokens=9,
            region="eu",
        )
        try:
            return await router.chat(request)
        finally:
            await router.aclose()

    return ask_it


async def test_an_answer_with_its_usage_and_logprobs(package, ask):
    package.answers.append(
        {
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}],
            "usage_metadata": {
                "input_tokens": 7,
                "output_tokens": 2,
                "total_tokens": 9,
                "input_token_details": {"cache_read": 3},
            },
            "response_metadata": {
                "model_name": "example-1-0",
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": "Yes", "logprob": -0.5, "top_logprobs": []}]},
            },
        }
    )
    reply = await ask()
    assert (reply.text, reply.model, reply.finish_reason) == ("Yes", "example-1-0", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (7, 2, 3)
    assert reply.logprobs == (TokenLogprob("Yes", -0.5),)
    ((model, messages),) = package.asked
    assert (model.temperature, model.max_output_tokens, model.region) == (0.0, 9, "eu")
    assert model.max_retries == 0  # retries are the router's
    assert [(message.type, message.content) for message in messages] == [
        ("system", "Judge."),
        ("human", "Well?"),
    ]


@pytest.mark.parametrize(
    "passing", [HTTPError(503, {}), HTTPError(429, {"retry-after": "1"}), ConnectionResetError()]
)
async def test_what_passes_is_asked_again(package, ask, passing):
    package.answers += [passing, {"content": "Yes"}]
    assert (await ask()).text == "Yes"


async def test_what_is_refused_is_asked_once(package, ask):
    package.answers.append(HTTPError(400, {}))
    with pytest.raises(ScoreFailed, match="HTTP 400"):
        await ask()


@pytest.mark.parametrize("patience", ["0.2"])
async def test_a_silent_model_is_given_up(package, ask):
    package.answers += ["never"] * 4
    with pytest.raises(EngineUnavailable, match="no answer within"):
        await ask()


async def test_an_error_that_nobody_foresaw_stays_what_it_is(package, ask):
    package.answers.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await ask()


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        ("langchain_example.NotAModel", "is not a LangChain chat model"),
        ("langchain_example.Absent", "is not a LangChain chat model"),
        ("langchain_absent.ChatAbsent", "langchain-absent"),
        ("ChatVertexAI", "langchain-google-vertexai"),
    ],
)
async def test_what_cannot_be_had_is_named(package, ask, provider, told):
    with pytest.raises(ConfigurationError, match=told):
        await ask(provider)
