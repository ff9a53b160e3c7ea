"""Events that the API took are in bronze after the next ingest, once, and nothing of them goes to quarantine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from nightloom.event_journal import Event, Journal, journal_file
from serving.events.contract import EventContract
from spark_jobs import bronze, silver_interactions
from tests.serving.event_senders import storm
from tests.spark_jobs.small_project import EVENTS_ONLY, NEXT, project

FED = EVENTS_ONLY.replace('format = "json"\n', 'format = "json"\napi = true\n', 1)


def rating(id: str, **fields: object) -> dict[str, object]:
    return {
        "event_id": id, "user_id": "u", "item_id": "i", "event": "rating", "value": 4.0, "at": "2024-03-01T12:00:00Z",
    } | fields  # fmt: skip


def test_what_the_api_accepts_is_in_bronze_once_and_good_in_silver(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, FED)
    contract = EventContract(at.settings, at.settings.sources[0])
    sent = [
        rating("plain"), rating("ti\nme", at="2024-03-01 12:00:00"), rating("whole", value=4),
        rating("digits", user_id=7),
        rating("offset", at="2024-03-01T23:59:59.123456-11:00"), rating("\u2028é😀\"\\", item_id="a,b|{}"),
    ]  # fmt: skip
    events = [found for each in sent if isinstance(found := contract.read(each), Event)]
    assert len(events) == len(sent)
    journal = Journal(journal_file(at.settings))
    journal.add(events)
    assert at.run(bronze.main)["ratings"] == len(sent)
    journal.add([*events, *(Event("ratings", "late", json.dumps(rating("late"))),)])  # sent again, and a new one
    journal.close()
    assert at.run(bronze.main, day=NEXT)["ratings"] == 1
    at.run(silver_interactions.main, day=NEXT)
    assert at.rows(QUARANTINE_ROWS, "reason") == []
    ids = {row["event_id"] for row in at.rows(INTERACTIONS, "event_id")}
    assert ids == {*(str(each["event_id"]) for each in sent), "late"}


def assert_each_acknowledged_event_is_in_bronze_once(
    spark: SparkSession, folder: Path, count: int, batch: int, between: tuple[int, int]
) -> None:
    """The API's workers are killed while events come in; then all of it is killed, and a night reads."""
    at = project(folder, spark, FED)
    acknowledged = storm(folder / "nightloom.toml", count, batch, between, rating)
    assert len(acknowledged) == count
    at.run(bronze.main)
    ids = [json.loads(row["raw"])["event_id"] for row in at.rows(BRONZE_EVENTS, "raw")]
    assert len(ids) == len(set(ids))
    assert acknowledged - set(ids) == set()


def test_each_202_is_in_bronze_once_though_workers_are_killed(spark: SparkSession, tmp_path: Path) -> None:
    assert_each_acknowledged_event_is_in_bronze_once(spark, tmp_path, count=3_000, batch=20, between=(300, 900))


@pytest.mark.slow
def test_each_of_100_000_is_in_bronze_once_though_workers_are_killed(spark: SparkSession, tmp_path: Path) -> None:
    assert_each_acknowledged_event_is_in_bronze_once(spark, tmp_path, count=100_000, batch=50, between=(1_000, 4_000))
