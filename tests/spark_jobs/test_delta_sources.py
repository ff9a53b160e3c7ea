"""bronze.* from Delta tables: new and changed rows once, by their change feed or by their files."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from nightloom.contracts import INTERACTIONS, ITEMS, QUARANTINE_ROWS
from nightloom.errors import DataError
from spark_jobs import bronze, silver_interactions, silver_items
from spark_jobs.context import SparkNight
from tests.spark_jobs.small_project import EVENTS_ONLY, Project
from tests.spark_jobs.table_projects import append_delta, landed, numbered, project_of_tables, with_tables

pytestmark = pytest.mark.usefixtures("quick")
FEED = {"delta.enableChangeDataFeed": "true"}
KEYS = 'format = "delta"\npath = "{}"'


def of_events(folder: Path, spark: SparkSession) -> tuple[Project, Path]:
    return project_of_tables(folder, spark, with_tables(KEYS.format("lakehouse/events"), toml=EVENTS_ONLY)), (
        folder / "lakehouse/events"
    )


def of_two_tables(folder: Path, spark: SparkSession) -> Project:
    """Sources of events from lakehouse/ratings and from lakehouse/feed."""
    toml = with_tables(KEYS.format("lakehouse/ratings"), toml=EVENTS_ONLY)
    start, end = toml.index("[[sources]]"), toml.index("[[signals]]")
    return project_of_tables(folder, spark, toml[:end] + toml[start:end].replace("ratings", "feed") + toml[end:])


def test_new_and_changed_rows_of_a_table_land_once_by_its_files_and_by_its_change_feed(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = of_two_tables(tmp_path, spark)
    tables = {"ratings": 0, "feed": 10}
    """Source -> what is added to the numbers of its events."""

    def run(*stages: Callable[[SparkNight], None]) -> set[int]:
        counts = at.run(bronze.main, *stages)
        return {counts[name] for name in tables}

    def append(*numbers: int, **fields: str) -> None:
        for name, more in tables.items():
            rows = numbered(*(number + more for number in numbers), **fields)
            append_delta(tmp_path / "lakehouse" / name, rows, configuration=FEED if name == "feed" else {})

    append(1, 2)
    assert run() == {2}
    append(3)
    append(4, item_id="")
    assert run() == {2}
    assert run() == {0}
    for name, more in tables.items():
        table = DeltaTable(tmp_path / "lakehouse" / name)
        table.update({"value": "1.0"}, predicate=f"event_id = 'e{2 + more}'")
        table.delete(f"event_id = 'e{1 + more}'")
        table.optimize.compact()
    assert run(silver_interactions.main) == {1}
    assert landed(at) == sorted(f"e{n + more}" for n in (1, 2, 2, 3, 4) for more in tables.values())
    found = {(row["event_id"], row["value"]) for row in at.rows(INTERACTIONS)}
    assert found == {(f"e{n + more}", 5.0) for n in (1, 2, 3) for more in tables.values()}
    bad = {(row["reason"], row["file"]) for row in at.rows(QUARANTINE_ROWS)}
    assert bad == {("missing", f"delta:lakehouse/{name}") for name in tables}


@pytest.mark.parametrize(
    "properties", [pytest.param({}, marks=pytest.mark.slow), FEED], ids=["by its files", "by its change feed"]
)
def test_a_changed_item_is_one_item_with_its_last_description(
    spark: SparkSession, tmp_path: Path, properties: dict[str, str]
) -> None:
    at = project_of_tables(tmp_path, spark, with_tables(items=KEYS.format("items")))
    nothing = {"year": None, "on": None, "at": None}
    rows = [{"item_id": i, "title": "old", "genres": ["a", "b"]} | nothing for i in "12"]
    types = {"item_id": pa.string(), "title": pa.string(), "genres": pa.list_(pa.string()), "year": pa.int32()}
    schema = pa.schema([*types.items(), ("on", pa.bool_()), ("at", pa.timestamp("us", "UTC"))])
    write_deltalake(tmp_path / "items", pa.Table.from_pylist(rows, schema=schema), configuration=properties)
    at.run(bronze.main, silver_items.main)
    for title in ("new", "old"):
        DeltaTable(tmp_path / "items").update({"title": f"'{title}'"}, predicate="item_id = '2'")
        at.run(bronze.main, silver_items.main)
        found = at.rows(ITEMS, "item_id", "title", "categories")
        assert [tuple(row.values()) for row in found] == [("1", "old", ["a", "b"]), ("2", title, ["a", "b"])]


def test_what_cannot_be_read_is_named_and_a_loss_is_accepted_by_name(spark: SparkSession, tmp_path: Path) -> None:
    at, path = of_events(tmp_path, spark)
    with pytest.raises(DataError, match=r"source 'ratings': there is no Delta table in .*lakehouse/events; mend"):
        at.run(bronze.main)
    append_delta(path, numbered(1, 2), configuration=FEED)
    at.run(bronze.main)
    append_delta(path, numbered(3))
    DeltaTable(path).delete("event_id = 'e1'")
    DeltaTable(path).optimize.compact()
    DeltaTable(path).vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(DataError, match=r"source 'ratings': files .*were removed \(VACUUM\).*--accept-loss ratings"):
        at.run(bronze.main)
    night = at.night()
    night.arguments = Namespace(accept_loss=["ratings"])
    bronze.main(night)
    assert (night.counts["ratings"], night.tags["accepted_loss"]) == (1, "ratings")
    assert landed(at) == ["e1", "e2", "e3"]
    rows = pa.Table.from_pylist([{"event_id": "e9", "user_id": "u", "item_id": "i", "event": "view", "at": "x"}])
    write_deltalake(path, rows, mode="overwrite", schema_mode="overwrite")
    with pytest.raises(DataError, match=r"source 'ratings': its table has no column n, value; it has at, event"):
        at.run(bronze.main)


def test_a_table_that_was_created_again_is_read_whole_and_nothing_lands_twice(
    spark: SparkSession, tmp_path: Path
) -> None:
    at, path = of_events(tmp_path, spark)
    append_delta(path, numbered(1, 2))
    at.run(bronze.main)
    path.rename(tmp_path / "earlier")
    append_delta(path, numbered(2, 3))
    assert at.run(bronze.main)["ratings"] == 1
    assert landed(at) == ["e1", "e2", "e3"]
