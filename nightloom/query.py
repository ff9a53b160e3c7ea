"""`nightloom sql` and `nightloom tables`: the Delta tables by their names, at any version, and what each one means."""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import click
import duckdb
from rich.console import Console
from rich.table import Table as Grid

from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.tables import TABLES, Table, table

ROWS_SHOWN = 50
"""Rows that a table on screen holds; --csv and --json are always complete."""
READS = {"SELECT", "EXPLAIN"}
"""DuckDB's kinds of statement that only read; DESCRIBE, SUMMARIZE and SHOW are SELECTs to it."""

Row = tuple[Any, ...]


class QueryError(NightloomError):
    """A statement that cannot be run: no such table or column, not SQL, or more than reading."""


@click.command()
@click.argument("statement")
@click.option("--version", type=click.IntRange(min=0), help="Delta version of the one table named.")
@click.option("--as-of", "moment", metavar="TIME", help="The tables as they were: 'YYYY-MM-DD[ HH:MM]', UTC.")
@click.option("--csv", "form", flag_value="csv", help="All rows as CSV.")
@click.option("--json", "form", flag_value="json", help="All rows as JSON.")
def sql(statement: str, version: int | None, moment: str | None, form: str | None) -> None:
    """Run a SELECT over the lake's tables: nightloom sql "SELECT count(*) FROM silver.interactions".

    A day without a time in --as-of is the whole day: the tables as they were when it ended.
    """
    if version is not None and moment is not None:
        raise click.UsageError("--version and --as-of both say which state to read; give one of them.")
    connection = opened(Lake(load().place("lake")), statement, version, as_of(moment) if moment else None)
    names, rows = run(connection, statement)
    if form is None:
        _show(names, rows, connection, statement)
    else:
        {"csv": _csv, "json": _json}[form](names, rows)


def opened(
    lake: Lake, statement: str, version: int | None = None, moment: datetime | None = None
) -> duckdb.DuckDBPyConnection:
    """A DuckDB that knows the tables which the statement names, each as a view over its Delta files at one version."""
    named = tables_in(statement)
    if version is not None and len(named) != 1:
        found = ", ".join(each.full_name for each in named) or "none"
        raise QueryError(f"--version needs a statement that names one table, found {found}; --as-of takes any number.")
    connection = duckdb.connect(":memory:")
    # A name that no table has must be an error, not a variable of this program.
    connection.execute("SET python_enable_replacements = false; SET TimeZone = 'UTC'")
    for layer in sorted({each.layer for each in TABLES}):
        connection.execute(f"CREATE SCHEMA {layer}")
    for each in named:
        source = each.full_name.replace(".", "__")
        connection.register(source, lake.open(each, version, moment).to_pyarrow_dataset())
        connection.execute(f'CREATE VIEW {each.full_name} AS SELECT * FROM "{source}"')
    return connection


def tables_in(statement: str) -> list[Table]:
    """Tables whose full names stand in the statement, quoted or not; one too many (in a string) does no harm."""
    words = statement.replace('"', "").lower()
    return [each for each in TABLES if re.search(rf"(?<![\w.]){each.layer}\s*\.\s*{each.name}(?!\w)", words)]


