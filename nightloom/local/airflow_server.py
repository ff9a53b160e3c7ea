"""Airflow's own processes (API and page, scheduler, DAG processor) for as long as a `with` lasts, and its REST API."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO

from nightloom.local.airflow_cleanup import ON_DEMAND, end_leftovers, marked
from nightloom.local.airflow_home import AirflowError, airflow_environment, prepare, tail
from nightloom.settings import Settings

COMMANDS = {
    "api-server": ["airflow", "api-server"],
    # Logs are read from the folder, so the scheduler need not serve them on a port of its own.
    "scheduler": ["airflow", "scheduler", "--skip-serve-logs"],
    "dag-processor": ["airflow", "dag-processor"],
}
READY_SECONDS = 120
STOP_SECONDS = 20
TRIES_WHEN_LOCKED = 5
USER = "admin"


@dataclass
class Server:
    """A running Airflow on 127.0.0.1."""

    home: Path
    port: int
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> Any:
        """One request to the REST API -> its JSON."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def token(self) -> str:
        """A token for `call`, good for a day."""
        answer = self.call("POST", "/auth/token", {"username": USER, "password": self.password})
        return str(answer["access_token"])

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run of a DAG with these parameters, e.g. its date; returns its run id."""
        body = {"logical_date": None, "conf": conf}
        return str(self.call("POST", f"/api/v2/dags/{dag}/dagRuns", body, token=self.token())["dag_run_id"])

    def pause(self, dag: str, paused: bool) -> None:
        """Whether runs of a DAG wait, or start and go on."""
        self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": paused}, token=self.token())

    def backfill(self, dag: str, first: str, last: str, conf: dict[str, Any]) -> int:
        """Airflow's backfill: one run after the other for each date, again where there was one; returns its id.

        Call it with the DAG paused: where SQLite is locked, Airflow 3.3 takes back the runs that it made so far, and a
        scheduler that has one of them in hand then ends. Raises AirflowError with Airflow's own words when it refuses.
        """
        body = {
            "dag_id": dag, "from_date": f"{first}T00:00:00Z", "to_date": f"{last}T23:59:59Z", "max_active_runs": 1,
            "reprocess_behavior": "completed", "dag_run_conf": conf,
        }  # fmt: skip
        for left in reversed(range(TRIES_WHEN_LOCKED)):
            try:
                return int(self.call("POST", "/api/v2/backfills", body, token=self.token())["id"])
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or not left:
                    raise AirflowError(f"Airflow refused the backfill: {error.read().decode()}") from None
                time.sleep(1)  # SQLite has one writer at a time, and the scheduler is another
        raise AssertionError

    def end_backfill(self, backfill: int) -> None:
        """Close a backfill; what of it has not started will not start."""
        try:
            self.call("PUT", f"/api/v2/backfills/{backfill}/cancel", token=self.token())
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.CONFLICT:  # the scheduler has closed it since
                raise

    def give_up(self, dag: str, run: str) -> None:
        """End a run, as failed."""
        path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run)}"
        self.call("PATCH", path, {"state": "failed"}, token=self.token())


@contextmanager
def airflow_server(settings: Settings, port: int, *, scheduled: bool = False) -> Iterator[Server]:
    """Start Airflow, wait until it is healthy and knows the DAGs, and end all of it when the block is left."""
    environment = airflow_environment(settings, port, scheduled=scheduled)
    home = prepare(settings, environment)
    environment |= marked(home)
    with _alone(home):
        end_leftovers(home)
        server = Server(home, port, environment)
        try:
            _start(server)
            _wait_until_ready(server)
            yield server
        finally:
            with _undisturbed():
                _stop(server)
                end_leftovers(home)  # a stage is in a session of its own, which the signals to the group did not reach


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


@contextmanager
def _alone(home: Path) -> Iterator[TextIO]:
    """Two schedulers on one SQLite file would fight for it: hold a lock for as long as ours runs."""
    with (home / "running.lock").open("a+", encoding="utf8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AirflowError(
                f"an Airflow of this project runs already ({home}); use its page, or end it (Ctrl-C) and try again"
            ) from None
        yield lock


def _start(server: Server) -> None:
    """All processes in one process group, so that one signal reaches each of them and their children."""
    group = 0
    for name, command in COMMANDS.items():
        with server.log(name).open("wb") as log:
            process = subprocess.Popen(
                command, env=server.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=group
            )
        group = group or process.pid
        server.processes[name] = process


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not (_healthy(server) and _knows_the_dags(server)):
        server.check()
        if time.monotonic() > deadline:
            raise AirflowError(f"Airflow was not ready after {READY_SECONDS} s; its logs are in {server.home}")
        time.sleep(0.2)


def _healthy(server: Server) -> bool:
    try:
        health = server.call("GET", "/api/v2/monitor/health")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def _knows_the_dags(server: Server) -> bool:
    """Whether the DAGs are read; unpauses each that may run, for one that `dags test` has seen first is paused."""
    try:
        token = server.token()
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.UNAUTHORIZED:
            raise
        raise AirflowError(f"another Airflow answers on port {server.port}; end it, or take another --port") from None
    known = server.call("GET", "/api/v2/dags", token=token)["dags"]
    for dag in known:
        if dag["is_paused"] and dag["dag_id"] not in ON_DEMAND:
            server.call("PATCH", f"/api/v2/dags/{dag['dag_id']}", {"is_paused": False}, token=token)
    return {"nightly", *ON_DEMAND} <= {dag["dag_id"] for dag in known}


def _stop(server: Server) -> None:
    """Ask the group to end, and end what has not after STOP_SECONDS."""
    running = [process for process in server.processes.values() if process.poll() is None]
    if not server.processes:
        return
    group = next(iter(server.processes.values())).pid
    _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            break
    _signal(group, signal.SIGKILL)
    for process in running:
        process.wait()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave half of Airflow running."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
