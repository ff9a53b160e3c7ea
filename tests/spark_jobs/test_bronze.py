"""bronze.*: each file lands exactly once, as it came."""

import csv
import json
import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from nightloom.errors import SettingsError
from nightloom.tables import BRONZE_EVENTS
from spark_jobs import bronze
from tests.spark_jobs.build import NEXT, TOML, D, event, project


def test_each_file_is_read_once_also_one_that_is_older_than_those_before(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.land("events/a.jsonl.gz", [event(1), "junk"])
    assert at.run(bronze.main)["ratings"] == 2
    assert at.run(bronze.main)["ratings"] == 0
    (tmp_path / "landing/events/2023").mkdir()
    late = at.land("events/2023/late.jsonl", [event(2)])
    os.utime(late, (0, 0))
    at.land("events/.unfinished.jsonl", [event(3)])
    assert at.run(bronze.main, day=NEXT)["ratings"] == 1
    rows = at.rows(BRONZE_EVENTS, "file", "night", "raw")
    assert {(row["file"], row["night"]) for row in rows} == {
        ("landing/events/a.jsonl.gz", D),
        ("landing/events/2023/late.jsonl", NEXT),
    }
    assert "junk" in [row["raw"] for row in rows]


def test_a_missing_landing_folder_is_a_clear_error(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    (tmp_path / "landing/users").rmdir()
    with pytest.raises(SettingsError, match=r"source 'members': there is no folder .*landing/users; make it"):
        at.run(bronze.main)


def test_csv_files_of_another_header_are_read_by_their_own(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, TOML.replace('format = "json"', 'format = "csv"', 1))
    for name, header in {"a.csv": ["user_id", "item_id"], "b.csv": ["item_id", "note", "user_id"]}.items():
        with (tmp_path / "landing/events" / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, [f"{field}, 1" for field in header]])
    at.run(bronze.main)
    assert [json.loads(row["raw"])["user_id"] for row in at.rows(BRONZE_EVENTS, "raw")] == ["user_id, 1", "user_id, 1"]
