"""A query's rows -> a chart in the terminal: the first column across, each further number a line, or bars by text.

Numbers and times stand in their order, whatever the order of the rows; rows without a value are left out.
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
"""One line is drawn finely; several each with a character of their own."""
TICKS = 5
"""Dates written below the chart."""
BARS = 40
"""Bars at most; further rows are said and not drawn."""


class PlotError(NightloomError):
    """Rows of which no chart can be drawn."""


def chart(names: Sequence[str], rows: Iterable[Sequence[Any]], width: int, height: int) -> str:
    """The chart as text of `width` x `height` characters (bars: as high as they need), colours included.

    Raises PlotError where no column but the first is numeric.
    """
    if not (columns := list(zip(*rows, strict=True))):
        raise PlotError("the statement gave no rows; there is nothing to draw")
    x, *others = columns
    series = {name: values for name, values in zip(names[1:], others, strict=True) if _numeric(values)}
    if not others and _numeric(x):
        series, x = {names[0]: x}, tuple(range(1, len(x) + 1))
    if not series:
        found = ", ".join(f"{name} {_kind(values)}" for name, values in zip(names, columns, strict=True))
        raise PlotError(f"a chart needs a number after its first column, found {found}")
    if _numeric(x) or any(isinstance(value, date) for value in x):
        return _lines(names[0], x, series, width, height)
    return "\n".join(_bars(name, x, values, width) for name, values in series.items())


def _lines(name: str, x: Sequence[Any], series: Mapping[str, Sequence[Any]], width: int, height: int) -> str:
    figure = plotext.figure.clear()
    figure.theme("simple")
    figure.plot_size(width, height)
    for number, values in enumerate(series.values()):
        points = sorted((_number(at), float(value)) for at, value in zip(x, values, strict=True) if _drawn(at, value))
        marker = MARKERS[number % len(MARKERS)] if len(series) > 1 else MARKERS[0]
        line = figure.signal(*map(list, zip(*points, strict=True)), marker=marker)
        line.lines(True)
        figure.draw(line)
    if dates := sorted({value for value in x if isinstance(value, date)}, key=_number):
        shown = (
            dates if len(dates) <= TICKS else [dates[round(i * (len(dates) - 1) / (TICKS - 1))] for i in range(TICKS)]
        )
        figure.ruler("x").ticks([_number(value) for value in shown], [_date(value) for value in shown])
    figure.label(name, "x")
    symbols = "▚" + "".join(MARKERS[1:])
    figure.title("   ".join(f"{symbols[n % len(symbols)]} {label}" for n, label in enumerate(series)))
    return str(figure.build())


def _bars(name: str, x: Sequence[Any], values: Sequence[Any], width: int) -> str:
    """A bar a row, the first row on top. By hand: plotext 6.1 draws two bars wrong."""
    drawn = [(str(label), float(value)) for label, value in zip(x, values, strict=True) if _drawn(label, value)]
    shown = drawn[:BARS]
    labels = [label if len(label) <= width // 3 else f"{label[: width // 3 - 1]}…" for label, _ in shown]
    numbers = [f"{value:,.10g}" for _, value in shown]
    room = width - max(map(len, labels)) - max(map(len, numbers)) - 3
    longest = max(abs(value) for _, value in shown) or 1
    lines = [
        f"{label:>{max(map(len, labels))}} ┤{'█' * round(room * abs(value) / longest)} {number}"
        for label, number, (_, value) in zip(labels, numbers, shown, strict=True)
    ]
    more = [f"... {len(drawn) - BARS:,} more rows"] if len(drawn) > BARS else []
    return "\n".join([f"{name:^{width}}".rstrip(), *lines, *more])


def _numeric(values: Sequence[Any]) -> bool:
    """Whether there is a number in a column, and nothing but numbers."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float | Decimal) and value is not True for value in there)


def _drawn(at: Any, value: Any) -> bool:
    return at is not None and value is not None and math.isfinite(value)


def _number(value: Any) -> float:
    """A place on the axis; a time as seconds, UTC."""
    if not isinstance(value, date):
        return float(value)
    moment = value if isinstance(value, datetime) else datetime.combine(value, time.min, UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _date(value: date) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value.isoformat()


def _kind(values: Sequence[Any]) -> str:
    """What a column holds, in a word."""
    there = next((value for value in values if value is not None), None)
    return "is empty" if there is None else "is text" if isinstance(there, str) else f"is {type(there).__name__}"
