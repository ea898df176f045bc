"""What is sent to OpenAI-compatible servers and how their answers are read."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.engines.models import conversation, openai_wire
from plexus_scoring.engines.models.anthropic import messages_body, read_message
from plexus_scoring.engines.models.base import ChatMessage, ChatRequest, TokenLogprob
from plexus_scoring.engines.models.bedrock import converse_arguments, read_answer
from plexus_scoring.model.errors import EngineUnavailable

MESSAGES = (ChatMessage("system", "You classify."), ChatMessage("user", "Was there a greeting?"))


def ask(**fields) -> ChatRequest:
    return ChatRequest(
        **{"provider": "ChatOpenAI", "model": "gpt-4o-mini", "messages": MESSAGES} | fields
    )


def test_chat_body_has_the_recorded_parameters():
    body = openai_wire.chat_body(
        ask(temperature=0.0, top_p=0.03, max_tokens=500, logprobs=10),
        limit_name="max_completion_tokens",
        reasoning=False,
    )
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You classify."},
            {"role": "user", "content": "Was there a greeting?"},
        ],
        "stream": False,
        "max_completion_tokens": 500,
        "temperature": 0.0,
        "top_p": 0.03,
        "logprobs": True,
        "top_logprobs": 10,
    }


def test_gpt_5_gets_no_sampling_parameters():
    body = openai_wire.responses_body(
        ask(model="gpt-5-mini", temperature=0.0, top_p=0.03, max_tokens=5, reasoning_effort="low")
    )
    assert body == {
        "model": "gpt-5-mini",
        "input": [
            {"role": "system", "content": "You classify."},
            {"role": "user", "content": "Was there a greeting?"},
        ],
        "stream": False,
        "max_output_tokens": 5,
        "reasoning": {"effort": "low"},
    }


@pytest.mark.parametrize(
    ("model", "responses"),
    [
        ("gpt-5-mini", True),
        ("o3-mini", True),
        ("GPT-5", True),
        ("gpt-4o-mini", False),
        ("olmo-2", False),
        ("openai/gpt-oss-20b", False),
        ("orca", False),
    ],
)
def test_reasoning_models_are_known_by_name(model, responses):
    assert openai_wire.is_reasoning_model(model) is responses


def test_completion_is_read_with_its_logprobs():
    body = {
        "model": "m-1",
        "choices": [
            {
                "message": {"role": "assistant", "content": "Yes"},
                "finish_reason": "stop",
                "logprobs": {
                    "content": [
                        {
                            "token": "Yes",
                            "logprob": -0.1,
                            "bytes": None,
                            "top_logprobs": [{"token": "No", "logprob": -2.5, "bytes": None}],
                        }
                    ]
                },
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
    reply = openai_wire.read_completion(ask(), json.dumps(body))
    assert (reply.text, reply.model, reply.finish_reason) == ("Yes", "m-1", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (9, 1, 4)
    assert reply.logprobs == (TokenLogprob("Yes", -0.1, (("No", -2.5),)),)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {}}], "usage": None},
        {"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": None}},
    ],
)
def test_a_sparse_completion_is_an_empty_answer(body):
    reply = openai_wire.read_completion(ask(), json.dumps(body))
    assert (reply.text, reply.model, reply.prompt_tokens) == ("", "gpt-4o-mini", 0)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": "Yes"},
        ["Yes"],
        [{"text": "Yes"}],
        [{"type": "text", "text": "Yes"}],
    ],
)
def test_an_answer_in_another_shape_is_an_answer(content):
    body = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    assert openai_wire.read_completion(ask(), json.dumps(body)).text == "Yes"


def test_a_letter_that_was_cut_costs_no_answer():
    body = b'{"choices": [{"message": {"content": "Yes \xe2\x82"}}]}'
    assert openai_wire.read_completion(ask(), body).text == "Yes \ufffd"


def test_a_count_that_no_store_holds_costs_no_answer():
    body = {
        "choices": [{"message": {"content": "Yes"}}],
        "usage": {"prompt_tokens": 1e300, "completion_tokens": 2},
    }
    reply = openai_wire.read_completion(ask(), json.dumps(body))
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("Yes", 0, 2)


def events(*parts, end="data: [DONE]\n\n"):
    return ": ping\n\n" + "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + end


def delta(finish_reason=None, **said):
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}]}


USED = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


def test_a_stream_that_nobody_asked_for_is_an_answer():
    logprob = {"logprobs": {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": []}]}}
    last = delta("length", content="es")
    last["choices"][0] |= logprob
    body = events(delta(role="assistant", content=""), delta(content="Y"), last, USED)
    reply = openai_wire.read_completion(ask(), body.encode())
    assert (reply.text, reply.cut) == ("Yes", "the answer was cut (length)")
    assert (reply.prompt_tokens, reply.completion_tokens) == (9, 2)
    assert reply.logprobs == (TokenLogprob("Yes", -0.1),)


def test_a_stream_that_was_cut_off_is_no_answer():
    with pytest.raises(EngineUnavailable, match="no choices"):
        openai_wire.read_completion(ask(), events(delta(content="Y"), end=""))


def test_an_error_in_a_stream_is_no_answer():
    failed = {"error": {"code": 502, "message": "Network connection lost."}}
    with pytest.raises(EngineUnavailable, match="Network connection lost"):
        openai_wire.read_completion(ask(), events(delta(content="Y"), failed))


def test_an_ending_by_an_error_of_a_relays_own_is_no_answer():
    choice = {"message": {"content": "Too many tokens"}, "finish_reason": "error_finish"}
    with pytest.raises(EngineUnavailable, match="error_finish"):
        openai_wire.read_completion(ask(), json.dumps({"choices": [choice]}))


@pytest.mark.parametrize("read", [openai_wire.read_completion, openai_wire.read_response])
@pytest.mark.parametrize("body", ["", "<html>", "[]", "{}", '{"choices": []}', '{"output": "x"}'])
def test_what_is_no_answer_may_be_asked_again(read, body):
    with pytest.raises(EngineUnavailable, match="ChatOpenAI model gpt-4o-mini"):
        read(ask(), body)


@given(st.text(max_size=200))
def test_garbage_never_escapes_as_another_error(body):
    for read in (openai_wire.read_completion, openai_wire.read_response):
        with pytest.raises(EngineUnavailable):
            read(ask(), body)
    with pytest.raises(EngineUnavailable):
        read_message(ask(), body.encode())


def test_response_leaves_reasoning_out_and_joins_parts_by_lines():
    body = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
            {
                "type": "message",
                "content": [
                    {"type": "output_text", "text": "because"},
                    {"type": "output_text", "text": "Yes"},
                ],
            },
        ],
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    reply = openai_wire.read_response(ask(model="gpt-5"), json.dumps(body))
    assert reply.text == "because\nYes"
    assert reply.finish_reason == "max_output_tokens"
    assert (reply.prompt_tokens, reply.completion_tokens) == (5, 2)


roles = st.sampled_from(["system", "user", "assistant"])
messages = st.lists(st.builds(ChatMessage, role=roles, content=st.text(max_size=5)), max_size=8)


@given(messages)
def test_turns_alternate_begin_with_the_user_and_lose_nothing(conversation_given):
    system, turns = conversation.split(conversation_given)
    assert turns[0][0] == "user"
    assert all(one[0] != next_one[0] for one, next_one in itertools.pairwise(turns))
    assert all(text.strip() for _, text in turns)
    everything = system + "".join(text for _, text in turns)
    assert all(m.content in everything for m in conversation_given if m.content.strip())


def test_anthropic_gets_system_apart_and_one_sampling_parameter():
    body = messages_body(ask(model="claude-haiku-4-5", temperature=0.0, top_p=0.03))
    assert body == {
        "model": "claude-haiku-4-5",
        "max_tokens": conversation.DEFAULT_MAX_TOKENS,
        "system": "You classify.",
        "messages": [{"role": "user", "content": "Was there a greeting?"}],
        "temperature": 0.0,
    }


def test_anthropic_usage_counts_the_cache_into_the_prompt():
    body = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}],
        "usage": {
            "input_tokens": 2,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 4,
            "output_tokens": 1,
        },
    }
    reply = read_message(ask(), json.dumps(body).encode())
    assert (reply.text, reply.prompt_tokens, reply.cached_tokens) == ("Yes", 36, 30)


def test_bedrock_gets_converse_arguments():
    request = ask(model="openai.gpt-oss-20b", max_tokens=7, top_p=0.5, reasoning_effort="low")
    assert converse_arguments(request) == {
        "modelId": "openai.gpt-oss-20b",
        "system": [{"text": "You classify."}],
        "messages": [{"role": "user", "content": [{"text": "Was there a greeting?"}]}],
        "inferenceConfig": {"maxTokens": 7, "topP": 0.5},
        "additionalModelRequestFields": {"reasoning_effort": "low"},
    }


def test_bedrock_answer_leaves_reasoning_out():
    answer = {
        "output": {
            "message": {
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                    {"text": "Yes"},
                ]
            }
        },
        "usage": {"inputTokens": 3, "outputTokens": 1, "cacheReadInputTokens": 5},
        "stopReason": "end_turn",
    }
    reply = read_answer(ask(), answer)
    assert (reply.text, reply.prompt_tokens, reply.cached_tokens) == ("Yes", 8, 5)
