"""The policy of every DAG: owner, retries, time limits, alert, and how a stage becomes a task.

A task is one command that a person can run by hand: `python -m STAGE --date D`. Airflow passes its own environment on
(PATH, PYTHONPATH, NIGHTLOOM_CONFIG) and adds NIGHTLOOM_RUN_ID and NIGHTLOOM_DAG, which the run records keep.
Exit code 99 marks the task skipped. The asset GOLD is how one DAG's work starts another's: its event carries the
night's date.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, BaseNotifier, Param

from nightloom.night.stages import GATES, Stage

# A run that a person triggers has no logical date, or this moment for one. The run of the schedule starts a day later.
OWN_DAY = "[dag_run.logical_date or dag_run.run_after, dag_run.run_after - macros.timedelta(days=1)] | min | ds"
NEWEST_EVENT_DATE = (
    "triggering_asset_events.values() | sum(start=[]) | map(attribute='extra.date') | list | last | default('')"
)
DATE = f"{{{{ params.date or ({NEWEST_EVENT_DATE}) or ({OWN_DAY}) }}}}"
"""First the UI's field or `--conf '{"date": ...}'`; then the night whose tables started this run; then the run's own
day, but none that was not over when the run was due."""
INCOMPLETE = "{{ ' --incomplete' if params.incomplete else '' }}"
GOLD = Asset("gold")
"""Updated when a night's gold tables, marts included, are written."""

SKIP_EXIT_CODE = 99


class Alert(BaseNotifier):
    """After the last try of a failed task: one line in the task's log, one JSON line in $AIRFLOW_HOME/alerts.jsonl."""

    def notify(self, context: Any) -> None:
        task = context["ti"]
        alert = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "dag": task.dag_id,
            "run": task.run_id,
            "task": task.task_id,
            "tries": task.try_number,
            "error": str(context.get("exception")),
        }
        self.log.error("ALERT %s of %s failed: %s", alert["task"], alert["run"], alert["error"])
        with (Path(os.environ["AIRFLOW_HOME"]) / "alerts.jsonl").open("a", encoding="utf8") as alerts:
            alerts.write(json.dumps(alert) + "\n")


POLICY: dict[str, Any] = {
    "catchup": False,
    "max_active_runs": 1,
    "params": {
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            description="Day (UTC) to work for; empty: the last complete one.",
        ),
        "incomplete": Param(False, type="boolean", description="Allow a date that is not over."),
    },
    "default_args": {
        "owner": "nightloom",
        "retries": 1,
        "retry_delay": timedelta(seconds=15),
        "execution_timeout": timedelta(hours=2),
        "on_failure_callback": Alert(),
    },
}


def command(line: str, task_id: str, **arguments: Any) -> BashOperator:
    """A task that runs one command line."""
    environment = {"NIGHTLOOM_RUN_ID": "{{ run_id }}", "NIGHTLOOM_DAG": "{{ dag_run.dag_id }}"}
    return BashOperator(
        task_id=task_id,
        bash_command=line,
        env=environment,
        append_env=True,
        skip_on_exit_code=SKIP_EXIT_CODE,
        do_xcom_push=False,
        **arguments,
    )


def task(stage: Stage, options: str = "", **arguments: Any) -> BashOperator:
    """A task that runs a stage for the night's date. A gate runs once: a second try would find the same."""
    if stage in GATES:
        arguments["retries"] = 0
    line = f"python -m {stage.name} --date {DATE}{INCOMPLETE}{options and ' ' + options}"
    return command(line, stage.name, **arguments)


def with_date(context: Any, result: Any) -> None:
    """After a task that updates GOLD: give the night's date to the DAGs that GOLD starts."""
    context["outlet_events"][GOLD].extra = {"date": context["task"].render_template(DATE, context)}
