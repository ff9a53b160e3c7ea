"""What a killed Airflow left -> its processes are ended, and DAGs that its command had let start are paused again.

Killed with its command, or alone, Airflow leaves processes: a scheduler without its command, a task's stage without its
scheduler. Whoever holds the folder's lock knows that nobody needs them. The next scheduler takes up unfinished tasks by
itself, see airflow_setup.py.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from nightloom.local.airflow_setup import AirflowError, tail
from nightloom.local.processes import processes_with

MARK = "NIGHTLOOM_AIRFLOW"
"""Variable that every process of a served Airflow inherits, down to the stages: which Airflow folder it works for."""
SECONDS_TO_END = 10


def marked(home: Path) -> dict[str, str]:
    """What to add to a served Airflow's environment, so that end_processes() finds its processes."""
    # Airflow renames its processes, which overwrites the environment that others see; SPT_NOENV forbids that.
    return {MARK: str(home), "SPT_NOENV": "1"}


def end_processes(home: Path) -> None:
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


def processes(home: Path) -> list[psutil.Process]:
    """Processes of this user that carry the mark, without this one."""
    return [process for process in processes_with(MARK, str(home)) if process.pid != os.getpid()]


def unpaused_file(home: Path, dag: str) -> Path:
    """A file that is there for as long as a command lets runs of an on-demand DAG start."""
    return home / f"{dag}.unpaused"


def pause_again(home: Path, dag: str, environment: dict[str, str]) -> None:
    """Pause a DAG whose command was killed, before a scheduler can start its runs. Takes 5 s, but only then."""
    unpaused = unpaused_file(home, dag)
    if not unpaused.exists():
        return
    log = home / "pause.log"
    with log.open("wb") as output:
        done = subprocess.run(
            ["airflow", "dags", "pause", "--yes", dag], env=environment, stdout=output, stderr=output, check=False
        )
    if done.returncode != 0:
        raise AirflowError(f"airflow dags pause {dag} ended with {done.returncode}; {log} ends:\n{tail(log)}")
    unpaused.unlink()
