"""What a killed Airflow left -> nothing of it works or counts any more, so that the next one goes on at once.

Killed with its command, or alone, Airflow leaves processes (a scheduler without its command, a task's stage without
its scheduler) and, in its database, a scheduler job that seems to run. Airflow itself would wait until heartbeats are
minutes old. Whoever holds the folder's lock knows that nobody works: it need not wait.
"""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil

from nightloom.local.airflow_home import DATABASE, AirflowError
from nightloom.local.processes import processes_with

MARK = "NIGHTLOOM_AIRFLOW"
"""Variable that every process of a served Airflow inherits, down to the stages: which Airflow folder it works for."""
ON_DEMAND = ("backfill",)
"""DAGs with a schedule that start only when somebody asks: paused, but for as long as their command works."""
SECONDS_TO_END = 10


def marked(home: Path) -> dict[str, str]:
    """What to add to a served Airflow's environment, so that end_leftovers() finds its processes."""
    # Airflow renames its processes, which overwrites the environment that /proc shows; SPT_NOENV forbids that.
    return {MARK: str(home), "SPT_NOENV": "1"}


def end_leftovers(home: Path) -> None:
    """End what an Airflow of this folder left. Call it only with the folder's lock held and no Airflow running."""
    deadline = time.monotonic() + SECONDS_TO_END
    while left := processes(home):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if time.monotonic() > deadline:
            pids = [process.pid for process in left]
            raise AirflowError(f"processes {pids} of an Airflow that was killed do not end; end them and try again")
        time.sleep(0.05)
    with closing(sqlite3.connect(home / DATABASE, timeout=30)) as database, database:
        # Tasks of a job that has failed are reset by the next scheduler as it starts, and run again.
        database.execute("UPDATE job SET state = 'failed' WHERE job_type = 'SchedulerJob' AND state = 'running'")
        names = ", ".join("?" for _ in ON_DEMAND)
        database.execute(f"UPDATE dag SET is_paused = 1 WHERE dag_id IN ({names})", ON_DEMAND)


def processes(home: Path) -> list[psutil.Process]:
    """Processes of this user that carry the mark, without this one."""
    return [process for process in processes_with(MARK, str(home)) if process.pid != os.getpid()]
