"""Figures as charts: what a template needs to draw SVG. The page has the figures as text, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 120
"""Of a chart's area, in its own units."""
GAP = 0.25
"""Share of a bar's place that stays empty."""


@dataclass(frozen=True)
class Bar:
    """One bar."""

    label: str
    value: float
    tone: str
    """bad, warn, or empty."""
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Bars:
    """Bars from left to right."""

    bars: tuple[Bar, ...]
    top: float
    """The value at the upper edge."""


@dataclass(frozen=True)
class Line:
    """One line; `points` is SVG's attribute, `ends` the places of its values."""

    name: str
    points: str
    ends: tuple[tuple[float, float], ...]
    last: float


@dataclass(frozen=True)
class Lines:
    """Lines over the same labels."""

    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    low: float
    high: float


def bars(values: Sequence[tuple[str, float, str]]) -> Bars:
    """A bar for each (label, value, tone); values are not negative."""
    top = max((value for _, value, _ in values), default=0.0) or 1.0
    place = WIDTH / max(len(values), 1)
    return Bars(
        tuple(
            Bar(
                label, value, tone, round(place * (number + GAP / 2), 1), round(HEIGHT * (1 - value / top), 1),
                round(place * (1 - GAP), 1), round(HEIGHT * value / top, 1),
            )
            for number, (label, value, tone) in enumerate(values)
        ),
        top,
    )  # fmt: skip


def lines(labels: Sequence[str], values: Mapping[str, Sequence[float | None]]) -> Lines:
    """A line for each name; None is a gap that the line leaps over. A name without any value has no line."""
    known = [value for of_name in values.values() for value in of_name if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    step = WIDTH / max(len(labels) - 1, 1)

    def place(number: int, value: float) -> tuple[float, float]:
        return round(step * number if len(labels) > 1 else WIDTH / 2, 1), round(
            HEIGHT * (high - value) / (high - low), 1
        )

    made = []
    for name, of_name in values.items():
        ends = [place(number, value) for number, value in enumerate(of_name) if value is not None]
        if ends:
            last = [value for value in of_name if value is not None][-1]
            made.append(Line(name, " ".join(f"{x},{y}" for x, y in ends), tuple(ends), last))
    return Lines(tuple(labels), tuple(made), low, high)
