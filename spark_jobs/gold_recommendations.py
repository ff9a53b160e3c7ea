"""gold.recommendations: one row per night and user with a history: the list to publish, best first.

gold.histories of the night, silver.items (what is available), the champion -> gold.recommendations, the night's
partition. Exact: every user against every item that the model knows.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from math import ceil

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.lake import now
from nightloom.manifest import run_stage
from nightloom.tables import HISTORIES, ITEMS, RECOMMENDATIONS
from spark_jobs.night import SparkNight
from spark_jobs.scoring import LISTS, score
from training.registry import Registered, RegistryError, champion

USERS_PER_TASK = 10_000  # a task of some seconds; its share of the histories fits a worker's memory


def recommendations(histories: DataFrame, users: int, model: Registered, hidden: list[str], length: int) -> DataFrame:
    """Histories of `users` users -> their lists. Sorted first, so that a batch holds the same users each time."""
    scored = partial(score, folder=str(model.folder), hidden=hidden, length=length)
    return (
        histories.select("user_id", "items", "weights", F.col("at").cast("array<bigint>").alias("seconds"))
        .repartition(ceil(users / USERS_PER_TASK) or 1, "user_id")
        .sortWithinPartitions("user_id")
        .mapInArrow(scored, LISTS)
        .withColumn("model_version", F.lit(model.version))
    )


def stamped(lists: DataFrame, at: datetime) -> DataFrame:
    """One moment for the whole run."""
    return lists.withColumn("generated_at", F.lit(at))


def main(night: SparkNight) -> None:
    """Score every user's history with the champion."""
    model = champion(night.settings)
    if model is None:
        name = night.settings.project.name
        raise RegistryError(f"model {name} has no champion yet; run training.train, then training.model_gate")
    if not night.settled(RECOMMENDATIONS, HISTORIES, ITEMS, model_version=model.version):
        unlisted = night.lake.rows(ITEMS, "NOT available", ["item_id"], night.pin(ITEMS))["item_id"].to_pylist()
        users = night.lake.rows(HISTORIES, f"night = DATE '{night.date}'", ["user_id"], night.pin(HISTORIES)).num_rows
        lists = recommendations(night.partition(HISTORIES), users, model, unlisted, night.settings.slate.stored)
        night.replace(RECOMMENDATIONS, stamped(lists, now()))


if __name__ == "__main__":
    run_stage("spark_jobs.gold_recommendations", main, frame=SparkNight)
