"""`airflow dags test`: a night without a scheduler or an API, and how its run stands in Airflow's database.

The database is only read, and only here: there is no API to ask, and `airflow tasks states-for-dag-run` takes 5 to 8 s
a call, where a run is looked at several times a second.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightloom.local.airflow_cleanup import end_processes, marker, unfinished_note
from nightloom.local.airflow_runs import TaskEnd
from nightloom.local.airflow_setup import DATABASE, AirflowError, tail
from nightloom.signals import undisturbed


@dataclass(frozen=True)
class DatabaseRuns:
    """Runs in the database of one Airflow folder."""

    home: Path

    def newest(self, dag: str) -> str | None:
        """Run id of the run of a DAG that was made last."""
        rows = self._select("SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", dag)
        return rows[0][0] if rows else None

    def state(self, dag: str, run: str) -> str:
        rows = self._select("SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", dag, run)
        if not rows:
            raise AirflowError(f"Airflow has no run {run} of {dag}; it was deleted while we followed it")
        return rows[0][0]

    def ends(self, dag: str, run: str) -> list[TaskEnd]:
        states = ", ".join("?" for _ in TaskEnd.STATES)
        rows = self._select(
            "SELECT task_id, state, try_number, CASE WHEN start_date IS NULL THEN NULL ELSE duration END "
            f"FROM task_instance WHERE dag_id = ? AND run_id = ? AND state IN ({states}) ORDER BY end_date, start_date",
            dag,
            run,
            *TaskEnd.STATES,
        )
        return [TaskEnd(row[0], row[1], int(row[2]), None if row[3] is None else float(row[3])) for row in rows]

    def _select(self, sql: str, *values: str) -> list[tuple[str, ...]]:
        # A connection per question: one kept open would hold back SQLite's writers.
        with closing(sqlite3.connect(f"{(self.home / DATABASE).as_uri()}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(sql, values).fetchall()


@contextmanager
def dags_test(
    dag: str, conf: Mapping[str, Any], environment: dict[str, str], home: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The command, its log in a file. Left early, it is ended, and so is all that it started.

    Call it with Airflow's folder locked.
    """
    end_processes(home)  # of a command that was killed
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["airflow", "dags", "test", dag, "--conf", json.dumps(conf)]
    note = unfinished_note(home)
    recovered = not note.exists()
    note.touch()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment | marker(home) | {"AIRFLOW__LOGGING__JSON_LOGS": "True"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
            process.wait()
            if recovered:
                note.unlink()
        finally:
            with undisturbed():
                process.kill()  # SIGTERM would end its task, and it would try that again
                process.wait()
                end_processes(home)


def started_run(runs: DatabaseRuns, dag: str, before: str | None, process: subprocess.Popen[bytes], log: Path) -> str:
    """Run id of the run that the process has made; `before` is the newest that was there already."""
    while (run := runs.newest(dag)) in (None, before):
        if process.poll() is not None:
            raise AirflowError(
                f"airflow dags test ended with {process.returncode} before it began; {log} ends:\n{tail(log)}"
            )
        time.sleep(0.1)
    assert run is not None
    return run


def check_alive(process: subprocess.Popen[bytes], runs: DatabaseRuns, dag: str, run: str, log: Path) -> None:
    """Raise AirflowError when the process has ended and the run has not."""
    if process.poll() is not None and runs.state(dag, run) not in ("success", "failed"):
        raise AirflowError(f"airflow dags test ended with {process.returncode} in the middle; {log} ends:\n{tail(log)}")
