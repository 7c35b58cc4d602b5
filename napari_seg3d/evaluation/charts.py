"""The charts of an evaluation as inline SVG: boxes over labels, and Bland-Altman plots of volumes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np

#: The CSS that the charts need, beside that of every page.
STYLE = """
svg line { stroke: var(--line); } svg .zero { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .bias { stroke: var(--bar); stroke-width: 1.5; } svg .limit, svg .whisker { stroke: var(--bar); } svg .limit { stroke-dasharray: 5 4; }
svg .median { stroke: var(--ink); stroke-width: 2; } svg rect.box { fill: var(--bar); fill-opacity: .3; stroke: var(--bar); }
svg circle { fill: var(--bar); fill-opacity: .75; } svg text.name { fill: var(--ink); } svg text.end { text-anchor: end; }
svg text.middle { text-anchor: middle; } svg text.error { fill: var(--error); }
"""

_NAME, _ROOM, _PLOT, _ROW = 140, 46, 300, 26  # box plots: width of the names, of the right margin, of the plot; height of a row
_LEFT, _TOP, _WIDE, _HIGH, _RIGHT, _BELOW = 52, 8, 230, 150, 116, 34  # Bland-Altman plots
_DOTS = 60  # cases up to which each has a dot of its own; of more, only those far out
_LEAST = 1e-9  # that an axis spans: below it there is only rounding


def boxes(values: Mapping[str, Mapping[str, float]], unit: str = "", ends: tuple[float, float] | None = None) -> str:
    """Return box plots, one below the other: median, quartiles, whiskers to the last value within 1.5 quartile distances (Tukey).

    Parameters
    ----------
    values : mapping of str to mapping of str to float
        By name of the box, the values by case. What is not defined is left out; how many are infinite is written at the right.
    unit : str
        Written at the axis.
    ends : (float, float), optional
        Of the axis; left out, from 0 to the largest value.
    """
    finite = [value for of_cases in values.values() for value in of_cases.values() if math.isfinite(value)]
    low, high = ends or (0.0, max(finite, default=0.0))
    if high - low < _LEAST:
        high = low + 1.0
    ticks = _ticks(low, high)
    high = high if ends else max(high, ticks[-1])
    height = _ROW * len(values)

    def x(value: float) -> float:
        return _NAME + _PLOT * (value - low) / (high - low)

    parts = [
        f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{height}"></line>'
        f'<text class="middle" x="{x(tick):.1f}" y="{height + 14}">{_tick(tick)}</text>'
        for tick in ticks
    ]
    parts.append(f'<text x="{_NAME + _PLOT + 8}" y="{height + 14}">{escape(unit)}</text>')
    for number, (name, of_cases) in enumerate(values.items()):
        y = _ROW * number + _ROW / 2
        short = name if len(name) <= 22 else f"{name[:21]}…"
        parts.append(f'<text class="name" x="0" y="{y + 4:.0f}">{escape(short)}<title>{escape(name)}</title></text>')
        sound = {case: value for case, value in of_cases.items() if math.isfinite(value)}
        if sound:
            parts += _box(sound, x, y)
        infinite = sum(1 for value in of_cases.values() if math.isinf(value))
        if infinite:
            parts.append(f'<text class="error" x="{_NAME + _PLOT + 8}" y="{y + 4:.0f}">∞ × {infinite}</text>')
    return f'<svg width="{_NAME + _PLOT + _ROOM}" height="{height + 20}" role="img">{"".join(parts)}</svg>'


def bland_altman(cases: Mapping[str, tuple[float, float]], unit: str) -> str:
    """Return how two measurements differ over their mean (Bland and Altman, Lancet 1986): bias, and the limits of agreement at 1.96 SD.

    Parameters
    ----------
    cases : mapping of str to (float, float)
        By case, the measurement and the reference.
    unit : str
        Of both.
    """
    means = [(one + other) / 2 for one, other in cases.values()]
    apart = [one - other for one, other in cases.values()]
    bias = float(np.mean(apart))
    spread = 1.96 * float(np.std(apart, ddof=1)) if len(apart) > 1 else math.nan
    lines = {"bias": bias} | ({} if math.isnan(spread) else {"+1.96 SD": bias + spread, "−1.96 SD": bias - spread})
    x_low, x_high = _range(means)
    y_low, y_high = _range([*apart, *lines.values(), 0.0])

    def x(value: float) -> float:
        return _LEFT + _WIDE * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return _TOP + _HIGH * (1 - (value - y_low) / (y_high - y_low))

    bottom, right = _TOP + _HIGH, _LEFT + _WIDE
    parts = [f'<line x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{bottom}"></line>']
    parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"></line>')
    parts += [f'<text class="middle" x="{x(tick):.1f}" y="{bottom + 14}">{_tick(tick)}</text>' for tick in _ticks(x_low, x_high)]
    parts += [f'<text class="end" x="{_LEFT - 6}" y="{y(tick) + 4:.1f}">{_tick(tick)}</text>' for tick in _ticks(y_low, y_high)]
    parts.append(f'<text class="middle" x="{_LEFT + _WIDE / 2:.0f}" y="{bottom + 30}">mean of both ({escape(unit)})</text>')
    parts.append(f'<line class="zero" x1="{_LEFT}" x2="{right}" y1="{y(0):.1f}" y2="{y(0):.1f}"></line>')
    for place, (name, value) in zip(_spread([y(value) for value in lines.values()]), lines.items(), strict=True):
        kind = "bias" if name == "bias" else "limit"
        parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"></line>')
        parts.append(f'<text x="{right + 6}" y="{place + 4:.1f}">{name} {_number(value)}</text>')
    parts += [
        f'<circle cx="{x(mean):.1f}" cy="{y(difference):.1f}" r="3">'
        f"<title>{escape(case)}: {_number(difference)} {escape(unit)} of {mean:.4g}</title></circle>"
        for case, mean, difference in zip(cases, means, apart, strict=True)
    ]
    return f'<svg width="{right + _RIGHT}" height="{bottom + _BELOW}" role="img">{"".join(parts)}</svg>'


def _box(values: Mapping[str, float], x: Callable[[float], float], y: float) -> list[str]:
    numbers = sorted(values.values())
    first, middle, third = (float(value) for value in np.percentile(numbers, (25, 50, 75)))
    reach = 1.5 * (third - first)
    within = [value for value in numbers if first - reach <= value <= third + reach]
    parts = [
        f'<line class="whisker" x1="{x(within[0]):.1f}" x2="{x(within[-1]):.1f}" y1="{y}" y2="{y}"></line>',
        f'<rect class="box" x="{x(first):.1f}" y="{y - 8}" width="{max(1.0, x(third) - x(first)):.1f}" height="16"></rect>',
        f'<line class="median" x1="{x(middle):.1f}" x2="{x(middle):.1f}" y1="{y - 8}" y2="{y + 8}"></line>',
    ]
    for number, (case, value) in enumerate(values.items()):
        is_out = not within[0] <= value <= within[-1]
        if is_out or len(values) <= _DOTS:
            # Spread over the height, the same way each time, so that equal values are seen to be several.
            beside = 0.0 if is_out else (number * 0.618 % 1 - 0.5) * 10
            parts.append(
                f'<circle cx="{x(value):.1f}" cy="{y + beside:.1f}" r="2.4"><title>{escape(case)}: {value:.4g}</title></circle>'
            )
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high` or just beyond it, about four steps apart."""
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _spread(places: Sequence[float], apart: float = 13.0) -> list[float]:
    """Move texts away from each other that would overlap; they stay in their order."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda number: places[number])
    for before, number in itertools.pairwise(order):
        moved[number] = max(moved[number], moved[before] + apart)
    return moved


def _number(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")
