"""`nightloom sql`: a SELECT over the Delta tables by their names, at any version, as a table, CSV, JSON or a chart."""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import click
import duckdb
from rich.table import Table as Grid

from nightloom.contracts import Table
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.lake.recommendations import meaning
from nightloom.settings import Settings, load
from nightloom.sql import marts
from nightloom.sql.names import nearest, tables_in
from nightloom.terminal import iso, screen

ROWS_SHOWN = 50
"""Rows that a table on screen holds; --csv and --json are always complete."""
CHART = (80, 24)
"""Columns and lines of a chart where output is no terminal."""
READS = {"SELECT", "EXPLAIN"}
"""DuckDB's kinds of statement that only read; DESCRIBE, SUMMARIZE and SHOW are SELECTs to it."""

Row = tuple[Any, ...]


class QueryError(NightloomError):
    """A statement that cannot be run: no such table or column, not SQL, or more than reading."""


@dataclass(frozen=True)
class State:
    """The lake's tables as they are now, at one version of the one table named, or as they were at a moment."""

    lake: Lake
    tables: tuple[Table, ...]
    version: int | None = None
    moment: datetime | None = None

    @classmethod
    def of(cls, settings: Settings, version: int | None = None, moment: datetime | None = None) -> State:
        return cls(Lake(settings.place("lake")), marts.tables(settings), version, moment)


@dataclass(frozen=True)
class Answer:
    """Column names and rows, which come as they are asked for, once."""

    names: list[str]
    rows: Iterator[Row]
    connection: duckdb.DuckDBPyConnection
    statement: str

    def count(self) -> int:
        """How many rows there are in all."""
        found = self.connection.execute(f"SELECT count(*) FROM ({self.statement.strip().rstrip(';')}\n)").fetchone()
        return int(found[0]) if found else 0


@click.command()
@click.argument("statement", required=False)
@click.option("--version", type=click.IntRange(min=0), help="Delta version of the one table named.")
@click.option("--as-of", "moment", metavar="TIME", help="The tables as they were: 'YYYY-MM-DD[ HH:MM]', UTC.")
@click.option("--plot", "form", flag_value="plot", help="A chart: the first column across, further numbers as lines.")
@click.option("--csv", "form", flag_value="csv", help="All rows as CSV.")
@click.option("--json", "form", flag_value="json", help="All rows as JSON.")
def sql(statement: str | None, version: int | None, moment: str | None, form: str | None) -> None:
    """Run a SELECT over the lake's tables: nightloom sql "SELECT count(*) FROM silver.interactions".

    Without a statement, a prompt opens, with history and completion; where input is no terminal, it is the statement. A
    day without a time in --as-of is the whole day: the tables as they were when it ended.
    """
    if version is not None and moment is not None:
        raise click.UsageError("--version and --as-of both say which state to read; give one of them.")
    settings = load()
    state = State.of(settings, version, as_of(moment) if moment else None)
    if statement is None and not sys.stdin.isatty():
        statement = sys.stdin.read()
    if statement is not None:
        show(ask(state, statement), form or "table")
        return
    from nightloom.sql.prompt import converse  # it costs a quarter of a second, and few ask for it

    converse(state, settings.place("home") / "sql-history", form or "table")


def ask(state: State, statement: str) -> Answer:
    """The answer to one reading statement. Raises QueryError with DuckDB's words and the nearest table or column."""
    connection = _opened(state, statement)
    try:
        kinds = [str(parsed.type).rpartition(".")[2] for parsed in connection.extract_statements(statement)]
        if len(kinds) != 1 or kinds[0] not in READS:
            raise QueryError(f"found {' and '.join(kinds) or 'nothing'}, expected one SELECT: this command only reads.")
        connection.execute(statement)
    except duckdb.Error as error:
        raise QueryError(_explained(error, statement, state.tables)) from None
    names = [column[0] for column in connection.description or []]
    rows = itertools.chain.from_iterable(iter(lambda: connection.fetchmany(10_000), []))
    return Answer(names, rows, connection, statement)


