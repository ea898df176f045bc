"""Parameters that a server refuses: which one it means, and what is sent in its place from then on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from plexus_scoring.engines.models.provider_errors import ProviderError

_LIMITS = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}
# The answer without these is still an answer. In the order in which they are suspected where the server names none:
# strict servers know the older names, and log probabilities are the rarest.
_SUSPECTS = (
    *_LIMITS,
    "max_output_tokens",
    "top_logprobs",
    "logprobs",
    "include",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "text",
    "top_p",
    "temperature",
    "stream",
)
_TOGETHER = {
    "logprobs": ("logprobs", "top_logprobs"),
    "top_logprobs": ("logprobs", "top_logprobs", "include"),
    "include": ("top_logprobs", "include"),
}
_WORDS = {
    "reasoning": r"reasoning\.effort|reasoning_effort|[\"'`]reasoning[\"'`]",
    "text": r"text\.verbosity|verbosity|[\"'`]text[\"'`]",
    "include": r"[\"'`]include[\"'`]",
    "stream": r"[\"'`]stream[\"'`]",
}
_UNKNOWN = re.compile(
    r"unsupported|not (?:be )?support|unknown|unrecogni[sz]ed|unexpected|extra[ _](?:field|input|forbidden)"
    r"|not (?:permitted|allowed|available|enabled|a valid)|forbidden|deprecated|cannot both|instead",
    re.IGNORECASE,
)


class Learned(msgspec.Struct, frozen=True):
    """What one model on one server has taught: parameters to leave out, and others' new names."""

    dropped: frozenset[str] = frozenset()
    renamed: frozenset[tuple[str, str]] = frozenset()

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body as the server takes it."""
        names = dict(self.renamed)
        sent = {names.get(name, name): value for name, value in body.items()}
        return {name: value for name, value in sent.items() if name not in self.dropped}

    def after(self, error: ProviderError, sent: Mapping[str, Any]) -> Learned | None:
        """Return what to try after a refusal of `sent`; None: it is not about a parameter that may change."""
        name = _refused(error, sent)
        if name is None:
            return None
        other = _LIMITS.get(name)
        if other and (other, name) not in self.renamed:
            return msgspec.structs.replace(self, renamed=self.renamed | {(name, other)})
        return msgspec.structs.replace(self, dropped=self.dropped | {*_TOGETHER.get(name, (name,))})

    def __or__(self, other: Learned) -> Learned:
        return Learned(self.dropped | other.dropped, self.renamed | other.renamed)

    def __str__(self) -> str:
        changes = [f"{old} is sent as {new}" for old, new in sorted(self.renamed)]
        changes += [f"{name} is left out" for name in sorted(self.dropped)]
        return ", ".join(changes)


def _refused(error: ProviderError, sent: Mapping[str, Any]) -> str | None:
    """Return the parameter of `sent` that a refusal is about."""
    candidates = [name for name in _SUSPECTS if name in sent]
    strange = _UNKNOWN.search(f"{error.message} {' '.join(error.codes)}") is not None
    for said in (error.param or "", error.message):
        for name in candidates:
            words = _WORDS.get(name, re.escape(name))
            exact = said in (name, name.partition(".")[0]) or said.partition(".")[0] == name
            if exact or re.search(rf"(?<![A-Za-z_])(?:{words})(?![A-Za-z_])", said, re.IGNORECASE):
                # A value that is out of its range is the scorecard's; of the limits only the name may be at fault.
                return name if strange or name not in _LIMITS else None
    return candidates[0] if strange and candidates and error.param is None else None
