"""Items end when their time is over, or when a full catalogue lacks them; a later description brings them back."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.gate import incomplete_catalogues
from expectations.reconciliation import reconcile
from nightloom.contracts import ITEMS
from spark_jobs import silver_items
from tests.spark_jobs.small_project import NEXT, TOML, D, Project, project

pytestmark = pytest.mark.usefixtures("quick")
ENDING = TOML.replace('updated_at = "at"', 'unavailable_from = "at"')
FULL = ENDING.replace('path = "landing/items"', 'path = "landing/items"\nfull = true')


def deliver(at: Project, day: date, *parts: Iterable[str]) -> dict[str, int]:
    """A night that takes a catalogue in parts, each of which is a minute younger than the one before."""
    for minute, items in enumerate(parts):
        written = datetime(day.year, day.month, day.day, 20, minute, tzinfo=UTC)
        rows = [{"item_id": item} for item in items]
        at.ingest(*rows, kind="items", file=f"{day}-{minute}", file_modified_at=written, night=day)
    return at.run(silver_items.main, day=day)


def available(at: Project) -> str:
    return "".join(sorted(row["item_id"] for row in at.rows(ITEMS) if row["available"]))


def test_what_the_newest_full_catalogue_lacks_ends_until_a_later_one_has_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, FULL)
    days = [D + timedelta(days=n) for n in range(4)]
    deliver(at, days[0], "ab", "cd")
    assert available(at) == "abcd"
    assert deliver(at, days[1], "ab", "c")["absent from catalogue"] == 1
    assert available(at) == "abc"
    deliver(at, days[2], "bcd")
    assert available(at) == "bcd"
    version = at.night().lake.version(ITEMS)
    at.run(silver_items.main, day=days[3])  # a night without a catalogue ends nothing
    assert (available(at), at.night().lake.version(ITEMS)) == ("bcd", version)
    (lost, *_), _ = reconcile(at.night(), "items")
    assert lost.passed, lost.observed
    assert list(incomplete_catalogues(at.night(days[3]))) == []
    at.run(silver_items.main, day=days[3], everything=True)
    assert available(at) == "bcd"


def test_a_catalogue_that_lacks_too_much_ends_nothing_and_gate_1_warns(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, FULL)
    deliver(at, D, "abcde")
    deliver(at, NEXT, "ab")
    assert available(at) == "abcde"
    (check,) = incomplete_catalogues(at.night(NEXT))
    assert (check.passed, check.severity) == (False, "warn")
    assert check.observed == "3 items are absent from the 2 that arrived on 2024-03-02"
    deliver(at, NEXT + timedelta(days=1), "abc")
    assert available(at) == "abc"


def test_an_item_ends_on_the_day_that_its_description_names(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, ENDING)
    ends = {"past": "2024-03-01T12:00:00Z", "tomorrow": "2024-03-02T12:00:00Z", "later": "2024-04-01", "never": None}
    rows = [{"item_id": item, "at": end} for item, end in ends.items()]
    at.ingest(*rows, kind="items", file="a")
    assert at.run(silver_items.main)["over"] == 1
    assert available(at) == "laternevertomorrow"
    assert at.run(silver_items.main, day=NEXT)["over"] == 1
    assert available(at) == "laternever"
    written = datetime(2024, 3, 3, 9, tzinfo=UTC)
    at.ingest({"item_id": "past"}, kind="items", file="b", file_modified_at=written, ingested_at=written)
    at.run(silver_items.main, day=NEXT + timedelta(days=1))
    assert available(at) == "laterneverpast"
