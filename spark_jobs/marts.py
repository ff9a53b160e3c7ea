"""The marts, ours (nightloom/sql/marts.py) and the project's own (`[[marts]]`): the lake's tables -> gold.*.

Each mart is one SELECT over the tables by their names, at their present versions. It is rebuilt when one of its inputs
has changed; a mart of days, weeks or months only for the changed ones. Failed marts are reported at the end, after the
others were built.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, REOPENINGS, Table
from nightloom.errors import ConcurrentRunError, NightloomError
from nightloom.lake import now
from nightloom.lake.duck import spilling_duckdb
from nightloom.lake.recommendations import logical_rows
from nightloom.literals import spark_name
from nightloom.night import records, stages
from nightloom.night.context import nights_in
from nightloom.night.run import run_stage
from nightloom.sql.marts import Mart, all_marts, all_tables
from nightloom.sql.names import SPARK, tables_in, view, with_views
from spark_jobs import periods
from spark_jobs.commit_stamps import have_same_rows, is_up_to_date, recent_commits
from spark_jobs.context import ALL, SparkNight
from spark_jobs.increments import refresh_periods
from spark_jobs.mart_errors import MartError, check_mart_columns, format_error
from spark_jobs.selects import rows_of_periods, select_few, to_duckdb


def main(night: SparkNight) -> None:
    """Build every mart whose inputs have changed."""
    marts = all_marts(night.settings)
    if failed := [message for mart in marts if (message := _try_make(night, mart))]:
        raise MartError(f"{len(failed)} of {len(marts)} marts could not be made:\n" + "\n".join(failed))


def _try_make(night: SparkNight, mart: Mart) -> str | None:
    """Build a mart with its own records, then add them to the night's -> the error, None without one."""
    try:
        with _own_records(night):
            make_mart(night, mart)
    except ConcurrentRunError:
        raise  # the stage starts again
    except (NightloomError, PySparkException) as error:
        message = format_error(error, mart, all_tables(night.settings))
        print(f"warning: {message}", file=sys.stderr)
        return message
    return None


@contextmanager
def _own_records(night: SparkNight) -> Iterator[None]:
    """No records of other marts within the block: the stamp of a mart's commit names the inputs of this mart alone."""
    reads, writes, counts, tags, arguments = night.reads, night.writes, night.counts, night.tags, night.arguments
    night.reads, night.writes, night.counts, night.tags = {}, {}, {}, {}
    try:
        yield
    finally:
        night.reads, night.writes, night.counts = reads | night.reads, writes | night.writes, counts | night.counts
        night.tags, night.arguments = tags, arguments


def make_mart(night: SparkNight, mart: Mart) -> None:
    """Build one mart if its inputs have changed."""
    table, before = mart.table, _last_stamp(night, mart.table)
    recipe = mart.recipe(night.settings)
    night.tags["recipe"] = recipe
    changed = bool(before) and before["tags"]["recipe"] != recipe
    inputs = [each for each in tables_in(mart.sql, all_tables(night.settings), SPARK) if night.lake.exists(each)]
    if changed:
        _reset_if_columns_changed(night, mart)
    if table.period == "night":
        for day in (*_missed_nights(night, mart), night.date):
            _make_night(night, day, mart, inputs)
    elif table.period is None:
        _make_all_rows(night, mart, inputs, before if not changed else {})
    else:
        _make_periods(night, mart, before, changed)


NOT_DELETED = "_change_type <> 'delete'"
"""Rows that the retention deletes leave the periods of a mart as they are."""


def _last_stamp(night: SparkNight, table: Table) -> dict[str, Any]:
    """The stamp of the last commit of rows; empty when there is none."""
    for commit in recent_commits(night.lake, table):
        if "recipe" in commit.stamp.get("tags", {}):
            return commit.stamp
    return {}


def _reset_if_columns_changed(night: SparkNight, mart: Mart) -> None:
    """Replace the table by an empty one when its declared columns changed, if all its rows can be rebuilt."""
    table = mart.table
    found = dict(night.spark.read.format("delta").load(night.lake.path(table)).dtypes)
    if found == {column.name: column.type for column in table.columns}:
        return
    if table.period == "night":
        raise MartError(
            f"{mart.location()}: the table has the columns {', '.join(found)}, and other ones are declared now. Its "
            f"earlier nights cannot be made again: give the mart another name, or remove {night.lake.path(table)}"
        )
    night.lake.reset(table)


def _missed_nights(night: SparkNight, mart: Mart) -> list[date]:
    """Earlier nights that are recorded or brought events, and of which a mart with `every_night` has no rows."""
    if not mart.every_night:
        return []
    ran = set(records.nights(night.lake, before=night.date))
    ran |= {day for day in nights_in(night, BRONZE_EVENTS) if day < night.date}
    built = night.lake.rows(mart.table, columns=["night"])["night"].to_pylist() if night.lake.exists(mart.table) else []
    return sorted(ran.difference(built))


def _make_night(night: SparkNight, day: date, mart: Mart, inputs: list[Table]) -> None:
    """Rebuild the rows of a night, unless they were built from the same versions before."""
    present, night.date = night.date, day
    try:
        if not is_up_to_date(night, mart.table, *inputs):
            night.replace(mart.table, run_select(night, mart))
    finally:
        night.date = present


def _make_all_rows(night: SparkNight, mart: Mart, inputs: list[Table], before: Mapping[str, Any]) -> None:
    """Rebuild all rows when an input has changed."""
    reads = {each.full_name: night.pin(each) for each in inputs}
    if before and have_same_rows(night, before["reads"], reads) and not night.everything:
        night.record_write(mart.table, 0)
    else:
        night.overwrite(mart.table, run_select(night, mart))


