"""A SELECT over the Delta tables by their names, at any version -> rows."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from nightloom.contracts import Table
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.lake.recommendations import logical_rows
from nightloom.settings import Settings
from nightloom.sql import marts
from nightloom.sql.names import nearest, tables_in

READ_STATEMENTS = {"SELECT", "EXPLAIN"}
"""DuckDB's kinds of statement that only read; DESCRIBE, SUMMARIZE and SHOW are SELECTs to it."""

Row = tuple[Any, ...]


class QueryError(NightloomError):
    """A statement that cannot be run: no such table or column, not SQL, or more than reading."""


@dataclass(frozen=True)
class Catalog:
    """The lake's tables: as they are now, at a version of the one table that a statement names, or as of a moment."""

    lake: Lake
    tables: tuple[Table, ...]
    version: int | None = None
    moment: datetime | None = None

    @classmethod
    def from_settings(cls, settings: Settings, version: int | None = None, moment: datetime | None = None) -> Catalog:
        return cls(Lake(settings.place("lake")), marts.all_tables(settings), version, moment)


@dataclass(frozen=True)
class QueryResult:
    """Column names and rows; the rows are fetched on demand and can be read once."""

    names: list[str]
    rows: Iterator[Row]
    connection: duckdb.DuckDBPyConnection
    statement: str

    def count(self) -> int:
        """The number of all rows."""
        found = self.connection.execute(f"SELECT count(*) FROM ({self.statement.strip().rstrip(';')}\n)").fetchone()
        return int(found[0]) if found else 0


def run_query(catalog: Catalog, statement: str) -> QueryResult:
    """Run one reading statement. Raises QueryError with DuckDB's message and the nearest table or column."""
    connection = _connect(catalog, statement)
    try:
        kinds = [str(parsed.type).rpartition(".")[2] for parsed in connection.extract_statements(statement)]
        if len(kinds) != 1 or kinds[0] not in READ_STATEMENTS:
            raise QueryError(f"found {' and '.join(kinds) or 'nothing'}, expected one SELECT: this command only reads.")
        connection.execute(statement)
    except duckdb.Error as error:
        raise QueryError(_explain_error(error, statement, catalog.tables)) from None
    names = [column[0] for column in connection.description or []]
    rows = itertools.chain.from_iterable(iter(lambda: connection.fetchmany(10_000), []))
    return QueryResult(names, rows, connection, statement)


def _connect(catalog: Catalog, statement: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view over the Delta files of each table that the statement names."""
    named = tables_in(statement, catalog.tables)
    if catalog.version is not None and len(named) != 1:
        found = ", ".join(each.full_name for each in named) or "none"
        raise QueryError(f"--version needs a statement that names one table, found {found}; --as-of takes any number.")
    # By default DuckDB spills into the working folder, which two statements at once would share.
    spill = Path(tempfile.gettempdir(), f"nightloom-sql-{os.getpid()}")
    connection = duckdb.connect(config={"temp_directory": str(spill)})
    # Without this setting DuckDB takes an unknown table name for a Python variable.
    connection.execute("SET python_enable_replacements = false; SET TimeZone = 'UTC'")
    for layer in sorted({each.layer for each in catalog.tables}):
        connection.execute(f"CREATE SCHEMA {layer}")
    for each in named:
        source = each.full_name.replace(".", "__")
        connection.register(source, catalog.lake.open(each, catalog.version, catalog.moment).to_pyarrow_dataset())
        connection.execute(f"CREATE VIEW {each.full_name} AS {logical_rows(each, source)}")
    return connection


def _explain_error(error: duckdb.Error, statement: str, tables: Sequence[Table]) -> str:
    """DuckDB's message and the nearest names: DuckDB knows neither the lake's tables nor always their columns."""
    message = str(error)
    if missing := re.search(r"Table with name (?:\w+\.)?(\w+) does not exist", message):
        name = next((found for found in re.findall(r"\w+\.\w+", statement) if found.endswith(missing[1])), missing[1])
        return f"no table {name} in the lake; {nearest(name, tables)}"
    if missing := re.search(r'(?:Referenced column|Column with name|have a column named) "?(\w+)"?', message):
        return f"{message}\n{_suggest_columns(missing[1], tables_in(statement, tables))}"
    return message


def _suggest_columns(name: str, tables: Sequence[Table]) -> str:
    """The nearest column of the statement's tables; all columns where none is near."""
    near = difflib.get_close_matches(name.lower(), {column for table in tables for column in table.column_names}, n=1)
    if near:
        places = " and ".join(table.full_name for table in tables if near[0] in table.column_names)
        return f"Did you mean {near[0]} of {places}?"
    return "\n".join(f"{table.full_name} has {', '.join(table.column_names)}" for table in tables)
