"""What a killed Airflow leaves is ended: its processes by their mark, its scheduler's job, its backfill's start."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from nightloom.local.airflow_cleanup import end_leftovers, marked, processes
from nightloom.local.airflow_home import DATABASE

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


def sleeper(home: Path) -> subprocess.Popen[bytes]:
    """A process of an Airflow that works for this folder, in a session of its own as a stage is."""
    process = subprocess.Popen(SLEEP, env=os.environ | marked(home), stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def database(home: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(home / DATABASE)) as opened:
        return opened.execute("SELECT state FROM job UNION ALL SELECT dag_id FROM dag WHERE is_paused").fetchall()


def test_only_this_folders_processes_jobs_and_dags_are_ended(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "mine-too"
    mine.mkdir()
    with closing(sqlite3.connect(mine / DATABASE)) as made, made:  # the columns that are used, of Airflow's tables
        made.execute("CREATE TABLE job (job_type, state)")
        made.execute("CREATE TABLE dag (dag_id, is_paused)")
        made.execute("INSERT INTO job VALUES ('SchedulerJob', 'running'), ('SchedulerJob', 'success')")
        made.execute("INSERT INTO dag VALUES ('nightly', 0), ('backfill', 0)")
    left, stranger = sleeper(mine), sleeper(other)
    try:
        assert [process.pid for process in processes(mine)] == [left.pid]
        end_leftovers(mine)
        assert (left.wait(10), stranger.poll()) == (-signal.SIGKILL, None)
        assert database(mine) == [("failed",), ("success",), ("backfill",)]
        assert processes(mine) == []
    finally:
        for process in (left, stranger):
            process.kill()
            process.communicate()
