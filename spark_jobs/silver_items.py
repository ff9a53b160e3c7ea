"""silver.items: one row per item that was ever described, with its latest description.

New rows of bronze.items -> silver.items by MERGE: the latest description wins, whatever the order of delivery, whole or
by column. Unusable rows -> quarantine.rows. Then items whose time is over, or that a full catalogue lacks, end.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import ITEMS
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.settings import Settings
from nightloom.settings.sources import DESCRIBED_COLUMNS
from spark_jobs.column_merge import merge_of_descriptions
from spark_jobs.context import ALL, SparkNight
from spark_jobs.ended_items import end_items
from spark_jobs.isolation import Transform
from spark_jobs.parsing import check_clock, with_verdict
from spark_jobs.silver import update_silver

TYPES = {
    "item_id": "string", "title": "string", "categories": "array<string>", "available": "boolean",
    "unavailable_from": "timestamp", "updated_at": "timestamp", "attributes": "map<string,string>",
}  # fmt: skip


def items(rows: DataFrame, latest: Transform) -> DataFrame:
    """Good descriptions -> the latest of each item, with defaults for missing fields."""
    return (
        rows.withColumn("title", F.nullif(F.trim("title"), F.lit("")))
        .withColumn("arrived", F.col("night"))
        .withColumn("categories", F.filter("categories", lambda category: category != ""))
        .transform(latest)
        .withColumn("title", F.coalesce("title", "item_id"))
        .withColumn("categories", F.coalesce("categories", F.array().cast("array<string>")))
        .withColumn("attributes", F.map_filter("attributes", lambda _, value: value.isNotNull()))
        .withColumn("available", F.coalesce("available", F.lit(True)))
    )


def judge(rows: DataFrame, settings: Settings) -> DataFrame:
    """Parsed descriptions -> descriptions with a verdict."""
    return with_verdict(rows, check_clock("updated_at", settings))


def main(night: SparkNight) -> None:
    """Merge new descriptions into silver.items."""
    sources = night.settings.sources_of("items")
    latest, update = merge_of_descriptions("item_id", DESCRIBED_COLUMNS, sources, ("source", "arrived"))
    update_silver(
        night,
        "items",
        ITEMS,
        types=TYPES,
        judge=lambda rows: judge(rows, night.settings),
        transform=lambda rows: items(rows, latest),
        update=update,
    )
    end_items(night)


if __name__ == "__main__":
    run_stage(stages.SILVER_ITEMS, main, context=SparkNight, options=ALL)
