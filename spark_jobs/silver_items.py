"""silver.items: one row per item that was ever described, with its latest description.

New rows of bronze.items -> silver.items by MERGE: the latest description wins, whatever the order of delivery. Unusable
rows -> quarantine.rows.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import ITEMS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.parsing import check_clock, with_verdict
from spark_jobs.silver import NEWER, latest_per_key, update_silver

TYPES = {
    "item_id": "string", "title": "string", "categories": "array<string>", "available": "boolean",
    "updated_at": "timestamp", "attributes": "map<string,string>",
}  # fmt: skip


def items(rows: DataFrame) -> DataFrame:
    """Good descriptions -> the latest of each item, with defaults for missing fields."""
    given = F.filter("categories", lambda category: category != "")
    return (
        rows.transform(latest_per_key("item_id"))
        .withColumn("title", F.coalesce(F.nullif(F.trim("title"), F.lit("")), "item_id"))
        .withColumn("categories", F.coalesce(given, F.array().cast("array<string>")))
        .withColumn("attributes", F.map_filter("attributes", lambda _, value: value.isNotNull()))
        .withColumn("available", F.coalesce("available", F.lit(True)))
    )


def main(night: SparkNight) -> None:
    """Merge new descriptions into silver.items."""
    update_silver(
        night,
        "items",
        ITEMS,
        types=TYPES,
        judge=lambda rows: with_verdict(rows, check_clock("updated_at", night.settings)),
        transform=items,
        update=NEWER,
    )


if __name__ == "__main__":
    run_stage(stages.SILVER_ITEMS, main, context=SparkNight, options=ALL)
