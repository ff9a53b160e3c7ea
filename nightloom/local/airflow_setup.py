"""Settings -> an Airflow of the project's own: its folder, its environment, its database. Imports no Airflow.

Laptop: SQLite and LocalExecutor, DAGs from this checkout. A cluster runs the same DAG files under its own Airflow and
never comes here. Airflow's first command writes airflow.cfg (mode 0600), fresh secrets in it, into the folder.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightloom.errors import NightloomError
from nightloom.lake import now
from nightloom.settings import CHECKED_VARIABLE, CONFIG_VARIABLE, Settings

CHECKOUT = Path(__file__).parents[2]
DAGS = CHECKOUT / "dags"
DATABASE = "airflow.db"


class AirflowError(NightloomError):
    """Airflow could not be set up, started or asked."""


def airflow_environment(settings: Settings, port: int = 8080, *, scheduled: bool = False) -> dict[str, str]:
    """Environment of every Airflow process of this project, and so of every stage that it starts.

    `scheduled` lets DAGs start by their schedule; without it only runs that somebody asks for start.
    """
    home = settings.place("airflow")
    python = Path(sys.executable).parent
    return os.environ | {
        CONFIG_VARIABLE: str(settings.file),
        CHECKED_VARIABLE: settings.digest,
        "PATH": f"{python}:{os.environ.get('PATH', os.defpath)}",
        # Airflow gives a task a socket for its input, so bash takes itself for a remote shell and reads .bashrc, which
        # may put another python in front of PATH. Not so below another shell.
        "SHLVL": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # Airflow's own defaults stay unexpanded where AIRFLOW_HOME holds a `%`.
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        "AIRFLOW__CORE__PARALLELISM": "3",  # one per core, and one that waits for Spark
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / DATABASE}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(scheduled),
        # 18 tasks that do nothing take 8 s so and 16-22 s by the defaults (1 and 5 s), measured on 2 cores.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def prepare(settings: Settings, environment: dict[str, str]) -> Path:
    """Make Airflow's folder and database where they are missing; returns the folder."""
    home = settings.place("airflow")
    migrated = home / "migrated"  # the database file alone does not say that its migration came to its end
    if not migrated.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = home / "migrate.log"
        with log.open("wb") as output:
            done = subprocess.run(
                ["airflow", "db", "migrate"], env=environment, stdout=output, stderr=output, check=False
            )
        if done.returncode != 0:
            raise AirflowError(f"airflow db migrate ended with {done.returncode}; {log} ends:\n{tail(log)}")
        migrated.touch()
    return home


@contextmanager
def exclusive_folder(settings: Settings, what: str) -> Iterator[Path]:
    """Airflow's folder, for one command at a time; `what` names this one to a second, which AirflowError refuses.

    Two Airflows would start each other's tasks: a scheduler takes part in every run that its database has.
    """
    home = settings.place("airflow")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # secrets, and logs that may name people
    with (home / "running.lock").open("a+", encoding="utf8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read() or "another command"
            raise AirflowError(
                f"{what} was not started: {other} runs already in {home}; wait for its end, or end it (Ctrl-C), "
                "and try again"
            ) from None
        lock.truncate(0)
        lock.write(f"{what} (process {os.getpid()}, since {now():%Y-%m-%d %H:%M:%S} UTC)")
        lock.flush()
        yield home


def tail(log: Path, lines: int = 20) -> str:
    """Last lines of a log file."""
    return "\n".join(log.read_text(encoding="utf8", errors="replace").splitlines()[-lines:])
