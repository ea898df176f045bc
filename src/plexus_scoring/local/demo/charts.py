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
_TOP, _BASE, _GUTTER = (
    44,
    190,
    34,
)  # of the two half-wide charts: plot's top and bottom, room for numbers
_BINS, _TICKS = 24, 4


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
    counts = [0] * _BINS
    for value in ordered:
        counts[min(_BINS - 1, int(value / edge * _BINS))] += 1
    most = _nice(max(counts))
    span = HALF - _GUTTER
    step = span / _BINS
    parts = _grid(most, "jobs")
    for index, count in enumerate(counts):
        if not count:
            continue
        size = (_BASE - _TOP) * count / most
        low, high = edge * index / _BINS, edge * (index + 1) / _BINS
        told = f"{low:.0f} ms and more" if index == _BINS - 1 else f"{low:.0f} to {high:.0f} ms"
        parts.append(
            f'<rect class="tone0" x="{_GUTTER + index * step + 1:.1f}" y="{_BASE - size:.1f}" '
            f'width="{step - 2:.1f}" height="{size:.1f}" rx="2"><title>{told}: {count}</title></rect>'
        )
    for tick in range(_TICKS + 1):
        last = tick == _TICKS
        text = f"{'≥ ' if last else ''}{edge * tick / _TICKS:.0f}{' ms' if last else ''}"
        place = "end" if last else "middle"
        parts.append(_text(_GUTTER + span * tick / _TICKS, _BASE + 18, text, f"muted {place}"))
    for row, (share, name) in enumerate(((0.5, "median"), (0.95, "p95"))):
        value = percentile(ordered, share)
        x = _GUTTER + min(span - 1.0, value / edge * span)
        y = 12 + 16 * row  # a row each, above the bars: they may stand side by side
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{y - 10}" x2="{x:.1f}" y2="{_BASE}"/>')
        right = x > HALF * 0.7
        label = f"{name} {value:.0f} ms"
        parts.append(_text(x + (-6 if right else 6), y, label, "end" if right else ""))
    return _svg(HALF, _BASE + 26, parts, "Time from claim to commit, in milliseconds")


def cumulative(seconds: Sequence[float]) -> str:
    """Return how many jobs had ended at each moment, as a line."""
    if not seconds:
        return ""
    ordered = sorted(seconds)
    end = max(ordered[-1], 0.1)
    most = _nice(len(ordered))
    span = HALF - _GUTTER - 36
    height = _BASE - _TOP
    points = [f"{_GUTTER},{_BASE}"]
    for ended, moment in enumerate(ordered):
        x = _GUTTER + moment / end * span
        points.append(f"{x:.1f},{_BASE - height * ended / most:.1f}")
        points.append(f"{x:.1f},{_BASE - height * (ended + 1) / most:.1f}")
    line = " ".join(points)
    last = _GUTTER + span
    parts = [
        *_grid(most, "jobs"),
        f'<polygon class="area" points="{line} {last},{_BASE}"/>',
        f'<polyline class="line" points="{line}"/>',
        _text(last + 6, _BASE - height * len(ordered) / most + 5, f"{len(ordered)}", "strong"),
        *(
            _text(_GUTTER + span * part, _BASE + 18, f"{end * part:.1f}{unit}", "muted middle")
            for part, unit in ((0.0, ""), (0.25, ""), (0.5, ""), (0.75, ""), (1.0, " s"))
        ),
    ]
    return _svg(HALF, _BASE + 26, parts, "Jobs ended over time, in seconds")


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


def _grid(most: float, what: str) -> list[str]:
    """Return the vertical axis: its lines, numbers and what it counts."""
    parts = [_text(0, 12, what, "muted")]
    for part in (0.0, 0.5, 1.0):
        y = _BASE - (_BASE - _TOP) * part
        parts.append(f'<line class="axis" x1="{_GUTTER}" y1="{y:.1f}" x2="{HALF}" y2="{y:.1f}"/>')
        parts.append(_text(_GUTTER - 6, y + 4, f"{most * part:g}", "muted end"))
    return parts


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
