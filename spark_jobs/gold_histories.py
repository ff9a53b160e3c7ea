"""gold.histories: one row per night and user with any interaction up to that night: all of them, oldest first.

silver.interactions before the night's end -> gold.histories, the night's partition. Two events of one moment stand in
the order of their ids.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.manifest import run_stage
from nightloom.tables import HISTORIES, INTERACTIONS
from spark_jobs.night import SparkNight


def histories(interactions: DataFrame, end: datetime) -> DataFrame:
    """Interactions -> a row per user: items, weights, times, event ids as arrays of one order."""
    event = F.struct("occurred_at", "event_id", "item_id", F.col("weight").cast("float").alias("weight"))
    return (
        interactions.where(F.col("occurred_at") < F.lit(end))
        .groupBy("user_id")
        .agg(F.array_sort(F.collect_list(event)).alias("events"))
        .select(
            "user_id",
            F.col("events.item_id").alias("items"),
            F.col("events.weight").alias("weights"),
            F.col("events.occurred_at").alias("at"),
            F.col("events.event_id").alias("event_ids"),
        )
    )


def main(night: SparkNight) -> None:
    """Rewrite the night's histories."""
    if not night.settled(HISTORIES, INTERACTIONS):
        night.replace(HISTORIES, histories(night.frame(INTERACTIONS), night.end))


if __name__ == "__main__":
    run_stage("spark_jobs.gold_histories", main, frame=SparkNight)
