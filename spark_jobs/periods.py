"""Days, weeks and months of a table that is rebuilt by them: which have changed, and which rows are theirs.

The change feed of a table with `occurred_at` -> period -> Change; periods -> conditions for Spark and for SQL.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import Table
from spark_jobs.commit_stamps import sql_date


@dataclass(frozen=True)
class Change:
    """Rows of one period that changed in a table: all, those of them replayed from quarantine, those not just added."""

    rows: int
    replayed: int
    altered: int

    def why(self, source: Table) -> str:
        """For people, e.g. `silver.interactions: 3 came late, 2 replayed from quarantine`."""
        came = self.rows - self.replayed - self.altered
        counted = (
            (came, "came late"),
            (self.replayed, "replayed from quarantine"),
            (self.altered, "changed or erased"),
        )
        return f"{source.full_name}: " + ", ".join(f"{n:,} {what}" for n, what in counted if n)


def changes(feed: DataFrame, table: Table, replayed: DataFrame | None) -> dict[date, Change]:
    """Period -> what changed in it; `replayed` has the `row_id`s that came out of quarantine.

    The old and the new state of an updated row both count: it may have moved to another period.
    """
    again = F.lit(False)
    if replayed is not None:
        known = F.broadcast(replayed.select("row_id", F.lit(True).alias("_again")))
        feed, again = feed.join(known, "row_id", "left"), F.coalesce("_again", F.lit(False))
    found = feed.groupBy(_period(table)).agg(
        F.count("*"), F.count_if(again), F.count_if(F.col("_change_type") != "insert")
    )
    return {period: Change(*numbers) for period, *numbers in found.collect()}


def sql(table: Table, periods: Collection[date]) -> str:
    """The periods' rows of the table, for Delta's replaceWhere and for DataFusion."""
    return f"{table.period} IN ({', '.join(map(sql_date, sorted(periods)))})"


def within(table: Table, periods: Collection[date]) -> Column:
    """The periods' rows, by `occurred_at`. The bounds say it a second time, in a way that lets Delta skip files."""
    first, last = min(periods), max(periods)
    after = last + timedelta(days={"day": 1, "week": 7, "month": 31}[table.period or "day"])
    bounds = (F.col("occurred_at") >= _midnight(first)) & (F.col("occurred_at") < _midnight(after))
    return bounds & _period(table).isin(list(periods))


def _period(table: Table) -> Column:
    return F.to_date("occurred_at") if table.period == "day" else F.trunc("occurred_at", str(table.period))


def _midnight(day: date) -> Column:
    return F.lit(datetime(day.year, day.month, day.day, tzinfo=UTC))
