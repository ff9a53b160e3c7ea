"""SparkNight: tables by contract, and a night's own rows."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from nightloom.contracts import POPULAR, QUARANTINE_ROWS
from nightloom.errors import DataError
from tests.spark_jobs.small_project import NEXT, D, popular_lists, project


def test_a_table_whose_creation_was_killed_is_created_again(spark: SparkSession, tmp_path: Path) -> None:
    night = project(tmp_path, spark).night()
    (Path(night.lake.path(POPULAR)) / "_delta_log" / "_staged_commits").mkdir(parents=True)
    night.create(POPULAR)
    assert night.lake.rows(POPULAR).num_rows == 0


def test_replace_rewrites_its_own_night_only(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    for day, items in ((D, "a"), (NEXT, "b"), (D, "c")):
        night = at.night(day)
        night.replace(POPULAR, popular_lists(spark, items))
        assert night.counts == {"gold.popular": 1}
    assert {(row["night"], *row["items"]) for row in at.rows(POPULAR)} == {(D, "c"), (NEXT, "b")}


def test_rows_that_do_not_fit_the_contract_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    wrong = popular_lists(spark, "a").withColumn("scores", F.lit("high")).drop("items")
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
