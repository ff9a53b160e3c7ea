"""gold.popular: one row per night and segment: the list for whoever has none of their own. Segment `all` so far.

gold.item_stats of the night, silver.items (what is available) -> gold.popular, the night's partition.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.manifest import run_stage
from nightloom.tables import ITEM_STATS, ITEMS, POPULAR
from spark_jobs.night import SparkNight

EVERYBODY = "all"


def popular(item_stats: DataFrame, items: DataFrame, length: int) -> DataFrame:
    """The `length` most popular available items; those that nobody liked, but many touched, fill a short list."""
    hidden = items.where(~F.col("available")).select("item_id")
    best = item_stats.join(hidden, "item_id", "left_anti").select(
        (-F.col("popularity")).alias("unpopularity"), (-F.col("events")).alias("quiet"), "item_id"
    )
    top = best.orderBy("unpopularity", "quiet", "item_id").limit(length)
    return top.agg(F.array_sort(F.collect_list(F.struct("unpopularity", "quiet", "item_id"))).alias("top")).select(
        F.lit(EVERYBODY).alias("segment"),
        F.col("top.item_id").alias("items"),
        F.transform("top", lambda each: (-each["unpopularity"]).cast("float")).alias("scores"),
    )


def main(night: SparkNight) -> None:
    """Rewrite the night's popular list."""
    if not night.settled(POPULAR, ITEM_STATS, ITEMS):
        night.replace(POPULAR, popular(night.partition(ITEM_STATS), night.frame(ITEMS), night.settings.slate.stored))


if __name__ == "__main__":
    run_stage("spark_jobs.gold_popular", main, frame=SparkNight)
