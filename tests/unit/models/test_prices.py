"""List prices, and that they never need the network."""

import pytest

from plexus_scoring.engines.models.prices import price


@pytest.mark.parametrize("provider", ["openai", "ChatOpenAI", "AzureChatOpenAI"])
@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18"])
def test_gpt_4o_mini(provider, model):
    assert price(provider, model, 1_000_000, 1_000_000) == pytest.approx((0.15, 0.60))


def test_gpt_5_mini_as_recorded():
    assert price("ChatOpenAI", "gpt-5-mini", 26, 1) == pytest.approx((6.5e-06, 2e-06), rel=1e-12)


def test_cached_tokens_cost_less():
    assert price("openai", "gpt-4o-mini", 1_000_000, 0, 400_000) == pytest.approx((0.12, 0.0))


def test_more_cached_than_sent_is_all_cached():
    assert price("openai", "gpt-4o-mini", 10, 0, 99) == price("openai", "gpt-4o-mini", 10, 0, 10)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("ChatOpenAI", "my-private-model-7b"), ("ChatOllama", "llama3"), ("nobody", "nothing")],
)
def test_unknown_models_have_no_price(provider, model):
    assert price(provider, model, 1, 1) is None


def test_tiers_are_priced_by_tier():
    below, _ = price("ChatVertexAI", "gemini-2.5-pro", 100_000, 0)
    above, _ = price("ChatVertexAI", "gemini-2.5-pro", 300_000, 0)
    assert above > 3 * below


def test_bedrock_and_langchain_names():
    assert price("BedrockChat", "anthropic.claude-3-haiku-20240307-v1:0", 1_000_000, 0) == (
        pytest.approx(0.25),
        0.0,
    )
    assert (
        price("langchain_mistralai.ChatMistralAI", "mistral-large-latest", 1_000_000, 1) is not None
    )
