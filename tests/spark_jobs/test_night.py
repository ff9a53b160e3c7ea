"""night.py: what a stage reads and writes, and what a second try changes."""

import json
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE_USERS, POPULAR, QUARANTINE_ROWS, USERS
from nightloom.errors import DataError
from spark_jobs import silver_users
from spark_jobs.context import SparkNight
from tests.spark_jobs.build import NEXT, D, project


def users(night: SparkNight) -> list[str]:
    return [json.loads(row.raw)["user_id"] for row in night.changed(BRONZE_USERS, into=USERS).orderBy("raw").collect()]


def test_what_a_table_has_taken_is_kept_with_its_rows(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.bring({"user_id": "u1"}, kind="users", file="a")
    assert users(at.night()) == ["u1"]
    at.run(silver_users.main)
    assert users(at.night()) == []
    at.bring({"user_id": "u2"}, kind="users", file="b")
    at.bring({"user_id": ""}, kind="users", file="c")
    assert users(at.night()) == ["", "u2"]
    at.run(silver_users.main)
    assert users(at.night()) == []


def test_a_crash_between_quarantine_and_silver_doubles_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = project(tmp_path, spark)
    at.bring({"user_id": "u1"}, "junk", "rubbish", kind="users", file="a")
    with monkeypatch.context() as patch:
        patch.setattr(SparkNight, "merge", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            at.run(silver_users.main)
    assert len(at.rows(QUARANTINE_ROWS)) == 2
    at.bring("scrap", kind="users", file="b")
    counts = at.run(silver_users.main, day=NEXT)
    assert (counts["quarantined"], len(at.rows(QUARANTINE_ROWS)), len(at.rows(USERS))) == (3, 3, 1)


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def lists(spark: SparkSession, *items: str) -> DataFrame:
    return spark.range(1).select(
        F.lit("all").alias("segment"),
        F.array(*map(F.lit, items)).alias("items"),
        F.array(*(F.lit(1.0) for _ in items)).cast("array<float>").alias("scores"),
    )


def test_a_table_whose_making_was_killed_is_made_anew(spark: SparkSession, tmp_path: Path) -> None:
    night = project(tmp_path, spark).night()
    (Path(night.lake.path(POPULAR)) / "_delta_log" / "_staged_commits").mkdir(parents=True)
    night.create(POPULAR)
    assert night.lake.rows(POPULAR).num_rows == 0


def test_replace_rewrites_its_own_night_only(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    for day, items in ((D, "a"), (NEXT, "b"), (D, "c")):
        night = at.night(day)
        night.replace(POPULAR, lists(spark, items))
        assert night.counts == {"gold.popular": 1}
    assert {(row["night"], *row["items"]) for row in at.rows(POPULAR)} == {(D, "c"), (NEXT, "b")}


def test_a_night_is_settled_until_what_it_was_made_from_changes(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.night().create(USERS)
    assert not at.night().settled(POPULAR, USERS)
    night = at.night()
    assert not night.settled(POPULAR, USERS, model_version="1")
    night.replace(POPULAR, lists(spark, "a"))
    again = at.night()
    assert again.settled(POPULAR, USERS, model_version="1")
    assert (again.counts, again.writes) == (night.counts, night.writes)
    assert not at.night().settled(POPULAR, USERS, model_version="2")
    assert not at.night(NEXT).settled(POPULAR, USERS, model_version="1")
    at.bring({"user_id": "u1"}, kind="users", file="a")
    at.run(silver_users.main)
    assert not at.night().settled(POPULAR, USERS, model_version="1")


def test_a_night_is_not_settled_when_somebody_has_changed_the_table_by_hand(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    night = at.night()
    assert not night.settled(POPULAR)
    night.replace(POPULAR, lists(spark, "a"))
    table = night.lake.open(POPULAR)
    table.optimize.compact()
    assert at.night().settled(POPULAR)
    table.delete("segment = 'all'")
    assert not at.night().settled(POPULAR)


def test_rows_that_do_not_fit_the_contract_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    wrong = lists(spark, "a").withColumn("scores", F.lit("high")).drop("items")
    with pytest.raises(DataError, match=r"gold.popular: .*items is nothing, expected array<string>; scores is string"):
        at.night().replace(POPULAR, wrong)


def test_the_contract_is_in_the_table_that_spark_makes(spark: SparkSession, tmp_path: Path) -> None:
    night = project(tmp_path, spark).night()
    night.create(QUARANTINE_ROWS)
    schema = night.lake.open(QUARANTINE_ROWS).schema().fields
    assert [(field.name, field.nullable) for field in schema] == [
        (column.name, not column.required) for column in QUARANTINE_ROWS.columns
    ]
    assert schema[0].metadata["comment"] == QUARANTINE_ROWS.columns[0].comment
