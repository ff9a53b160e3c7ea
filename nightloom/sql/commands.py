"""`nightloom sql` and `nightloom tables`: the lake's tables for a person at a terminal."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, date, datetime, time, timedelta

import click
from click.shell_completion import CompletionItem

from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.sql import marts
from nightloom.sql.dictionary import print_overview, print_table, require_table, table_info
from nightloom.sql.output import print_result
from nightloom.sql.query import Catalog, run_query


@click.command()
@click.argument("statement", required=False)
@click.option("--version", type=click.IntRange(min=0), help="Delta version of the one table named.")
@click.option("--as-of", "moment", metavar="TIME", help="The tables as they were: 'YYYY-MM-DD[ HH:MM]', UTC.")
@click.option(
    "--plot", "output_format", flag_value="plot", help="A chart: the first column across, further numbers as lines."
)
@click.option("--csv", "output_format", flag_value="csv", help="All rows as CSV.")
@click.option("--json", "output_format", flag_value="json", help="All rows as JSON.")
def sql(statement: str | None, version: int | None, moment: str | None, output_format: str | None) -> None:
    """Run a SELECT over the lake's tables: nightloom sql "SELECT count(*) FROM silver.interactions".

    Without a statement, a prompt opens, with history and completion; where input is no terminal, it is the statement. A
    day without a time in --as-of is the whole day: the tables as they were when it ended.
    """
    if version is not None and moment is not None:
        raise click.UsageError("--version and --as-of both say which state to read; give one of them.")
    settings = load()
    catalog = Catalog.from_settings(settings, version, parse_as_of(moment) if moment else None)
    if statement is None and not sys.stdin.isatty():
        statement = sys.stdin.read()
    if statement is not None:
        print_result(run_query(catalog, statement), output_format or "table")
        return
    from nightloom.sql.prompt import run_prompt  # it costs a quarter of a second, and few ask for it

    run_prompt(catalog, settings.place("scratch") / "sql-history", output_format or "table")


def parse_as_of(text: str) -> datetime:
    """`YYYY-MM-DD HH:MM` as UTC; a day alone means its last moment."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), time.min, UTC) + timedelta(days=1, microseconds=-1)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no time; write YYYY-MM-DD or 'YYYY-MM-DD HH:MM', UTC.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _complete_table_name(context: click.Context, argument: click.Parameter, begun: str) -> list[CompletionItem]:
    """Table names for the shell's completion; none outside a project."""
    try:
        known = marts.all_tables(load())
    except NightloomError:
        return []
    return [CompletionItem(table.full_name, help=table.grain) for table in known if table.full_name.startswith(begun)]


@click.command()
@click.argument("name", required=False, shell_complete=_complete_table_name)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tables(name: str | None, as_json: bool) -> None:
    """The data dictionary: all tables, or one table's columns."""
    settings = load()
    lake, known = Lake(settings.place("lake")), marts.all_tables(settings)
    if name is None:
        print(json.dumps([table_info(lake, each) for each in known], indent=1)) if as_json else print_overview(
            lake, known
        )
    else:
        found = require_table(name, known)
        print(json.dumps(table_info(lake, found), indent=1)) if as_json else print_table(lake, found)
