"""Incremental loads: what a table has consumed of another, and what a second try after a crash changes."""

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_USERS, INTERACTIONS, QUARANTINE_ROWS, USERS
from spark_jobs import increments, silver, silver_interactions, silver_users
from spark_jobs.context import SparkNight
from spark_jobs.increments import new_rows
from tests.spark_jobs.small_project import EVENTS_ONLY, NEXT, event, project


def users(night: SparkNight) -> list[str]:
    return [
        json.loads(row.raw)["user_id"] for row in new_rows(night, BRONZE_USERS, into=USERS).orderBy("raw").collect()
    ]


def test_the_consumed_version_is_stored_with_the_rows(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest({"user_id": "u1"}, kind="users", file="a")
    assert users(at.night()) == ["u1"]
    at.run(silver_users.main)
    assert users(at.night()) == []
    at.ingest({"user_id": "u2"}, kind="users", file="b")
    at.ingest({"user_id": ""}, kind="users", file="c")
    assert users(at.night()) == ["", "u2"]
    at.run(silver_users.main)
    assert users(at.night()) == []


def test_a_crash_between_quarantine_and_silver_doubles_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = project(tmp_path, spark)
    at.ingest({"user_id": "u1"}, "junk", "rubbish", kind="users", file="a")
    with monkeypatch.context() as patch:
        patch.setattr(silver, "merge", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            at.run(silver_users.main)
    assert len(at.rows(QUARANTINE_ROWS)) == 2
    at.ingest("scrap", kind="users", file="b")
    counts = at.run(silver_users.main, day=NEXT)
    assert (counts["quarantined"], len(at.rows(QUARANTINE_ROWS)), len(at.rows(USERS))) == (3, 3, 1)


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("everything", [False, True], ids=["new rows", "all rows"])
def test_many_rows_are_in_files_that_follow_one_another(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    monkeypatch.setattr(increments, "ROWS_PER_FILE", 4)
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(*(event(n, at=f"1998-04-{1 + n * 7 % 19:02}T12:00:00Z") for n in range(12)))
    at.run(silver_interactions.main, everything=everything)
    files = pa.table(at.night().lake.open(INTERACTIONS).get_add_actions(flatten=True)).to_pylist()
    spans = sorted((file["min.occurred_at"], file["max.occurred_at"]) for file in files)
    assert len(spans) == 3
    assert all(last < first for (_, last), (first, _) in pairwise(spans))
