"""The warm server: one at a time, ended by its own group, and the same tables as Spark inside the stage's process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, BRONZE_ITEMS, HISTORIES, INTERACTIONS, QUARANTINE_ROWS
from spark_jobs import gold_histories, server, session_settings, silver_interactions
from spark_jobs.configuration import LAPTOP, configuration, extra_jars
from spark_jobs.session_settings import SparkError, configure
from tests.spark_jobs.small_project import EVENTS_ONLY, D, Project, event, project

STAGES = {"spark_jobs.silver_interactions": silver_interactions.main, "spark_jobs.gold_histories": gold_histories.main}


def command(folder: Path, module: str, *words: str, spark: str = "warm") -> str:
    environment = os.environ | {"NIGHTLOOM_PLACES__SPARK": spark, "PYTHONPATH": str(Path(server.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def small(folder: Path, spark: SparkSession) -> Project:
    folder.mkdir()
    made = project(folder, spark)
    made.land("events/a.jsonl", [event(1), event(2), event(2), "junk"])
    made.land("items/a.jsonl", [{"item_id": "i1"}])
    return made


@pytest.fixture
def warm(spark: SparkSession, tmp_path: Path) -> Iterator[Project]:
    made = small(tmp_path / "warm", spark)
    yield made
    command(made.settings.root, "spark_jobs.session", "stop")


@pytest.mark.slow  # tests/test_first_night.py has its nights by a warm server
def test_a_night_by_the_warm_server_gives_the_tables_of_a_night_without_it(
    warm: Project, spark: SparkSession, tmp_path: Path
) -> None:
    root, home = warm.settings.root, warm.settings.place("scratch")
    assert "ready in" in command(root, "spark_jobs.session", "start")
    assert "runs already" in command(root, "spark_jobs.session", "start")
    running = server.find(home)
    assert running
    assert (home / "spark" / "server.json").stat().st_mode & 0o077 == 0
    cold = small(tmp_path / "cold", spark)
    command(root, "spark_jobs.bronze", "--date", str(D))
    command(cold.settings.root, "spark_jobs.bronze", "--date", str(D), spark="local[2]")
    for stage, main in STAGES.items():
        command(root, stage, "--date", str(D))
        cold.run(main)  # the tests' own session: Spark inside a process too, and already there
    for table, columns in (
        (BRONZE_EVENTS, ("row_id", "raw", "file", "night")),
        (BRONZE_ITEMS, ("row_id", "raw", "file", "night")),
        (INTERACTIONS, ("*",)),
        (HISTORIES, ("*",)),
        (QUARANTINE_ROWS, ("*",)),
    ):
        assert warm.rows(table, *columns) == cold.rows(table, *columns)
    assert [path.name for path in root.iterdir() if path.name not in ("data", "landing", "nightloom.toml")] == []
    assert f"stopped: pid {running.pid}" in command(root, "spark_jobs.session", "stop")
    assert not running.alive
    assert "No Spark server runs" in command(root, "spark_jobs.session", "stop")


def test_a_server_of_another_time_zone_gives_the_tables_of_ours(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = project(tmp_path / "project", spark, EVENTS_ONLY)
    at.ingest(event(1, at="2024-03-01 23:30:00"), event(2, at="2024-03-01T02:30:00-05:00"), event(3, value="many"))
    others = {"spark.sql.session.timeZone": "Pacific/Kiritimati", "spark.sql.ansi.enabled": "true"}
    others |= {"spark.sql.timestampType": "TIMESTAMP_NTZ", "spark.sql.legacy.timeParserPolicy": "LEGACY"}
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    server.start(tmp_path, configuration(tmp_path, LAPTOP) | others)
    try:
        running = server.find(tmp_path)
        assert running
        command(at.settings.root, "spark_jobs.silver_interactions", "--date", str(D), spark=running.url)
    finally:
        server.stop(tmp_path)
    times = {row["event_id"]: row["occurred_at"].isoformat() for row in at.rows(INTERACTIONS)}
    assert times == {"e1": "2024-03-01T23:30:00+00:00", "e2": "2024-03-01T07:30:00+00:00"}
    assert [row["reason"] for row in at.rows(QUARANTINE_ROWS)] == ["type"]


@pytest.mark.parametrize(
    ("kind", "key", "value", "found"),
    [
        ("STATIC", "spark.sql.extensions", "org.example.Other", "is 'io.delta.sql.DeltaSparkSessionExtension'"),
        ("SESSION", "spark.sql.warehouse.dir", "elsewhere", "cannot be changed"),
        ("S3_LOG_STORE", "spark.delta.logStore.s3a.impl", "nightloom.S3LogStore", "is ''"),
    ],
)
def test_a_setting_that_a_server_must_have_is_named(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, kind: str, key: str, value: str, found: str
) -> None:
    monkeypatch.setattr(session_settings, kind, {key: value})
    with pytest.raises(SparkError) as error:
        configure(spark, "sc://spark.example:15002/;token=secret", "s3://bucket/lake")
    message = str(error.value)
    assert message.startswith(f"places.spark is sc://spark.example:15002: {key} {found}")
    assert f"expected '{value}'" in message
    assert f"--conf {key}={value}" in message


def test_a_server_that_cannot_start_says_what_its_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SERVER_CLASS", "no.such.Server")
    with pytest.raises(SparkError, match=r"ended before it was ready; the end of .*log:\n(.|\n)*no\.such\.Server"):
        server.start(tmp_path, configuration(tmp_path, LAPTOP))
    assert server.find(tmp_path) is None


def test_a_process_id_given_to_another_process_since_is_not_the_server(tmp_path: Path) -> None:
    (tmp_path / "spark").mkdir()
    stale = {"pid": os.getpid(), "started": 1, "port": 1, "token": "t"}
    (tmp_path / "spark" / "server.json").write_text(json.dumps(stale))
    assert server.find(tmp_path) is None
    server.stop(tmp_path)
    assert not (tmp_path / "spark" / "server.json").exists()


def test_a_lake_on_s3_without_the_jars_for_it_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_jobs.configuration.extra_jars", lambda: ["a.jar"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(
        SparkError, match=r"the lake is on S3, and .*/s3-jars has no jars for it; `./run setup s3` puts"
    ):
        configuration(tmp_path, LAPTOP, lake="s3://bucket/lake")


def test_missing_jars_are_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(SparkError, match=r"no jars in .*/spark-jars; `./run setup` puts them there"):
        extra_jars()
