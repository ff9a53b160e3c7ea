"""The edges of `nightly`, run by the real Airflow: what happens after a skip, a closed gate and a failed stage.

The stages are stand-ins here, a `python` in front of PATH that ends with the exit code a test asks for: what is tested
is Airflow's part. tests/test_first_night.py runs the stages themselves.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest
from click.testing import CliRunner

from nightloom import settings as settings_module
from nightloom.errors import SettingsError
from nightloom.lake import Lake
from nightloom.local.airflow_cleanup import processes
from nightloom.local.airflow_runs import failed
from nightloom.local.airflow_server import airflow_server, free_port
from nightloom.local.airflow_setup import airflow_environment, prepare
from nightloom.local.dags_test import DatabaseRuns
from nightloom.local.night import NightFailedError, check_run, night
from nightloom.night.records import stage_runs
from nightloom.settings import Settings
from tests.first_night import MAIN, SMALL, event, leave
from tests.first_night import Project as Shop
from tests.nightloom.alert_receivers import ALERTS, receivers

CHECKOUT = Path(__file__).parents[2]
DAY = date(1998, 4, 21)
STAND_IN = """#!/bin/sh
[ $2 != nightloom.stage ] || shift
echo "$2 of $NIGHTLOOM_RUN_ID" >> "$NIGHTLOOM_CALLS"
case $2 in
{cases}
esac
"""


class Project:
    """A project with an Airflow of its own and stand-ins for its stages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "nightloom.toml").write_text((CHECKOUT / "nightloom.toml").read_text(encoding="utf8") + ALERTS, "utf8")
        self.settings: Settings = settings_module.load(root / "nightloom.toml")
        self.environment = airflow_environment(self.settings)
        self.home = prepare(self.settings, self.environment)
        self.runs = DatabaseRuns(self.home)

    def run(self, *cases: str, variables: Mapping[str, str] = MappingProxyType({})) -> tuple[str, int, Path]:
        """`airflow dags test nightly`; a case is `STAGE) COMMANDS`, any other stage ends well -> run id, code, log."""
        bin_folder, log, calls = self.root / "bin", self.root / "night.log", self.root / "calls"
        bin_folder.mkdir(exist_ok=True)
        calls.unlink(missing_ok=True)
        lines = "\n".join(f"{case} ;;" for case in cases)
        (bin_folder / "python").write_text(STAND_IN.format(cases=lines), encoding="utf8")
        (bin_folder / "python").chmod(0o755)
        stand_ins = {"PATH": f"{bin_folder}:{self.environment['PATH']}", "NIGHTLOOM_CALLS": str(calls)}
        environment = self.environment | stand_ins | {"AIRFLOW__LOGGING__JSON_LOGS": "True", **variables}
        command = ["airflow", "dags", "test", "nightly", "--conf", json.dumps({"date": str(DAY)})]
        with log.open("wb") as output:
            done = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=200, check=False)
        run = self.runs.newest("nightly")
        assert run is not None, log.read_text(encoding="utf8")
        return run, done.returncode, log

    def states(self, run: str) -> dict[str, str]:
        return {end.task: end.state for end in self.runs.ends("nightly", run)}

    def ran(self) -> list[str]:
        """Commands that ran, in order."""
        return [line.split()[0] for line in (self.root / "calls").read_text(encoding="utf8").splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def test_with_a_champion_the_night_scores_without_training(project: Project) -> None:
    run, code, log = project.run("training.train) exit 99")
    states = project.states(run)
    assert code == 0, log.read_text(encoding="utf8")
    assert {name for name, state in states.items() if state == "skipped"} == {"training.train", "training.model_gate"}
    assert {name for name, state in states.items() if state == "success"} == states.keys() - {
        "training.train",
        "training.model_gate",
    }
    assert f"serving.publish of {run}" in (project.root / "calls").read_text(encoding="utf8")


def test_a_closed_gate_fails_the_run_at_once_stops_spark_and_its_words_reach_every_receiver_of_alerts(
    project: Project,
) -> None:
    with receivers() as received:
        case = "expectations.gate) echo it says no; exit 3"
        run, code, log = project.run(case, variables=received.connections)
    states = project.states(run)
    assert code != 0
    assert project.runs.state("nightly", run) == "failed"
    assert failed(project.runs, "nightly", run) == ["expectations.gate"]
    assert project.ran().count("expectations.gate") == 1
    assert states["serving.publish"] == "upstream_failed"
    assert states["spark_jobs.session.stop"] == "success"
    assert project.ran()[-1] == "spark_jobs.session"
    with pytest.raises(NightFailedError, match=r"expectations\.gate: it says no"):
        check_run(project.settings, project.runs, "nightly", run, lambda task: log)
    alerts = [json.loads(line) for line in (project.home / "alerts.jsonl").read_text(encoding="utf8").splitlines()]
    (alert,) = [alert for alert in alerts if alert["run"] == run]
    assert (alert["task"], alert["kind"], alert["tries"], alert["error"]) == (
        "expectations.gate", "closed", 1, "it says no",
    )  # fmt: skip
    title = f"movielens: expectations.gate closed in nightly for {DAY}"
    (mail,) = received.mails
    assert (mail["To"], mail["Subject"]) == ("ops@example.org", title)
    page = mail.get_body(("html",))
    assert page is not None
    assert f"<pre>{title}\nit says no\n" in page.get_content()
    posts = dict(received.posts)
    assert posts.keys() == {"/alerts", "/services/T/B/X"}
    assert posts["/services/T/B/X"]["text"].splitlines()[:2] == [title, "it says no"]
    assert {name: posts["/alerts"][name] for name in ("kind", "date", "run", "error")} == {
        "kind": "closed", "date": str(DAY), "run": run, "error": "it says no",
    }  # fmt: skip


@pytest.mark.slow
def test_a_task_that_failed_and_went_well_the_second_time_is_no_failure(project: Project) -> None:
    flag = project.root / "once"
    run, code, _ = project.run(f"serving.publish) test -e {flag} || {{ touch {flag}; exit 1; }}")
    assert code == 0
    assert project.ran().count("serving.publish") == 2
    assert failed(project.runs, "nightly", run) == []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose bronze stage waits for minutes: somebody may still be writing the newest file."""
    toml = SMALL.replace('format = "json"', 'format = "json"\nsettle_seconds = 600', 1)
    shop = Shop.create(tmp_path_factory.mktemp("shop"), toml)
    for folder in ("items", "users"):
        (shop.root / "landing" / folder).mkdir(parents=True)
    leave(shop.root / "landing/events/a.jsonl.gz", [event("a", DAY)])
    return shop


@dataclass(frozen=True)
class Interrupted:
    """A night that Ctrl-C ended in its first stage, and a second one that somebody started meanwhile."""

    pid: int
    code: int
    output: str
    second: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def interrupted(shop: Shop) -> Interrupted:
    command = [sys.executable, "-c", MAIN, "night", "--date", str(DAY)]
    with subprocess.Popen(
        command, cwd=shop.root, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as first:  # fmt: skip
        try:
            while not list(shop.root.glob("data/lake/_checkpoints/*/files/_delta_log/*.json")):
                assert first.poll() is None, first.communicate()
                time.sleep(0.05)
            second = shop.nightloom("night", "--date", str(DAY), "--dag", "retraining")
            first.send_signal(signal.SIGINT)
            _, output = first.communicate(timeout=20)  # 3 s where no other work is done
        finally:
            first.kill()
    return Interrupted(first.pid, first.returncode, output, second)


def test_a_second_night_is_refused_and_says_what_runs(interrupted: Interrupted) -> None:
    assert interrupted.second.returncode == 1
    (line,) = interrupted.second.stderr.splitlines()
    assert line.startswith(
        f"nightloom: retraining for {DAY} was not started: nightly for {DAY} (process {interrupted.pid}, since "
    )


def test_ctrl_c_ends_a_night_with_all_that_it_started_and_says_what_is_left(
    shop: Shop, interrupted: Interrupted
) -> None:
    assert interrupted.code == 130
    assert f"nightly for {DAY} was interrupted: run manual__" in interrupted.output
    assert "ended:   spark_jobs.bronze (terminated by SIGTERM)" in interrupted.output
    assert "readers: keep their lists" in interrupted.output
    assert processes(shop.settings.place("airflow")) == []
    (run,) = stage_runs(shop.lake, last=DAY)
    assert (run.stage, run.status, run.error, run.dag) == (
        "spark_jobs.bronze", "failed", "terminated by SIGTERM", "nightly",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("interrupted")
def test_a_task_that_airflow_fails_ends_its_stage_and_no_scheduler_goes_on_with_an_interrupted_night(
    shop: Shop,
) -> None:
    with airflow_server(shop.settings, free_port(0)) as server:
        left = server.api.newest("nightly")
        assert left is not None
        assert left.state == "failed"
        run = server.api.trigger("nightly", {"date": str(DAY)})
        while not (stage := working_stage(shop)):
            server.check()
            time.sleep(0.1)
        task = f"/dags/nightly/dagRuns/{run}/taskInstances/spark_jobs.bronze"
        server.api.call("PATCH", task, {"new_state": "failed"})
        stage.wait(30)
    (ended,) = stage_runs(shop.lake, run_id=run)
    assert (ended.stage, ended.error) == ("spark_jobs.bronze", "terminated by SIGTERM")
    assert len(stage_runs(shop.lake, run_id=left.run)) == 1


TIMED = """
from datetime import datetime, timedelta
from airflow.sdk import DAG
from policy import POLICY, command

with DAG("timed", schedule=None, start_date=datetime(2020, 1, 1), **POLICY):
    command("python {stage}", "sleeps", execution_timeout=timedelta(seconds=6), retries=0)
"""
SLEEPS = """
import time
from nightloom.night.run import run_stage
from nightloom.night.stages import Stage

run_stage(Stage("sleeps", "ops", "of a test", gib=1), lambda night: time.sleep(600), argv=["--date", "1998-04-21"])
"""


@pytest.mark.slow
def test_a_time_limit_of_airflow_ends_the_stage_and_leaves_a_row(project: Project, tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    (tmp_path / "timed.py").write_text(TIMED.format(stage=tmp_path / "sleeps.py"))
    environment = project.environment | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path), "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/dags",
    }  # fmt: skip
    command = ["airflow", "dags", "test", "timed"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    (run,) = stage_runs(Lake(project.settings.place("lake")))
    assert (run.stage, run.status, run.error, run.dag) == ("sleeps", "failed", "terminated by SIGTERM", "timed")
    assert run.run_id == project.runs.newest("timed")
    assert "AirflowTaskTimeout" in done.stdout + done.stderr


def working_stage(shop: Shop) -> psutil.Process | None:
    """The process of the first stage, when it holds the lock of the lake's ingest."""
    lock = str(shop.root / "data/lake/_checkpoints/lock")
    for process in processes(shop.settings.place("airflow")):
        with suppress(psutil.Error):  # it has ended
            if lock in [file.path for file in process.open_files()]:
                return process
    return None


def test_night_refuses_a_settings_file_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nightloom.toml").write_text("[project]\nnaem = 'x'\n", encoding="utf8")
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(tmp_path / "nightloom.toml"))
    result = CliRunner().invoke(night, ["--date", str(DAY)])
    assert isinstance(result.exception, SettingsError)


def test_airflow_folder_and_secrets_are_the_owners_alone(project: Project) -> None:
    assert (project.home / "airflow.cfg").stat().st_mode & 0o077 == 0
    assert project.environment["SHLVL"] == "1"  # or a task's bash may read ~/.bashrc, and another python
    assert project.environment["AIRFLOW_HOME"] == str(project.home)
    assert project.environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
