"""gold.histories: one row per week and user with interactions in that week: all of them, oldest first.

silver.interactions -> gold.histories, only the weeks that changed: the cost of a night follows the changes, not the
years of events. histories_until() joins a user's weeks. Two events of one moment are in the order of their ids.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, INTERACTIONS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.increments import refresh_periods
from spark_jobs.selects import select

ARRAYS = ("items", "weights", "at", "event_ids")
STATEMENT = """
WITH weeks AS (
    SELECT trunc(to_date(occurred_at), 'WEEK') AS week, user_id,
           array_sort(collect_list(struct(occurred_at, event_id, item_id, CAST(weight AS FLOAT) AS weight))) AS events
    FROM silver.interactions GROUP BY 1, 2)
SELECT week, user_id, transform(events, event -> event.item_id) AS items,
       transform(events, event -> event.weight) AS weights, transform(events, event -> event.occurred_at) AS at,
       transform(events, event -> event.event_id) AS event_ids
FROM weeks
"""


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
    refresh_periods(night, HISTORIES, INTERACTIONS, partial(select, night, STATEMENT, HISTORIES))


if __name__ == "__main__":
    run_stage(stages.HISTORIES, main, context=SparkNight, options=ALL)
