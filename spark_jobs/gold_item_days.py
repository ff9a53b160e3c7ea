"""gold.item_days: item performance, one row per day and item with interactions on that day.

silver.interactions -> gold.item_days, only the days that changed.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import INTERACTIONS, ITEM_DAYS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.increments import refresh_periods

DIGITS = 9  # of weight: a sum of floats differs in its last digits with the order that Spark adds in


def item_days(interactions: DataFrame) -> DataFrame:
    """Interactions -> a row per day and item."""
    return interactions.groupBy(F.to_date("occurred_at").alias("day"), "item_id").agg(
        F.count("*").alias("events"),
        F.countDistinct("user_id").alias("users"),
        F.round(F.sum("weight"), DIGITS).alias("weight"),
        F.min("occurred_at").alias("first_at"),
        F.max("occurred_at").alias("last_at"),
    )


def main(night: SparkNight) -> None:
    """Rebuild the days that changed."""
    refresh_periods(night, ITEM_DAYS, INTERACTIONS, item_days)


if __name__ == "__main__":
    run_stage(stages.ITEM_DAYS, main, context=SparkNight, options=ALL)
