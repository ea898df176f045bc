"""Confidence of a classification, from the log probabilities of the answer's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

from plexus_scoring.engines.models.base import ChatReply
from plexus_scoring.engines.portable.class_parser import ClassParser, normalize


def confidence_of(reply: ChatReply, classification: str, parser: ClassParser) -> float | None:
    """Return the probability, 0..1, of the alternatives that spell the class where the answer names it.

    None where no token's alternatives spell the whole class (a class of several tokens, no log probabilities).
    """
    wanted = normalize(classification)
    sums = []
    for token in reply.logprobs or ():
        fitting = [
            math.exp(logprob) for text, logprob in token.alternatives if normalize(text) == wanted
        ]
        if fitting:
            sums.append(sum(fitting))
    if not sums:
        return None
    return min(1.0, max(0.0, sums[0] if parser.from_start else sums[-1]))


def calibrated(raw: float | None, calibration: Mapping[str, Any] | None) -> float | None:
    """Return `raw` mapped by a serialized isotonic regression, unchanged where there is none that can be read.

    The curve is upstream's: `raw_confidence` and `calibrated_confidence`, points of equal number.
    """
    if raw is None or not calibration or calibration.get("method") != "isotonic_regression":
        return raw
    xs, ys = calibration.get("raw_confidence"), calibration.get("calibrated_confidence")
    if not (_numbers(xs) and _numbers(ys) and len(xs) == len(ys)):
        return raw
    return max(0.0, min(1.0, _interpolate(raw, list(zip(xs, ys, strict=True)))))


def _interpolate(x: float, points: Sequence[tuple[float, float]]) -> float:
    if x <= points[0][0]:
        return float(points[0][1])
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return float(y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return float(points[-1][1])


def _numbers(values: Any) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(values, Sequence)
        and len(values) > 0
        and all(isinstance(number, int | float) for number in values)
    )
