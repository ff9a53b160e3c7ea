"""gold.item_stats: one row per night and item with any interaction so far: how often, by how many, how lately.

silver.interactions before the night's end -> gold.item_stats, the night's partition.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.manifest import run_stage
from nightloom.tables import INTERACTIONS, ITEM_STATS
from spark_jobs.night import SparkNight

SECONDS_A_DAY = 86_400.0
DIGITS = 9  # of popularity: a sum of floats differs in its last digits with the order that Spark adds in


def item_stats(interactions: DataFrame, end: datetime, half_life_days: float) -> DataFrame:
    """Interactions -> a row per item, as of `end`."""
    return (
        interactions.where(F.col("occurred_at") < F.lit(end))
        .groupBy("item_id")
        .agg(
            *(F.count_if(_within(days, end)).alias(f"events_{days}d") for days in (1, 7, 28)),
            F.count("*").alias("events"),
            F.countDistinct("user_id").alias("users"),
            F.round(F.sum(F.col("weight") * _decay(end, half_life_days)), DIGITS).alias("popularity"),
            F.min("occurred_at").alias("first_at"),
            F.max("occurred_at").alias("last_at"),
        )
    )


def _within(days: int, end: datetime) -> Column:
    return F.col("occurred_at") >= F.lit(end - timedelta(days=days))


def _decay(end: datetime, half_life_days: float) -> Column:
    """1 for an event at `end`, half for each half-life before."""
    age = (F.lit(end).cast("double") - F.col("occurred_at").cast("double")) / SECONDS_A_DAY
    return F.pow(F.lit(0.5), age / half_life_days)


def main(night: SparkNight) -> None:
    """Rewrite the night's item statistics."""
    if not night.settled(ITEM_STATS, INTERACTIONS):
        half_life = night.settings.slate.popular_half_life_days
        night.replace(ITEM_STATS, item_stats(night.frame(INTERACTIONS), night.end, half_life))


if __name__ == "__main__":
    run_stage("spark_jobs.gold_item_stats", main, frame=SparkNight)
