"""`nightloom quality`: ops.expectations -> each expectation over the last nights: passed or failed, and its numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from typing import Any

import click
from rich.table import Table as Grid
from rich.text import Text

from nightloom.contracts import EXPECTATIONS
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.settings import load
from nightloom.sql.marts import all_tables
from nightloom.sql.names import nearest
from nightloom.terminal import iso, screen

PASSED, WARNED, STOPPED, NOT_CHECKED = "·", "!", "✗", " "
BARS = "▁▂▃▄▅▆▇█"

LAST_RESULTS = """
WITH nights AS (SELECT DISTINCT night FROM e ORDER BY night DESC LIMIT {nights}),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY night, "table", expectation ORDER BY checked_at DESC) AS rank
    FROM e WHERE night IN (SELECT night FROM nights) AND {where}
)
SELECT * FROM ranked WHERE rank = 1 ORDER BY "table", expectation, night"""
"""Each expectation's last result of each of the last nights."""


@dataclass(frozen=True)
class Verdict:
    """One night's last result of an expectation."""

    night: date
    passed: bool
    severity: str
    observed: str
    value: float | None
    samples: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def mark(self) -> str:
        return PASSED if self.passed else WARNED if self.severity == "warn" else STOPPED


@dataclass(frozen=True)
class Trend:
    """One expectation over the last nights; `verdicts` has no entry for a night without a check."""

    table: str
    expectation: str
    nights: tuple[date, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def last(self) -> Verdict:
        return self.verdicts[-1]

    @property
    def failed(self) -> bool:
        """Whether it failed on any of these nights."""
        return not all(verdict.passed for verdict in self.verdicts)

    @property
    def notable(self) -> bool:
        """Whether it failed, or its number changed, on these nights."""
        return self.failed or bool(self.sparkline)

    @property
    def marks(self) -> str:
        """One character a night, oldest first."""
        marks = {verdict.night: verdict.mark for verdict in self.verdicts}
        return "".join(marks.get(night, NOT_CHECKED) for night in self.nights)

    @property
    def sparkline(self) -> str:
        """The numbers as bars, oldest first; empty where there are fewer than two, or all are equal."""
        values = {verdict.night: verdict.value for verdict in self.verdicts if verdict.value is not None}
        if len(set(values.values())) < 2:
            return ""
        low, high = min(values.values()), max(values.values())
        heights = {night: round((value - low) / (high - low) * (len(BARS) - 1)) for night, value in values.items()}
        return "".join(BARS[heights[night]] if night in heights else " " for night in self.nights)


def trends(lake: Lake, nights: int, table: str | None = None) -> list[Trend]:
    """All expectations of the last nights, by table; none before the first run of a gate."""
    if not lake.exists(EXPECTATIONS):
        return []
    where = "true" if table is None else f'"table" = {sql_text(table)}'
    rows = lake.query(LAST_RESULTS.format(nights=nights, where=where), ("e", lake.open(EXPECTATIONS))).to_pylist()
    dates = tuple(sorted({row["night"] for row in rows}))
    by_name = groupby(rows, lambda row: (row["table"], row["expectation"]))
    return [Trend(*name, dates, tuple(map(_verdict, of_name))) for name, of_name in by_name]


def _verdict(row: dict[str, Any]) -> Verdict:
    common = {name: row[name] for name in ("night", "passed", "severity", "observed")}
    return Verdict(**common, value=row["observed_value"], samples=tuple(row["samples"]), files=tuple(row["files"]))


@click.command()
@click.argument("table", required=False)
@click.option("--nights", type=click.IntRange(min=1), default=14, show_default=True, help="How many, newest last.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def quality(table: str | None, nights: int, as_json: bool) -> None:
    """The gates' expectations of the data over the last nights: nightloom quality silver.interactions.

    A character per night: · passed, ! failed and warned, ✗ failed and stopped the night. Without TABLE, expectations
    that always passed with an unchanged number are only counted.
    """
    settings = load()
    if table is not None and table not in [each.full_name for each in all_tables(settings)]:
        raise click.UsageError(f"There is no table {table}; {nearest(table, all_tables(settings))}")
    found = trends(Lake(settings.place("lake")), nights, table)
    if as_json:
        shown = [{"failed": trend.failed, "marks": trend.marks} | asdict(trend) for trend in found]
        sys.stdout.write(json.dumps(shown, default=iso, indent=1) + "\n")
    elif not found:
        click.echo("No gate has looked at it yet. `nightloom night --date YYYY-MM-DD` runs one.")
    for name, of_table in groupby([] if as_json else found, lambda trend: trend.table):
        _show(name, list(of_table), everything=table is not None)


def _show(name: str, found: Sequence[Trend], *, everything: bool) -> None:
    """A table's expectations; for failures of the newest night, some rows and the files that they came from."""
    shown = [trend for trend in found if everything or trend.notable]
    nights = found[0].nights
    console = screen()
    console.print(Text.assemble((name, "bold"), f"  {nights[0]} to {nights[-1]}"))
    grid = Grid("expectation", "nights", "numbers", "last found", box=None, padding=(0, 2, 0, 0))
    for trend in shown:
        marks = Text.assemble(*map(_coloured, trend.marks))
        grid.add_row(trend.expectation, marks, trend.sparkline, trend.last.observed)
    if shown:
        console.print(grid)
    for trend in shown:
        if not trend.last.passed and trend.last.samples:
            origin = f"; from {', '.join(trend.last.files)}" if trend.last.files else ""
            console.print(f"  {trend.expectation}: e.g. {'; '.join(trend.last.samples)}{origin}")
    if others := len(found) - len(shown):
        console.print(f"{others} {'others' if shown else 'expectations'} passed every night.")
    console.print()


def _coloured(mark: str) -> Text:
    return Text(mark, {WARNED: "yellow", STOPPED: "red"}.get(mark, ""))
