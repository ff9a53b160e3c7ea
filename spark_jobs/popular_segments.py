"""Popular items among the users who share a value of an attribute, such as a market: `slate.segments`.

silver.interactions up to the night's end, silver.users -> a ranking for each segment (`market=DE`) by popularity, as
gold.item_stats has it, over these users alone.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from nightloom.contracts import INTERACTIONS, ITEMS, USERS
from spark_jobs.context import SparkNight
from spark_jobs.gold_item_days import DIGITS

MIN_USERS = 10
"""With fewer recently active users a list would reveal what single users like."""
HALF_LIVES = 10
"""Older interactions are not read: less than a thousandth of their weight is left."""


def popular_by_segment(night: SparkNight, length: int) -> dict[str, pa.Table]:
    """Segment -> its `length` most popular available items (item_id, popularity), best first."""
    recent = _recent_interactions(night)
    users = recent.groupBy("segment").agg(F.countDistinct("user_id").alias("users"))
    enough = users.where(F.col("users") >= MIN_USERS).select("segment")
    half_life = night.settings.slate.popular_half_life_days
    age = F.datediff(F.lit(night.date), F.to_date("occurred_at"))
    popularity = F.round(F.sum(F.col("weight") * F.pow(F.lit(0.5), age / half_life)), DIGITS)
    items = recent.join(F.broadcast(enough), "segment").groupBy("segment", "item_id")
    scored = items.agg(popularity.alias("popularity"), F.count("*").alias("events"))
    hidden = night.frame(ITEMS).where("NOT available").select("item_id")
    best = Window.partitionBy("segment").orderBy(F.desc("popularity"), F.desc("events"), "item_id")
    ranked = scored.join(hidden, "item_id", "left_anti").withColumn("rank", F.row_number().over(best))
    found = ranked.where(F.col("rank") <= length).orderBy("segment", "rank").toArrow()
    runs = groupby(range(len(found)), found["segment"].to_pylist().__getitem__)
    places = {segment: list(rows) for segment, rows in runs}
    return {segment: found.slice(rows[0], len(rows)) for segment, rows in places.items()}


def _recent_interactions(night: SparkNight) -> DataFrame:
    """The interactions that still count, each one once for every segment of its user."""
    slate = night.settings.slate
    since = night.end - timedelta(days=HALF_LIVES * slate.popular_half_life_days)
    events = night.frame(INTERACTIONS).where(
        (F.col("occurred_at") >= F.lit(since)) & (F.col("occurred_at") < F.lit(night.end))
    )
    words = [F.concat(F.lit(f"{name}="), F.try_element_at("attributes", F.lit(name))) for name in slate.segments]
    segments = night.frame(USERS).select("user_id", F.explode(F.array(*words)).alias("segment"))
    return events.join(segments.where("segment IS NOT NULL"), "user_id")
