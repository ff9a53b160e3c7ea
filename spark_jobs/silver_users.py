"""silver.users: one row per user that was ever described, as last described.

bronze.users (what is new) -> silver.users by MERGE: the latest description wins, whatever order they come in. What
cannot be used -> quarantine.rows.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import USERS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.parsing import clock_ahead, judged
from spark_jobs.silver import NEWER, latest, refine

TYPES = {"user_id": "string", "updated_at": "timestamp", "attributes": "map<string,string>"}


def users(rows: DataFrame) -> DataFrame:
    """Good descriptions -> the latest of each user."""
    said = F.map_filter("attributes", lambda _, value: value.isNotNull())
    return rows.transform(latest("user_id")).withColumn("attributes", said)


def main(night: SparkNight) -> None:
    """Merge new descriptions into silver.users."""
    refine(
        night,
        "users",
        USERS,
        types=TYPES,
        judge=lambda rows: judged(rows, clock_ahead("updated_at", night.settings)),
        transform=users,
        update=NEWER,
    )


if __name__ == "__main__":
    run_stage(stages.SILVER_USERS, main, context=SparkNight, options=ALL)
