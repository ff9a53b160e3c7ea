"""[airflow] + a stage -> how Airflow runs the stage's task: retries, time limit, pool, queue, requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from nightloom.airflow import Airflow, AirflowStage
from nightloom.night import stages
from nightloom.night.stages import Stage
from nightloom.section import join_names, suggest_key

Problem = tuple[tuple[str | int, ...], str]
"""As in nightloom/settings/checks.py: the place in the file, and words."""


@dataclass(frozen=True)
class TaskPolicy:
    """What Airflow is told of one task."""

    retries: int
    retry_delay: timedelta
    time_limit: timedelta
    pool: str
    queue: str | None
    memory_gib: float
    cores: float


def task_policy(airflow: Airflow, stage: Stage) -> TaskPolicy:
    """A stage's own section of [[airflow.stages]] counts before [airflow]."""
    own = next((each for each in airflow.stages if each.name == stage.name), AirflowStage(name=stage.name))
    values = airflow.model_dump() | {"memory_gib": stage.gib, "cores": stage.cores}
    values |= own.model_dump(exclude_none=True)
    return TaskPolicy(
        retries=values["retries"],
        retry_delay=timedelta(seconds=values["retry_seconds"]),
        time_limit=timedelta(minutes=values["time_limit_minutes"]),
        pool=values["pool"],
        queue=values["queue"],
        memory_gib=values["memory_gib"],
        cores=values["cores"],
    )


def find_problems(airflow: Airflow) -> Iterator[Problem]:
    """Stages that do not exist, or that have two sections."""
    known = [stage.name for stage in stages.ALL]
    names = [each.name for each in airflow.stages]
    for number, name in enumerate(names):
        where = ("airflow", "stages", number, "name")
        if name not in known:
            yield where, f"no stage is called '{name}'; stages are {join_names(known)}{suggest_key(name, known)}"
        elif name in names[:number]:
            yield where, f"'{name}' has an earlier section; put its keys into one"
