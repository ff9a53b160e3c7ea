"""What a killed Airflow leaves: its processes are ended, its tasks run again, its backfill waits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nightloom import settings as settings_module
from nightloom.local import airflow_server as airflow_server_module
from nightloom.local.airflow_cleanup import end_processes, marker, processes
from nightloom.local.airflow_runs import follow
from nightloom.local.airflow_server import airflow_server, free_port
from nightloom.local.airflow_setup import AirflowError, airflow_environment
from nightloom.settings import Settings

STAND_IN = """#!/bin/sh
[ $2 != nightloom.stage ] || shift
echo $2 >> {commands}
[ $2 != spark_jobs.bronze ] || [ ! -e {slow} ] || sleep 600
"""
SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
CHECKOUT = Path(__file__).parents[2]


def sleeper(home: Path) -> subprocess.Popen[bytes]:
    """A process of an Airflow that works for this folder, in a session of its own as a stage is."""
    process = subprocess.Popen(SLEEP, env=os.environ | marker(home), stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_only_this_folders_processes_are_ended(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "mine-too"
    left, stranger = sleeper(mine), sleeper(other)
    try:
        assert [process.pid for process in processes(mine)] == [left.pid]
        end_processes(mine)
        assert (left.wait(10), stranger.poll()) == (-signal.SIGTERM, None)
        assert processes(mine) == []
    finally:
        for process in (left, stranger):
            process.kill()
            process.communicate()


@pytest.mark.slow  # tests/nightloom/test_backfill.py kills a backfill, too
def test_after_a_kill_the_night_goes_on_where_it_was_and_a_backfill_waits_for_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, python = tmp_path / "nightloom.toml", tmp_path / "bin" / "python"
    file.write_text((CHECKOUT / "nightloom.toml").read_text(encoding="utf8"), encoding="utf8")
    settings, commands, slow = settings_module.load(file), tmp_path / "commands", tmp_path / "slow"
    python.parent.mkdir()
    python.write_text(STAND_IN.format(commands=commands, slow=slow), encoding="utf8")
    python.chmod(0o755)

    def environment(*given: Any, **scheduled: Any) -> dict[str, str]:
        found = airflow_environment(*given, **scheduled)
        return found | {"PATH": f"{python.parent}:{found['PATH']}"}

    monkeypatch.setattr(airflow_server_module, "airflow_environment", environment)
    slow.touch()
    with pytest.raises(AirflowError, match="ended with -9"):
        kill_in_bronze(settings, commands)
    slow.unlink()
    with airflow_server(settings, free_port(0)) as server:
        assert server.api.dags()["backfill"]
        run = server.api.newest("nightly")
        assert run is not None
        ends = {end.task: end for end in follow(server.api, "nightly", run.run, server.check)}
    assert {ends["spark_jobs.bronze"].state, ends["serving.publish"].state} == {"success"}
    ran = commands.read_text(encoding="utf8").split()
    assert (ran.count("spark_jobs.bronze"), ran.count("serving.publish")) == (2, 1)


def kill_in_bronze(settings: Settings, commands: Path) -> None:
    """A night and a backfill that may start, and a SIGKILL to all of Airflow in the middle of the night's bronze."""
    with airflow_server(settings, free_port(0)) as server:
        server.api.trigger("nightly", {"date": "1998-04-21"})
        server.api.pause("backfill", False)
        while not commands.exists() or "spark_jobs.bronze" not in commands.read_text(encoding="utf8"):
            server.check()
            time.sleep(0.1)
        for process in processes(server.home):
            process.kill()
        while True:
            server.check()
