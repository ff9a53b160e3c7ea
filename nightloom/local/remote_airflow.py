"""An Airflow elsewhere: places.airflow_url, and who we are there by variables.

Its tasks run with its own nightloom.toml, lake and stores, which this machine need not reach: Airflow alone is asked
what a run did.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from nightloom.errors import ExitCode, SettingsError
from nightloom.local.airflow_api import Api
from nightloom.local.airflow_runs import Failure, output_of
from nightloom.local.airflow_setup import AirflowError
from nightloom.settings import Settings

TOKEN, USER, PASSWORD = "NIGHTLOOM_AIRFLOW_TOKEN", "NIGHTLOOM_AIRFLOW_USER", "NIGHTLOOM_AIRFLOW_PASSWORD"
TRIES = 60  # an API server that is started again is away for some seconds
CLOSED = re.compile(rf"Command exited with return code {ExitCode.CLOSED:d}$")
ERROR_LINES = 8
QUIET = ("success", "skipped", "waiting", "upstream_failed", "removed")
"""States of tasks that status only counts."""


@contextmanager
def remote_airflow(settings: Settings) -> Iterator[Api]:
    """Its API. Raises SettingsError without credentials, AirflowError where it does not answer, or not as we need."""
    api = Api(str(settings.places.airflow_url).rstrip("/"), _credentials, TRIES)
    try:
        api.call("GET", "/dags?limit=1")  # a wrong address or password is one try
        yield api
    except urllib.error.HTTPError as error:
        hint = f"; look at {TOKEN}, or {USER} and {PASSWORD}" if error.code in (401, 403) else ""
        raise AirflowError(f"Airflow at {api.url} answered {error.code} {_detail(error)}{hint}") from None
    except (urllib.error.URLError, ConnectionError, TimeoutError, json.JSONDecodeError) as error:
        raise AirflowError(f"no Airflow answers at {api.url} (places.airflow_url): {error}") from None


def require_started(api: Api, *dags: str) -> None:
    """Raise AirflowError unless Airflow knows these DAGs and starts their runs."""
    known = api.dags()
    for dag in dags:
        if dag not in known:
            broken = "".join(f"\n{row['filename']}: {row['stack_trace']}" for row in api.import_errors())
            raise AirflowError(f"Airflow at {api.url} has no DAG {dag}; does it read this version's dags/?{broken}")
        if known[dag]:
            raise AirflowError(
                f"the DAG {dag} is paused in Airflow at {api.url}, so its runs do not start; unpause it and try again"
            )


def remote_failures(api: Api, dag: str, run: str) -> list[Failure]:
    """Why each failed task of a run failed, in the last words of its command."""
    return [_failure(api, dag, run, end.task, end.tries) for end in api.ends(dag, run) if end.state == "failed"]


@dataclass(frozen=True)
class RunStatus:
    """A run of a DAG as it stands."""

    day: date | None
    """The date that it works for."""
    run: str
    state: str
    """queued, running, success or failed."""
    seconds: float
    tasks: dict[str, str]
    """Task -> its state; `waiting` before it has one."""

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in sorted(Counter(self.tasks.values()).items()))
        open_or_failed = [f"  {task} {state}" for task, state in self.tasks.items() if state not in QUIET]
        return "\n".join([f"{self.day}  {self.state}  {self.run}  {self.seconds:.0f} s: {counts}", *open_or_failed])


def last_runs(api: Api, dag: str, limit: int) -> list[RunStatus]:
    """Runs of a DAG, the newest first."""
    found = api.last_runs(dag, limit)
    return [RunStatus(each.day, each.run, each.state, each.seconds, api.states(dag, each.run)) for each in found]


def _failure(api: Api, dag: str, run: str, task: str, attempt: int) -> Failure:
    events = api.log(dag, run, task, attempt)
    closed = any(CLOSED.search(str(event["event"])) for event in events)
    lines = output_of(events, task)[-ERROR_LINES:]
    return Failure(task, closed, "\n".join(lines) or f"its log is empty; see {api.url}/dags/{dag}/runs/{run}")


def _credentials() -> dict[str, str]:
    if token := os.environ.get(TOKEN):
        return {"token": token}
    if (user := os.environ.get(USER)) and (password := os.environ.get(PASSWORD)):
        return {"username": user, "password": password}
    raise SettingsError(f"places.airflow_url is set, so {TOKEN}, or {USER} and {PASSWORD}, must be, too")


def _detail(error: urllib.error.HTTPError) -> str:
    """Airflow's own words."""
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
