"""Airflow's public REST API: runs, their tasks and logs, pauses and backfills."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from nightloom.local.airflow_runs import DagRun, TaskEnd
from nightloom.local.airflow_setup import AirflowError

TRIES = 5  # SQLite has one writer at a time, and the scheduler is another
PAGE = 100
"""Rows of one answer; Airflow gives no more."""
POOL_SLOTS = 128
TOKEN_SECONDS = 3600  # Airflow's own are good for a day


@dataclass
class Api:
    """The API of one Airflow.

    By urllib: apache-airflow-client takes seconds to import, and we ask for a dozen paths.
    """

    url: str
    credentials: Callable[[], dict[str, str]]
    """Asked when a token is needed: `username` and `password`, or a `token` that somebody made."""
    tries: int = TRIES
    """Tries of a question that is not answered, a second apart."""
    _token: tuple[float, str] | None = field(default=None, repr=False)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
        """One request -> its JSON. Raises what urllib does."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def token(self) -> str:
        """What shows who we are."""
        if self._token is None or time.monotonic() - self._token[0] > TOKEN_SECONDS:
            given = self.credentials()
            made = given.get("token") or self.send("POST", "/auth/token", given)["access_token"]
            self._token = time.monotonic(), str(made)
        return self._token[1]

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request -> its JSON."""
        return self.send(method, f"/api/v2{path}", body, self.token())

    def get(self, path: str, **query: Any) -> Any:
        """What is at a path. Tried again while the database is locked, or the API is on its way down."""
        asked = f"{path}?{urllib.parse.urlencode(query, doseq=True)}" if query else path
        for left in reversed(range(self.tries)):
            try:
                return self.call("GET", asked)
            except urllib.error.HTTPError as error:
                if error.code < HTTPStatus.INTERNAL_SERVER_ERROR or not left:
                    raise AirflowError(f"Airflow answered {path} with {error.code}: {error.read().decode()}") from None
            except (OSError, TimeoutError) as error:
                if not left:
                    raise AirflowError(f"Airflow does not answer at {self.url}: {error}") from None
            time.sleep(1)
        raise AssertionError

    def _all(self, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every row of an answer that comes in pages."""
        offset = 0
        while rows := self.get(path, limit=PAGE, offset=offset, **query)[name]:
            yield from rows
            if len(rows) < PAGE:
                return
            offset += PAGE

    def newest(self, dag: str) -> DagRun | None:
        """The run of a DAG that was made last."""
        found = self.get(f"/dags/{dag}/dagRuns", order_by="-id", limit=1)["dag_runs"]
        return _run(found[0]) if found else None

    def run(self, dag: str, run: str) -> DagRun:
        return _run(self.get(_path(dag, run)))

    def state(self, dag: str, run: str) -> str:
        return self.run(dag, run).state

    def nights(self, dag: str, since: date | None = None) -> list[DagRun]:
        """Runs of a DAG that have a logical date, of which Airflow has one each, the oldest first."""
        later = {"logical_date_gte": f"{since}T00:00:00Z"} if since else {}
        rows = self._all(f"/dags/{dag}/dagRuns", "dag_runs", order_by="logical_date", **later)
        return [_run(row) for row in rows if row["logical_date"]]

    def last_runs(self, dag: str, limit: int) -> list[DagRun]:
        """Runs of a DAG, the newest first."""
        return [_run(row) for row in self.get(f"/dags/{dag}/dagRuns", order_by="-id", limit=limit)["dag_runs"]]

    def states(self, dag: str, run: str) -> dict[str, str]:
        """Task -> its state now; `waiting` where it has none yet."""
        rows = self._all(f"{_path(dag, run)}/taskInstances", "task_instances")
        return {row["task_id"]: row["state"] or "waiting" for row in rows}

    def log(self, dag: str, run: str, task: str, attempt: int) -> list[dict[str, Any]]:
        """Events of the log of one try of a task, each with at least `event`."""
        path = f"{_path(dag, run)}/taskInstances/{urllib.parse.quote(task)}/logs/{attempt}"
        content = self.get(path, full_content="true")["content"]
        return [row if isinstance(row, dict) else {"event": str(row)} for row in content]

    def ends(self, dag: str, run: str) -> list[TaskEnd]:
        rows = self._all(f"{_path(dag, run)}/taskInstances", "task_instances")
        return [
            TaskEnd(row["task_id"], row["state"], row["try_number"], row["duration"] if row["start_date"] else None)
            for row in sorted(rows, key=lambda row: (row["end_date"] or "", row["start_date"] or ""))
            if row["state"] in TaskEnd.STATES
        ]

    def tasks_in(self, states: Collection[str]) -> list[tuple[str, str, str]]:
        """DAG, run and task of what is in one of these states, of runs that are not over."""
        running = {
            (row["dag_id"], row["dag_run_id"]) for row in self._all("/dags/~/dagRuns", "dag_runs", state="running")
        }
        rows = self._all(f"{_path('~', '~')}/taskInstances", "task_instances", state=list(states))
        found = [(row["dag_id"], row["dag_run_id"], row["task_id"]) for row in rows]
        return [each for each in found if each[:2] in running]

    def running(self, by: str) -> list[tuple[str, str]]:
        """DAG and run of the runs that are not over and that were started in one way, as Airflow names it."""
        rows = self._all("/dags/~/dagRuns", "dag_runs", state=["queued", "running"])
        return [(row["dag_id"], row["dag_run_id"]) for row in rows if row["triggered_by"] == by]

    def waiting(self, dag: str, run: str) -> list[str]:
        """Tasks of a run that have not begun."""
        rows = self._all(f"{_path(dag, run)}/taskInstances", "task_instances")
        return [row["task_id"] for row in rows if row["state"] in (None, "scheduled")]

    def skip(self, dag: str, run: str, task: str) -> None:
        """Let a task of a run never begin."""
        self.call("PATCH", f"{_path(dag, run)}/taskInstances/{urllib.parse.quote(task)}", {"new_state": "skipped"})

    def run_again(self, dag: str, run: str, task: str) -> None:
        """Let a task run once more that nobody works on, in whatever state it is."""
        # Cleared while it seems to run, a task waits for its process to say that it ended.
        self.call("PATCH", f"{_path(dag, run)}/taskInstances/{urllib.parse.quote(task)}", {"new_state": "failed"})
        body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "include_downstream": True}
        self.call("POST", f"/dags/{dag}/clearTaskInstances", body)

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run of a DAG with these parameters, e.g. its date; returns its run id."""
        return str(self.call("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])

    def fail(self, dag: str, run: str) -> None:
        """End a run, as failed."""
        self.call("PATCH", _path(dag, run), {"state": "failed"})

    def dags(self) -> dict[str, bool]:
        """DAG -> whether it is paused."""
        return {row["dag_id"]: row["is_paused"] for row in self._all("/dags", "dags")}

    def import_errors(self) -> list[dict[str, Any]]:
        """DAG files that Airflow cannot read: `filename` and `stack_trace`."""
        return list(self._all("/importErrors", "import_errors"))

    def pause(self, dag: str, paused: bool) -> None:
        """Whether runs of a DAG wait, or start and go on."""
        self.call("PATCH", f"/dags/{dag}", {"is_paused": paused})

    def make_pools(self, names: set[str]) -> None:
        """Make the pools that are missing, with as many places as Airflow's default pool has."""
        for name in names - {row["name"] for row in self._all("/pools", "pools")}:
            self.call("POST", "/pools", {"name": name, "slots": POOL_SLOTS})

    def backfill(self, dag: str, first: str, last: str, conf: dict[str, Any]) -> int:
        """Airflow's backfill: one run after the other for each date, again where there was one; returns its id.

        Call it with the DAG paused: where SQLite is locked, Airflow 3.3 takes back the runs that it made so far, and a
        scheduler that has one of them in hand then ends. Raises AirflowError with Airflow's own words when it refuses.
        """
        body = {
            "dag_id": dag, "from_date": f"{first}T00:00:00Z", "to_date": f"{last}T23:59:59Z", "max_active_runs": 1,
            "reprocess_behavior": "completed", "dag_run_conf": conf,
        }  # fmt: skip
        for left in reversed(range(TRIES)):
            try:
                return int(self.call("POST", "/backfills", body)["id"])
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or not left:
                    raise AirflowError(f"Airflow refused the backfill: {error.read().decode()}") from None
                time.sleep(1)
        raise AssertionError

    def open_backfill(self, dag: str) -> int | None:
        """Id of the backfill of a DAG that is not over; there is one at most."""
        found = [row["id"] for row in self._all("/backfills", "backfills", dag_id=dag) if row["completed_at"] is None]
        return int(found[0]) if found else None

    def end_backfill(self, backfill: int) -> None:
        """Close a backfill; what of it has not started will not start."""
        try:
            self.call("PUT", f"/backfills/{backfill}/cancel")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.CONFLICT:  # the scheduler has closed it since
                raise


def _path(dag: str, run: str) -> str:
    return f"/dags/{dag}/dagRuns/{urllib.parse.quote(run)}"


def _run(row: dict[str, Any]) -> DagRun:
    logical = row["logical_date"]
    return DagRun(
        row["dag_run_id"],
        row["state"],
        date.fromisoformat(logical[:10]) if logical else None,
        row["duration"] or 0.0,
        row["conf"] or {},
        _day(row),
    )


def _day(row: dict[str, Any]) -> date:
    """The date that the tasks of a run work for: dags/policy.py has the rule."""
    if given := (row["conf"] or {}).get("date"):
        return date.fromisoformat(given)
    due = datetime.fromisoformat(row["run_after"])
    logical = datetime.fromisoformat(row["logical_date"] or row["run_after"])
    return min(logical, due - timedelta(days=1)).date()
