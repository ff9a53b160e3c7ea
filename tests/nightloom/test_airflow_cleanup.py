"""What a killed Airflow leaves is ended: its processes by their mark, its backfill's start. Its tasks run again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from nightloom import settings as settings_module
from nightloom.local.airflow_cleanup import end_processes, marked, pause_again, processes, unpaused_file
from nightloom.local.airflow_setup import airflow_environment, prepare

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
CHECKOUT = Path(__file__).parents[2]


def sleeper(home: Path) -> subprocess.Popen[bytes]:
    """A process of an Airflow that works for this folder, in a session of its own as a stage is."""
    process = subprocess.Popen(SLEEP, env=os.environ | marked(home), stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_only_this_folders_processes_are_ended(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "mine-too"
    left, stranger = sleeper(mine), sleeper(other)
    try:
        assert [process.pid for process in processes(mine)] == [left.pid]
        end_processes(mine)
        assert (left.wait(10), stranger.poll()) == (-signal.SIGKILL, None)
        assert processes(mine) == []
    finally:
        for process in (left, stranger):
            process.kill()
            process.communicate()


def test_a_dag_whose_command_was_killed_is_paused_again_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "nightloom.toml").write_text((CHECKOUT / "nightloom.toml").read_text(encoding="utf8"), encoding="utf8")
    settings = settings_module.load(tmp_path / "nightloom.toml")
    environment = airflow_environment(settings)
    home = prepare(settings, environment)
    airflow("dags", "reserialize", environment=environment)
    airflow("dags", "unpause", "--yes", "backfill", environment=environment)
    before = paused(environment)
    pause_again(home, "backfill", environment)
    assert paused(environment) == before  # nobody's command was killed
    unpaused_file(home, "backfill").touch()
    pause_again(home, "backfill", environment)
    assert paused(environment) == before | {"backfill": True}
    assert not unpaused_file(home, "backfill").exists()


def airflow(*words: str, environment: dict[str, str]) -> str:
    done = subprocess.run(["airflow", *words], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def paused(environment: dict[str, str]) -> dict[str, bool]:
    """DAG -> whether it is paused, as Airflow's own command says."""
    said = airflow("dags", "list", "--output", "json", environment=environment)
    return {row["dag_id"]: row["is_paused"] in (True, "True") for row in json.loads(said[said.index("[{") :])}
