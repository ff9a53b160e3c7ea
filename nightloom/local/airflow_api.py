"""Airflow's public REST API on this machine: runs, their tasks, pauses and backfills."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Any

from nightloom.local.airflow_runs import DagRun, TaskEnd
from nightloom.local.airflow_setup import AirflowError

USER = "admin"
TRIES = 5  # SQLite has one writer at a time, and the scheduler is another
PAGE = 100
"""Rows of one answer; Airflow gives no more."""
TOKEN_SECONDS = 3600  # Airflow's own are good for a day


@dataclass
class Api:
    """The API of an Airflow on 127.0.0.1.

    By urllib: apache-airflow-client takes seconds to import, and we ask for a dozen paths.
    """

    home: Path
    port: int
    _token: tuple[float, str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """The admin's; Airflow makes it up at its first start and keeps it in its folder."""
        file = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text(encoding="utf8"))[USER])

    def send(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
        """One request -> its JSON. Raises what urllib does."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def token(self) -> str:
        """What shows that we are the admin."""
        if self._token is None or time.monotonic() - self._token[0] > TOKEN_SECONDS:
            answer = self.send("POST", "/auth/token", {"username": USER, "password": self.password})
            self._token = time.monotonic(), str(answer["access_token"])
        return self._token[1]

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request as the admin -> its JSON."""
        return self.send(method, f"/api/v2{path}", body, self.token())

    def get(self, path: str, **query: Any) -> Any:
        """What is at a path. Tried again while the database is locked, or the API is on its way down."""
        asked = f"{path}?{urllib.parse.urlencode(query, doseq=True)}" if query else path
        for left in reversed(range(TRIES)):
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

    def pause(self, dag: str, paused: bool) -> None:
        """Whether runs of a DAG wait, or start and go on."""
        self.call("PATCH", f"/dags/{dag}", {"is_paused": paused})

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
    )