def run(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[list[str], Iterator[Row]]:
    """Column names and rows of one reading statement. Raises QueryError with DuckDB's words and the nearest table."""
    try:
        kinds = [str(parsed.type).rpartition(".")[2] for parsed in connection.extract_statements(statement)]
        if len(kinds) != 1 or kinds[0] not in READS:
            raise QueryError(f"found {' and '.join(kinds) or 'nothing'}, expected one SELECT: this command only reads.")
        connection.execute(statement)
    except duckdb.Error as error:
        raise QueryError(_explained(error, statement)) from None
    names = [column[0] for column in connection.description or []]
    return names, itertools.chain.from_iterable(iter(lambda: connection.fetchmany(10_000), []))


def _explained(error: duckdb.Error, statement: str) -> str:
    """DuckDB's words, but for a missing table: it does not know which ones the lake has."""
    missing = re.search(r"Table with name (?:\w+\.)?(\w+) does not exist", str(error))
    if not missing:
        return str(error)
    asked = next((word for word in re.findall(r"\w+\.\w+", statement) if word.endswith(missing[1])), missing[1])
    return f"no table {asked} in the lake; {_nearest(asked)}"


def _nearest(name: str) -> str:
    """`did you mean silver.items?`, or all names there are."""
    known = [each.full_name for each in TABLES]
    same = [full for full in known if full.endswith(f".{name.lower()}")]
    near = same or difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {' or '.join(near)}?" if near else f"the tables are {', '.join(known)}."


def as_of(text: str) -> datetime:
    """`YYYY-MM-DD HH:MM` as UTC; a day alone means its last moment."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), time.min, UTC) + timedelta(days=1, microseconds=-1)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no time; write YYYY-MM-DD or 'YYYY-MM-DD HH:MM', UTC.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _show(names: Sequence[str], rows: Iterator[Row], connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    shown = list(itertools.islice(rows, ROWS_SHOWN))
    grid = Grid(*names)
    for row in shown:
        grid.add_row(*(_text(value) for value in row))
    screen().print(grid)
    if next(rows, None) is not None:
        count = connection.execute(f"SELECT count(*) FROM ({statement.strip().rstrip(';')}\n)").fetchone()
        more = count[0] - len(shown) if count else "?"
        screen().print(f"... {more:,} more rows; --csv and --json give all.")


def screen() -> Console:
    """The console; where output is no terminal, lines are as long as they need to be."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, default=iso, ensure_ascii=False) if isinstance(value, list | dict) else iso(value)


def iso(value: Any) -> str:
    """A value as text; moments in ISO form."""
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _csv(names: Sequence[str], rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_text(value) for value in row] for row in rows)


def _json(names: Sequence[str], rows: Iterable[Row]) -> None:
    """A JSON array, one row a line, written as the rows come."""
    sys.stdout.write("[")
    for number, row in enumerate(rows):
        line = json.dumps(dict(zip(names, row, strict=True)), default=iso, ensure_ascii=False)
        sys.stdout.write((",\n " if number else "\n ") + line)
    sys.stdout.write("\n]\n")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tables(name: str | None, as_json: bool) -> None:
    """The data dictionary: all tables, or one table's columns."""
    lake = Lake(load().place("lake"))
    if name is None:
        entries = [entry(lake, each) for each in TABLES]
        sys.stdout.write(json.dumps(entries, indent=1) + "\n") if as_json else screen().print(_overview(entries))
        return
    found = entry(lake, _named(name))
    sys.stdout.write(json.dumps(found, indent=1) + "\n") if as_json else _describe(found)


def _named(name: str) -> Table:
    if name not in {each.full_name for each in TABLES}:
        raise QueryError(f"no table {name}; {_nearest(name)}")
    return table(name)


def entry(lake: Lake, each: Table) -> dict[str, Any]:
    """One table's contract and state; version and rows are None before its first night."""
    delta = lake.open(each) if lake.exists(each) else None
    return {
        "name": each.full_name,
        "layer": each.layer,
        "grain": each.grain,
        "key": list(each.key),
        "partition": each.partition,
        "retention_days": each.retention_days,
        "readers": list(each.readers),
        "version": delta.version() if delta else None,
        "rows": delta.count() if delta else None,
        "columns": [vars(column) for column in each.columns],
    }


def _overview(entries: Sequence[dict[str, Any]]) -> Grid:
    grid = Grid("table", "rows", "version", "grain")
    grid.columns[1].justify = grid.columns[2].justify = "right"
    for each in entries:
        rows, version = ("-" if each[what] is None else f"{each[what]:,}" for what in ("rows", "version"))
        grid.add_row(each["name"], rows, version, each["grain"])
    return grid


def _describe(each: dict[str, Any]) -> None:
    console = screen()
    console.print(f"[bold]{each['name']}[/bold]: {each['grain']}")
    state = "not there yet" if each["version"] is None else f"version {each['version']}, {each['rows']:,} rows"
    kept = f"kept {each['retention_days']} days" if each["retention_days"] else "kept"
    console.print(f"{state}; key {', '.join(each['key'])}; {kept}; read by {', '.join(each['readers'])}")
    grid = Grid("column", "type", "", "meaning")
    for column in each["columns"]:
        flags = [word for word, on in (("not null", column["required"]), ("personal", column["personal"])) if on]
        grid.add_row(column["name"], column["type"], ", ".join(flags), column["comment"])
    console.print(grid)
