"""gold.item_stats: one row per night and item with any interaction so far: how often, how lately, how popular now.

gold.item_days up to the night's date -> gold.item_stats, the night's partition.
"""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.manifest import run_stage
from nightloom.tables import ITEM_DAYS, ITEM_STATS
from spark_jobs.gold_item_days import DIGITS
from spark_jobs.night import SparkNight


def item_stats(item_days: DataFrame, day: date, half_life_days: float) -> DataFrame:
    """Item days -> a row per item, as of the end of `day`."""
    age = F.datediff(F.lit(day), F.col("day"))
    decayed = F.col("weight") * F.pow(F.lit(0.5), age / F.lit(half_life_days))
    return (
        item_days.where(F.col("day") <= F.lit(day))
        .groupBy("item_id")
        .agg(
            *(_events_within(days, day).alias(f"events_{days}d") for days in (1, 7, 28)),
            F.sum("events").alias("events"),
            F.round(F.sum(decayed), DIGITS).alias("popularity"),
            F.min("first_at").alias("first_at"),
            F.max("last_at").alias("last_at"),
        )
    )


def _events_within(days: int, day: date) -> Column:
    """Interactions of the `days` days that end with `day`."""
    after = F.lit(day - timedelta(days=days))
    return F.sum(F.when(F.col("day") > after, F.col("events")).otherwise(0))


def main(night: SparkNight) -> None:
    """Rewrite the night's item statistics."""
    if not night.settled(ITEM_STATS, ITEM_DAYS):
        half_life = night.settings.slate.popular_half_life_days
        night.replace(ITEM_STATS, item_stats(night.frame(ITEM_DAYS), night.date, half_life))


if __name__ == "__main__":
    run_stage("spark_jobs.gold_item_stats", main, frame=SparkNight)
