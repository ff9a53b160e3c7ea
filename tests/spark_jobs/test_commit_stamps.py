"""Commit stamps: rows that would be the same are left alone."""

from pathlib import Path

from pyspark.sql import SparkSession

from nightloom.contracts import POPULAR, USERS
from spark_jobs import silver_users
from spark_jobs.commit_stamps import is_up_to_date
from tests.spark_jobs.small_project import NEXT, popular_lists, project


def test_a_night_is_up_to_date_until_one_of_its_inputs_changes(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.night().create(USERS)
    assert not is_up_to_date(at.night(), POPULAR, USERS)
    night = at.night()
    assert not is_up_to_date(night, POPULAR, USERS, model_version="1")
    night.replace(POPULAR, popular_lists(spark, "a"))
    again = at.night()
    assert is_up_to_date(again, POPULAR, USERS, model_version="1")
    assert (again.counts, again.writes) == (night.counts, night.writes)
    assert not is_up_to_date(at.night(), POPULAR, USERS, model_version="2")
    assert not is_up_to_date(at.night(NEXT), POPULAR, USERS, model_version="1")
    at.ingest({"user_id": "u1"}, kind="users", file="a")
    at.run(silver_users.main)
    assert not is_up_to_date(at.night(), POPULAR, USERS, model_version="1")


def test_a_night_is_not_up_to_date_when_somebody_has_changed_the_table_by_hand(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    night = at.night()
    assert not is_up_to_date(night, POPULAR)
    night.replace(POPULAR, popular_lists(spark, "a"))
    table = night.lake.open(POPULAR)
    table.optimize.compact()
    assert is_up_to_date(at.night(), POPULAR)
    table.delete("segment = 'all'")
    assert not is_up_to_date(at.night(), POPULAR)
