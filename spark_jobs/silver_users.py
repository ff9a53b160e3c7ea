"""silver.users: one row per user that was ever described, with the latest description.

New rows of bronze.users -> silver.users by MERGE: the latest description wins, whatever the order of delivery, whole or
by column. Unusable rows -> quarantine.rows.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import USERS
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.settings import Settings
from spark_jobs.column_merge import merge_of_descriptions
from spark_jobs.context import ALL, SparkNight
from spark_jobs.isolation import Transform
from spark_jobs.parsing import check_clock, with_verdict
from spark_jobs.silver import update_silver

TYPES = {"user_id": "string", "updated_at": "timestamp", "attributes": "map<string,string>"}


def users(rows: DataFrame, latest: Transform) -> DataFrame:
    """Good descriptions -> the latest of each user."""
    given = F.map_filter("attributes", lambda _, value: value.isNotNull())
    return rows.transform(latest).withColumn("attributes", given)


def judge(rows: DataFrame, settings: Settings) -> DataFrame:
    """Parsed descriptions -> descriptions with a verdict."""
    return with_verdict(rows, check_clock("updated_at", settings))


def main(night: SparkNight) -> None:
    """Merge new descriptions into silver.users."""
    latest, update = merge_of_descriptions("user_id", (), night.settings.sources_of("users"))
    update_silver(
        night,
        "users",
        USERS,
        types=TYPES,
        judge=lambda rows: judge(rows, night.settings),
        transform=lambda rows: users(rows, latest),
        update=update,
    )


if __name__ == "__main__":
    run_stage(stages.SILVER_USERS, main, context=SparkNight, options=ALL)
