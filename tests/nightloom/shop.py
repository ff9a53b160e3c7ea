"""A small shop whose nights are made stage by stage, in this process: what the tests of a backfill start from."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import ITEMS, POPULAR, RECOMMENDATIONS
from nightloom.local.airflow_cleanup import processes
from nightloom.local.airflow_runs import DagRun
from nightloom.local.airflow_setup import DATABASE
from nightloom.local.dags_test import DatabaseRuns
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import RUN_ID_VARIABLE, run_stage
from nightloom.night.stages import Stage
from spark_jobs import (
    bronze,
    gold_histories,
    gold_item_days,
    gold_item_stats,
    gold_popular,
    gold_recommendations,
    gold_similar_items,
    silver_interactions,
    silver_items,
    silver_users,
)
from spark_jobs.context import SparkNight
from tests.first_night import MAIN, SMALL, Project, days_arrive
from training import model_gate, train

Stages = Mapping[Stage, Callable[[Any], None]]
LAST = date(2024, 2, 6)
"""The last day of the sample."""


def publish(night: Night) -> None:
    """Record what serving.publish records; there is no store here."""
    for table in (RECOMMENDATIONS, POPULAR, ITEMS):
        night.pin(table)
    versions = night.lake.rows(RECOMMENDATIONS, f"night = DATE '{night.date}'", ["DISTINCT model_version"])
    night.tags["model_version"] = versions["model_version"][0].as_py()


SILVER: Stages = {
    stages.BRONZE: bronze.main,
    stages.SILVER_ITEMS: silver_items.main,
    stages.SILVER_USERS: silver_users.main,
    stages.SILVER_INTERACTIONS: silver_interactions.main,
}
TRAINING: Stages = {stages.TRAIN: train.main, stages.MODEL_GATE: model_gate.main}
GOLD: Stages = {
    stages.HISTORIES: gold_histories.main,
    stages.ITEM_DAYS: gold_item_days.main,
    stages.ITEM_STATS: gold_item_stats.main,
    stages.POPULAR: gold_popular.main,
    stages.RECOMMENDATIONS: gold_recommendations.main,
    stages.SIMILAR_ITEMS: gold_similar_items.main,
}
LISTS: Stages = {stage: GOLD[stage] for stage in (stages.POPULAR, stages.RECOMMENDATIONS)}
PUBLISHED: Stages = {stages.PUBLISH: publish}
OPTIONS: Mapping[str, dict[str, Any]] = {
    "--all": {"action": "store_true"}, "--when": {"default": "due"}, "--model": {}, "--override": {},
    "--force-older": {},
}  # fmt: skip
"""Every option that one of these stages has."""


def create(root: Path) -> Project:
    """The project, and the files of every day."""
    project = Project.create(root, SMALL)
    sample = ("--users", "60", "--items", "40", "--days", "37", "--seed", "11", "--events", "2500")
    done = project.nightloom("sample", "synthetic", *sample, "--to", str(root / "made"))
    assert done.returncode == 0, done.stderr
    return project


def night(
    project: Project, spark: SparkSession, day: date, *parts: Stages, options: tuple[str, ...] = (), run: str = ""
) -> None:
    """Run and record stages of a night, with the run id `run` where that is given."""
    days_arrive(project.root / "made", project.root / "landing", day)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RUN_ID_VARIABLE, run)
        for stage, body in (each for part in parts for each in part.items()):
            context = partial(_with_session, spark) if stage.name.startswith("spark_jobs.") else Night
            argv = ["--date", str(day), "--config", str(project.settings.file), *options]
            run_stage(stage, body, context=context, options=OPTIONS, argv=argv)


def _with_session(spark: SparkSession, **fields: Any) -> SparkNight:
    made = SparkNight(**fields)
    made.__dict__["spark"] = spark  # the tests' one session, and not another one of this place
    return made


def kill_in_the_middle(project: Project, words: tuple[str, ...], done: int, *, airflow: bool) -> list[DagRun]:
    """Start a command, and SIGKILL it while a night is half done, after `done` whole ones -> how its nights stand.

    `airflow`: all that Airflow runs, too, down to the stages; else that is left without its command.
    """
    home = project.settings.place("airflow")
    with (project.root / "killed.log").open("ab") as log:
        command = [sys.executable, "-c", MAIN, *words]
        process = subprocess.Popen(
            command, cwd=project.root, env=project.environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while not _in_the_middle(home, done):
                assert process.poll() is None, (project.root / "killed.log").read_text(encoding="utf8")
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for left in processes(home) if airflow else ():
        left.kill()
    return _nights(home)


def _in_the_middle(home: Path, done: int) -> bool:
    """Whether `done` nights are rebuilt, and the next has one task behind it and one at work."""
    if not (home / "migrated").exists():
        return False
    nights = _nights(home)
    ended = DatabaseRuns(home).ends
    running = [each for each in nights if each.state == "running" and ended("backfill", each.run)]
    return bool(running) and sum(each.state == "success" for each in nights) >= done


def _nights(home: Path) -> list[DagRun]:
    """Runs of the backfill as they stand in Airflow's database, the oldest first: nobody may be there to ask."""
    with closing(sqlite3.connect(f"{(home / DATABASE).as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        rows = database.execute(
            "SELECT run_id, state, substr(logical_date, 1, 10) FROM dag_run"
            " WHERE dag_id = 'backfill' AND logical_date IS NOT NULL ORDER BY logical_date"
        ).fetchall()
    return [DagRun(run, state, date.fromisoformat(night), 0.0, {}) for run, state, night in rows]
