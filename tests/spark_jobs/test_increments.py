"""Incremental loads: what a table has consumed of another, and what a second try after a crash changes."""

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_USERS, QUARANTINE_ROWS, USERS
from spark_jobs import silver, silver_users
from spark_jobs.context import SparkNight
from spark_jobs.increments import new_rows
from tests.spark_jobs.small_project import NEXT, project


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
