"""Takes a model's thinking out of its answer.

Servers that do not split the two leave ``<think>…</think>`` in the text. Templates that open the block in the prompt
leave the closing tag only, and an answer that was cut leaves the opening one only. What is outside of blocks is the
answer; before a closing tag without an opening one there is none.
"""

from __future__ import annotations

import re

import msgspec

from plexus_scoring.engines.models.base import ChatReply, TokenLogprob

_TAG = re.compile(
    r"<(?P<close>/?)(?:think|thought|seed:think)>|\[(?P<bracket>/?)THINK\]", re.IGNORECASE
)
# gpt-oss behind a server that does not know its template: channels, the last of which is the answer.
_FINAL = re.compile(r"<\|channel\|>final(?:<\|[a-z]+\|>[^<]*)??<\|message\|>")
_CHANNEL = "<|channel|>"
_CONTROL = re.compile(r"<\|[a-z_]+\|>")


def without_reasoning(reply: ChatReply) -> ChatReply:
    """Return the reply with the thinking moved from `text` to `reasoning`."""
    if "<" not in reply.text and "[" not in reply.text:
        return reply
    thought, answer, start = split(reply.text)
    if thought is None:
        return reply
    told = [part for part in (reply.reasoning, thought) if part]
    return msgspec.structs.replace(
        reply,
        text=answer,
        reasoning="\n".join(told) or None,
        logprobs=_from(reply.logprobs, start),
    )


def split(text: str) -> tuple[str | None, str, int]:
    """Return thinking, answer, and where in `text` the last thinking ends; no thinking: None, `text` and 0."""
    if _CHANNEL in text:
        return _split_channels(text)
    thought: list[str] = []
    answer: list[str] = []
    inside = False
    position = 0
    for tag in _TAG.finditer(text):
        closes = bool(tag["close"] or tag["bracket"])
        part = text[position : tag.start()]
        if closes and not inside:  # the block was opened in the prompt, or within another
            thought += [*answer, part]
            answer = []
        else:
            (thought if inside else answer).append(part)
        inside = not closes
        position = tag.end()
    if position == 0:
        return None, text, 0
    (thought if inside else answer).append(text[position:])
    return "".join(thought).strip(), "".join(answer).strip(), len(text) if inside else position


def _split_channels(text: str) -> tuple[str, str, int]:
    finals = list(_FINAL.finditer(text))
    if not finals:
        return _CONTROL.sub(" ", text).strip(), "", len(text)
    start = finals[-1].end()
    thought = _CONTROL.sub(" ", text[: finals[-1].start()]).strip()
    return thought, _CONTROL.split(text[start:])[0].strip(), start


def _from(logprobs: tuple[TokenLogprob, ...] | None, start: int) -> tuple[TokenLogprob, ...] | None:
    """Return the tokens that begin at or after `start`: a class that was only thought of is none that was answered."""
    if logprobs is None:
        return None
    kept = []
    position = 0
    for token in logprobs:
        if position >= start:
            kept.append(token)
        position += len(token.token)
    return tuple(kept)
