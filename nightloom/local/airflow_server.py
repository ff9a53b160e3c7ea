"""Airflow's own processes (API and page, scheduler, DAG processor) for as long as a `with` lasts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

from nightloom.local.airflow_api import Api
from nightloom.local.airflow_cleanup import (
    end_processes,
    fail_unfollowed_runs,
    marker,
    restart_tasks,
    tasks_at_work,
    unfinished_note,
)
from nightloom.local.airflow_setup import AirflowError, airflow_environment, exclusive_folder, prepare, tail
from nightloom.settings import Settings
from nightloom.signals import undisturbed

COMMANDS = {
    "api-server": ["airflow", "api-server"],
    # Logs are read from the folder, so the scheduler need not serve them on a port of its own.
    "scheduler": ["airflow", "scheduler", "--skip-serve-logs"],
    "dag-processor": ["airflow", "dag-processor"],
}
ON_DEMAND = ("backfill",)
"""DAGs that start only for as long as a command of ours asks for it; paused else."""
USER = "admin"
READY_SECONDS = 300  # 10 s as a rule; much more on a machine that is busy with other things


@dataclass
class Server:
    """A running Airflow on 127.0.0.1."""

    home: Path
    port: int
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @cached_property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.port}", lambda: {"username": USER, "password": self.password})

    @property
    def password(self) -> str:
        """The admin's; Airflow makes it up at its first start and keeps it in its folder."""
        file = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text(encoding="utf8"))[USER])

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def task_log(self, dag: str, run: str, task: str) -> Path:
        """Log of a task's last try."""
        folder = self.home / "logs" / f"dag_id={dag}" / f"run_id={run}" / f"task_id={task}"
        attempts = sorted(folder.glob("attempt=*.log"), key=lambda log: log.stat().st_mtime)
        return attempts[-1] if attempts else folder / "attempt=1.log"

    def check(self) -> None:
        """Raise AirflowError when a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = self.log(name)
                raise AirflowError(f"Airflow's {name} ended with {process.returncode}; {log} ends:\n{tail(log)}")


@contextmanager
def airflow_server(settings: Settings, port: int, *, scheduled: bool = False) -> Iterator[Server]:
    """Start Airflow, wait until it is healthy and knows the DAGs, and end all of it when the block is left."""
    environment = airflow_environment(settings, port, scheduled=scheduled)
    with exclusive_folder(settings, "Airflow with its scheduler") as home:
        environment |= marker(home)
        end_processes(home)
        prepare(settings, environment)
        server, note = Server(home, port, environment), unfinished_note(home)
        try:
            _start(server, "api-server")
            if note.exists():  # the last server or `airflow dags test` was killed, or an error or Ctrl-C ended it
                _recover(server)
            note.touch()
            _start(server, "scheduler", "dag-processor")
            _wait_until(server, lambda: _healthy(server) and _knows_the_dags(server))
            server.api.make_pools(settings.airflow.pools)
            yield server
            at_work = tasks_at_work(server.api)
        finally:
            with undisturbed():
                end_processes(home)  # also the stages, each in a session of its own
                _reap(server)
        if not at_work:
            note.unlink()


def free_port(wanted: int) -> int:
    """`wanted`, or any free port when somebody listens there."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AirflowError("no free port on 127.0.0.1")


def _start(server: Server, *names: str) -> None:
    """All processes in one process group, so that one signal reaches each of them and their children."""
    for name in names:
        group = next((process.pid for process in server.processes.values()), 0)
        with server.log(name).open("wb") as log:
            server.processes[name] = subprocess.Popen(
                COMMANDS[name],
                env=server.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=group,
            )


def _recover(server: Server) -> None:
    """Before a scheduler starts: pause what a killed command had let start, and let interrupted tasks run again."""
    _wait_until(server, lambda: _health(server, "metadatabase"))
    _check_token(server)
    for dag, paused in server.api.dags().items():
        if dag in ON_DEMAND and not paused:
            server.api.pause(dag, True)
    fail_unfollowed_runs(server.api)
    restart_tasks(server.api)


def _wait_until(server: Server, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        server.check()
        if time.monotonic() > deadline:
            raise AirflowError(f"Airflow was not ready after {READY_SECONDS} s; its logs are in {server.home}")
        time.sleep(0.2)


def _healthy(server: Server) -> bool:
    return _health(server, "metadatabase", "scheduler", "dag_processor")


def _health(server: Server, *parts: str) -> bool:
    try:
        health = server.api.send("GET", "/api/v2/monitor/health")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return all(health[part]["status"] == "healthy" for part in parts)


def _knows_the_dags(server: Server) -> bool:
    """Whether the DAGs are read; pauses those on demand and no others, for one that `dags test` saw first is paused."""
    _check_token(server)
    known = server.api.dags()
    for dag, paused in known.items():
        if paused != (dag in ON_DEMAND):
            server.api.pause(dag, not paused)
    return {"nightly", *ON_DEMAND} <= known.keys()


def _check_token(server: Server) -> None:
    """Raise AirflowError where our password is wrong."""
    try:
        server.api.token()
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.UNAUTHORIZED:
            raise
        raise AirflowError(f"another Airflow answers on port {server.port}; end it, or take another --port") from None


def _reap(server: Server) -> None:
    """End what is left of the process group, and wait for it."""
    if server.processes:
        with suppress(ProcessLookupError):
            os.killpg(next(iter(server.processes.values())).pid, signal.SIGKILL)
    for process in server.processes.values():
        process.wait()
