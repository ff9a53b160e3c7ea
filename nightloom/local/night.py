"""`nightloom night` and `nightloom airflow`: run a night through Airflow, or Airflow's own page and scheduler.

`night` is the DAG itself by `airflow dags test`: same tasks, edges, retries and alerts, without a scheduler.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import click

from nightloom import settings as settings_module
from nightloom.errors import EXIT_SKIP, GateClosedError
from nightloom.local.airflow_home import AirflowError, airflow_environment, prepare, tail
from nightloom.local.airflow_runs import Runs, TaskEnd, failures
from nightloom.local.airflow_server import USER, airflow_server
from nightloom.night import stages
from nightloom.night.run import RUN_ID_VARIABLE
from nightloom.settings import Settings

BY_STATE = {"success": "", "skipped": "skipped", "failed": "FAILED", "up_for_retry": "failed, tried again in a moment"}


class NightFailedError(AirflowError):
    """A task of the night failed; what it said is in the message."""


@click.command()
@click.option("--date", "night_date", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day to work for.")
@click.option(
    "--dag", type=click.Choice(["nightly", "retraining", "maintenance"]), default="nightly", show_default=True
)
def night(night_date: datetime, dag: str) -> None:
    """Run one night through Airflow, here and now; exit code 3 when a gate closed, 1 when a task failed."""
    settings = settings_module.load()
    environment = airflow_environment(settings)
    home = prepare(settings, environment)
    day, began = night_date.date(), time.monotonic()
    log = home / "logs" / f"{dag}-{day}-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    runs = Runs(home)
    before = runs.newest(dag)
    with _dags_test(dag, day, environment, log) as process:
        run = _started(runs, dag, before, process, log)
        click.echo(f"{dag} for {day}: run {run}, log {log}")
        show(runs, dag, run, lambda: _alive(process, runs, dag, run, log))
    judge_run(settings, runs, dag, run, lambda task: log)
    click.echo(f"{dag} for {day} is done: {time.monotonic() - began:.0f} s")
    if dag == "nightly":
        _say_whether_training_is_due(environment | {RUN_ID_VARIABLE: run}, day)


@click.command()
@click.option("--port", default=8080, show_default=True)
@click.option("--schedule", is_flag=True, help="Let DAGs start by their schedule; otherwise only when triggered.")
def airflow(port: int, schedule: bool) -> None:
    """Airflow's own page and scheduler on 127.0.0.1, with this checkout's DAGs, until Ctrl-C."""
    settings = settings_module.load()
    click.echo("Airflow starts (about 10 s) ...")
    with terminable(), airflow_server(settings, port, scheduled=schedule) as server:
        click.echo(f"{server.url}  user {USER}, password {server.password}")
        click.echo(f"DAGs {server.environment['AIRFLOW__CORE__DAGS_FOLDER']}; logs {server.home}; Ctrl-C ends it")
        if not schedule:
            click.echo("Runs start when you trigger them; --schedule starts them at their time, too")
        while True:
            server.check()
            time.sleep(1)


def _say_whether_training_is_due(environment: dict[str, str], day: date) -> None:
    """What the scheduler would do by itself after the night: ask training.due."""
    asked = subprocess.run(
        [sys.executable, "-m", stages.TRAINING_DUE.name, "--date", str(day)], env=environment, check=False
    )
    if asked.returncode == 0:
        click.echo(f"To retrain: ./run night --date {day} --dag retraining")
    elif asked.returncode != EXIT_SKIP:
        raise NightFailedError(
            f"the lists are published, but {stages.TRAINING_DUE.name} could not say whether training is due"
        )


def show(runs: Runs, dag: str, run: str, check: Callable[[], None]) -> list[tuple[TaskEnd, float]]:
    """One line per task as it ends; returns the ends, each with the seconds since this was called."""
    began, ends = time.monotonic(), []
    for end in runs.follow(dag, run, check):
        moment = time.monotonic() - began
        ends.append((end, moment))
        if end.state in BY_STATE:
            took = "" if end.seconds is None or end.state == "skipped" else f"{end.seconds:6.1f} s"
            click.echo(f"{moment:6.1f} s  {end.task:<32} {took:>8}  {BY_STATE[end.state]}".rstrip())
    if missed := sum(end.state == "upstream_failed" for end, _ in ends):
        click.echo(f"{missed} tasks that come after it were not run")
    return ends


def judge_run(settings: Settings, runs: Runs, dag: str, run: str, log: Callable[[str], Path]) -> None:
    """Raise unless every task of a run that ended went well: GateClosedError or NightFailedError."""
    found = failures(settings, runs, dag, run, log)
    if not found and (state := runs.state(dag, run)) != "success":
        raise NightFailedError(f"run {run} of {dag} is {state} though no task failed; `./run airflow` shows it")
    if found:
        error = GateClosedError if all(failure.closed for failure in found) else NightFailedError
        raise error("\n".join(f"{failure.task}: {failure.why}" for failure in found))


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and Ctrl-C both leave the block in order, so that what it started is ended."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _dags_test(dag: str, day: date, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`airflow dags test`, its log in a file. Left early, it is ended, and so is the warm Spark server."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["airflow", "dags", "test", dag, "--conf", json.dumps({"date": str(day)})]
    with terminable(), log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment | {"AIRFLOW__LOGGING__JSON_LOGS": "True"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
            process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                subprocess.run([sys.executable, "-m", "spark_jobs.session", "stop"], env=environment, check=True)


def _started(runs: Runs, dag: str, before: str | None, process: subprocess.Popen[bytes], log: Path) -> str:
    """Run id of the run that the process has made; `before` is the newest that was there already."""
    while (run := runs.newest(dag)) in (None, before):
        if process.poll() is not None:
            raise AirflowError(
                f"airflow dags test ended with {process.returncode} before it began; {log} ends:\n{tail(log)}"
            )
        time.sleep(0.1)
    assert run is not None
    return run


def _alive(process: subprocess.Popen[bytes], runs: Runs, dag: str, run: str, log: Path) -> None:
    if process.poll() is not None and runs.state(dag, run) not in ("success", "failed"):
        raise AirflowError(f"airflow dags test ended with {process.returncode} in the middle; {log} ends:\n{tail(log)}")
