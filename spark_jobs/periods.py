"""The days, weeks or months by which a table is rebuilt: which have changed, and which rows belong to them.

The change feed of a table with `occurred_at` -> period -> Change; periods -> conditions for Spark and for SQL.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F

from nightloom.contracts import Table
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import sql_text
from spark_jobs.commit_stamps import sql_date


@dataclass(frozen=True)
class Change:
    """The changed rows of one period: all, those replayed from quarantine, those that were updated or deleted."""

    rows: int
    replayed: int
    altered: int

    def describe(self, source: Table) -> str:
        """As text, e.g. `silver.interactions: 3 came late, 2 replayed from quarantine`."""
        added = self.rows - self.replayed - self.altered
        counted = (
            (added, "came late"),
            (self.replayed, "replayed from quarantine"),
            (self.altered, "changed or erased"),
        )
        return f"{source.full_name}: " + ", ".join(f"{n:,} {what}" for n, what in counted if n)


def changes_by_period(
    feed: pa.RecordBatchReader, table: Table, replayed: pa.Table, scratch: Path
) -> dict[date, Change]:
    """Period -> its changes; `replayed` has the `row_id`s of rows that were replayed from quarantine.

    The old and the new state of an updated row both count: the row may have moved to another period. It is one pass
    over two columns, in this process however many rows there are.
    """
    with spilling_duckdb(scratch) as db:
        db.register("feed", feed)
        db.register("replayed", replayed)
        found = db.sql(
            f"""SELECT date_trunc({sql_text(str(table.period))}, occurred_at)::DATE, count(*),
            count(*) FILTER (row_id IN (SELECT row_id FROM replayed)), count(*) FILTER (_change_type <> 'insert')
            FROM feed GROUP BY 1"""
        ).fetchall()
    return {period: Change(*numbers) for period, *numbers in found}


def period_sql(table: Table, periods: Collection[date]) -> str:
    """The condition for the periods' rows of the table, for Delta's replaceWhere and for DataFusion."""
    return f"{table.period} IN ({', '.join(map(sql_date, sorted(periods)))})"


def period_filter(table: Table, periods: Collection[date]) -> Column:
    """The condition for the periods' rows, by `occurred_at`, for Spark."""
    return F.expr(occurred_sql(table, periods))


def occurred_sql(table: Table, periods: Collection[date]) -> str:
    """The same as SQL that Spark and DataFusion read. The additional bounds let Delta skip files."""
    longest = timedelta(days={"day": 1, "week": 7, "month": 31}[table.period or "day"])
    first, after = min(periods), max(periods) + longest
    days = ", ".join(map(sql_date, sorted(periods)))
    return (
        f"occurred_at >= TIMESTAMP '{first} 00:00:00Z' AND occurred_at < TIMESTAMP '{after} 00:00:00Z' "
        f"AND CAST(date_trunc({sql_text(str(table.period))}, occurred_at) AS DATE) IN ({days})"
    )
