"""Small charts as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT, _BINS = 260, 70, 24
_ROW = 17


def histogram(values: Sequence[float], unit: str, logarithmic: bool = False) -> str:
    """Return a histogram of numbers as SVG; `logarithmic` is only heeded where all are above 0."""
    if not values:
        return ""
    numbers = np.asarray(values, np.float64)
    logarithmic = logarithmic and bool(numbers.min() > 0) and float(numbers.max()) > 10 * float(numbers.min())
    drawn = np.log10(numbers) if logarithmic else numbers
    low, high = float(drawn.min()), float(drawn.max())
    if low == high:
        counts = np.zeros(_BINS, int)
        counts[_BINS // 2] = len(numbers)
    else:
        counts = np.histogram(drawn, bins=_BINS, range=(low, high))[0]
    step = _WIDTH / _BINS
    columns = "".join(
        f'<rect x="{number * step:.1f}" y="{_HEIGHT * (1 - count / counts.max()):.1f}" width="{step - 1:.1f}" '
        f'height="{_HEIGHT * count / counts.max():.1f}"><title>{count} cases</title></rect>'
        for number, count in enumerate(counts.tolist())
        if count
    )
    ends = (f"{10**low:.4g}", f"{10**high:.4g}") if logarithmic else (f"{low:.4g}", f"{high:.4g}")
    scale = " (logarithmic)" if logarithmic else ""
    text = f'<text x="0" y="{_HEIGHT + 14}">{ends[0]}</text>'
    if low != high:
        text += f'<text x="{_WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{ends[1]} {escape(unit)}{scale}</text>'
    return f'<svg width="{_WIDTH}" height="{_HEIGHT + 18}" role="img">{columns}{text}</svg>'


def bars(counts: Mapping[str, int]) -> str:
    """Return a bar for each name as SVG."""
    most = max(counts.values(), default=0) or 1
    rows = []
    for number, (name, count) in enumerate(counts.items()):
        y = number * _ROW
        short = name if len(name) <= 22 else f"{name[:21]}…"
        rows.append(
            f'<text x="0" y="{y + 12}">{escape(short)}<title>{escape(name)}</title></text>'
            f'<rect x="140" y="{y + 3}" width="{120 * count / most:.1f}" height="{_ROW - 6}"></rect>'
            f'<text x="{144 + math.ceil(120 * count / most)}" y="{y + 12}">{count}</text>'
        )
    return f'<svg width="310" height="{_ROW * len(counts)}" role="img">{"".join(rows)}</svg>'
