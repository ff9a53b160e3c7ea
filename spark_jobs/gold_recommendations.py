"""gold.recommendations: one row per night and user: the list to publish, best first.

gold.histories of the night, silver.items (what is available), the champion -> gold.recommendations, the night's
partition. Exact: every user against every item that the champion knows; touched and unavailable items are left out
inside. A user whose whole catalogue is used up gets a shorter list.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.errors import NightloomError
from nightloom.lake import now
from nightloom.manifest import run_stage
from nightloom.tables import HISTORIES, ITEMS, RECOMMENDATIONS
from spark_jobs import scoring
from spark_jobs.night import SparkNight
from training import registry


def lists(night: SparkNight, champion: registry.Registered) -> DataFrame:
    """Every user of the night's histories -> list and scores."""
    workers = int(night.spark.conf.get("spark.sql.shuffle.partitions") or 1)
    score = partial(
        scoring.score,
        folder=champion.folder,
        allowed_I=allowed(night, champion.model.item_ids),
        k=night.settings.slate.stored,
    )
    histories = night.partition(HISTORIES).select("user_id", "items", "weights", "at")
    return histories.repartition(workers).mapInArrow(score, scoring.LISTS)  # type: ignore[arg-type]


def allowed(night: SparkNight, item_ids: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which items may be listed; an item that nobody described may."""
    hidden = night.lake.rows(ITEMS, "NOT available", ("item_id",), version=night.pin(ITEMS))["item_id"].to_pylist()
    return ~np.isin(item_ids, hidden)


def main(night: SparkNight) -> None:
    """Score every user with the champion; rewrite the night's lists."""
    champion = registry.champion(night.settings)
    if champion is None:
        raise NightloomError(
            f"no model is the champion yet; run python -m training.train --date {night.date}, then "
            f"python -m training.model_gate --date {night.date}"
        )
    if night.settled(RECOMMENDATIONS, HISTORIES, ITEMS, model_version=champion.version, model=champion.name):
        return
    night.replace(
        RECOMMENDATIONS,
        lists(night, champion).select(
            F.lit(night.date).alias("night"),
            "*",
            F.lit(champion.version).alias("model_version"),
            F.lit(now()).alias("generated_at"),
        ),
    )


if __name__ == "__main__":
    run_stage("spark_jobs.gold_recommendations", main, frame=SparkNight)
