"""gold.*: as of the night's end, in one order, by arithmetic that can be done by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from nightloom.tables import HISTORIES, INTERACTIONS, ITEM_STATS, ITEMS, POPULAR
from spark_jobs import gold_histories, gold_item_stats, gold_popular, silver_interactions, silver_items
from spark_jobs.gold_histories import histories
from spark_jobs.gold_item_stats import item_stats
from spark_jobs.gold_popular import popular
from tests.spark_jobs.build import D, Row, event, frame, project

END = datetime(2024, 3, 2, tzinfo=UTC)


def touch(days_ago: float, item: str = "i1", user: str = "u1", **columns: Any) -> Row:
    at = END - timedelta(days=days_ago)
    return {
        "event_id": f"{item}{user}{days_ago}",
        "user_id": user,
        "item_id": item,
        "weight": 1.0,
        "occurred_at": at,
    } | columns


def interactions(spark: SparkSession, *rows: Row) -> DataFrame:
    return frame(spark, rows, INTERACTIONS)


def test_a_history_is_oldest_first_up_to_the_nights_end_and_ties_stand_by_event_id(spark: SparkSession) -> None:
    rows = [touch(1, "b", event_id="2"), touch(3, "c", weight=0.0), touch(1, "a", event_id="1"), touch(0, "future")]
    (row,) = histories(interactions(spark, *rows), END).collect()
    assert (row["items"], row["weights"], row["event_ids"]) == (["c", "a", "b"], [0.0, 1.0, 1.0], ["cu13", "1", "2"])
    assert row["at"] == sorted(row["at"])


def test_item_statistics_count_windows_that_end_with_the_night(spark: SparkSession) -> None:
    rows = [touch(1), touch(1.01), touch(7, user="u2"), touch(28), touch(28.01), touch(0)]
    (row,) = item_stats(interactions(spark, *rows), END, half_life_days=14).collect()
    assert (row.events_1d, row.events_7d, row.events_28d, row.events, row.users) == (1, 3, 4, 5, 2)


def test_popularity_halves_with_each_half_life(spark: SparkSession) -> None:
    rows = [touch(14), touch(28, weight=2.0), touch(1, weight=0.0)]
    (row,) = item_stats(interactions(spark, *rows), END, half_life_days=14).collect()
    assert row.popularity == pytest.approx(0.5 + 2 * 0.25)


def test_the_popular_list_leaves_out_what_is_not_available_and_breaks_ties_by_id(spark: SparkSession) -> None:
    stats = [("b", 1.0, 1), ("a", 1.0, 1), ("gone", 9.0, 9), ("best", 3.0, 1), ("seen", 0.0, 5), ("last", 0.0, 1)]
    rows = frame(spark, [{"item_id": i, "popularity": p, "events": n} for i, p, n in stats], ITEM_STATS)
    items = frame(spark, [{"item_id": "gone", "available": False}, {"item_id": "a", "available": True}], ITEMS)
    (row,) = popular(rows, items, 5).collect()
    assert (row.segment, row["items"], row.scores) == (
        "all",
        ["best", "a", "b", "seen", "last"],
        [3.0, 1.0, 1.0, 0.0, 0.0],
    )


def test_a_night_run_again_leaves_gold_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.bring(*(event(n, user_id=f"u{n % 3}") for n in range(9)))
    at.bring({"item_id": "i1", "on": False}, kind="items")
    silver = (silver_items.main, silver_interactions.main)
    night = (*silver, gold_histories.main, gold_item_stats.main, gold_popular.main)
    tables = (HISTORIES, ITEM_STATS, POPULAR)
    at.run(*night)
    before = [(at.rows(table), at.night().lake.version(table)) for table in tables]
    assert [len(rows) for rows, _ in before] == [3, 9, 1]
    assert all(row["night"] == D for rows, _ in before for row in rows)
    assert len(before[2][0][0]["items"]) == 8
    at.run(*night)
    assert [(at.rows(table), at.night().lake.version(table)) for table in tables] == before
