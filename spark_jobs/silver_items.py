"""silver.items: one row per item that was ever described, as last described.

bronze.items (what is new) -> silver.items by MERGE: the latest description wins, whatever order they come in. What
cannot be used -> quarantine.rows.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import ITEMS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.parsing import clock_ahead, judged
from spark_jobs.silver import NEWER, latest, refine

TYPES = {
    "item_id": "string", "title": "string", "categories": "array<string>", "available": "boolean",
    "updated_at": "timestamp", "attributes": "map<string,string>",
}  # fmt: skip


def items(rows: DataFrame) -> DataFrame:
    """Good descriptions -> the latest of each item, with what is not said filled in."""
    said = F.filter("categories", lambda category: category != "")
    return (
        rows.transform(latest("item_id"))
        .withColumn("title", F.coalesce(F.nullif(F.trim("title"), F.lit("")), "item_id"))
        .withColumn("categories", F.coalesce(said, F.array().cast("array<string>")))
        .withColumn("attributes", F.map_filter("attributes", lambda _, value: value.isNotNull()))
        .withColumn("available", F.coalesce("available", F.lit(True)))
    )


def main(night: SparkNight) -> None:
    """Merge new descriptions into silver.items."""
    refine(
        night,
        "items",
        ITEMS,
        types=TYPES,
        judge=lambda rows: judged(rows, clock_ahead("updated_at", night.settings)),
        transform=items,
        update=NEWER,
    )


if __name__ == "__main__":
    run_stage(stages.SILVER_ITEMS, main, context=SparkNight, options=ALL)
