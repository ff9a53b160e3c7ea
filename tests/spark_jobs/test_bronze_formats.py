"""Each format's changed files on their way to silver: a new type or a lost column is named, a new column is rescued."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from nightloom.contracts import INTERACTIONS, QUARANTINE_ROWS
from spark_jobs import bronze, silver_interactions
from tests.spark_jobs.small_project import TOML, Row, event, project

FORMATS = ("json", "csv", "parquet")


def write(file: Path, rows: list[Row]) -> None:
    """Rows as a file of the format that its name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_type_change_and_a_missing_column_are_named_in_quarantine_and_a_new_column_is_rescued_in_each_format(
    spark: SparkSession, tmp_path: Path
) -> None:
    head, ratings, *_, rest = TOML.split("[[sources]]")
    sources = [
        ratings.replace('"ratings"', f'"{format}"').replace("landing/events", format).replace('"json"', f'"{format}"')
        for format in FORMATS
    ]
    at = project(tmp_path, spark, "[[sources]]".join([head, *sources]) + rest[rest.index("[[signals]]") :])
    for number, format in enumerate(FORMATS):
        good, changed, lost, new = (event(number * 10 + n) for n in range(4))
        del lost["user_id"]
        days = {"good": good, "changed": changed | {"value": "many"}, "lost": lost, "new": new | {"device": "phone"}}
        for day, row in days.items():
            write(tmp_path / format / f"{day}.{format}", [row])
    counts = at.run(bronze.main, silver_interactions.main)
    assert [counts[format] for format in FORMATS] == [4, 4, 4]
    found = {(row["source"], row["file"].split("/")[1].split(".")[0]): row for row in at.rows(QUARANTINE_ROWS)}
    assert sorted(found) == sorted((format, day) for format in FORMATS for day in ("changed", "lost"))
    for format in FORMATS:
        changed, lost = found[format, "changed"], found[format, "lost"]
        assert (changed["reason"], changed["detail"]) == ("type", "field value is 'many', expected double")
        fields = "the record has no user_id, it has: event_id, item_id, event, value, at"
        assert (lost["reason"], lost["detail"]) == ("missing", f"user_id is empty; it is made of: user_id; {fields}")
    kept = {row["event_id"]: row["rescued"] for row in at.rows(INTERACTIONS, "event_id", "rescued")}
    for number in range(3):
        assert kept[f"e{number * 10}"] is None
        assert kept[f"e{number * 10 + 3}"] == [("device", "phone")]
    assert (len(kept), counts["rescued"]) == (6, 3)
