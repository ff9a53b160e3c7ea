"""The marts, ours (nightloom/sql/marts.py) and the project's own (`[[marts]]`): the lake's tables -> gold.*.

Each is one SELECT over the tables by their names, at the versions of now, and is made when something below it has
changed; one of days, weeks or months only for those that did. One that fails is told at the end; the others are there.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from copy import copy
from datetime import date
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import INTERACTIONS, REOPENINGS, Table
from nightloom.errors import ConcurrentRunError, NightloomError
from nightloom.lake import now
from nightloom.lake.recommendations import logical_rows
from nightloom.night import records, stages
from nightloom.night.run import run_stage
from nightloom.sql.marts import Mart, marts, tables
from nightloom.sql.names import SPARK, tables_in, view, with_views
from spark_jobs import periods
from spark_jobs.commit_stamps import commits, have_same_rows, is_up_to_date
from spark_jobs.context import ALL, SparkNight
from spark_jobs.increments import refresh_periods
from spark_jobs.mart_errors import MartError, explained, fitting


def main(night: SparkNight) -> None:
    """Make every mart that has something new below it."""
    failed = [told for mart in marts(night.settings) if (told := _tried(night, mart))]
    if failed:
        raise MartError(f"{len(failed)} of {len(marts(night.settings))} marts could not be made:\n" + "\n".join(failed))


def _tried(night: SparkNight, mart: Mart) -> str | None:
    """Make a mart with notes of its own, which end in the night's -> what went wrong."""
    own = _own(night)
    try:
        make(own, mart)
    except ConcurrentRunError:
        raise  # the stage begins again
    except (NightloomError, PySparkException) as error:
        told = explained(error, mart, tables(night.settings))
        print(f"warning: {told}", file=sys.stderr)
        return told
    finally:
        night.reads |= own.reads
        night.writes |= own.writes
        night.counts |= own.counts
    return None


def _own(night: SparkNight) -> SparkNight:
    """The same night without what was noted so far: a mart's commit tells what this mart was made from."""
    own = copy(night)
    own.__dict__["spark"] = night.spark
    own.reads, own.writes, own.counts, own.tags = {}, {}, {}, {}
    return own


def make(night: SparkNight, mart: Mart) -> None:
    """Make one mart, if it has to be."""
    table, before = mart.table, _before(night, mart.table)
    recipe = mart.recipe(night.settings)
    night.tags["recipe"] = recipe
    changed = bool(before) and before["tags"]["recipe"] != recipe
    inputs = [each for each in tables_in(mart.sql, tables(night.settings), SPARK) if night.lake.exists(each)]
    if changed:
        _renew(night, mart)
    if table.period == "night":
        for day in (*_missed(night, mart), night.date):
            _of_night(night, day, mart, inputs)
    elif table.period is None:
        _whole(night, mart, inputs, before if not changed else {})
    else:
        _by_period(night, mart, before, changed)


NOT_DELETED = "_change_type <> 'delete'"
"""Rows that the retention deletes leave the periods of a mart as they are."""


def _before(night: SparkNight, table: Table) -> dict[str, Any]:
    """What the last commit of rows was made from; empty when there is none."""
    for commit in commits(night.lake, table):
        if "recipe" in commit.stamp.get("tags", {}):
            return commit.stamp
    return {}


def _renew(night: SparkNight, mart: Mart) -> None:
    """Where the columns are others now: make the table anew and empty, if its rows can all be made again."""
    table = mart.table
    found = dict(night.spark.read.format("delta").load(night.lake.path(table)).dtypes)
    if found == {column.name: column.type for column in table.columns}:
        return
    if table.period == "night":
        raise MartError(
            f"{mart.place()}: the table has the columns {', '.join(found)}, and other ones are declared now. Its "
            f"earlier nights cannot be made again: give the mart another name, or remove {night.lake.path(table)}"
        )
    night.lake.reset(table)


def _missed(night: SparkNight, mart: Mart) -> list[date]:
    """Earlier nights of which stages ran, and that the mart has no rows of, if it wants every night."""
    if not mart.every_night:
        return []
    ran = set(records.nights(night.lake, before=night.date))
    there = night.lake.rows(mart.table, columns=["night"])["night"].to_pylist() if night.lake.exists(mart.table) else []
    return sorted(ran.difference(there))


def _of_night(night: SparkNight, day: date, mart: Mart, inputs: list[Table]) -> None:
    """Make the rows of a night anew, unless they were made of the same versions before."""
    own = copy(night)  # it notes what it reads and writes where `night` does
    own.date = day
    if not is_up_to_date(own, mart.table, *inputs):
        own.replace(mart.table, select(own, mart))


