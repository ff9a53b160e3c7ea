"""A mart's SELECT in this process: DuckDB takes a tenth of the time that Spark takes for it.

For our own marts of few rows (nightloom.sql.marts), whose Spark SQL sqlglot translates. `interactions` are rows that
stand in the place of silver.interactions.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from nightloom.contracts import INTERACTIONS, Table
from nightloom.lake import arrow_schema
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import logical_rows
from nightloom.sql.marts import Mart, all_tables
from nightloom.sql.names import DUCKDB, SPARK, tables_in, view, with_views
from spark_jobs.context import SparkNight

MOST_ROWS = 200_000_000
"""Of all tables that a mart reads: with more of them Spark computes it, on as many machines as there are."""


def fits_in_process(night: SparkNight, mart: Mart) -> bool:
    """Whether the mart has few rows, and the tables that it reads do not have too many."""
    if not mart.few_rows:
        return False
    inputs = [table for table in tables_in(mart.sql, all_tables(night.settings), SPARK) if night.lake.exists(table)]
    return sum(night.lake.open(table, night.pin(table)).count() for table in inputs) <= MOST_ROWS


def select_in_process(
    night: SparkNight, mart: Mart, values: dict[str, str], interactions: pa.Table | None = None
) -> pa.Table:
    """The rows of the mart's SELECT with the types of its contract; `values` are those of its parameters."""
    known = all_tables(night.settings)
    statement = to_duckdb(with_views(mart.sql, known, values))
    with spilling_duckdb(night.settings.place("scratch")) as db:
        for table in tables_in(mart.sql, known, SPARK):
            _create_view(night, db, table, interactions if table == INTERACTIONS else None)
        rows = db.sql(statement).to_arrow_table()
    declared = [field for field in arrow_schema(mart.table) if field.name in rows.column_names]
    return rows.select([field.name for field in declared]).cast(pa.schema(declared))


def _create_view(night: SparkNight, db: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table | None) -> None:
    """A view of a table's rows, or of the given ones; of a table that is not there, an empty one."""
    name = view(table)
    files = night.lake.files(table, night.pin(table)) if night.lake.exists(table) and rows is None else []
    # Its columns all exist then, also those that files of an earlier Nightloom lack.
    db.register(f"{name}_none", arrow_schema(table).empty_table() if rows is None else rows)
    every = f"FROM {name}_none"
    if files:
        hive = table.partition is not None
        read_parquet(db, files, union_by_name=True, hive_partitioning=hive).create_view(f"{name}_files")
        every = f"FROM {name}_files UNION ALL BY NAME {every}"
    columns = ", ".join(f'"{column}"' for column in table.column_names)
    db.execute(f"CREATE TEMP VIEW {name}_rows AS SELECT {columns} FROM ({every})")
    db.execute(f"CREATE TEMP VIEW {name} AS {logical_rows(table, f'{name}_rows')}")


def to_duckdb(statement: str) -> str:
    """Spark SQL -> DuckDB's. Of no rows, or of NULL alone, DuckDB's count_if() is NULL, and Spark's is 0."""
    from sqlglot import exp, parse_one

    def counted(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.CountIf):
            return node
        return exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=node.this))

    return parse_one(statement, read=SPARK).transform(counted).sql(dialect=DUCKDB)
