"""A SELECT over the lake's tables, in Spark SQL: by Spark, or in this process by DuckDB where the rows are few.

DuckDB takes a tenth of Spark's time for few rows, and Spark takes the machines that many rows need. sqlglot translates
the statement, so both read the same one, and the result is the same. A SELECT of one table's changed days or weeks gets
these rows of silver.interactions: an Arrow table for DuckDB, a DataFrame for Spark.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from types import MappingProxyType

import duckdb
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from nightloom.contracts import INTERACTIONS, TABLES, Table
from nightloom.lake import arrow_schema
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import logical_rows
from nightloom.night.context import Night
from nightloom.sql.marts import all_tables
from nightloom.sql.names import DUCKDB, SPARK, tables_in, view, with_views
from spark_jobs import periods
from spark_jobs.context import SparkNight

FEW_ROWS = 1_000_000
"""So many interactions fit in this process."""
NO_VALUES: Mapping[str, str] = MappingProxyType({})


def select_few(
    night: Night,
    statement: str,
    into: Table,
    interactions: pa.Table | None = None,
    values: Mapping[str, str] = NO_VALUES,
) -> pa.Table:
    """The statement's rows by DuckDB, in the types of the contract `into`; columns that it does not give are left out.

    `interactions` stand in the place of silver.interactions; a table that no night wrote yet has no rows. `values` are
    those of the statement's parameters.
    """
    known = all_tables(night.settings)
    with spilling_duckdb(night.settings.place("scratch")) as db:
        for table in tables_in(statement, known, SPARK):
            _create_view(night, db, table, interactions if table == INTERACTIONS else None)
        rows = db.sql(to_duckdb(with_views(statement, known, values))).to_arrow_table()
    declared = [field for field in arrow_schema(into) if field.name in rows.column_names]
    return rows.select([field.name for field in declared]).cast(pa.schema(declared))


def select_many(statement: str, interactions: DataFrame) -> DataFrame:
    """The rows of a statement over silver.interactions alone, by Spark."""
    interactions.createOrReplaceTempView(view(INTERACTIONS))
    spark: SparkSession = interactions.sparkSession
    return spark.sql(with_views(statement, TABLES, NO_VALUES))


def select(night: Night, statement: str, into: Table, interactions: DataFrame | pa.Table) -> DataFrame | pa.Table:
    """The rows of a statement over silver.interactions alone, by the engine that suits `interactions`."""
    if isinstance(interactions, pa.Table):
        return select_few(night, statement, into, interactions)
    return select_many(statement, interactions)


def rows_of_periods(
    night: SparkNight, table: Table, changed: Table, days: Collection[date] | None, *, in_process: bool = True
) -> DataFrame | pa.Table:
    """Rows of `table` by `occurred_at` in periods of `changed`, the first days of which are `days`; None: all rows.

    An Arrow table where they are few and `in_process` allows it, else a DataFrame.
    """
    if in_process and (few := _few_rows(night, table, changed, days)) is not None:
        return few
    rows = night.frame(table)
    return rows if days is None else rows.where(periods.period_filter(changed, days))


def _few_rows(night: Night, table: Table, changed: Table, days: Collection[date] | None) -> pa.Table | None:
    """The rows as Arrow; None where they are more than FEW_ROWS."""
    where, version = "true" if days is None else periods.occurred_sql(changed, days), night.pin(table)
    (rows,) = night.lake.rows(table, where, ["count(*) AS n"], version)["n"].to_pylist()
    if rows > FEW_ROWS:
        return None
    return night.lake.rows(table, where, table.column_names, version).cast(arrow_schema(table))


def _create_view(night: Night, db: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table | None) -> None:
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
