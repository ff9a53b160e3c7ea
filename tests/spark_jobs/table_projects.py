"""Projects whose sources are tables: Delta tables, or tables of a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from benchmarks.servers import postgresql
from nightloom.contracts import BRONZE, BRONZE_EVENTS, QUARANTINE_ROWS, UNUSED_ROWS, Table
from tests.spark_jobs.small_project import TOML, Project, Row, event, project

EVENTS_KEYS = 'path = "landing/events"\nformat = "json"\nsettle_seconds = 0\n'
ITEMS_KEYS = EVENTS_KEYS.replace("events", "items")
CREATE = """CREATE TABLE {} (event_id text, user_id text, item_id text, event text, value double precision,
    at timestamptz, n bigint)"""


def with_tables(events: str = "", items: str = "", toml: str = TOML) -> str:
    """The small project with these keys in place of its landing folders of events and of items."""
    for old, new in ((EVENTS_KEYS, events), (ITEMS_KEYS, items)):
        toml = toml.replace(old, f"{new}\n", 1) if new else toml
    return toml.replace('at = "timestamp"\n', 'at = "timestamp"\nn = "bigint"\n', 1)


@dataclass
class Database:
    """A PostgreSQL server, and a connection to it."""

    url: str
    connection: psycopg.Connection[Any]

    def run(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql.encode(), values or None)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Append rows; a field that is not given is null."""
        for row in rows:
            names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
            self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *row.values())


@contextmanager
def database() -> Iterator[Database]:
    """A new PostgreSQL."""
    with postgresql() as server, psycopg.connect(server.address, autocommit=True) as connection:
        yield Database(f"jdbc:{server.address.replace('nightloom@', '')}", connection)


def project_of_tables(folder: Path, spark: SparkSession, toml: str) -> Project:
    """A project whose tables of bronze and quarantine are there: Spark takes seconds to create them."""
    at = project(folder, spark, toml)
    for table in (*BRONZE.values(), QUARANTINE_ROWS, UNUSED_ROWS):
        at.night().lake.create(table)
    return at


def numbered(*numbers: int, **fields: Any) -> list[Row]:
    """Events with their numbers as `n`."""
    return [event(n, **fields) | {"n": n} for n in numbers]


def append_delta(path: Path, rows: Sequence[Row], **options: Any) -> None:
    """Append rows to a Delta table, without Spark."""
    write_deltalake(path, pa.Table.from_pylist(list(rows)), mode="append", **options)


def landed(at: Project, field: str = "event_id", table: Table = BRONZE_EVENTS) -> list[str]:
    """A field of each record in bronze, sorted."""
    return sorted(json.loads(row["raw"])[field] for row in at.rows(table, "raw"))
