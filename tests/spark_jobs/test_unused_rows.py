"""silver.unused_rows: what silver does with each record, so that gate 1 finds every one of them by its row."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from expectations.reconciliation import reconcile
from nightloom.contracts import GATES, INTERACTIONS, ITEMS, UNUSED_ROWS
from nightloom.quarantine.commands import quarantine
from nightloom.settings import CONFIG_VARIABLE
from spark_jobs import silver_interactions, silver_items, silver_users
from spark_jobs.context import SparkNight
from tests.spark_jobs.small_project import EVENTS_ONLY, NEXT, TOML, Project, event, project

pytestmark = pytest.mark.usefixtures("quick")
RULE = '\n[[sources.rules]]\nname = "bots"\nwhen = "user_id LIKE \'bot%\'"\nthen = "skip"\n'
SKIPPING = TOML.replace('\n[[sources]]\nname = "catalogue"', f'{RULE}\n[[sources]]\nname = "catalogue"')
SILVER: dict[str, Callable[[SparkNight], None]] = {
    "events": silver_interactions.main,
    "items": silver_items.main,
    "users": silver_users.main,
}


def became(at: Project) -> list[tuple[str, str, str]]:
    rows = at.rows(UNUSED_ROWS, "kind", "outcome", "detail")
    return sorted((row["kind"], row["outcome"], row["detail"]) for row in rows)


def found(at: Project, *kinds: str) -> dict[str, str]:
    """What gate 1 says of each kind where no row is lost, and what an open gate notes."""
    observed = {}
    for kind in kinds:
        (check, *waiting), versions = reconcile(at.night(), kind)
        assert check.passed, check.observed
        assert waiting == []
        at.night().lake.mark_consumed(versions, GATES)
        observed[kind] = check.observed.removeprefix("all of ")
    return observed


def test_every_record_of_every_kind_is_found_night_after_night(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, SKIPPING)
    at.ingest(event(1), event(1), event(1, value=4), event(2, user_id="bot7"), event(3, value=9), file="a")
    at.ingest({"item_id": "i1", "at": "2024-01-01T00:00:00Z"}, {"item_id": "i1", "title": "New"}, kind="items")
    at.ingest({"user_id": "u1"}, {"user_id": "u1", "job": "nurse"}, {"user_id": ""}, kind="users")
    at.run(*SILVER.values())
    assert became(at) == [
        ("events", "duplicate", "e1"), ("events", "skipped", "bots"), ("items", "superseded", "i1"),
        ("users", "superseded", "u1"),
    ]  # fmt: skip
    assert found(at, *SILVER) == {
        "events": "4 rows found: 1 in silver.interactions, 1 in quarantine, 1 skipped by rules, 1 duplicates",
        "items": "2 rows found: 1 in silver.items, 0 in quarantine, 0 skipped by rules, 1 older descriptions",
        "users": "3 rows found: 1 in silver.users, 1 in quarantine, 0 skipped by rules, 1 older descriptions",
    }
    at.ingest(event(1, value=3), event(4), file="b")
    at.ingest({"item_id": "i1", "at": "2024-02-01T00:00:00Z"}, {"item_id": "i2"}, kind="items", file="b")
    at.ingest({"item_id": "i2", "at": "2030-01-01T00:00:00Z"}, kind="items", file="c")
    at.run(*SILVER.values(), day=NEXT)
    assert found(at, *SILVER) == {
        "events": "2 rows found: 1 in silver.interactions, 0 in quarantine, 0 skipped by rules, 1 duplicates",
        "items": "3 rows found: 1 in silver.items, 1 in quarantine, 0 skipped by rules, 1 older descriptions",
        "users": "0 rows found: ",
    }
    at.ingest({"item_id": "i2", "title": "Newer", "at": "2024-03-01T12:30:00Z"}, kind="items", file="d")
    at.run(silver_items.main, day=NEXT)
    assert found(at, "items")["items"] == (
        "2 rows found: 1 in silver.items, 0 in quarantine, 0 skipped by rules, 1 older descriptions"
    )
    at.night().lake.open(ITEMS).delete("item_id = 'i2'")
    assert not reconcile(at.night(), "items")[0][0].passed


def test_all_rows_checked_again_by_other_settings_and_replayed_ones_are_found(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(event(1), event(2, user_id="bot7"), event(3, value=9), event(3, value=4), file="a")
    at.run(silver_interactions.main)
    found(at, "events")
    environment = {CONFIG_VARIABLE: str(at.settings.file)}
    CliRunner().invoke(quarantine, ["replay", "--everything"], env=environment, catch_exceptions=False)
    at = project(tmp_path, spark, SKIPPING.replace("valid = [1, 5]", "valid = [1, 10]"))
    at.run(silver_interactions.main, day=NEXT)
    assert found(at, "events")["events"] == (
        "1 rows found: 0 in silver.interactions, 0 in quarantine, 0 skipped by rules, 1 duplicates"
    )
    at.run(silver_interactions.main, day=NEXT, everything=True)
    assert [row["event_id"] for row in at.rows(INTERACTIONS)] == ["e1", "e3"]
    assert len(became(at)) == 3
    found(at, "events")
    lake = at.night().lake
    lake.replace(INTERACTIONS, lake.rows(INTERACTIONS, "event_id <> 'e1'"), "true", "{}")  # as --all with a fault would
    assert reconcile(at.night(), "events")[0][0].observed.startswith("1 of 1 rows are in none of the tables")


def test_a_lake_of_an_earlier_version_is_reconciled_from_its_next_rows_on(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(event(1), event(1, value=4), file="a")
    at.run(silver_interactions.main)
    for table in (UNUSED_ROWS, GATES):
        shutil.rmtree(at.night().lake.path(table))
    assert reconcile(at.night(), "events") == ([], {})
    at.ingest(event(1, value=3), event(2), file="b")
    at.run(silver_interactions.main, day=NEXT)
    assert found(at, "events")["events"].startswith("2 rows found: 1 in silver.interactions")
    shutil.rmtree(at.night().lake.path(INTERACTIONS))  # somebody makes the table from all of bronze again
    at.run(silver_interactions.main, day=NEXT)
    assert found(at, "events")["events"].startswith("4 rows found: 2 in silver.interactions")
