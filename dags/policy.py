"""The policy of every DAG: owner, retries, time limits, alerts, and how a stage becomes a task.

A task is one command that a person can run by hand: `python -m nightloom.stage STAGE --date D`, which is
`python -m STAGE --date D` without the seconds of its imports where the night's warm interpreter runs. Airflow passes
the worker's environment on (PATH, PYTHONPATH, NIGHTLOOM_CONFIG) and adds NIGHTLOOM_RUN_ID and NIGHTLOOM_DAG, which the
run records keep. Exit code 99 marks the task skipped. [airflow] of nightloom.toml says how tasks run; a mistake in it
is an import error of the DAG. The asset GOLD is how one DAG's work starts another's: its event carries the night's
date.
"""

from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from airflow.configuration import conf
from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from alerts import RECEIVERS, SETTINGS, GateClosed

from nightloom.errors import ExitCode
from nightloom.night.stages import Stage
from nightloom.night.tasks import TaskPolicy, task_policy

AIRFLOW = SETTINGS.airflow

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
        "retries": AIRFLOW.retries,
        "retry_delay": timedelta(seconds=AIRFLOW.retry_seconds),
        "execution_timeout": timedelta(minutes=AIRFLOW.time_limit_minutes),
        "pool": AIRFLOW.pool,
        "queue": AIRFLOW.queue or conf.get("operators", "default_queue"),
        "on_failure_callback": RECEIVERS,
    },
}


class StageSubprocessHook(SubprocessHook):
    """A command's exit code and last line -> how its task ends: the line is the error, as the stages write it."""

    def run_command(self, *arguments: Any, **keywords: Any) -> SubprocessResult:
        result = super().run_command(*arguments, **keywords)
        error = result.output or f"the command ended with exit code {result.exit_code}"
        if result.exit_code == ExitCode.CLOSED:
            raise GateClosed(error)
        if result.exit_code == ExitCode.WRONG:  # settings or arguments: no further try either
            raise AirflowFailException(error)
        if result.exit_code not in (ExitCode.DONE, ExitCode.SKIPPED):
            raise AirflowException(f"{error} (exit code {result.exit_code})")
        return result


class StageOperator(BashOperator):
    """A command of a stage."""

    @cached_property
    def subprocess_hook(self) -> SubprocessHook:
        return StageSubprocessHook()


def command(line: str, task_id: str, **arguments: Any) -> StageOperator:
    """A task that runs one command line."""
    environment = {"NIGHTLOOM_RUN_ID": "{{ run_id }}", "NIGHTLOOM_DAG": "{{ dag_run.dag_id }}"}
    return StageOperator(
        task_id=task_id,
        bash_command=line,
        env=environment | {"PYTHONUNBUFFERED": "1"},  # so that an error is the last line of the output
        append_env=True,
        skip_on_exit_code=int(ExitCode.SKIPPED),
        do_xcom_push=False,
        **arguments,
    )


def task(stage: Stage, options: str = "", **arguments: Any) -> StageOperator:
    """A task that runs a stage for the night's date, as [[airflow.stages]] says."""
    policy = task_policy(AIRFLOW, stage)
    line = f"python -m nightloom.stage {stage.name} --date {DATE}{INCOMPLETE}{options and ' ' + options}"
    queue = {"queue": policy.queue} if policy.queue else {}
    return command(
        line,
        stage.name,
        retries=policy.retries,
        retry_delay=policy.retry_delay,
        execution_timeout=policy.time_limit,
        pool=policy.pool,
        executor_config=executor_config(policy),
        **queue | arguments,
    )


def executor_config(policy: TaskPolicy) -> dict[str, Any]:
    """What a task requests, for the executor that takes requests: Kubernetes."""
    if "KubernetesExecutor" not in conf.get("core", "executor") or find_spec("kubernetes") is None:
        return {}
    from kubernetes.client import models as k8s  # 0.3 s

    requests = {"memory": f"{policy.memory_gib:g}Gi", "cpu": f"{policy.cores:g}"}
    container = k8s.V1Container(name="base", resources=k8s.V1ResourceRequirements(requests=requests))
    return {"pod_override": k8s.V1Pod(spec=k8s.V1PodSpec(containers=[container]))}


def with_date(context: Any, result: Any) -> None:
    """After a task that updates GOLD: give the night's date to the DAGs that GOLD starts."""
    context["outlet_events"][GOLD].extra = {"date": context["task"].render_template(DATE, context)}
