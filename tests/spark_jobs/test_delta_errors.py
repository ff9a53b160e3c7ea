"""delta_errors.py: Delta refuses a row that breaks its contract, and the error names the fault; also by delta-rs."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE_USERS, INTERACTIONS, POPULAR, USERS
from nightloom.errors import DataError
from spark_jobs.increments import merge
from tests.spark_jobs.small_project import NOON, D, Project, frame, project


def events(spark: SparkSession, **columns: Any) -> DataFrame:
    row = {
        "event_id": "e1", "user_id": "u1", "item_id": "i1", "event": "rating", "weight": 1.0, "occurred_at": NOON,
        "row_id": "r1", "night": D,
    }  # fmt: skip
    return frame(spark, [row | columns], INTERACTIONS)


@pytest.fixture
def at(spark: SparkSession, tmp_path: Path) -> Project:
    return project(tmp_path, spark)


def test_spark_is_refused_a_row_that_breaks_a_check(at: Project) -> None:
    message = r"silver\.interactions: a row breaks the check weight_not_negative \(weight >= 0\): weight -1\.0; nothing"
    with pytest.raises(DataError, match=message):
        at.night().overwrite(INTERACTIONS, events(at.spark, weight=-1.0))
    with pytest.raises(DataError, match=r"event_id_not_empty \(event_id <> ''\): event_id ; nothing was written"):
        at.night().overwrite(INTERACTIONS, events(at.spark, event_id=""))
    assert at.rows(INTERACTIONS) == []


def test_spark_is_refused_a_row_without_a_required_value(at: Project) -> None:
    with pytest.raises(DataError, match=r"silver\.interactions: a row .*row_id"):
        at.night().overwrite(INTERACTIONS, events(at.spark, row_id=None))


def test_a_merge_is_refused_too_and_marks_nothing_as_consumed(at: Project) -> None:
    at.ingest({"user_id": "u1"}, kind="users")
    night = at.night()
    row = {"user_id": "u1", "attributes": {}, "updated_at": NOON, "row_id": "r", "night": D}
    merge(night, USERS, frame(at.spark, [row], USERS), source=BRONZE_USERS)
    taken = night.lake.consumed_version(BRONZE_USERS, USERS)
    at.ingest({"user_id": ""}, kind="users", file="b")
    with pytest.raises(DataError, match=r"silver\.users: a row breaks the check user_id_not_empty"):
        merge(at.night(), USERS, frame(at.spark, [row | {"user_id": ""}], USERS), source=BRONZE_USERS)
    assert night.lake.consumed_version(BRONZE_USERS, USERS) == taken
    assert [each["user_id"] for each in at.rows(USERS)] == ["u1"]


def test_lists_of_two_lengths_are_refused_by_spark_and_delta_rs_whichever_created_the_table(at: Project) -> None:
    row: dict[str, Any] = {"night": date(2024, 3, 1), "segment": "all", "items": ["a", "b"], "scores": [1.0]}
    made = at.spark.range(1).select(
        F.lit("all").alias("segment"),
        F.array(F.lit("a"), F.lit("b")).alias("items"),
        F.array(F.lit(1.0)).cast("array<float>").alias("scores"),
    )
    message = (
        r"gold\.popular: a row breaks the check one_score_per_item \(cardinality\(items\) = cardinality\(scores\)\)"
    )
    with pytest.raises(DataError, match=message + r": items \[\.\.\.\]"):
        at.night().replace(POPULAR, made)
    with pytest.raises(DataError, match=message + r".*items \['a', 'b'\], scores \[1\.0\]; nothing was written"):
        at.night().lake.append(POPULAR, [row])
    at.night().lake.append(POPULAR, [row | {"scores": [2.0, 1.0]}])
    assert at.night().lake.version(POPULAR) == 1  # Spark made it with its checks in one commit, and one row came


def test_tables_with_checks_are_read_by_everybody_and_spark_shows_the_comments(at: Project) -> None:
    night = at.night()
    night.overwrite(INTERACTIONS, events(at.spark))
    opened, path = night.lake.open(INTERACTIONS), night.lake.path(INTERACTIONS)
    assert night.lake.rows(INTERACTIONS, columns=["event_id"]).to_pylist() == [{"event_id": "e1"}]
    assert polars.read_delta(path)["event_id"].to_list() == ["e1"]
    interactions = opened.to_pyarrow_dataset()
    found = duckdb.connect().register("t", interactions).execute("SELECT event_id FROM t").fetchall()
    assert found == [("e1",)]
    described = {row.col_name: row.comment for row in at.spark.sql(f"DESCRIBE delta.`{path}`").collect()}
    for column in INTERACTIONS.columns:
        assert described[column.name] == column.comment


def test_spark_writes_into_a_table_that_delta_rs_made(at: Project) -> None:
    night = at.night()
    night.lake.create(INTERACTIONS)
    night.overwrite(INTERACTIONS, events(at.spark))
    with pytest.raises(DataError, match="weight_not_negative"):
        night.overwrite(INTERACTIONS, events(at.spark, weight=-1.0))
    assert len(at.rows(INTERACTIONS)) == 1
