"""`nightloom night`, `status` and `backfill` against a real Airflow of another project, which they reach by REST alone.

The stages are stand-ins, as in test_night.py; the remote Airflow sends its alerts to real servers.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from nightloom import settings as settings_module
from nightloom.cli import nightloom
from nightloom.errors import GateClosedError, SettingsError
from nightloom.local import airflow_server as airflow_server_module
from nightloom.local.airflow_cleanup import processes
from nightloom.local.airflow_server import Server, airflow_server, free_port
from nightloom.local.airflow_setup import AirflowError, airflow_environment
from tests.nightloom.alert_receivers import ALERTS, Receivers, receivers

CHECKOUT = Path(__file__).parents[2]
SAMPLE = (CHECKOUT / "nightloom.toml").read_text(encoding="utf8")
DAY = "1998-04-21"
STAND_IN = """#!/bin/sh
[ $2 != nightloom.stage ] || shift
case $2 in
spark_jobs.bronze) test ! -e {slow} || sleep 600 ;;
expectations.gate) test ! -e {closed} || {{ echo "it says no"; exit 3; }} ;;
esac
"""


@dataclass
class Remote:
    """The Airflow elsewhere, who gets its alerts, and whether its data gate closes."""

    server: Server
    received: Receivers
    closed: Path


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    with elsewhere(tmp_path_factory.mktemp("elsewhere"), "deadline_minutes = 0.01\npool = 'nights'") as found:
        yield found


@contextmanager
def elsewhere(root: Path, keys: str, **variables: str) -> Iterator[Remote]:
    """An Airflow in a folder of its own, with these keys of [airflow]."""
    python, closed = root / "bin" / "python", root / "closed"
    python.parent.mkdir()
    python.write_text(STAND_IN.format(closed=closed, slow=root / "slow"), encoding="utf8")
    python.chmod(0o755)
    (root / "nightloom.toml").write_text(f"{SAMPLE}\n[airflow]\n{keys}\n{ALERTS}", encoding="utf8")
    settings = settings_module.load(root / "nightloom.toml")
    with receivers() as received, pytest.MonkeyPatch.context() as patch:

        def environment(*given: Any, **scheduled: Any) -> dict[str, str]:
            found = airflow_environment(*given, **scheduled)
            return found | received.connections | variables | {"PATH": f"{python.parent}:{found['PATH']}"}

        patch.setattr(airflow_server_module, "airflow_environment", environment)
        with airflow_server(settings, free_port(0)) as server:
            yield Remote(server, received, closed)


@pytest.fixture
def client(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nightloom.toml and nothing else, and the variables of somebody who may use the remote Airflow."""
    (tmp_path / "nightloom.toml").write_text(SAMPLE, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(tmp_path / "nightloom.toml"))
    monkeypatch.setenv("NIGHTLOOM_PLACES__AIRFLOW_URL", remote.server.api.url)
    monkeypatch.setenv("NIGHTLOOM_AIRFLOW_USER", "admin")
    monkeypatch.setenv("NIGHTLOOM_AIRFLOW_PASSWORD", remote.server.password)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(nightloom, words)


def test_a_night_elsewhere_that_a_gate_closes_says_why_and_alerts_also_that_it_is_late(
    remote: Remote, client: Path
) -> None:
    remote.closed.touch()
    done = run("night", "--date", DAY)
    assert isinstance(done.exception, GateClosedError), done.output
    assert str(done.exception) == "expectations.gate: it says no"
    assert "spark_jobs.bronze" in done.output
    shown = run("status", "--nights", "1").output
    assert shown.startswith(f"{DAY}  failed  manual__")
    assert "\n  expectations.gate failed\n" in shown
    (found,) = json.loads(run("status", "--json").output)["airflow"]
    assert found["tasks"]["serving.publish"] == "upstream_failed"
    deadline = time.monotonic() + 60
    while "/late" not in (posts := dict(remote.received.posts)):
        assert time.monotonic() < deadline, posts
        remote.server.check()
        time.sleep(0.2)
    assert (posts["/late"]["kind"], posts["/late"]["date"]) == ("deadline", DAY)
    assert f"nightly for {DAY} is " in posts["/late"]["error"]
    assert {mail["Subject"] for mail in remote.received.mails} >= {
        f"movielens: expectations.gate closed in nightly for {DAY}"
    }
    assert [path.name for path in client.iterdir()] == ["nightloom.toml"]  # nothing ran here


