"""A run of a DAG: its tasks as they end, and why one failed. Where it is read is another file's business."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Protocol

from nightloom.lake import Lake
from nightloom.night.records import stage_runs
from nightloom.settings import Settings

POLL_SECONDS = 0.5  # each look takes 35 ms of processor time on 2 cores


@dataclass(frozen=True)
class TaskEnd:
    """One try of one task, when it ended."""

    STATES: ClassVar = ("success", "skipped", "removed", "up_for_retry", "failed", "upstream_failed")

    task: str
    state: str
    tries: int
    seconds: float | None
    """None: it never ran (a task before it failed or was skipped)."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG as it stands now."""

    run: str
    state: str
    """queued, running, success or failed, as Airflow says."""
    night: date | None
    """Its logical date, where it has one."""
    seconds: float
    conf: dict[str, Any]
    """What it was started with."""
    day: date | None = None
    """The date that its tasks work for."""

    @property
    def over(self) -> bool:
        return self.state in ("success", "failed")


class Runs(Protocol):
    """Where runs can be read: Airflow's API, or what `airflow dags test` leaves."""

    def state(self, dag: str, run: str) -> str: ...

    def ends(self, dag: str, run: str) -> list[TaskEnd]:
        """Tries that ended so far, in the order in which they did."""


def follow(runs: Runs, dag: str, run: str, check: Callable[[], None]) -> Iterator[TaskEnd]:
    """Each task's end as it comes, until the run has ended; `check` raises when nobody works on it any more."""
    seen: set[tuple[str, str, int]] = set()
    while True:
        over = runs.state(dag, run) in ("success", "failed")
        for end in runs.ends(dag, run):
            if (key := (end.task, end.state, end.tries)) not in seen:  # its seconds are written again later
                seen.add(key)
                yield end
        if over:
            return
        check()
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Failure:
    """A task that failed: in the stage's own words, else in the last lines that its command wrote."""

    task: str
    closed: bool
    """A gate that closed: nothing broke."""
    why: str


def failed(runs: Runs, dag: str, run: str) -> list[str]:
    """Tasks that failed. The run's own state is not asked: it is `success` when just its last tasks went well."""
    return [end.task for end in runs.ends(dag, run) if end.state == "failed"]


def failures(settings: Settings, runs: Runs, dag: str, run: str, log: Callable[[str], Path]) -> list[Failure]:
    """Why each failed task of a run failed; `log` gives the log file of a task."""
    noted = _stage_errors(Lake(settings.place("lake")), run)
    return [
        Failure(task, *(noted.get(task) or (False, "\n".join(output(log(task), task)[-8:]) or f"see {log(task)}")))
        for task in failed(runs, dag, run)
    ]


def _stage_errors(lake: Lake, run: str) -> dict[str, tuple[bool, str]]:
    """Stage -> whether it is a closed gate, and its error, by the run records."""
    stopped = stage_runs(lake, statuses=("closed", "failed"), run_id=run)
    return {each.stage: (each.status == "closed", str(each.error)) for each in stopped}


def output(log: Path, task: str) -> list[str]:
    """What a task's command wrote at its last try: out of the task's own JSON log, or out of `dags test`'s for all."""
    if not log.exists():
        return []
    rows = [line for line in log.read_text(encoding="utf8").splitlines() if line.startswith("{")]
    return output_of(map(json.loads, rows), task)


def output_of(events: Iterable[dict[str, Any]], task: str) -> list[str]:
    """The same out of a log's events."""
    lines: list[str] = []
    mine = True
    for event in events:
        text = str(event["event"])
        if text.startswith("[DAG TEST] starting task_id="):
            mine = text.split("=")[1].split()[0] == task
        if mine and "SubprocessHook" in str(event.get("logger")):
            lines = [] if text == "Output:" else [*lines, text]
    return [line for line in lines if not line.startswith(("Command exited", "Tmp dir", "Running command"))]
