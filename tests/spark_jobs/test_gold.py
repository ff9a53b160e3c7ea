"""gold.*: as of the night's end, in one order, by arithmetic that can be done by hand."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from nightloom.contracts import (
    HISTORIES,
    INTERACTIONS,
    ITEM_DAYS,
    ITEM_STATS,
    POPULAR,
    QUARANTINE_ROWS,
    REOPENINGS,
)
from spark_jobs import (
    gold_histories,
    gold_item_days,
    gold_item_stats,
    gold_popular,
    silver_interactions,
    silver_items,
    silver_users,
)
from spark_jobs.gold_histories import histories_until
from tests.spark_jobs.small_project import (
    NEXT,
    NOON,
    READ,
    TOML,
    D,
    Project,
    Row,
    event,
    frame,
    project,
    select_by_both,
)

END = datetime(2024, 3, 2, tzinfo=UTC)
READ_NEXT = READ + timedelta(days=1)


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


def histories(at: Project, *rows: Row) -> DataFrame:
    return select_by_both(at, gold_histories.STATEMENT, HISTORIES, interactions(at.spark, *rows))


def item_days(at: Project, *rows: Row) -> DataFrame:
    return select_by_both(at, gold_item_days.STATEMENT, ITEM_DAYS, interactions(at.spark, *rows))


def test_a_history_is_oldest_first_up_to_the_nights_end_and_ties_stand_by_event_id(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = [touch(1, "b", event_id="2"), touch(33, "c", weight=0.0), touch(1, "a", event_id="1"), touch(0, "future")]
    weeks = histories(project(tmp_path, spark), *rows).cache()
    assert {(row.week, len(row["items"])) for row in weeks.collect()} == {
        (date(2024, 1, 29), 1),
        (date(2024, 2, 26), 3),
    }
    (row,) = histories_until(weeks, END).collect()
    assert (row["items"], row["weights"], row["event_ids"]) == (["c", "a", "b"], [0.0, 1.0, 1.0], ["cu133", "1", "2"])
    assert row["at"] == sorted(row["at"])


def test_who_comes_after_the_nights_end_has_no_history_yet(spark: SparkSession, tmp_path: Path) -> None:
    weeks = histories(project(tmp_path, spark), touch(0, "future"), touch(-40))
    assert histories_until(weeks, END).collect() == []


def stats(spark: SparkSession, tmp_path: Path, *rows: Row) -> list[Row]:
    at = project(tmp_path, spark)
    at.night().overwrite(ITEM_DAYS, item_days(at, *rows))
    at.run(gold_item_stats.main)
    return at.rows(ITEM_STATS)


def test_item_statistics_count_windows_that_end_with_the_night(spark: SparkSession, tmp_path: Path) -> None:
    rows = [touch(1), touch(1.01), touch(7, user="u2"), touch(28), touch(28.01), touch(0)]
    (row,) = stats(spark, tmp_path, *rows)
    assert [row[f"events{window}"] for window in ("_1d", "_7d", "_28d", "")] == [1, 3, 4, 5]
    assert (row["night"], row["first_at"], row["last_at"]) == (D, END - timedelta(days=28.01), END - timedelta(days=1))


def test_a_days_item_row_counts_users_once(spark: SparkSession, tmp_path: Path) -> None:
    rows = [touch(1), touch(0.9), touch(0.5, user="u2", weight=0.25), touch(2)]
    day = {row.day: row for row in item_days(project(tmp_path, spark), *rows).collect()}[D]
    assert (day.events, day.users, day.weight) == (3, 2, 2.25)
    assert (day.first_at, day.last_at) == (rows[0]["occurred_at"].replace(tzinfo=None), datetime(2024, 3, 1, 12))


def test_popularity_halves_with_each_half_life(spark: SparkSession, tmp_path: Path) -> None:
    (row,) = stats(spark, tmp_path, touch(15), touch(29, weight=2.0), touch(1, weight=0.0))
    assert row["popularity"] == pytest.approx(0.5 + 2 * 0.25)


def test_the_popular_list_leaves_out_what_is_not_available_and_breaks_ties_by_id(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    stats = [("b", 1.0, 1), ("a", 1.0, 1), ("gone", 9.0, 9), ("best", 3.0, 1), ("seen", 0.0, 5), ("last", 0.0, 1)]
    numbers = {"events_1d": 0, "events_7d": 0, "events_28d": 0, "first_at": END, "last_at": END}
    rows = [numbers | {"item_id": i, "popularity": p, "events": n} for i, p, n in stats]
    for night in (D, NEXT):
        at.night().lake.append(ITEM_STATS, [row | {"night": night} for row in rows])
    at.ingest({"item_id": "gone", "on": False}, {"item_id": "a", "on": True}, kind="items")
    at.run(silver_items.main, gold_popular.main)
    (row,) = at.rows(POPULAR)
    assert row == {
        "night": D,
        "segment": "all",
        "items": ["best", "a", "b", "seen", "last"],
        "scores": [3.0, 1.0, 1.0, 0.0, 0.0],
    }


def test_a_segment_has_a_list_of_what_its_own_users_like_from_ten_of_them_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, TOML + '[slate]\nsegments = ["job"]\nstored = 20\n')
    smiths, clerks = ([f"{job}{n}" for n in range(count)] for job, count in (("smith", 10), ("clerk", 9)))
    likes = [
        *((user, "anvil") for user in smiths),
        *((user, "pen") for user in clerks),
        ("smith1", "pen"),
        *(("smith2", i) for i in ("gone", "old")),
    ]
    days = {"old": 14.0}
    given = [
        event(n, user_id=u, item_id=i, at=(NOON - timedelta(days=days.get(i, 0))).isoformat())
        for n, (u, i) in enumerate(likes)
    ]
    at.ingest(
        *given,
        event(99, user_id="nobody", item_id="pen"),
        event(98, user_id="smith3", item_id="pen", at=END.isoformat()),
    )
    at.ingest({"item_id": "gone", "on": False}, kind="items")
    at.ingest(*({"user_id": user, "job": user[:5]} for user in (*smiths, *clerks)), kind="users")
    at.run(silver_items.main, silver_users.main, silver_interactions.main, gold_item_days.main, gold_item_stats.main)
    at.run(gold_popular.main)
    rows = {row["segment"]: dict(zip(row["items"], row["scores"], strict=True)) for row in at.rows(POPULAR)}
    assert rows == {
        "all": {"pen": 11.0, "anvil": 10.0, "old": 0.5},
        "job=smith": {"anvil": 10.0, "pen": 1.0, "old": 0.5},
    }
    version = at.night().lake.version(POPULAR)
    at.run(gold_popular.main)
    assert at.night().lake.version(POPULAR) == version


SILVER = (silver_items.main, silver_interactions.main)
GOLD = (gold_histories.main, gold_item_days.main, gold_item_stats.main, gold_popular.main)


def test_a_night_run_again_leaves_gold_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest(*(event(n, user_id=f"u{n % 3}") for n in range(9)))
    at.ingest({"item_id": "i1", "on": False}, kind="items")
    tables = (HISTORIES, ITEM_DAYS, ITEM_STATS, POPULAR)
    at.run(*SILVER, *GOLD)
    before = [(at.rows(table), at.night().lake.version(table)) for table in tables]
    assert [len(rows) for rows, _ in before] == [3, 9, 9, 1]
    assert {row["night"] for rows, _ in before[2:] for row in rows} == {D}
    assert len(before[3][0][0]["items"]) == 8
    at.run(*SILVER, *GOLD)
    assert [(at.rows(table), at.night().lake.version(table)) for table in tables] == before


def test_late_events_reopen_just_their_days_and_that_is_written_down(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest(event(1), event(2, at="2024-02-25T12:00:00Z"), event(3, at="2024-02-24T12:00:00Z"))
    at.run(*SILVER[1:], *GOLD[:2])
    untouched = written(at, date(2024, 2, 24))
    late = [event(n, at="2024-02-25T13:00:00Z") for n in (4, 5)]
    at.ingest(*late, event(6, at="2024-03-02T01:00:00Z"), file="b.jsonl", night=NEXT, ingested_at=READ_NEXT)
    counts = at.run(*SILVER[1:], *GOLD[:2], day=NEXT)
    assert (counts["inserted"], counts["reopened days"], counts["reopened weeks"]) == (3, 1, 1)
    assert {(row["day"], row["item_id"]): row["events"] for row in at.rows(ITEM_DAYS)} == {
        (date(2024, 2, 24), "i3"): 1, (date(2024, 2, 25), "i2"): 1, (date(2024, 2, 25), "i4"): 1,
        (date(2024, 2, 25), "i5"): 1, (D, "i1"): 1, (NEXT, "i6"): 1,
    }  # fmt: skip
    assert written(at, date(2024, 2, 24)) == untouched
    assert [(row["table"], row["period"], row["rows"], row["why"]) for row in at.rows(REOPENINGS)] == [
        ("gold.histories", date(2024, 2, 19), 2, "silver.interactions: 2 came late"),
        ("gold.item_days", date(2024, 2, 25), 2, "silver.interactions: 2 came late"),
    ]


def written(at: Project, day: date) -> list[Row]:
    """The item rows of a day as the change feed tells them: each time they were written."""
    feed = at.night().lake.open(ITEM_DAYS).load_cdf(starting_version=0).read_all()
    return [row for row in pa.table(feed).to_pylist() if row["day"] == day]


def test_all_rebuilds_silver_and_gold_from_bronze_alone(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest(*(event(n, user_id=f"u{n % 3}") for n in range(5)), event(9, event="teleport"), event(5))
    at.run(*SILVER[1:], *GOLD[:2])
    tables = (INTERACTIONS, QUARANTINE_ROWS, HISTORIES, ITEM_DAYS)
    before = [at.rows(table) for table in tables]
    assert [len(rows) for rows in before] == [6, 1, 3, 6]
    at.spark.sql(f"DELETE FROM delta.`{at.night().lake.path(INTERACTIONS)}` WHERE event_id = 'e1'")
    at.spark.sql(f"UPDATE delta.`{at.night().lake.path(ITEM_DAYS)}` SET weight = 7 WHERE item_id = 'i2'")
    at.run(*SILVER[1:], *GOLD[:2])
    assert [at.rows(table) for table in tables[:2]] != before[:2]
    at.run(*SILVER[1:], *GOLD[:2], everything=True)
    assert [at.rows(table) for table in tables] == before


def test_rows_that_a_mended_rule_accepts_leave_quarantine_when_all_rows_are_checked_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    at.ingest(event(1, event="teleport"), event(2, value=9), event(3))
    at.run(silver_interactions.main)
    assert len(at.rows(QUARANTINE_ROWS)) == 2
    mended = project(tmp_path, spark, TOML.replace('event = "view"', 'event = "teleport"'))
    counts = mended.run(silver_interactions.main, everything=True)
    assert (counts["inserted"], counts["left quarantine"]) == (2, 1)
    assert [row["reason"] for row in at.rows(QUARANTINE_ROWS)] == ["impossible_value"]