@pytest.mark.slow
@pytest.mark.usefixtures("client")
def test_a_night_elsewhere_goes_well(remote: Remote) -> None:
    remote.closed.unlink(missing_ok=True)
    done = run("night", "--date", DAY)
    assert done.exception is None, done.output
    assert f"nightly for {DAY} is done: " in done.output
    assert run("status").output.startswith(f"{DAY}  success  manual__")


@pytest.mark.usefixtures("client")
def test_a_backfill_elsewhere_rebuilds_its_nights(remote: Remote) -> None:
    rebuilt = run("backfill", "--from", "2024-02-05", "--to", "2024-02-05")
    assert rebuilt.exception is None, rebuilt.output
    assert "1 nights rebuilt in " in rebuilt.output
    assert {run.night.isoformat(): run.state for run in remote.server.api.nights("backfill") if run.night} == {
        "2024-02-05": "success"
    }


@pytest.mark.usefixtures("client")
def test_who_may_not_and_where_nobody_answers_is_one_line(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.server.api.pause("nightly", True)
    assert "is paused in Airflow at http://127.0.0.1" in str(run("night", "--date", DAY).exception)
    remote.server.api.pause("nightly", False)
    monkeypatch.setenv("NIGHTLOOM_AIRFLOW_TOKEN", "wrong")
    assert "answered 403" in str(error := run("status").exception) or "answered 401" in str(error)
    assert "NIGHTLOOM_AIRFLOW_TOKEN" in str(error)
    monkeypatch.delenv("NIGHTLOOM_AIRFLOW_TOKEN")
    monkeypatch.delenv("NIGHTLOOM_AIRFLOW_PASSWORD")
    assert isinstance(run("status").exception, SettingsError)
    monkeypatch.setenv("NIGHTLOOM_AIRFLOW_PASSWORD", "x")
    monkeypatch.setenv("NIGHTLOOM_PLACES__AIRFLOW_URL", f"http://127.0.0.1:{free_port(0)}")
    error = run("night", "--date", DAY).exception
    assert isinstance(error, AirflowError)
    assert "no Airflow answers at http://127.0.0.1" in str(error)


@pytest.mark.slow
def test_a_task_whose_worker_was_killed_alerts_when_airflow_notices(tmp_path: Path) -> None:
    patience = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    with elsewhere(tmp_path, "retries = 0", **patience) as remote:
        (tmp_path / "slow").touch()
        run = remote.server.api.trigger("nightly", {"date": DAY})
        while not (stages := sleeping(remote.server.home)):
            remote.server.check()
            time.sleep(0.1)
        scheduler = psutil.Process(remote.server.processes["scheduler"].pid)
        worker = [each for each in stages[0].parents() if scheduler in each.parents()]
        for process in [*worker, stages[0]]:
            process.kill()
        while not (alerts := [body for path, body in remote.received.posts if path == "/alerts"]):
            remote.server.check()
            time.sleep(0.2)
    assert (alerts[0]["run"], alerts[0]["task"], alerts[0]["kind"]) == (run, "spark_jobs.bronze", "failed")
    assert alerts[0]["error"]


def sleeping(home: Path) -> list[psutil.Process]:
    """Stages of an Airflow that sleep."""
    found = []
    for process in processes(home):
        with suppress(psutil.Error):  # it has ended
            if process.cmdline() == ["sleep", "600"]:
                found.append(process)
    return found
