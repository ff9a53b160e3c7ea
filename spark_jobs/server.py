"""The warm Spark Connect server of one home folder: HOME/spark/{server.json, log, lock} and one process group.

Starting a JVM with Delta takes seconds, so the night's stages share one running server. It listens on the loopback
address only and requires the token in server.json, which only its owner can read.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from spark_jobs.configuration import LAPTOP, environment
from spark_jobs.session_settings import SparkError

SECONDS_TO_START = 90  # 3-5 s with a class-data archive, 15-20 s without, more on a busy machine
SECONDS_TO_STOP = 20
SERVER_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
TOKEN_VARIABLE = "SPARK_CONNECT_AUTHENTICATE_TOKEN"


@dataclass(frozen=True)
class Server:
    """A server that was started: process (and group) id, the kernel's tick at its start, port, token."""

    pid: int
    started: int
    port: int
    token: str

    @property
    def url(self) -> str:
        """Connection string. `localhost` by name: for it alone the client sends a token without TLS."""
        return f"sc://localhost:{self.port}/;token={self.token}"

    @property
    def alive(self) -> bool:
        """Whether the process runs and is this server: a process id may have been given to another one since."""
        return _start_tick(self.pid) == self.started

    @property
    def ready(self) -> bool:
        """Whether it accepts connections."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def find(home: Path) -> Server | None:
    """The running, ready server of a home folder."""
    server = _read_record(home)
    return server if server and server.alive and server.ready else None


def start(home: Path, configuration: Mapping[str, str]) -> str:
    """Start the server unless it runs, and wait until it is ready -> a message. Raises SparkError."""
    began = time.monotonic()
    with _lock(home):
        server = _read_record(home)
        if server and server.alive and server.ready:
            return f"Spark server runs already: pid {server.pid}, port {server.port}"
        if not (server and server.alive):  # else: one that somebody started is still on its way
            server = _spawn(home, configuration)
        _wait_until_ready(home, server, began + SECONDS_TO_START)
    return f"Spark server ready in {time.monotonic() - began:.1f} s: pid {server.pid}, port {server.port}"


def stop(home: Path) -> str:
    """End the server's process group, if it runs -> a message."""
    with _lock(home):
        server = _read_record(home)
        if server and server.alive:
            _terminate(server)
        (home / "spark" / "server.json").unlink(missing_ok=True)
    return f"Spark server stopped: pid {server.pid}" if server else "No Spark server runs"


def _spawn(home: Path, configuration: Mapping[str, str]) -> Server:
    port, token = _free_port(), secrets.token_urlsafe(24)
    settings = {
        **configuration,
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    command = [_spark_submit(), "--master", LAPTOP, "--class", SERVER_CLASS]
    command += [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    # Not subprocess: nobody waits for this child. With its own session and process group it outlives this command, and
    # stop() ends nothing else.
    pid = os.posix_spawn(
        command[0],
        [*command, "spark-internal"],
        os.environ | environment(home) | {TOKEN_VARIABLE: token},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(_log(home)), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    server = Server(pid, _start_tick(pid) or 0, port, token)
    record = home / "spark" / "server.json"
    record.touch(mode=0o600)
    record.write_text(json.dumps(asdict(server)))
    return server


def _wait_until_ready(home: Path, server: Server, deadline: float) -> None:
    while not server.ready:
        ended = not server.alive
        if ended or time.monotonic() > deadline:
            if not ended:
                _terminate(server)
            (home / "spark" / "server.json").unlink()
            what = "ended before it was ready" if ended else f"was not ready after {SECONDS_TO_START} s"
            tail = "\n".join(_log(home).read_text(errors="replace").splitlines()[-15:])
            raise SparkError(f"the Spark server {what}; the end of {_log(home)}:\n{tail}")
        time.sleep(0.05)


def _start_tick(pid: int) -> int | None:
    """When a process started, in ticks since boot; None when it ended (or waits, dead, for its parent to notice).

    Not psutil's create_time(), which moves when somebody sets the clock: the server would be taken for ended.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _terminate(server: Server) -> None:
    os.killpg(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while server.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    if server.alive:
        os.killpg(server.pid, signal.SIGKILL)


def _read_record(home: Path) -> Server | None:
    try:
        return Server(**json.loads((home / "spark" / "server.json").read_text()))
    except FileNotFoundError:
        return None


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Allow one start or stop at a time in a home folder; the lock ends with its process."""
    folder = home / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _log(home: Path) -> Path:
    return home / "spark" / "log"


def _spark_submit() -> str:
    package = find_spec("pyspark")
    assert package is not None
    assert package.submodule_search_locations
    return str(Path(package.submodule_search_locations[0]) / "bin" / "spark-submit")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
