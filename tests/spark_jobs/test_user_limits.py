"""interactions.max_per_user_and_day: a bot's events beyond it are skipped by name, in one night and over several."""

from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.gate import skipped_by_limit
from expectations.reconciliation import reconcile
from nightloom.contracts import INTERACTIONS, UNUSED_ROWS
from spark_jobs import silver_interactions
from tests.spark_jobs.small_project import EVENTS_ONLY, NEXT, NOON, Project, Row, event, project

pytestmark = pytest.mark.usefixtures("quick")
LIMITED = f"{EVENTS_ONLY}\n[interactions]\nmax_per_user_and_day = 3\n"


def at_minute(n: int, user: str = "bot", days_before: int = 0) -> Row:
    return event(n, user_id=user, at=(NOON + timedelta(minutes=n, days=-days_before)).isoformat())


def used(at: Project) -> list[str]:
    return sorted(row["event_id"] for row in at.rows(INTERACTIONS, "event_id"))


def skipped(at: Project) -> list[tuple[str, str]]:
    return [(row["outcome"], row["detail"]) for row in at.rows(UNUSED_ROWS, "outcome", "detail")]


def test_the_first_events_of_a_day_count_and_the_others_are_skipped_by_name(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, LIMITED)
    bot = [at_minute(n) for n in (5, 1, 4, 2, 3, 1)]  # one of them twice
    day_before = [at_minute(10, days_before=1)]
    at.ingest(*bot, *day_before, at_minute(20, "ann"), at_minute(21, "ann"), file="a")
    counts = at.run(silver_interactions.main)
    assert used(at) == ["e1", "e10", "e2", "e20", "e21", "e3"]
    assert skipped(at) == [("skipped", "max_per_user_and_day")] * 2
    assert (counts["skipped"], counts["skipped:max_per_user_and_day"], counts["duplicates"]) == (2, 2, 1)
    (check,) = skipped_by_limit(at.night())
    assert (check.passed, check.severity, check.observed) == (False, "warn", "2 skipped, e.g. of bot")
    (lost, *_), _ = reconcile(at.night(), "events")
    assert lost.passed, lost.observed


def test_events_of_an_earlier_night_count_first_and_what_comes_again_counts_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, LIMITED)
    at.ingest(at_minute(8), at_minute(9), file="a")
    at.run(silver_interactions.main)
    assert list(skipped_by_limit(at.night())) == []
    at.ingest(at_minute(9), at_minute(8), at_minute(1), at_minute(2), at_minute(3, "ann"), file="b")
    at.run(silver_interactions.main, day=NEXT)
    assert used(at) == ["e1", "e3", "e8", "e9"]
    assert sorted(skipped(at)) == [("duplicate", "e8"), ("duplicate", "e9"), ("skipped", "max_per_user_and_day")]
    (lost, *_), _ = reconcile(at.night(), "events")
    assert lost.passed, lost.observed
    at.run(silver_interactions.main, day=NEXT, everything=True)
    assert used(at) == ["e1", "e2", "e3", "e8"]
