"""silver.unused_rows: which good or skipped bronze records are in no other silver table, and why.

Written after silver's own rows and compared with them row by row: a good record whose id is not among the rows that
were just written repeats an event, or describes something that has a newer description. So gate 1 can account for each
record. The table notes up to which version of bronze it is complete: a stage that was killed after silver's commit
leaves this version behind silver's, and its next run reads those records again.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import GATES, UNUSED_ROWS, Table
from nightloom.literals import spark_text
from spark_jobs.commit_stamps import sql_date
from spark_jobs.context import SparkNight
from spark_jobs.increments import consumption_mark
from spark_jobs.parsing import GOOD, SKIP


def begin(night: SparkNight, bronze: Table, table: Table) -> None:
    """Note from which versions on rows are recorded here and reconciled by gate 1, before `table` gets rows.

    In a new lake from the first one on. In a lake of an earlier version, what `table` consumed before stays as it is.
    """
    night.create(UNUSED_ROWS)
    since = night.lake.consumed_version(bronze, table) or 0  # the first version of a table has no rows
    if night.lake.consumed_version(bronze, UNUSED_ROWS) is None:
        night.lake.mark_consumed({bronze: since}, UNUSED_ROWS)
    if night.lake.consumed_version(bronze, GATES) is None:
        night.lake.mark_consumed({bronze: since, table: night.lake.version(table)}, GATES)


def is_behind(night: SparkNight, bronze: Table, table: Table) -> bool:
    """Whether a run was killed between its commit to `table` and the one to silver.unused_rows."""
    own, silver = (night.lake.consumed_version(bronze, into) for into in (UNUSED_ROWS, table))
    return own is not None and silver is not None and own < silver


def record(
    night: SparkNight, bronze: Table, table: Table, rows: DataFrame, *, since: int | None, replace: bool
) -> None:
    """Record which of the judged `rows` are not in `table`, by their row ids.

    Of the table's rows only those written after the version `since` can be among them; None: all. With `replace`
    the rows replace what is recorded of the kind.
    """
    kind, mine = bronze.name, f"night = {sql_date(night.date)}"
    used = _row_ids(night, table, since)
    found = unused(rows, kind, table).join(used, "row_id", "left_anti").dropDuplicates(["row_id"])
    replace = replace and _has_rows(night, f"kind = {spark_text(kind)}")
    if not replace and _has_rows(night, f"{mine} AND kind = {spark_text(kind)}"):
        before = night.spark.read.format("delta").load(night.lake.path(UNUSED_ROWS)).where(mine)
        found = found.join(before, "row_id", "left_anti")
    new = found.withColumn("night", F.lit(night.date)).select(*UNUSED_ROWS.column_names)
    options = {"replaceWhere": f"kind = {spark_text(kind)}"} if replace else {}
    mark = consumption_mark(night, bronze, UNUSED_ROWS, again=replace)
    night.write(UNUSED_ROWS, new, "overwrite" if replace else "append", mark, **options)
    night.record_write(UNUSED_ROWS)


def unused(rows: DataFrame, kind: str, table: Table) -> DataFrame:
    """Judged rows -> the good and the skipped ones as rows of silver.unused_rows, as if none of them were used."""
    skipped = F.col("verdict.outcome") == SKIP
    good = F.lit("duplicate" if kind == "events" else "superseded")
    at = F.col("occurred_at") if "occurred_at" in rows.columns else F.lit(None)
    return rows.where(F.col("verdict.outcome").isin(GOOD, SKIP)).select(
        "row_id",
        F.lit(kind).alias("kind"),
        "source",
        F.when(skipped, F.lit("skipped")).otherwise(good).alias("outcome"),
        F.when(skipped, F.col("verdict.reason")).otherwise(F.col(table.key[0])).alias("detail"),
        F.when(~skipped, at).cast("timestamp").alias("occurred_at"),
    )


def _has_rows(night: SparkNight, where: str) -> bool:
    return bool(night.lake.rows(UNUSED_ROWS, f"{where} LIMIT 1", ["row_id"]).num_rows)


def _row_ids(night: SparkNight, table: Table, since: int | None) -> DataFrame:
    """The row ids in `table`; with `since`, at least those that were written after this version."""
    reader = night.spark.read.format("delta")
    if since is None:
        return reader.load(night.lake.path(table)).select("row_id")
    feed = reader.option("readChangeFeed", "true").option("startingVersion", str(since + 1))
    return feed.load(night.lake.path(table)).where("_change_type IN ('insert', 'update_postimage')").select("row_id")