def _whole(night: SparkNight, mart: Mart, inputs: list[Table], before: Mapping[str, Any]) -> None:
    """Make all rows anew when a table below has another version."""
    reads = {each.full_name: night.pin(each) for each in inputs}
    if before and have_same_rows(night, before["reads"], reads) and not night.everything:
        night.record_write(mart.table, 0)
    else:
        night.overwrite(mart.table, select(night, mart))


def _by_period(night: SparkNight, mart: Mart, before: Mapping[str, Any], changed: bool) -> None:
    """Make the days, weeks or months anew whose interactions changed, or rows of a table that the mart follows."""
    table = mart.table
    if changed:
        night.arguments = Namespace(**vars(night.arguments) | {"all": True})
    elif before and (days := _followed(night, mart, before)):
        rows = night.frame(INTERACTIONS).where(periods.within(table, days))
        _reopen(night, table, days)
        night.overwrite(table, select(night, mart, rows), periods.sql(table, days))
    refresh_periods(night, table, INTERACTIONS, lambda rows: select(night, mart, rows))


def _followed(night: SparkNight, mart: Mart, before: Mapping[str, Any]) -> dict[date, tuple[int, str]]:
    """The days that followed tables' rows have touched since the mart was made last: day -> rows, and whose."""
    found: dict[date, tuple[int, str]] = {}
    for table, day in mart.follows.items():
        since = before["reads"].get(table.full_name)
        if night.lake.exists(table) and since != night.pin(table):
            rows = night.frame(table) if since is None else night.change_feed(table, since).where(NOT_DELETED)
            counted = rows.groupBy(F.expr(day).alias("day")).count().collect()
            found |= {touched: (count, table.full_name) for touched, count in counted}
    return found


def _reopen(night: SparkNight, table: Table, days: Mapping[date, tuple[int, str]]) -> None:
    """Write down which of the days were there already."""
    there = night.lake.rows(table, periods.sql(table, days), [f"DISTINCT {table.period} AS day"])["day"].to_pylist()
    fields = {"run_id": night.run_id, "night": night.date, "table": table.full_name, "reopened_at": now()}
    if there:
        of_days = [{"period": day, "rows": days[day][0], "why": f"{days[day][1]}: made anew"} for day in sorted(there)]
        night.lake.append(REOPENINGS, [fields | each for each in of_days])


def select(night: SparkNight, mart: Mart, interactions: DataFrame | None = None) -> DataFrame:
    """The rows that the mart's SELECT gives, by contract; of a table that no night wrote yet it sees no rows.

    `interactions` stand for silver.interactions. Raises MartError that names the line, the nearest table or column.
    """
    known = tables(night.settings)
    for table in tables_in(mart.sql, known, SPARK):
        rows = interactions if table == INTERACTIONS and interactions is not None else _frame(night, table)
        rows.createOrReplaceTempView(f"{view(table)}_rows")
        night.spark.sql(logical_rows(table, f"{view(table)}_rows")).createOrReplaceTempView(view(table))
    values = mart.values(night.settings) | ({"night": f"DATE '{night.date}'"} if mart.table.period == "night" else {})
    made = fitting(night.spark.sql(with_views(mart.sql, known, values)), mart)
    if mart.line:
        _keys(made, mart)
    return made


def _frame(night: SparkNight, table: Table) -> DataFrame:
    if night.lake.exists(table):
        return night.frame(table)
    return night.spark.createDataFrame([], ", ".join(f"`{column.name}` {column.type}" for column in table.columns))


def _keys(rows: DataFrame, mart: Mart) -> None:
    """Raise MartError where a project's own SELECT gives a key twice, or none: ours group by it."""
    key = [name for name in mart.table.key if name in rows.columns]
    counted = rows.groupBy(*key).agg(F.count("*").alias("_rows"))
    empty = " OR ".join(f"`{name}` IS NULL" for name in key)
    if found := counted.where(f"_rows > 1 OR {empty}").limit(3).collect():
        shown = "; ".join(", ".join(f"{name} {row[name]}" for name in key) + f": {row['_rows']} rows" for row in found)
        raise MartError(f"{mart.place()}: the key {', '.join(key)} must be there and stand once, found {shown}")


if __name__ == "__main__":
    run_stage(stages.MARTS, main, context=SparkNight, options=ALL)
