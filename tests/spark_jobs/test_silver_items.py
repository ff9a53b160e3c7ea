"""silver.items and silver.users: the last description wins, whatever order they come in."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import ITEMS, QUARANTINE_ROWS, USERS
from spark_jobs import silver_items, silver_users
from tests.spark_jobs.small_project import NEXT, READ, Row, project

OLD = {"item_id": "i1", "title": "Old", "year": 1990, "genres": ["a", "", None], "at": "2024-01-01T00:00:00Z"}
NEW = {"item_id": "i1", "title": "New", "on": False, "at": "2024-02-01T00:00:00Z"}


@pytest.mark.parametrize("order", [[OLD, NEW], [NEW, OLD]])
def test_the_latest_description_of_an_item_wins_in_any_order(
    spark: SparkSession, tmp_path: Path, order: list[Row]
) -> None:
    at = project(tmp_path, spark)
    at.ingest(order[0], {"item_id": "i2"}, kind="items", file="a")
    at.run(silver_items.main)
    at.ingest(order[1], {"item_id": "i3", "year": "long ago"}, kind="items", file="b")
    counts = at.run(silver_items.main, day=NEXT)
    first, second = at.rows(ITEMS, "item_id", "title", "categories", "attributes", "available")
    assert (first["title"], first["available"], first["attributes"]) == ("New", False, [])
    assert second == {"item_id": "i2", "title": "i2", "categories": [], "attributes": [], "available": True}
    assert counts["updated"] + counts["duplicates"] == 1
    assert [(row["kind"], row["reason"]) for row in at.rows(QUARANTINE_ROWS)] == [("items", "type")]


def test_missing_fields_of_an_item_get_defaults(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest(OLD, kind="items", file="a")
    at.run(silver_items.main)
    (row,) = at.rows(ITEMS)
    assert (row["categories"], row["attributes"], row["available"]) == (["a"], [("year", "1990")], True)


def test_a_user_without_a_time_is_as_new_as_the_file(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest({"user_id": "u1", "job": "smith"}, {"user_id": "u2"}, {"job": "nobody"}, kind="users", file="a")
    at.run(silver_users.main)
    at.ingest({"user_id": "u1", "job": "baker"}, kind="users", file="b", file_modified_at=READ)
    counts = at.run(silver_users.main, day=NEXT)
    assert (counts["updated"], counts["inserted"]) == (1, 0)
    assert [(row["user_id"], row["attributes"]) for row in at.rows(USERS)] == [("u1", [("job", "baker")]), ("u2", [])]
    assert [row["reason"] for row in at.rows(QUARANTINE_ROWS)] == ["missing"]
