"""dags/*.py, read as Airflow reads them -> one JSON object on stdout: policy, edges and rendered commands of each task.

A process of its own: Airflow takes its folder from the environment at import, and the tests ask what a DAG file
imports.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG, AssetOrTimeSchedule
from airflow.sdk.execution_time import macros
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.timetables.base import TimeRestriction

from nightloom.night.stages import BRONZE

DAGS = Path(__file__).parents[2] / "dags"
RUN_AFTER = datetime(1998, 4, 22, 2, tzinfo=UTC)
LOGICAL_DATE = datetime(1998, 4, 21, 2, tzinfo=UTC)
RUNS: dict[str, tuple[datetime | None, dict[str, Any]]] = {
    "scheduled": (LOGICAL_DATE, {}),
    "asked_for_a_date": (None, {"date": "1998-04-20"}),
    "asked_for_no_date": (None, {}),
    "asked_for_today": (None, {"date": "1998-04-22", "incomplete": True}),
    "triggered_now": (RUN_AFTER, {}),
    "after_a_night": (None, {}),
}
"""A kind of run -> its logical date, what somebody gave; the last only where an asset starts the DAG. A run that
Airflow's page triggers may have that moment for its logical date."""
SINCE_1998 = TimeRestriction(earliest=datetime(1998, 1, 1, tzinfo=UTC), latest=None, catchup=True)  # type: ignore[arg-type]
DAYS_OF_A_YEAR = 365
MADE = [SimpleNamespace(extra={"date": "1998-04-18"}), SimpleNamespace(extra={"date": "1998-04-19"})]
"""Two nights made the asset, one after the other, before the run came."""


def described(dag: DAG) -> dict[str, Any]:
    return {
        "doc": dag.doc_md,
        "tags": sorted(dag.tags),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "interval": interval(dag),
        "nights": nights(dag),
        "deadlines": [each.interval.total_seconds() for each in dag.deadline or []],  # type: ignore[union-attr]
        "starts_paused": dag.is_paused_upon_creation is True,
        "tasks": {task.task_id: about(task) for task in dag.tasks},
        "started_by": started_by(dag),
        "commands": {
            kind: commands(dag, *run, {"the asset": MADE} if kind == "after_a_night" else {})
            for kind, run in RUNS.items()
            if kind != "after_a_night" or started_by(dag)
        },
    }


def started_by(dag: DAG) -> list[str]:
    """Assets whose making starts it."""
    if not isinstance(dag.timetable, AssetOrTimeSchedule):
        return []
    return [asset.name for asset in dag.timetable.asset_condition.objects]  # type: ignore[attr-defined]  # all of some


def interval(dag: DAG) -> list[str] | None:
    """The data interval of the run that starts at RUN_AFTER."""
    timetable = coerce_to_core_timetable(dag.timetable)
    if not timetable.can_be_scheduled:
        return None
    found = timetable.infer_manual_data_interval(run_after=RUN_AFTER)  # type: ignore[arg-type]  # wants pendulum's
    return [found.start.isoformat(), found.end.isoformat()]


def nights(dag: DAG) -> list[list[str]]:
    """Start and date of each of the night's runs of a year, as the schedule makes them."""
    timetable, last = coerce_to_core_timetable(dag.timetable), None
    found: list[list[str]] = []
    while dag.dag_id == "nightly" and len(found) < DAYS_OF_A_YEAR:
        last = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=SINCE_1998)
        assert last is not None
        assert last.logical_date is not None
        run = DagRun(dag_id=dag.dag_id, run_id="r", logical_date=last.logical_date, run_after=last.run_after)
        found.append(
            [last.run_after.isoformat(), rendered(dag.get_task(BRONZE.name), context_of(dag, run)).split()[-1]]
        )
    return found


def about(task: Any) -> dict[str, Any]:
    return {
        "owner": task.owner,
        "retries": task.retries,
        "retry_seconds": task.retry_delay.total_seconds(),
        "timeout_seconds": task.execution_timeout and task.execution_timeout.total_seconds(),
        "alerts": bool(task.on_failure_callback),
        "after": sorted(task.upstream_task_ids),
        "rule": str(task.trigger_rule),
        "kind": "setup" if task.is_setup else "teardown" if task.is_teardown else "task",
        "makes": [asset.name for asset in task.outlets],
        "pool": task.pool,
        "queue": task.queue,
        "requests": requests(task),
        "skips_on": list(getattr(task, "skip_on_exit_code", [])),
    }


def requests(task: Any) -> dict[str, str]:
    """Memory and cores that the task's pod requests, where there is one."""
    pod = task.executor_config.get("pod_override")
    return dict(pod.spec.containers[0].resources.requests) if pod else {}


def commands(dag: DAG, logical_date: datetime | None, given: dict[str, Any], events: dict[str, Any]) -> dict[str, str]:
    """Each task's command as it is run, with the one variable it adds; of a trigger, what it starts."""
    run = DagRun(dag_id=dag.dag_id, run_id="the_run", logical_date=logical_date, run_after=RUN_AFTER)
    context = context_of(dag, run) | {"params": dag.params.dump() | given, "triggering_asset_events": events}
    return {task.task_id: rendered(task, context) for task in dag.tasks}


def context_of(dag: DAG, run: DagRun) -> dict[str, Any]:
    """What templates of a run that nobody gave anything may use."""
    return {
        "dag_run": run, "run_id": run.run_id, "params": dag.params.dump(), "triggering_asset_events": {},
        "macros": macros,
    }  # fmt: skip


def rendered(task: Any, context: Any) -> str:
    mine = task.prepare_for_execution()
    mine.render_template_fields(context)
    if hasattr(mine, "trigger_dag_id"):
        return f"trigger {mine.trigger_dag_id} as {mine.trigger_run_id} with {json.dumps(mine.conf)}"
    return " ".join([*(f"{name}={value}" for name, value in mine.env.items()), mine.bash_command])


def main() -> None:
    bag = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder")
    answer = {
        "errors": bag.import_errors,
        "dags": {name: described(dag) for name, dag in bag.dags.items()},
        "modules": sorted(sys.modules),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
