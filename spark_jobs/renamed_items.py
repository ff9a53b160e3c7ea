"""Items that [[aliases]] renames: new rows get the last name, and so do the interactions that are there.

Rows of silver.interactions change in place, so the days and weeks that they are of are made again, as after late rows.
An old id that silver.items has is not available any more.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import INTERACTIONS, ITEMS, Table
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import spark_name
from nightloom.places import place_at
from nightloom.settings import Settings
from nightloom.settings.aliases import read_aliases
from spark_jobs.commit_stamps import commit_stamp
from spark_jobs.context import METADATA, SparkNight
from spark_jobs.delta_errors import translate_delta_errors

CHANGES = {INTERACTIONS: ("item_id = renamed.new", "true"), ITEMS: ("available = false", "available")}
"""Table -> what becomes of its rows of an old id, and of which ones; SQL."""


def renamed_items(settings: Settings, table: Table) -> dict[str, str]:
    """Old id of an item -> its last name; none for a table that no items are in."""
    if table not in CHANGES:
        return {}
    return read_aliases({each.path: place_at(each.path, settings.root) for each in settings.aliases})


def with_last_names(night: SparkNight, rows: DataFrame, names: Mapping[str, str]) -> DataFrame:
    """Parsed rows -> the same, items under their last names."""
    if not names:
        return rows
    renamed = F.broadcast(_frame(night, names))
    last = F.coalesce("_new", "item_id")
    return (
        rows.join(renamed, F.col("item_id") == F.col("_old"), "left").withColumn("item_id", last).select(*rows.columns)
    )


def rename_stored(night: SparkNight, table: Table, names: Mapping[str, str]) -> int:
    """Change the rows of old ids that a table has -> how many. Without such rows nothing is written.

    With `--all`, the table is made from bronze again.
    """
    if not names or night.everything or not (old := _there(night, table, names)):
        return 0
    change, where = CHANGES[table]
    _frame(night, old).toDF("old", "new").createOrReplaceTempView("renamed")
    statement = (
        f"MERGE INTO delta.{spark_name(night.lake.path(table))} AS stored USING renamed "
        f"ON stored.item_id = renamed.old WHEN MATCHED AND {where} THEN UPDATE SET {change}"
    )
    with translate_delta_errors(table), night.configured({METADATA: commit_stamp(night)}):
        return int(night.spark.sql(statement).collect()[0]["num_updated_rows"])


def _there(night: SparkNight, table: Table, names: Mapping[str, str]) -> dict[str, str]:
    """The names of the old ids that a table has rows of which are to change."""
    if not night.lake.exists(table):
        return {}
    _, where = CHANGES[table]
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.register("stored", night.lake.stream(table, where, ("item_id",), night.lake.version(table)))
        db.execute("CREATE TABLE ids AS SELECT DISTINCT item_id FROM stored")
        db.register("names", pa.table({"old": [*names]}))
        found = db.sql("SELECT old FROM names SEMI JOIN ids ON old = item_id").fetchall()
    return {old: names[old] for (old,) in found}


def _frame(night: SparkNight, names: Mapping[str, str]) -> DataFrame:
    return night.spark.createDataFrame([*names.items()], "_old string, _new string")