def _make_periods(night: SparkNight, mart: Mart, before: Mapping[str, Any], changed: bool) -> None:
    """Rebuild the days, weeks or months with changes in silver.interactions or in a table that the mart follows."""
    table, in_process = mart.table, fits_in_process(night, mart)
    if changed:
        night.arguments = Namespace(**vars(night.arguments) | {"all": True})
    elif before and (days := _followed_days(night, mart, before)):
        rows = rows_of_periods(night, INTERACTIONS, table, days, in_process=in_process)
        _record_reopenings(night, table, days)
        night.overwrite(table, run_select(night, mart, rows), periods.period_sql(table, days))
    refresh_periods(night, table, INTERACTIONS, lambda rows: run_select(night, mart, rows), in_process=in_process)


def _followed_days(night: SparkNight, mart: Mart, before: Mapping[str, Any]) -> dict[date, tuple[int, str]]:
    """The days with changes in followed tables since the last build: day -> number of rows, name of the table."""
    found: dict[date, tuple[int, str]] = {}
    for table, day in mart.follows.items():
        since = before["reads"].get(table.full_name)
        if night.lake.exists(table) and since != (newest := night.pin(table)):
            names = [name for name in table.column_names if re.search(rf"\b{name}\b", day)]
            if since is None:
                rows, where = night.lake.stream(table, "true", names, newest), "true"
            else:
                rows, where = night.lake.changes(table, since, newest, names), NOT_DELETED
            statement = to_duckdb(f"SELECT {day} AS day, count(*) AS n FROM changed WHERE {where} GROUP BY 1")
            with spilling_duckdb(night.settings.place("scratch")) as db:
                db.register("changed", rows)
                counted = db.sql(f"SELECT day::DATE, n FROM ({statement})").fetchall()
            found |= {touched: (count, table.full_name) for touched, count in counted}
    return found


def _record_reopenings(night: SparkNight, table: Table, days: Mapping[date, tuple[int, str]]) -> None:
    """Record the days that were in the table already."""
    existing = night.lake.rows(table, periods.period_sql(table, days), [f"DISTINCT {table.period} AS day"])[
        "day"
    ].to_pylist()
    fields = {"run_id": night.run_id, "night": night.date, "table": table.full_name, "reopened_at": now()}
    if existing:
        of_days = [{"period": day, "rows": days[day][0], "why": f"{days[day][1]}: rebuilt"} for day in sorted(existing)]
        night.lake.append(REOPENINGS, [fields | each for each in of_days])


MOST_ROWS = 200_000_000
"""Of all tables that a mart reads in this process: with more of them Spark makes it, on as many machines as there are.
"""


def fits_in_process(night: SparkNight, mart: Mart) -> bool:
    """Whether DuckDB may make the mart, and the tables that it reads are not too large."""
    if not mart.in_process:
        return False
    known = all_tables(night.settings)
    inputs = {table for table in tables_in(mart.sql, known, SPARK) if night.lake.exists(table)}
    if mart.table.period not in (None, "night"):
        inputs.discard(INTERACTIONS)  # it gets those of the changed periods alone, and rows_of_periods() counts them
    return sum(night.lake.open(table, night.pin(table)).count() for table in inputs) <= MOST_ROWS


def run_select(night: SparkNight, mart: Mart, interactions: DataFrame | pa.Table | None = None) -> DataFrame | pa.Table:
    """The rows of the mart's SELECT, checked against its contract. A table that no night wrote yet has no rows.

    `interactions` replaces silver.interactions; an Arrow table, or a mart that fits in this process, is DuckDB's work.
    Raises MartError that names the line and the nearest table or column.
    """
    values = mart.parameters(night.settings)
    if mart.table.period == "night":
        values |= {"night": f"DATE '{night.date}'"}
    if isinstance(interactions, pa.Table) or (interactions is None and fits_in_process(night, mart)):
        return select_few(night, mart.sql, mart.table, interactions, values)
    known = all_tables(night.settings)
    for table in tables_in(mart.sql, known, SPARK):
        rows = interactions if table == INTERACTIONS and interactions is not None else _frame(night, table)
        rows.createOrReplaceTempView(f"{view(table)}_rows")
        night.spark.sql(logical_rows(table, f"{view(table)}_rows")).createOrReplaceTempView(view(table))
    selected = check_mart_columns(night.spark.sql(with_views(mart.sql, known, values)), mart)
    if mart.line:
        _check_keys(selected, mart)
    return selected


def _frame(night: SparkNight, table: Table) -> DataFrame:
    if night.lake.exists(table):
        return night.frame(table)
    return _no_rows(night, table)


def _no_rows(night: SparkNight, table: Table) -> DataFrame:
    return night.spark.createDataFrame(
        [], ", ".join(f"{spark_name(column.name)} {column.type}" for column in table.columns)
    )


def _check_keys(rows: DataFrame, mart: Mart) -> None:
    """Raises MartError where the SELECT of a project's own mart gives a duplicate or empty key; ours group by it."""
    key = [name for name in mart.table.key if name in rows.columns]
    counted = rows.groupBy(*key).agg(F.count("*").alias("_rows"))
    empty = " OR ".join(f"{spark_name(name)} IS NULL" for name in key)
    if found := counted.where(f"_rows > 1 OR {empty}").limit(3).collect():
        shown = "; ".join(", ".join(f"{name} {row[name]}" for name in key) + f": {row['_rows']} rows" for row in found)
        raise MartError(f"{mart.location()}: the key {', '.join(key)} must be there and stand once, found {shown}")


if __name__ == "__main__":
    run_stage(stages.MARTS, main, context=SparkNight, options=ALL)
