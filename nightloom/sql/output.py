"""The result of a query on screen: as a table, CSV, JSON or a chart."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from typing import Any

from rich.table import Table as Grid

from nightloom.sql.query import QueryResult
from nightloom.terminal import iso, screen

ROWS_SHOWN = 50
"""The most rows of a table on screen; --csv and --json are always complete."""
CHART_SIZE = (80, 24)
"""Columns and lines of a chart where the output is no terminal."""


def print_result(result: QueryResult, output_format: str) -> None:
    """Print a result as a `table`, `csv`, `json` or a `plot`."""
    {"table": _print_table, "csv": _print_csv, "json": _print_json, "plot": _print_plot}[output_format](result)


def _print_table(result: QueryResult) -> None:
    shown = list(itertools.islice(result.rows, ROWS_SHOWN))
    grid = Grid(*result.names)
    for row in shown:
        grid.add_row(*(_format_value(value) for value in row))
    screen().print(grid)
    if next(result.rows, None) is not None:
        screen().print(f"... {result.count() - len(shown):,} more rows; --csv and --json give all.")


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, default=iso, ensure_ascii=False) if isinstance(value, list | dict) else iso(value)


def _print_plot(result: QueryResult) -> None:
    """A chart of the terminal's size and in colour; without a terminal, of a fixed size and in plain text."""
    import plotext  # takes half a second: the other formats do not wait for it

    from nightloom.sql.plot import draw_chart

    if sys.stdout.isatty():
        size = screen().size
        drawn = draw_chart(result.names, result.rows, size.width, min(size.height - 2, CHART_SIZE[1] * 2))
    else:
        drawn = plotext.uncolorize(draw_chart(result.names, result.rows, *CHART_SIZE))
    print(drawn.rstrip("\n"))


def _print_csv(result: QueryResult) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result.names)
    writer.writerows([_format_value(value) for value in row] for row in result.rows)


def _print_json(result: QueryResult) -> None:
    """A JSON array with a row per line, written while the rows are fetched."""
    sys.stdout.write("[")
    for number, row in enumerate(result.rows):
        line = json.dumps(dict(zip(result.names, row, strict=True)), default=iso, ensure_ascii=False)
        sys.stdout.write((",\n " if number else "\n ") + line)
    sys.stdout.write("\n]\n")
