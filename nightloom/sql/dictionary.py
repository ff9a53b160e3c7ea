"""`nightloom tables`: the data dictionary, every table of the lake or one table's columns, with its state now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.table import Table as Grid

from nightloom.contracts import Table
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.sql import marts
from nightloom.sql.names import nearest
from nightloom.sql.query import QueryError
from nightloom.terminal import screen


def _completed(context: click.Context, argument: click.Parameter, begun: str) -> list[CompletionItem]:
    """Table names for the shell's completion; none where there is no project."""
    try:
        known = marts.tables(load())
    except NightloomError:
        return []
    return [CompletionItem(table.full_name, help=table.grain) for table in known if table.full_name.startswith(begun)]


@click.command()
@click.argument("name", required=False, shell_complete=_completed)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tables(name: str | None, as_json: bool) -> None:
    """The data dictionary: all tables, or one table's columns."""
    settings = load()
    lake, known = Lake(settings.place("lake")), marts.tables(settings)
    if name is None:
        print(json.dumps([entry(lake, each) for each in known], indent=1)) if as_json else overview(lake, known)
    else:
        found = named(name, known)
        print(json.dumps(entry(lake, found), indent=1)) if as_json else describe(lake, found)


def named(name: str, known: Sequence[Table]) -> Table:
    """The table of this name. Raises QueryError with the nearest."""
    found = next((each for each in known if each.full_name == name), None)
    if found is None:
        raise QueryError(f"no table {name}; {nearest(name, known)}")
    return found


def entry(lake: Lake, each: Table) -> dict[str, Any]:
    """One table's contract and state; version and rows are None before its first night."""
    delta = lake.open(each) if lake.exists(each) else None
    return {
        "name": each.full_name,
        "layer": each.layer,
        "grain": each.grain,
        "key": list(each.key),
        "checks": [condition for _, condition in each.checks],
        "partition": each.partition,
        "retention_days": each.retention_days,
        "readers": list(each.readers),
        "version": delta.version() if delta else None,
        "rows": delta.count() if delta else None,
        "columns": [vars(column) for column in each.columns],
    }


def overview(lake: Lake, tables: Sequence[Table]) -> None:
    """Print all tables: rows, version, what a row is."""
    grid = Grid("table", "rows", "version", "grain")
    grid.columns[1].justify = grid.columns[2].justify = "right"
    for each in (entry(lake, table) for table in tables):
        rows, version = ("-" if each[what] is None else f"{each[what]:,}" for what in ("rows", "version"))
        grid.add_row(each["name"], rows, version, each["grain"])
    screen().print(grid)


def describe(lake: Lake, table: Table) -> None:
    """Print one table: its state, its columns."""
    console, each = screen(), entry(lake, table)
    console.print(f"[bold]{each['name']}[/bold]: {each['grain']}")
    state = "not there yet" if each["version"] is None else f"version {each['version']}, {each['rows']:,} rows"
    kept = f"kept {each['retention_days']} days" if each["retention_days"] else "kept"
    console.print(f"{state}; key {', '.join(each['key'])}; {kept}; read by {', '.join(each['readers'])}")
    for condition in each["checks"]:
        console.print(f"each row: {condition}", markup=False)
    grid = Grid("column", "type", "", "meaning")
    for column in each["columns"]:
        flags = [word for word, on in (("not null", column["required"]), ("personal", column["personal"])) if on]
        grid.add_row(column["name"], column["type"], ", ".join(flags), column["comment"])
    console.print(grid)
