"""`nightloom night` and `nightloom airflow`: run a night through Airflow, or Airflow's own page and scheduler.

`night` is the DAG itself by `airflow dags test`: same tasks, edges, retries and alerts, without a scheduler.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path

import click

from nightloom import settings as settings_module
from nightloom.errors import ExitCode, GateClosedError
from nightloom.lake import Lake, now
from nightloom.local.airflow_api import PAGE
from nightloom.local.airflow_runs import Failure, Runs, TaskEnd, failures, follow
from nightloom.local.airflow_server import USER, airflow_server
from nightloom.local.airflow_setup import AirflowError, airflow_environment, exclusive_folder, prepare
from nightloom.local.dags_test import DatabaseRuns, check_alive, dags_test, started_run
from nightloom.local.remote_airflow import remote_airflow, remote_failures, require_started
from nightloom.night import stages
from nightloom.night.days import last_complete_day, require_complete
from nightloom.night.gates import override_gate
from nightloom.night.records import NIGHTLY, last_attempts, last_publish, outcome, stage_runs
from nightloom.night.run import RUN_ID_VARIABLE
from nightloom.settings import Settings
from nightloom.signals import terminable

BY_STATE = {"success": "", "skipped": "skipped", "failed": "FAILED", "up_for_retry": "failed, tried again in a moment"}


class NightFailedError(AirflowError):
    """A task of the night failed; its own error is in the message."""


@click.command()
@click.option(
    "--date",
    "night_date",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The day to work for; default: the last complete one.",
)
@click.option("--incomplete", is_flag=True, help="Work for a day that is not over (UTC).")
@click.option(
    "--dag", type=click.Choice(["nightly", "retraining", "maintenance"]), default="nightly", show_default=True
)
@click.option(
    "--override",
    nargs=2,
    metavar="GATE 'WHO: WHY'",
    help="First let the night pass its closed gate data, model or slate.",
)
def night(night_date: datetime | None, incomplete: bool, dag: str, override: tuple[str, str] | None) -> None:
    """Run one night through Airflow, here and now; exit code 3 when a gate closed, 1 when a task failed.

    With places.airflow_url the Airflow there does the work.
    """
    day = night_date.date() if night_date else last_complete_day(now())
    require_complete(day, now(), incomplete=incomplete)
    if override is not None:
        override_gate(Lake(settings_module.load().place("lake")), override[0], day, override[1])
        click.echo(f"The {override[0]} gate is overridden for {day}, by {override[1]}")
    began = time.monotonic()
    if (settings := settings_module.load(reach=False)).places.airflow_url:  # the places are there, not here
        return _run_remotely(settings, dag, day, incomplete)
    settings = settings_module.load()
    environment, what = airflow_environment(settings), f"{dag} for {day}"
    with terminable(), exclusive_folder(settings, what) as home:
        prepare(settings, environment)
        log = home / "logs" / f"{dag}-{day}-{now():%Y%m%dT%H%M%S}.log"
        runs = DatabaseRuns(home)
        before, run = runs.newest(dag), ""
        try:
            with dags_test(dag, {"date": str(day), "incomplete": incomplete}, environment, home, log) as process:
                run = started_run(runs, dag, before, process, log)
                click.echo(f"{what}: run {run}, log {log}")
                print_ends(runs, dag, run, lambda: check_alive(process, runs, dag, run, log))
        except (KeyboardInterrupt, SystemExit):
            click.echo(_what_is_left(settings, what, run, log), err=True)
            raise
        if dag == NIGHTLY:
            click.echo(f"The night of {day} is {outcome(stage_runs(Lake(settings.place('lake')), night=day))}")
        check_run(settings, runs, dag, run, lambda task: log)
    click.echo(f"{what} is done: {time.monotonic() - began:.0f} s")
    if dag == NIGHTLY:
        _print_whether_training_is_due(environment | {RUN_ID_VARIABLE: run}, day, incomplete)


def _run_remotely(settings: Settings, dag: str, day: date, incomplete: bool) -> None:
    """The same in an Airflow elsewhere: start the run, or find the one that works on this date, and follow it."""
    what, began = f"{dag} for {day}", time.monotonic()
    with terminable(), remote_airflow(settings) as api:
        require_started(api, dag)
        found = [run.run for run in api.last_runs(dag, PAGE) if run.day == day and not run.over]
        run = found[0] if found else api.trigger(dag, {"date": str(day), "incomplete": incomplete})
        click.echo(f"{what}: run {run} in {api.url}{', which is under way' if found else ''}")
        try:
            print_ends(api, dag, run, lambda: None)
        except (KeyboardInterrupt, SystemExit):
            click.echo(f"run {run} goes on in {api.url}; the same command follows it", err=True)
            raise
        raise_failures(api, dag, run, remote_failures(api, dag, run))
    click.echo(f"{what} is done: {time.monotonic() - began:.0f} s")


def _what_is_left(settings: Settings, what: str, run: str, log: Path) -> str:
    """What an interrupted run did, and where it is."""
    lake = Lake(settings.place("lake"))
    did = last_attempts(stage_runs(lake, run_id=run)) if run else []
    done = [each.stage for each in did if each.status in ("ok", "skipped")]
    ended = [f"{each.stage} ({each.error})" for each in did if each.status == "failed"]
    lines = [
        f"{what} was interrupted{': run ' + run if run else ' before it began'}",
        f"  done:    {', '.join(done) or 'no stage'}; what was written stays in {lake.root}",
        f"  ended:   {', '.join(ended) or 'no stage that had begun its work'}",
        f"  readers: {'get the lists of this run' if last_publish(did) else 'keep their lists'}",
        f"  log:     {log}",
        "  The same command again does what is left.",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option("--schedule", is_flag=True, help="Let DAGs start by their schedule; otherwise only when triggered.")
def airflow(port: int, schedule: bool) -> None:
    """Airflow's own page and scheduler on 127.0.0.1, with this checkout's DAGs, until Ctrl-C."""
    settings = settings_module.load()
    click.echo("Airflow starts (about 10 s) ...")
    with terminable(), airflow_server(settings, port, scheduled=schedule) as server:
        click.echo(f"{server.api.url}  user {USER}, password {server.password}")
        click.echo(f"DAGs {server.environment['AIRFLOW__CORE__DAGS_FOLDER']}; logs {server.home}; Ctrl-C ends it")
        if not schedule:
            click.echo("Runs start when you trigger them; --schedule starts them at their time, too")
        while True:
            server.check()
            time.sleep(1)


def _print_whether_training_is_due(environment: dict[str, str], day: date, incomplete: bool) -> None:
    """What the scheduler would do by itself after the night: ask training.due."""
    command = [sys.executable, "-m", stages.TRAINING_DUE.name, "--date", str(day)]
    asked = subprocess.run([*command, *(["--incomplete"] if incomplete else [])], env=environment, check=False)
    if asked.returncode == 0:
        click.echo(f"To retrain: ./run night --date {day} --dag retraining")
    elif asked.returncode != ExitCode.SKIPPED:
        raise NightFailedError(
            f"the lists are published, but {stages.TRAINING_DUE.name} could not say whether training is due"
        )


def print_ends(runs: Runs, dag: str, run: str, check: Callable[[], None]) -> list[tuple[TaskEnd, float]]:
    """One line per task as it ends; returns the ends, each with the seconds since this was called."""
    began, ends = time.monotonic(), []
    for end in follow(runs, dag, run, check):
        moment = time.monotonic() - began
        ends.append((end, moment))
        if end.state in BY_STATE:
            took = "" if end.seconds is None or end.state == "skipped" else f"{end.seconds:6.1f} s"
            click.echo(f"{moment:6.1f} s  {end.task:<32} {took:>8}  {BY_STATE[end.state]}".rstrip())
    if missed := sum(end.state == "upstream_failed" for end, _ in ends):
        click.echo(f"{missed} tasks that come after it were not run")
    return ends


def check_run(settings: Settings, runs: Runs, dag: str, run: str, log: Callable[[str], Path]) -> None:
    """Raise unless every task of a run that ended went well: GateClosedError or NightFailedError."""
    raise_failures(runs, dag, run, failures(settings, runs, dag, run, log))


def raise_failures(runs: Runs, dag: str, run: str, found: Sequence[Failure]) -> None:
    """Raise GateClosedError where nothing but gates closed, NightFailedError where a task or the run failed."""
    if not found and (state := runs.state(dag, run)) != "success":
        raise NightFailedError(f"run {run} of {dag} is {state} though no task failed; `./run airflow` shows it")
    if found:
        error = GateClosedError if all(failure.closed for failure in found) else NightFailedError
        raise error("\n".join(f"{failure.task}: {failure.why}" for failure in found))
