"""gold.histories: one row per week and user with interactions in that week: all of them, oldest first.

silver.interactions -> gold.histories, only the weeks that changed: the cost of a night follows the changes, not the
years of events. histories_until() joins a user's weeks. Two events of one moment are in the order of their ids.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, INTERACTIONS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.increments import refresh_periods

ARRAYS = ("items", "weights", "at", "event_ids")


def histories(interactions: DataFrame) -> DataFrame:
    """Interactions -> a row per week and user: items, weights, times and event ids as arrays in the same order."""
    event = F.struct("occurred_at", "event_id", "item_id", F.col("weight").cast("float").alias("weight"))
    return (
        interactions.groupBy(F.trunc("occurred_at", "week").alias("week"), "user_id")
        .agg(F.array_sort(F.collect_list(event)).alias("events"))
        .select(
            "week",
            "user_id",
            F.col("events.item_id").alias("items"),
            F.col("events.weight").alias("weights"),
            F.col("events.occurred_at").alias("at"),
            F.col("events.event_id").alias("event_ids"),
        )
    )


def histories_until(weeks: DataFrame, end: datetime) -> DataFrame:
    """Rows of gold.histories -> a row per user with interactions before `end`: ARRAYS, oldest first.

    Only those of ARRAYS that `weeks` has: event ids are most of the table's bytes, and scoring does not need them.
    """
    arrays = [name for name in ARRAYS if name in weeks.columns]
    before = F.size(F.filter("at", lambda time: time < F.lit(end)))
    cut = weeks.where(F.col("week") < F.lit(end)).withColumn("_before", before).where("_before > 0")
    week = F.struct("week", *(F.slice(name, F.lit(1), F.col("_before")).alias(name) for name in arrays))
    by_user = cut.groupBy("user_id").agg(F.array_sort(F.collect_list(week)).alias("_weeks"))
    return by_user.select("user_id", *(F.flatten(f"_weeks.{name}").alias(name) for name in arrays))


def main(night: SparkNight) -> None:
    """Rebuild the weeks that changed."""
    refresh_periods(night, HISTORIES, INTERACTIONS, histories)


if __name__ == "__main__":
    run_stage(stages.HISTORIES, main, context=SparkNight, options=ALL)