def _opened(state: State, statement: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB that knows the tables which the statement names, each as a view over its Delta files."""
    named = tables_in(statement, state.tables)
    if state.version is not None and len(named) != 1:
        found = ", ".join(each.full_name for each in named) or "none"
        raise QueryError(f"--version needs a statement that names one table, found {found}; --as-of takes any number.")
    connection = duckdb.connect(":memory:")
    # A name that no table has must be an error, not a variable of this program.
    connection.execute("SET python_enable_replacements = false; SET TimeZone = 'UTC'")
    for layer in sorted({each.layer for each in state.tables}):
        connection.execute(f"CREATE SCHEMA {layer}")
    for each in named:
        source = each.full_name.replace(".", "__")
        connection.register(source, state.lake.open(each, state.version, state.moment).to_pyarrow_dataset())
        connection.execute(f"CREATE VIEW {each.full_name} AS {meaning(each, source)}")
    return connection


def _explained(error: duckdb.Error, statement: str, tables: Sequence[Table]) -> str:
    """DuckDB's words, and what is near: it does not know which tables the lake has, nor always which columns."""
    words = str(error)
    if missing := re.search(r"Table with name (?:\w+\.)?(\w+) does not exist", words):
        asked = next((word for word in re.findall(r"\w+\.\w+", statement) if word.endswith(missing[1])), missing[1])
        return f"no table {asked} in the lake; {nearest(asked, tables)}"
    if missing := re.search(r'(?:Referenced column|Column with name|have a column named) "?(\w+)"?', words):
        return f"{words}\n{_near_column(missing[1], tables_in(statement, tables))}"
    return words


def _near_column(name: str, tables: Sequence[Table]) -> str:
    """The nearest column of the statement's tables, or all of them."""
    near = difflib.get_close_matches(name.lower(), {column for table in tables for column in table.column_names}, n=1)
    if near:
        places = " and ".join(table.full_name for table in tables if near[0] in table.column_names)
        return f"Did you mean {near[0]} of {places}?"
    return "\n".join(f"{table.full_name} has {', '.join(table.column_names)}" for table in tables)


def as_of(text: str) -> datetime:
    """`YYYY-MM-DD HH:MM` as UTC; a day alone means its last moment."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), time.min, UTC) + timedelta(days=1, microseconds=-1)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no time; write YYYY-MM-DD or 'YYYY-MM-DD HH:MM', UTC.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def show(answer: Answer, form: str) -> None:
    """Print an answer as a `table`, `csv`, `json` or a `plot`."""
    {"table": _table, "csv": _csv, "json": _json, "plot": _plot}[form](answer)


def _table(answer: Answer) -> None:
    shown = list(itertools.islice(answer.rows, ROWS_SHOWN))
    grid = Grid(*answer.names)
    for row in shown:
        grid.add_row(*(_text(value) for value in row))
    screen().print(grid)
    if next(answer.rows, None) is not None:
        screen().print(f"... {answer.count() - len(shown):,} more rows; --csv and --json give all.")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, default=iso, ensure_ascii=False) if isinstance(value, list | dict) else iso(value)


def _plot(answer: Answer) -> None:
    """A chart as large as the terminal, in its colours; of a fixed size and in plain text where there is none."""
    import plotext  # half a second that the other forms need not wait for

    from nightloom.sql.plot import chart

    if sys.stdout.isatty():
        size = screen().size
        drawn = chart(answer.names, answer.rows, size.width, min(size.height - 2, CHART[1] * 2))
    else:
        drawn = plotext.uncolorize(chart(answer.names, answer.rows, *CHART))
    print(drawn.rstrip("\n"))


def _csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.names)
    writer.writerows([_text(value) for value in row] for row in answer.rows)


def _json(answer: Answer) -> None:
    """A JSON array, one row a line, written as the rows come."""
    sys.stdout.write("[")
    for number, row in enumerate(answer.rows):
        line = json.dumps(dict(zip(answer.names, row, strict=True)), default=iso, ensure_ascii=False)
        sys.stdout.write((",\n " if number else "\n ") + line)
    sys.stdout.write("\n]\n")
