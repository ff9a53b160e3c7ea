"""silver.items and silver.users: the last description wins, whatever order they come in."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_ITEMS, ITEMS, QUARANTINE_ROWS, USERS
from spark_jobs import silver_items, silver_users
from tests.spark_jobs.small_project import NEXT, NOON, READ, TOML, D, Row, bronze, project

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


def test_a_text_that_is_no_boolean_never_makes_an_item_available(spark: SparkSession, tmp_path: Path) -> None:
    loose = TOML.replace('on = "boolean"', 'on = "string"').replace('year = "int"', 'year = "string"')
    at = project(tmp_path, spark, loose)
    texts = ["true", "out of stock", "", None, "discontinued", "0"]
    at.ingest(*({"item_id": f"i{n}", "on": text} for n, text in enumerate(texts)), kind="items", file="a")
    at.run(silver_items.main)
    assert [(row["item_id"], row["available"]) for row in at.rows(ITEMS, "item_id", "available")] == [
        ("i0", True), ("i2", True), ("i3", True), ("i5", False),
    ]  # fmt: skip
    assert sorted(row["detail"] for row in at.rows(QUARANTINE_ROWS)) == [
        "column available is 'discontinued', expected boolean", "column available is 'out of stock', expected boolean",
    ]  # fmt: skip


PROPERTIES = (
    TOML[TOML.index('[[sources]]\nname = "catalogue"') : TOML.index('[[sources]]\nname = "members"')]
    .replace('"catalogue"', '"properties"')
    .replace("landing/items", "landing/properties")
    .replace("[sources.fields]", 'merge = "columns"\n[sources.fields]')
)


def description(n: int, item: str, source: str, **fields: Any) -> Row:
    return bronze({"item_id": item, "at": f"2024-01-{n:02}T00:00:00Z"} | fields, source, file=f"{n}.jsonl")


DESCRIPTIONS = [
    description(1, "single", "properties", genres=["old"]),
    description(1, "both", "properties", title="First"),
    description(2, "single", "properties", on=False, year=1990),
    description(2, "both", "properties", year=1990),
    description(3, "both", "catalogue", title="Whole", genres=["a"]),
    description(3, "single", "properties", genres=["new"]),
    description(4, "both", "properties", on=False),
    description(4, "single", "properties"),
    description(5, "both", "properties", genres=["b"]),
]


def test_properties_that_come_one_at_a_time_make_one_item_in_any_order(
    spark: SparkSession, tmp_path: Path, quick: None
) -> None:
    found: list[list[Row]] = []
    for order in (DESCRIPTIONS, DESCRIPTIONS[1::2] + DESCRIPTIONS[::-2]):
        at = project(tmp_path / str(len(found)), spark, TOML.replace("[[signals]]", PROPERTIES + "[[signals]]", 1))
        for night, part in enumerate((order[:4], order[4:] + order[1:2])):  # one is delivered twice
            at.append(BRONZE_ITEMS, part)
            at.run(silver_items.main, day=D + timedelta(days=night))
        found.append([sorted_maps(row) for row in at.rows(ITEMS)])
    at.run(silver_items.main, everything=True)
    assert found[0] == found[1] == [sorted_maps(row) for row in at.rows(ITEMS)]
    both, single = found[0]
    assert (both["title"], both["categories"], both["available"], both["attributes"]) == ("Whole", ["b"], False, [])
    assert (single["title"], single["categories"], single["available"]) == ("single", ["new"], False)
    assert (single["attributes"], single["updated_at"].day) == ([("year", "1990")], 4)


WEB = PROPERTIES.replace('"properties"', '"web"').replace("landing/properties", "landing/web")
RANKED = PROPERTIES.replace('merge = "columns"\n', 'merge = "columns"\nprecedence = { title = 2, year = 1 }\n')


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_a_source_of_greater_precedence_counts_for_its_columns_and_the_latest_for_the_others(
    spark: SparkSession, tmp_path: Path, quick: None, order: list[int]
) -> None:
    at = project(tmp_path, spark, TOML.replace("[[signals]]", RANKED + WEB + "[[signals]]", 1))
    given = [
        description(1, "i1", "properties", title="Ours", year=1990, genres=["ours"]),
        description(2, "i1", "properties", title="Ours, later"),
        description(3, "i1", "web", title="Theirs", genres=["theirs"], on=False),
        description(4, "i1", "catalogue", title="Whole", genres=["whole"], year=2000),
    ]
    for night, n in enumerate(order):
        at.append(BRONZE_ITEMS, [given[n]])
        at.run(silver_items.main, day=D + timedelta(days=night))
    (row,) = at.rows(ITEMS)
    assert (row["title"], row["attributes"]) == ("Ours, later", [("year", "1990")])
    assert (row["categories"], row["available"], row["updated_at"].day) == (["whole"], True, 4)
    before = sorted_maps(row)
    at.run(silver_items.main, everything=True)
    assert [sorted_maps(row) for row in at.rows(ITEMS)] == [before]


def sorted_maps(row: Row) -> Row:
    return row | {"night": None} | {name: sorted(row[name] or []) for name in ("attributes", "versions")}


def test_an_item_of_a_lake_without_versions_is_merged_by_column(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, TOML.replace("[[signals]]", PROPERTIES + "[[signals]]", 1))
    earlier = replace(ITEMS, columns=tuple(column for column in ITEMS.columns if column.name != "versions"))
    row = {"item_id": "i1", "title": "Old", "categories": ["a"], "attributes": [], "available": True, "night": D}
    at.night().lake.append(earlier, [row | {"updated_at": NOON, "row_id": "0" * 64}])
    at.append(BRONZE_ITEMS, [bronze({"item_id": "i1", "on": False, "at": "2024-03-01T13:00:00Z"}, "properties")])
    at.run(silver_items.main)
    (found,) = at.rows(ITEMS)
    assert (found["title"], found["categories"], found["available"]) == ("Old", ["a"], False)
    assert sorted(key for key, _ in found["versions"]) == ["*", "available"]


def test_a_user_without_a_time_is_as_new_as_the_file(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest({"user_id": "u1", "job": "smith"}, {"user_id": "u2"}, {"job": "nobody"}, kind="users", file="a")
    at.run(silver_users.main)
    at.ingest({"user_id": "u1", "job": "baker"}, kind="users", file="b", file_modified_at=READ)
    counts = at.run(silver_users.main, day=NEXT)
    assert (counts["updated"], counts["inserted"]) == (1, 0)
    assert [(row["user_id"], row["attributes"]) for row in at.rows(USERS)] == [("u1", [("job", "baker")]), ("u2", [])]
    assert [row["reason"] for row in at.rows(QUARANTINE_ROWS)] == ["missing"]
