"""What a killed Airflow left -> its processes are ended, and the tasks that they worked on can run again.

Killed with its command, or alone, Airflow leaves processes (a scheduler without its command, a task's stage without its
scheduler) and tasks that seem to run. Whoever holds the folder's lock knows that nobody works on them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from nightloom.local.airflow_api import Api
from nightloom.local.airflow_setup import AirflowError
from nightloom.local.processes import processes_with

MARKER = "NIGHTLOOM_AIRFLOW_FOLDER"
"""Variable that every process of a served Airflow inherits, down to the stages. Its value is Airflow's folder."""
SECONDS_TO_RECORD = 2
SECONDS_TO_END = 10


def marker(home: Path) -> dict[str, str]:
    """What to add to a served Airflow's environment, so that end_processes() finds its processes."""
    # Airflow renames its processes, which overwrites the environment that others see; SPT_NOENV forbids that.
    return {MARKER: str(home), "SPT_NOENV": "1"}


def unfinished_note(home: Path) -> Path:
    """A file that is there while an Airflow works, and after one that did not come to its own end."""
    return home / "running"


def end_processes(home: Path) -> None:
    """End what an Airflow of this folder left or still does. Call it only with the folder locked.

    SIGTERM first: a stage then records its end.
    """
    for process in processes(home):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    began = time.monotonic()
    while left := processes(home):
        if (waited := time.monotonic() - began) > SECONDS_TO_END:
            pids = [process.pid for process in left]
            raise AirflowError(f"processes {pids} of an Airflow that was killed do not end; end them and try again")
        for process in left if waited > SECONDS_TO_RECORD else []:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)


def processes(home: Path) -> list[psutil.Process]:
    """This user's processes that carry the marker, without this one."""
    return [process for process in processes_with(MARKER, str(home)) if process.pid != os.getpid()]


def fail_unfollowed_runs(api: Api) -> None:
    """Fail the runs of killed `airflow dags test` commands: a scheduler would go on with them, years later even.

    Call it with the folder locked and no scheduler running.
    """
    for dag, run in api.running("test"):
        for task in api.waiting(dag, run):  # else Airflow lets a teardown run first, which ends a later run's Spark
            api.skip(dag, run, task)
        api.fail(dag, run)


def restart_tasks(api: Api) -> None:
    """Let the tasks of a killed scheduler run again. Call it with no scheduler running.

    A scheduler would do so by itself, when it takes the killed one for dead: 30 s to 5 minutes later. Told to look
    earlier, Airflow 3.3 takes itself for dead on a busy machine, and its own tasks for orphans.
    """
    for dag, run, task in tasks_at_work(api):
        api.run_again(dag, run, task)


def tasks_at_work(api: Api) -> list[tuple[str, str, str]]:
    """DAG, run and task of what somebody works on, or did when an Airflow was killed."""
    return api.tasks_in(("queued", "running", "restarting"))
