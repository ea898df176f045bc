"""What a call cost in US dollars, at the list prices that come with the genai-prices package (never fetched).

The package is imported with the first price asked (0.2 s), and a model's rates are kept, which makes a price a
multiplication; models priced by tier or time of day are computed by the package each time.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

_PROVIDERS = {
    "ChatOpenAI": "openai",
    "AzureChatOpenAI": "azure",
    "BedrockChat": "aws",
    "ChatAnthropic": "anthropic",
    "ChatVertexAI": "google",
    "bedrock": "aws",
    "vertex": "google",
}
_OWN_MACHINE = frozenset({"ChatOllama", "ollama"})
_MILLION = 1_000_000

Price = Callable[[int, int, int], tuple[float, float]]


def price(
    provider: str,
    model: str,
    prompt_tokens: int,
    completion_tokens: int,
    cached_tokens: int = 0,
) -> tuple[float, float] | None:
    """Return the cost of input and output in USD, or None where the model has no known price.

    Args:
        provider: A scorecard's `model_provider` or its short name (openai, azure, bedrock, anthropic, …).
        model: The provider's name of the model.
        prompt_tokens: All tokens sent, `cached_tokens` among them.
        completion_tokens: All tokens answered.
        cached_tokens: Those of the prompt that the provider read from its cache, at its lower rate.
    """
    compute = _price_of(provider, model)
    return compute and compute(prompt_tokens, completion_tokens, min(cached_tokens, prompt_tokens))


@lru_cache(maxsize=256)
def _price_of(provider: str, model: str) -> Price | None:
    if provider in _OWN_MACHINE:
        return None
    from genai_prices import Usage, calc_price  # noqa: PLC0415  0.2 s: only after a model was asked

    # A LangChain class names no provider that the package knows: it goes by the model's name.
    provider_id = None if "." in provider else _PROVIDERS.get(provider, provider)

    def exact(prompt: int, completion: int, cached: int) -> tuple[float, float]:
        usage = Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached)
        costs = calc_price(usage, model, provider_id=provider_id)
        return float(costs.input_price), float(costs.output_price)

    try:
        found = calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=provider_id)
    except LookupError:
        return None
    return _linear(found) or exact


def _linear(found: Any) -> Price | None:
    """Return the price as a multiplication, or None where it is more than that."""
    rates = found.model_price
    fresh, out, cached = rates.input_mtok, rates.output_mtok, rates.cache_read_mtok
    varies = isinstance(found.model.prices, list) or rates.requests_kcount is not None
    if varies or not isinstance(fresh, Decimal) or not isinstance(out, Decimal):
        return None
    if cached is not None and not isinstance(cached, Decimal):
        return None
    fresh_usd, out_usd = float(fresh / _MILLION), float(out / _MILLION)
    cached_usd = fresh_usd if cached is None else float(cached / _MILLION)

    def linear(prompt: int, completion: int, cached_tokens: int) -> tuple[float, float]:
        fresh_tokens = prompt - cached_tokens
        return fresh_tokens * fresh_usd + cached_tokens * cached_usd, completion * out_usd

    return linear
