"""Airflow's database (SQLite, read only) -> what became of a run's tasks, as they end, and why one failed."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from nightloom.lake import Lake
from nightloom.local.airflow_home import DATABASE, AirflowError
from nightloom.night.records import stage_runs
from nightloom.settings import Settings

BAD = ("failed", "upstream_failed")
ENDED = ("success", "skipped", "removed", "up_for_retry", *BAD)
POLL_SECONDS = 0.3


@dataclass(frozen=True)
class TaskEnd:
    """One try of one task, when it ended."""

    task: str
    state: str
    tries: int
    seconds: float | None
    """None: it never ran (a task before it failed or was skipped)."""


@dataclass(frozen=True)
class NightRun:
    """One run of a DAG for one night, as it stands now."""

    night: date
    run: str
    state: str
    seconds: float
    """From the start of its first task to the end of its last, as far as they came."""
    conf: dict[str, Any]
    """What it was started with."""

    @property
    def over(self) -> bool:
        return self.state in ("success", "failed")


class Runs:
    """The runs in one Airflow folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def _select(self, sql: str, *values: str) -> list[tuple[str, ...]]:
        # A connection per question: one kept open would hold back SQLite's writers.
        with closing(sqlite3.connect(f"file:{self.home / DATABASE}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(sql, values).fetchall()

    def newest(self, dag: str) -> str | None:
        """Run id of the run of `dag` that was made last."""
        rows = self._select("SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", dag)
        return rows[0][0] if rows else None

    def state(self, dag: str, run: str) -> str:
        """queued, running, success or failed, as Airflow says."""
        rows = self._select("SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", dag, run)
        if not rows:
            raise AirflowError(f"Airflow has no run {run} of {dag}; it was deleted while we followed it")
        return rows[0][0]

    def of_nights(self, dag: str) -> list[NightRun]:
        """Runs of a DAG that have a logical date, of which Airflow has one each, the oldest first."""
        rows = self._select(
            "SELECT substr(r.logical_date, 1, 10), r.run_id, r.state, r.conf,"
            " coalesce((SELECT 86400 * (julianday(max(end_date)) - julianday(min(start_date))) FROM task_instance t"
            " WHERE t.dag_id = r.dag_id AND t.run_id = r.run_id), 0)"
            " FROM dag_run r WHERE r.dag_id = ? AND r.logical_date IS NOT NULL ORDER BY r.logical_date",
            dag,
        )
        return [
            NightRun(date.fromisoformat(night), run, state, float(seconds), json.loads(conf or "{}") or {})
            for night, run, state, conf, seconds in rows
        ]

    def conf(self, dag: str, run: str) -> dict[str, Any]:
        """What a run was started with."""
        rows = self._select("SELECT conf FROM dag_run WHERE dag_id = ? AND run_id = ?", dag, run)
        return dict(json.loads(rows[0][0] or "{}") or {}) if rows else {}

    def open_backfill(self, dag: str) -> int | None:
        """Id of Airflow's backfill of a DAG that is not over; there is one at most."""
        rows = self._select("SELECT id FROM backfill WHERE dag_id = ? AND completed_at IS NULL", dag)
        return int(rows[0][0]) if rows else None

    def ends(self, dag: str, run: str) -> list[TaskEnd]:
        """Tries that ended so far, in the order in which they did."""
        ended = ", ".join(f"'{state}'" for state in ENDED)
        rows = self._select(
            "SELECT task_id, state, try_number, CASE WHEN start_date IS NULL THEN NULL ELSE duration END"
            f" FROM task_instance WHERE dag_id = ? AND run_id = ? AND state IN ({ended}) ORDER BY end_date, start_date",
            dag,
            run,
        )
        return [TaskEnd(row[0], row[1], int(row[2]), None if row[3] is None else float(row[3])) for row in rows]

    def follow(self, dag: str, run: str, check: Callable[[], None]) -> Iterator[TaskEnd]:
        """Each task's end as it comes, until the run has ended; `check` raises when nobody works on it any more."""
        seen: set[tuple[str, str, int]] = set()
        while True:
            over = self.state(dag, run) in ("success", "failed")
            for end in self.ends(dag, run):
                if (key := (end.task, end.state, end.tries)) not in seen:  # its seconds are written again later
                    seen.add(key)
                    yield end
            if over:
                return
            check()
            time.sleep(POLL_SECONDS)

    def failed(self, dag: str, run: str) -> list[str]:
        """Tasks that failed. The run's own state is not asked: it is `success` when just its last tasks went well."""
        return [end.task for end in self.ends(dag, run) if end.state == "failed"]


@dataclass(frozen=True)
class Failure:
    """A task that failed: in the stage's own words, else in the last lines that its command wrote."""

    task: str
    closed: bool
    """A gate that closed: nothing broke."""
    why: str


def failures(settings: Settings, runs: Runs, dag: str, run: str, log: Callable[[str], Path]) -> list[Failure]:
    """Why each failed task of a run failed; `log` gives the log file of a task."""
    told = _told(Lake(settings.place("lake")), run)
    return [
        Failure(task, *(told.get(task) or (False, "\n".join(said(log(task), task)[-8:]) or f"see {log(task)}")))
        for task in runs.failed(dag, run)
    ]


def _told(lake: Lake, run: str) -> dict[str, tuple[bool, str]]:
    """Stage -> whether it is a closed gate, and its error, by the run records."""
    stopped = stage_runs(lake, statuses=("closed", "failed"), run_id=run)
    return {each.stage: (each.status == "closed", str(each.error)) for each in stopped}


def said(log: Path, task: str) -> list[str]:
    """What a task's command wrote at its last try: out of the task's own JSON log, or out of `dags test`'s for all."""
    if not log.exists():
        return []
    lines: list[str] = []
    mine = True
    for event in (json.loads(line) for line in log.read_text(encoding="utf8").splitlines() if line.startswith("{")):
        text = str(event["event"])
        if text.startswith("[DAG TEST] starting task_id="):
            mine = text.split("=")[1].split()[0] == task
        if mine and "SubprocessHook" in str(event.get("logger")):
            lines = [] if text == "Output:" else [*lines, text]
    return [line for line in lines if not line.startswith(("Command exited", "Tmp dir", "Running command"))]
