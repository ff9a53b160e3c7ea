"""The limit of events per user and day: what a bot does beyond it is skipped, and named in silver.unused_rows.

The events that silver.interactions has count first, then the new ones by their time. An event that comes again is no
new one. Which users are near the limit is counted first, so that a night without a bot pays for a count alone.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from nightloom.contracts import INTERACTIONS
from nightloom.settings.interactions import OVER_LIMIT
from spark_jobs.context import SparkNight
from spark_jobs.parsing import GOOD, SKIP

OWN = ["user_id", "_day"]


def skip_excess(night: SparkNight, rows: DataFrame, limit: int) -> DataFrame | None:
    """Judged events -> the same with those beyond the limit skipped; None where no user has so many."""
    good = rows.where(F.col("verdict.outcome") == GOOD).select(
        "row_id", "event_id", "occurred_at", "user_id", F.to_date("occurred_at").alias("_day")
    )
    days = good.agg(F.min("_day").alias("first"), F.max("_day").alias("last")).first()
    if days is None or days.first is None:
        return None
    whole = (
        night.spark.read.format("delta")
        .load(night.lake.path(INTERACTIONS))
        .withColumn("_day", F.to_date("occurred_at"))
    )
    of_days = F.lit(False) if night.everything else F.col("_day").between(days.first, days.last)
    stored = whole.where(of_days)  # with `--all`, the new rows replace them
    new = good.groupBy(*OWN).agg(F.count_distinct("event_id").alias("_new"))
    there = stored.join(new, OWN, "left_semi").groupBy(*OWN).agg(F.count("*").alias("_stored"))
    busy = new.join(there, OWN, "left").fillna(0, ["_stored"]).where(F.col("_new") + F.col("_stored") > limit)
    if busy.isEmpty():
        return None
    arrived = good.join(busy, OWN).join(stored.select("event_id"), "event_id", "left_anti")
    place = F.dense_rank().over(Window.partitionBy(*OWN).orderBy("occurred_at", "event_id"))
    excess = arrived.withColumn("_place", F.col("_stored") + place).where(F.col("_place") > limit)
    over = excess.select("row_id").distinct().withColumn("_over", F.lit(True))
    skipped = F.struct(
        F.lit(SKIP).alias("outcome"), F.lit(OVER_LIMIT).alias("reason"), F.lit(f"more than {limit:,}").alias("detail")
    )
    verdict = F.when(F.col("_over"), skipped).otherwise(F.col("verdict"))
    return rows.join(over, "row_id", "left").withColumn("verdict", verdict).select(*rows.columns)
