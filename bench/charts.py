"""Charts as SVG, drawn here: a dozen shapes are no reason for a plotting library.

They are readable on a light and on a dark page: the background is white, as in the other figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path

WIDTH = 860
LABELS = 190
ROW = 22
COLOURS = ("#2a6f4e", "#8fa3bf", "#c9a66b", "#b0758f", "#7aa6a1", "#a0a0a0", "#cfcfcf", "#5b6f8f")


class _Drawing:
    def __init__(self, title: str) -> None:
        self.title = title
        self.parts: list[str] = []
        self.text(16, 26, title, size=16, bold=True)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 12,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}"{weight}>'
            f"{escape(words)}</text>"
        )

    def box(self, x: float, y: float, size: tuple[float, float], colour: str) -> None:
        width, height = size
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 2) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )

    def save(self, path: Path, height: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'font-family="sans-serif" fill="#112" role="img" aria-label="{escape(self.title)}">'
        )
        ground = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
        path.write_text("\n".join([head, ground, *self.parts, "</svg>"]) + "\n")


Bars = Mapping[str, Mapping[str, float | None]]


def bars(path: Path, title: str, groups: Bars, *, unit: str, top: float | None = None) -> None:
    """Groups of horizontal bars: group, then name, then value. None is drawn as missing. A name
    keeps its colour in all groups. ``top`` is the end of the scale, else the largest value."""
    values = [v for group in groups.values() for v in group.values() if v is not None]
    end = top or max(values, default=1.0) or 1.0
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    colours = dict(zip(names, cycle(COLOURS), strict=False))
    drawing, y = _Drawing(title), 46.0
    for group, members in groups.items():
        drawing.text(16, y + 12, group, size=13, bold=True)
        y += ROW
        for name, value in members.items():
            drawing.text(LABELS - 8, y + 13, name, anchor="end")
            length = min(value or 0.0, end) / end * (WIDTH - LABELS - 110)
            drawing.box(LABELS, y + 2, (length, ROW - 6), colours[name])
            words = "not measured" if value is None else f"{_short(value)} {unit}"
            drawing.text(LABELS + length + 6, y + 13, words)
            y += ROW
        y += 8
    drawing.save(path, y + 8)


def histograms(
    path: Path, title: str, samples: Mapping[str, Sequence[float]], *, unit: str
) -> None:
    """Histograms over one logarithmic axis, one above the other."""
    lowest = min(min(values) for values in samples.values())
    highest = max(max(values) for values in samples.values())
    low, high = math.log10(max(lowest, 1e-3)), math.log10(max(highest, lowest * 1.01))
    low, high = math.floor(low * 3) / 3, math.ceil(high * 3) / 3
    bins, height = 90, 110.0
    step = (WIDTH - LABELS - 30) / bins
    drawing, y = _Drawing(title), 46.0
    for (name, values), colour in zip(samples.items(), cycle(COLOURS), strict=False):
        counts = [0] * bins
        for value in values:
            place = (math.log10(max(value, 1e-3)) - low) / (high - low) * bins
            counts[min(bins - 1, max(0, int(place)))] += 1
        drawing.text(LABELS - 8, y + height / 2, name, anchor="end", size=13)
        for place, count in enumerate(counts):
            tall = count / max(counts) * (height - 14)
            if count:
                drawing.box(LABELS + place * step, y + height - tall, (step - 1, tall), colour)
        y += height + 6
    _axis(drawing, y, low, high, unit)
    drawing.save(path, y + 40)


def _axis(drawing: _Drawing, y: float, low: float, high: float, unit: str) -> None:
    width = WIDTH - LABELS - 30
    drawing.line([(LABELS, y), (LABELS + width, y)], "#112", 1)
    for decade in range(math.floor(low), math.ceil(high) + 1):
        for factor in (1, 2, 5):
            place = decade + math.log10(factor)
            if low <= place <= high:
                x = LABELS + (place - low) / (high - low) * width
                drawing.line([(x, y), (x, y + 5)], "#112", 1)
                drawing.text(x, y + 20, _short(factor * 10.0**decade), anchor="middle")
    drawing.text(LABELS - 8, y + 20, unit, anchor="end")


Lines = Mapping[str, Sequence[tuple[float, float]]]


def lines(path: Path, title: str, series: Lines, *, axes: tuple[str, str]) -> None:
    """Lines over one horizontal axis; the vertical one begins at 0."""
    drawing, height = _Drawing(title), 300.0
    points = [point for line in series.values() for point in line]
    right, top = max(x for x, _ in points), max(y for _, y in points) * 1.1 or 1.0
    left, width, bottom = 70.0, WIDTH - 290.0, 46 + height
    drawing.line([(left, 46), (left, bottom), (left + width, bottom)], "#112", 1)
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.text(left - 6, bottom - part * height + 4, _short(top * part), anchor="end")
    for x in sorted({x for x, _ in points}):
        drawing.text(left + x / right * width, bottom + 18, _short(x), anchor="middle")
    drawing.text(left + width / 2, bottom + 38, axes[0], anchor="middle")
    drawing.text(left, 42, axes[1])
    for number, ((name, line), colour) in enumerate(
        zip(series.items(), cycle(COLOURS), strict=False)
    ):
        drawing.line(
            [(left + x / right * width, bottom - y / top * height) for x, y in line], colour
        )
        drawing.box(left + width + 20, 60 + number * ROW, (12, 12), colour)
        drawing.text(left + width + 40, 71 + number * ROW, name)
    drawing.save(path, bottom + 52)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    if value >= 1e4:
        return f"{value / 1e3:.3g} k"
    return f"{value:.3g}"
