"""`nightloom quality`: ops.expectations -> each expectation's last nights: held or not, how its number moved."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from typing import Any

import click
from rich.markup import escape
from rich.table import Table as Grid

from nightloom.contracts import EXPECTATIONS
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.settings import load
from nightloom.sql.marts import all_tables
from nightloom.sql.names import nearest
from nightloom.terminal import iso, screen

HELD, WARNED, STOPPED, NOT_ASKED = "·", "!", "✗", " "
BARS = "▁▂▃▄▅▆▇█"

LATEST = """
WITH nights AS (SELECT DISTINCT night FROM e ORDER BY night DESC LIMIT {nights}),
asked AS (
    SELECT *, row_number() OVER (PARTITION BY night, "table", expectation ORDER BY checked_at DESC) AS place
    FROM e WHERE night IN (SELECT night FROM nights) AND {where}
)
SELECT * FROM asked WHERE place = 1 ORDER BY "table", expectation, night"""
"""Each expectation's last verdict of each of the last nights."""


@dataclass(frozen=True)
class Verdict:
    """One night's last word on an expectation."""

    night: date
    passed: bool
    severity: str
    observed: str
    value: float | None
    samples: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def mark(self) -> str:
        return HELD if self.passed else WARNED if self.severity == "warn" else STOPPED


@dataclass(frozen=True)
class Trend:
    """One expectation over the last nights; a night on which it was not asked is not in `verdicts`."""

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
    def worth_telling(self) -> bool:
        """Whether it failed, or its number moved, on these nights."""
        return self.failed or bool(self.moved)

    @property
    def marks(self) -> str:
        """One character a night, oldest first."""
        said = {verdict.night: verdict.mark for verdict in self.verdicts}
        return "".join(said.get(night, NOT_ASKED) for night in self.nights)

    @property
    def moved(self) -> str:
        """The numbers found as bars, oldest first; empty where there are fewer than two, or all are equal."""
        values = {verdict.night: verdict.value for verdict in self.verdicts if verdict.value is not None}
        if len(set(values.values())) < 2:
            return ""
        low, high = min(values.values()), max(values.values())
        heights = {night: round((value - low) / (high - low) * (len(BARS) - 1)) for night, value in values.items()}
        return "".join(BARS[heights[night]] if night in heights else " " for night in self.nights)


def trends(lake: Lake, nights: int, table: str | None = None) -> list[Trend]:
    """All expectations that were asked on the last nights, by table; none when no gate ever asked."""
    if not lake.exists(EXPECTATIONS):
        return []
    where = "true" if table is None else f'"table" = {sql_text(table)}'
    rows = lake.query(LATEST.format(nights=nights, where=where), ("e", lake.open(EXPECTATIONS))).to_pylist()
    asked = tuple(sorted({row["night"] for row in rows}))
    by_name = groupby(rows, lambda row: (row["table"], row["expectation"]))
    return [Trend(*name, asked, tuple(map(_verdict, of_name))) for name, of_name in by_name]


def _verdict(row: dict[str, Any]) -> Verdict:
    same = {name: row[name] for name in ("night", "passed", "severity", "observed")}
    return Verdict(**same, value=row["observed_value"], samples=tuple(row["samples"]), files=tuple(row["files"]))


@click.command()
@click.argument("table", required=False)
@click.option("--nights", type=click.IntRange(min=1), default=14, show_default=True, help="How many, newest last.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def quality(table: str | None, nights: int, as_json: bool) -> None:
    """What the gates expected of the data on the last nights: nightloom quality silver.interactions.

    A character a night: · it held, ! it failed and warned, ✗ it failed and stopped the night. Without TABLE, what
    always held without a moving number is only counted.
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
    """A table's expectations, and of the newest night's failures the rows and where they came from."""
    told = [trend for trend in found if everything or trend.worth_telling]
    nights = found[0].nights
    console = screen()
    console.print(f"[bold]{name}[/bold]  {nights[0]} to {nights[-1]}")
    grid = Grid("expectation", "nights", "moved", "last found", box=None, padding=(0, 2, 0, 0))
    for trend in told:
        marks = "".join(_coloured(mark) for mark in trend.marks)
        grid.add_row(escape(trend.expectation), marks, trend.moved, escape(trend.last.observed))
    if told:
        console.print(grid)
    for trend in told:
        if not trend.last.passed and trend.last.samples:
            origin = f"; from {', '.join(trend.last.files)}" if trend.last.files else ""
            console.print(f"  {trend.expectation}: e.g. {'; '.join(trend.last.samples)}{origin}", markup=False)
    if others := len(found) - len(told):
        console.print(f"{others} {'others' if told else 'expectations'} held every night.")
    console.print()


def _coloured(mark: str) -> str:
    colour = {WARNED: "yellow", STOPPED: "red"}.get(mark)
    return f"[{colour}]{mark}[/]" if colour else mark
