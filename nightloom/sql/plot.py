"""Rows of a query -> a chart in the terminal: the first column is the x axis, each further number a line or bars.

Numbers and times are sorted, whatever the order of the rows. Rows without a value are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import plotext

from nightloom.errors import NightloomError

MARKERS = ("hd", "o", "x", "+", "*", "#")
"""A single line is drawn finely; of several lines each has a character of its own."""
TICKS = 5
"""Number of dates below the chart."""
MAX_BARS = 40
"""Further rows are counted and not drawn."""


class PlotError(NightloomError):
    """Rows that cannot be drawn as a chart."""


def draw_chart(names: Sequence[str], rows: Iterable[Sequence[Any]], width: int, height: int) -> str:
    """The chart as text of `width` x `height` characters (bars: as high as needed), with colours.

    Raises PlotError where no column but the first is numeric.
    """
    if not (columns := list(zip(*rows, strict=True))):
        raise PlotError("the statement gave no rows; there is nothing to draw")
    x, *others = columns
    series = {name: values for name, values in zip(names[1:], others, strict=True) if _is_numeric(values)}
    if not others and _is_numeric(x):
        series, x = {names[0]: x}, tuple(range(1, len(x) + 1))
    if not series:
        found = ", ".join(f"{name} {_describe_values(values)}" for name, values in zip(names, columns, strict=True))
        raise PlotError(f"a chart needs a number after its first column, found {found}")
    if _is_numeric(x) or any(isinstance(value, date) for value in x):
        return _draw_lines(names[0], x, series, width, height)
    return "\n".join(_draw_bars(name, x, values, width) for name, values in series.items())


def _draw_lines(name: str, x: Sequence[Any], series: Mapping[str, Sequence[Any]], width: int, height: int) -> str:
    figure = plotext.figure.clear()
    figure.theme("simple")
    figure.plot_size(width, height)
    for number, values in enumerate(series.values()):
        points = sorted(
            (_axis_value(at), float(value)) for at, value in zip(x, values, strict=True) if _is_drawable(at, value)
        )
        marker = MARKERS[number % len(MARKERS)] if len(series) > 1 else MARKERS[0]
        line = figure.signal(*map(list, zip(*points, strict=True)), marker=marker)
        line.lines(True)
        figure.draw(line)
    if dates := sorted({value for value in x if isinstance(value, date)}, key=_axis_value):
        shown = (
            dates if len(dates) <= TICKS else [dates[round(i * (len(dates) - 1) / (TICKS - 1))] for i in range(TICKS)]
        )
        figure.ruler("x").ticks([_axis_value(value) for value in shown], [_format_date(value) for value in shown])
    figure.label(name, "x")
    symbols = "▚" + "".join(MARKERS[1:])
    figure.title("   ".join(f"{symbols[n % len(symbols)]} {label}" for n, label in enumerate(series)))
    return str(figure.build())


def _draw_bars(name: str, x: Sequence[Any], values: Sequence[Any], width: int) -> str:
    """A bar for each row, the first row on top. Own code: plotext 6.1 draws two bars wrong."""
    drawn = [(str(label), float(value)) for label, value in zip(x, values, strict=True) if _is_drawable(label, value)]
    shown = drawn[:MAX_BARS]
    labels = [label if len(label) <= width // 3 else f"{label[: width // 3 - 1]}…" for label, _ in shown]
    numbers = [f"{value:,.10g}" for _, value in shown]
    room = width - max(map(len, labels)) - max(map(len, numbers)) - 3
    longest = max(abs(value) for _, value in shown) or 1
    lines = [
        f"{label:>{max(map(len, labels))}} ┤{'█' * round(room * abs(value) / longest)} {number}"
        for label, number, (_, value) in zip(labels, numbers, shown, strict=True)
    ]
    more = [f"... {len(drawn) - MAX_BARS:,} more rows"] if len(drawn) > MAX_BARS else []
    return "\n".join([f"{name:^{width}}".rstrip(), *lines, *more])


def _is_numeric(values: Sequence[Any]) -> bool:
    """Whether a column has at least one number, and only numbers."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float | Decimal) and value is not True for value in there)


def _is_drawable(at: Any, value: Any) -> bool:
    return at is not None and value is not None and math.isfinite(value)


def _axis_value(value: Any) -> float:
    """A position on the axis; a time is in seconds, UTC."""
    if not isinstance(value, date):
        return float(value)
    moment = value if isinstance(value, datetime) else datetime.combine(value, time.min, UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _format_date(value: date) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value.isoformat()


def _describe_values(values: Sequence[Any]) -> str:
    """The type of a column's values, for a message."""
    there = next((value for value in values if value is not None), None)
    return "is empty" if there is None else "is text" if isinstance(there, str) else f"is {type(there).__name__}"
