"""A bot with half of all events and an item that half of them are about: right rows, and joins that Spark splits."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs import gold_histories, gold_item_days
from spark_jobs.selects import select_many

EVENTS, USERS = 20_000, 500
SKEW = {
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.adaptive.skewJoin.skewedPartitionThresholdInBytes": "50k",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "20k",
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
}
"""A partition is skewed at a size of this test; Spark's own limit is 256 MB."""


@pytest.fixture
def skewed(spark: SparkSession) -> DataFrame:
    """Even numbers are the bot's, numbers divisible by four are about the hot item."""
    number, seconds = F.col("id"), int(datetime(2024, 3, 1, tzinfo=UTC).timestamp())
    user = F.when(number % 2 == 0, "bot").otherwise(F.concat(F.lit("u"), number % USERS))
    item = F.when(number % 4 < 2, "hot").otherwise(F.concat(F.lit("i"), number % 1_000))
    return spark.range(EVENTS, numPartitions=2).select(
        F.format_string("e%05d", number).alias("event_id"),
        user.alias("user_id"),
        item.alias("item_id"),
        F.timestamp_seconds(seconds + number % 86_400).alias("occurred_at"),
        F.lit(0.2).alias("weight"),
    )


def test_a_bots_week_is_one_row_with_every_event_in_order(skewed: DataFrame) -> None:
    (bot,) = select_many(gold_histories.STATEMENT, skewed).where("user_id = 'bot'").collect()
    assert bot.event_ids == [f"e{number:05}" for number in range(0, EVENTS, 2)]
    assert bot.at == sorted(bot.at)


def test_a_hot_item_has_all_its_events_and_each_user_once(skewed: DataFrame) -> None:
    days = {row.item_id: row for row in select_many(gold_item_days.STATEMENT, skewed).collect()}
    assert days["hot"].events == EVENTS // 2
    assert days["hot"].users == 1 + len({number % USERS for number in range(1, EVENTS, 4)})
    assert sum(row.events for row in days.values()) == EVENTS


def test_spark_splits_a_join_by_user_where_a_bot_makes_it_skewed(spark: SparkSession, skewed: DataFrame) -> None:
    described = spark.range(USERS).select(F.concat(F.lit("u"), "id").alias("user_id"), F.lit("DE").alias("market"))
    described = described.unionByName(spark.createDataFrame([("bot", "XX")], "user_id string, market string"))
    for name, value in SKEW.items():
        spark.conf.set(name, value)
    try:
        joined = skewed.join(described, "user_id")
        markets = Counter(row.market for row in joined.collect())
        plan = joined._jdf.queryExecution().executedPlan().toString()
    finally:
        for name in SKEW:
            spark.conf.unset(name)
    assert markets == {"XX": EVENTS // 2, "DE": EVENTS // 2}
    assert "skew=true" in plan
