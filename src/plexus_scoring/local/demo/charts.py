"""The report's charts, as inline SVG. Colours come from the page's style sheet, so they follow its theme."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

WIDE, HALF = 1030, 480  # about what the page gives them, so that letters are of one size
_LABEL = 190
_TONES = 5
_CHARACTER = 6.8  # average width of a letter


def stacked_bars(rows: Sequence[tuple[str, Counter[str]]]) -> str:
    """Return one bar a row, divided by how often each value came, the most frequent first.

    Args:
        rows: Labels and counts of values.
    """
    height, gap = 24, 10
    parts: list[str] = []
    span = WIDE - _LABEL - 40
    for index, (label, counts) in enumerate(rows):
        top = index * (height + gap)
        total = sum(counts.values())
        parts.append(_text(_LABEL - 10, top + 16, label, "label end"))
        left = float(_LABEL)
        for rank, (value, count) in enumerate(counts.most_common()):
            width = span * count / total
            tone = min(rank, _TONES - 1)
            parts.append(
                f'<g><title>{escape(value)}: {count} of {total}</title><rect class="tone{tone}" '
                f'x="{left:.1f}" y="{top}" width="{max(1.0, width - 2):.1f}" height="{height}" rx="3"/>'
            )
            parts.append(_text(left + 8, top + 16, _fit(value, count, width - 14), f"on{tone}"))
            parts.append("</g>")
            left += width
        parts.append(_text(WIDE - 32, top + 16, str(total), "muted"))
    return _svg(WIDE, len(rows) * (height + gap), parts, "How often each score gave each value")


def histogram(milliseconds: Sequence[float]) -> str:
    """Return how the durations are spread, with the median and the 95th percentile marked."""
    if not milliseconds:
        return ""
    ordered = sorted(milliseconds)
    edge = _nice(percentile(ordered, 0.98))
    bins, base, top = 24, 170, 24
    counts = [0] * bins
    for value in ordered:
        counts[min(bins - 1, int(value / edge * bins))] += 1
    tallest, step = max(counts), HALF / bins
    parts = [f'<line class="axis" x1="0" y1="{base}" x2="{HALF}" y2="{base}"/>']
    for index, count in enumerate(counts):
        if not count:
            continue
        size = (base - top) * count / tallest
        low, high = edge * index / bins, edge * (index + 1) / bins
        span = f"{low:.0f} ms and more" if index == bins - 1 else f"{low:.0f} to {high:.0f} ms"
        parts.append(
            f'<rect class="tone0" x="{index * step + 1:.1f}" y="{base - size:.1f}" '
            f'width="{step - 2:.1f}" height="{size:.1f}" rx="2"><title>{span}: {count}</title></rect>'
        )
    for tick in range(5):
        anchor = "end" if tick == 4 else ("" if tick == 0 else "middle")  # noqa: PLR2004  the last
        sign = "≥ " if tick == 4 else ""  # noqa: PLR2004  the last
        text = f"{sign}{edge * tick / 4:.0f} ms"
        parts.append(_text(HALF * tick / 4, base + 18, text, f"muted {anchor}"))
    for share, name in ((0.5, "median"), (0.95, "p95")):
        value = percentile(ordered, share)
        x = min(HALF - 1.0, value / edge * HALF)
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{top - 8}" x2="{x:.1f}" y2="{base}"/>')
        right = x > HALF * 0.8
        parts.append(
            _text(x + (-5 if right else 5), top, f"{name} {value:.0f} ms", "end" if right else "")
        )
    return _svg(HALF, base + 26, parts, "Time from claim to commit")


def cumulative(seconds: Sequence[float]) -> str:
    """Return how many jobs had ended at each moment, as a line."""
    if not seconds:
        return ""
    ordered = sorted(seconds)
    end = max(ordered[-1], 0.1)
    base, top = 150, 14
    step = (base - top) / len(ordered)
    points = [f"0,{base}"]
    height = float(base)
    for moment in ordered:
        x = moment / end * (HALF - 60)
        points.append(f"{x:.1f},{height:.1f}")
        height -= step
        points.append(f"{x:.1f},{height:.1f}")
    line = " ".join(points)
    last = HALF - 60
    parts = [
        f'<line class="axis" x1="0" y1="{base}" x2="{last}" y2="{base}"/>',
        f'<polygon class="area" points="{line} {last},{base}"/>',
        f'<polyline class="line" points="{line}"/>',
        _text(last + 6, top + 5, f"{len(ordered)}", "strong"),
        _text(0, base + 18, "0 s", "muted"),
        _text(last / 2, base + 18, f"{end / 2:.1f} s", "muted middle"),
        _text(last, base + 18, f"{end:.1f} s", "muted end"),
    ]
    return _svg(HALF, base + 26, parts, "Jobs ended over time")


def cost_bars(rows: Sequence[tuple[str, float, int]]) -> str:
    """Return one bar a job by its cost.

    Args:
        rows: Labels, US dollars and tokens.
    """
    if not rows:
        return ""
    height, gap = 18, 8
    most = max(cost for _, cost, _ in rows) or 1.0
    span = WIDE - _LABEL - 190
    parts = []
    for index, (label, cost, tokens) in enumerate(rows):
        top = index * (height + gap)
        width = max(2.0, span * cost / most)
        parts.append(_text(_LABEL - 10, top + 13, label, "label end"))
        parts.append(
            f'<rect class="tone0" x="{_LABEL}" y="{top}" width="{width:.1f}" height="{height}" rx="3"/>'
        )
        parts.append(
            _text(_LABEL + width + 8, top + 13, f"${cost:.6f} · {tokens:,} tokens", "muted")
        )
    return _svg(WIDE, len(rows) * (height + gap), parts, "Cost by job")


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted values."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def _nice(value: float) -> float:
    """Return the next of 1, 2, 4, 5 or 10 times a power of ten."""
    power = math.pow(10, math.floor(math.log10(max(value, 1.0))))
    return next(power * factor for factor in (1, 2, 4, 5, 10) if value <= power * factor)


def _fit(value: str, count: int, width: float) -> str:
    """Return as much of the caption as the segment has room for."""
    letters = int(width / _CHARACTER)
    caption = f"{value} {count}"
    if len(caption) <= letters:
        return caption
    return f"{value[: letters - 1]}…" if letters > 4 else ""  # noqa: PLR2004  less says nothing


def _text(x: float, y: float, text: str, classes: str = "") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(width: int, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
