"""What an alert says, and who gets it: the task's log, AIRFLOW_HOME/alerts.jsonl, the notifiers of [[airflow.alerts]].

A task's alert comes after its last try, on the machine that ran it; that of a missed deadline from an executor. Each
receiver is a callback of its own, so one that fails takes nothing from the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.executors.executor_loader import ExecutorLoader
from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowFailException

from nightloom.airflow import AirflowAlert
from nightloom.errors import SettingsError
from nightloom.night.dag_settings import load_dag_settings

SETTINGS = load_dag_settings()
TEXT = "{{ alert.title }}\n{{ alert.error }}\n{{ alert.url }}"
FIELDS = ("kind", "at", "project", "dag", "run", "date", "task", "tries", "error", "url")
NOTIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "smtp": (
        "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
        {"subject": "{{ alert.title }}", "html_content": f"<pre>{TEXT}</pre>".replace(" }}", " | e }}")},
    ),
    "slack": ("airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier", {"text": TEXT}),
    "webhook": (
        "airflow.providers.http.notifications.http.HttpNotifier",
        {"json": {"text": TEXT} | {name: f"{{{{ alert.{name} }}}}" for name in FIELDS}},
    ),
}
"""Short name in [[airflow.alerts]] -> Airflow's notifier, and the arguments that need not be given."""


class GateClosed(AirflowFailException):
    """A gate closed, or a version is pinned: no further try would find anything else."""


def alert_of(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a callback's context says of a task that failed, or of a run that is late."""
    alert = _missed_deadline(context) if "deadline" in context else _failed_task(context)
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "project": SETTINGS.project.name} | alert


def _failed_task(context: Mapping[str, Any]) -> dict[str, Any]:
    task, run, error = context["ti"], context["dag_run"], context.get("exception")
    kind = "closed" if isinstance(error, GateClosed) else "failed"
    date = str(run.conf.get("date") if run.conf and run.conf.get("date") else _own_day(run.logical_date, run.run_after))
    return {
        "kind": kind,
        "title": f"{SETTINGS.project.name}: {task.task_id} {kind} in {task.dag_id} for {date}",
        "dag": task.dag_id,
        "run": task.run_id,
        "date": date,
        "task": task.task_id,
        "tries": task.try_number,
        # Airflow gives no error for a task whose process was killed.
        "error": str(error) if error else "its process ended without a word; see the task's log",
        "url": task.log_url,
    }


def _missed_deadline(context: Mapping[str, Any]) -> dict[str, Any]:
    run = context["dag_run"]  # as JSON
    logical_date = datetime.fromisoformat(run["logical_date"]) if run["logical_date"] else None
    date = (run["conf"] or {}).get("date") or _own_day(logical_date, datetime.fromisoformat(run["run_after"]))
    late = (
        f"{run['dag_id']} for {date} is {run['state']} {SETTINGS.airflow.deadline_minutes:g} minutes after it was due"
    )
    return {
        "kind": "deadline",
        "title": f"{SETTINGS.project.name}: {late}",
        "dag": run["dag_id"],
        "run": run["dag_run_id"],
        "date": str(date),
        "task": "",
        "tries": 0,
        "error": late,
        "url": f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/dags/{run['dag_id']}/runs/{run['dag_run_id']}",
    }


def _own_day(logical_date: datetime | None, run_after: datetime) -> str:
    """As policy.DATE, for a run that nobody gave a date."""
    return f"{min(logical_date or run_after, run_after - timedelta(days=1)):%Y-%m-%d}"


class LogAlert(BaseNotifier):
    """One line in the log, one JSON line in AIRFLOW_HOME/alerts.jsonl of the machine that runs it."""

    def notify(self, context: Any) -> None:
        alert = alert_of(context)
        self.log.error("ALERT %s: %s", alert["title"], alert["error"])
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        with (home / "alerts.jsonl").open("a", encoding="utf8") as alerts:
            alerts.write(json.dumps(alert) + "\n")


class Notification(BaseNotifier):
    """An alert by one of Airflow's notifiers. Raises SettingsError where there is no such one, or not so."""

    def __init__(self, settings: AirflowAlert) -> None:
        super().__init__()
        self.settings = settings
        self._notifier()

    def notify(self, context: Any) -> None:
        alert = alert_of(context)
        if alert["kind"] in self.settings.on:
            self._notifier()({**context, "alert": alert})

    def _notifier(self) -> Any:
        """A fresh one: it fills its templates in where they stand."""
        path, arguments = NOTIFIERS.get(self.settings.notifier, (self.settings.notifier, {}))
        module, name = path.rsplit(".", 1)
        try:
            return getattr(import_module(module), name)(**arguments | self.settings.arguments)
        except (ImportError, AttributeError) as error:
            raise SettingsError(
                f"airflow.alerts: the notifier '{self.settings.notifier}' cannot be imported: {error}. Install its "
                "provider's package where Airflow reads DAGs and where tasks run"
            ) from None
        except TypeError as error:
            raise SettingsError(f"airflow.alerts: arguments of '{self.settings.notifier}': {error}") from None


RECEIVERS: list[BaseNotifier] = [LogAlert(), *map(Notification, SETTINGS.airflow.alerts)]


def missed_deadline(receiver: int, context: Any) -> None:
    """Tell one of the receivers that a run is late."""
    RECEIVERS[receiver](context)


def deadlines() -> list[DeadlineAlert]:
    """Deadlines of a DAG, one for each receiver; none without airflow.deadline_minutes."""
    if SETTINGS.airflow.deadline_minutes is None:
        return []
    executor, interval = _executor_of_callbacks(), timedelta(minutes=SETTINGS.airflow.deadline_minutes)
    return [
        DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=interval,
            callback=SyncCallback(missed_deadline, {"receiver": number}, executor=executor),
        )
        for number in range(len(RECEIVERS))
    ]


def _executor_of_callbacks() -> str:
    """The first configured executor that runs callbacks; one that does not would end the scheduler."""
    for name in ExecutorLoader.get_executor_names(validate_teams=False):
        if ExecutorLoader.import_executor_cls(name)[0].supports_callbacks:
            return str(name.alias or name.module_path)
    raise SettingsError(
        f"airflow.deadline_minutes needs an executor that runs callbacks; found {conf.get('core', 'executor')}. Add "
        "one, such as AIRFLOW__CORE__EXECUTOR=KubernetesExecutor,LocalExecutor, or take the key out"
    )
