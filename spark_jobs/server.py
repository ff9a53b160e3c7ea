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
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from spark_jobs import session_settings
from spark_jobs.session_settings import SparkError

LAPTOP = "local[*]"
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


def start(home: Path, heavy: bool = False) -> str:
    """Start the server unless it runs, and wait until it is ready -> a message. Raises SparkError.

    `heavy` tunes it for millions of rows instead of for a quick start.
    """
    began = time.monotonic()
    with _lock(home):
        server = _read_record(home)
        if server and server.alive and server.ready:
            return f"Spark server runs already: pid {server.pid}, port {server.port}"
        if not (server and server.alive):  # else: one that somebody started is still on its way
            server = _spawn(home, heavy)
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


def configuration(home: Path, master: str, heavy: bool = False) -> dict[str, str]:
    """Spark settings, the same for the server and for classic Spark; `heavy` as in start()."""
    jars = extra_jars()
    shared = (
        session_settings.STATIC
        | session_settings.SESSION
        | {
            "spark.sql.catalogImplementation": "in-memory",
            "spark.sql.warehouse.dir": str(home / "spark" / "warehouse"),
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            # Stages share loaded classes and compiled code: no stage has jars of its own.
            "spark.sql.artifact.isolation.enabled": "false",
            # Spark overestimates a night's few new rows (it counts all columns), so they exceed the default of 10 MB.
            "spark.sql.autoBroadcastJoinThreshold": str(64 << 20),
            # Choosing a compression for each column takes a quarter of a silver stage's CPU time.
            "spark.sql.inMemoryColumnarStorage.compressed": "false",
            # Plans share generated classes; with the default of 100 a night takes a twentieth longer (measured).
            "spark.sql.codegen.cache.maxEntries": "2000",
            # A text on which a regular expression overflows the stack fails its task, and not the process of all tasks.
            "spark.executor.killOnFatalError.depth": "0",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "WARN",
        }
    )
    if not master.startswith("local"):
        return shared | {"spark.jars": ",".join(jars)}
    return shared | {
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.driver.extraJavaOptions": " ".join(_java_options(heavy)),
        "spark.driver.memory": "5g" if heavy else "3g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        # The defaults are for large tables: they read a tiny Delta log in 50 tasks and list a folder in 10,000.
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    }


def environment(home: Path) -> dict[str, str]:
    """Variables for Spark's own processes: this interpreter, and the folder of our packages."""
    here = str(Path(__file__).parents[1])
    path = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(home / "spark" / "tmp"),
    }


def extra_jars() -> list[str]:
    """Delta's and Kafka's jars in the interpreter's folder, in the order that the class-data archive requires."""
    folder = Path(sys.prefix) / "spark-jars"
    jars = sorted(str(jar) for jar in folder.glob("*.jar"))
    if not jars:
        raise SparkError(f"no jars in {folder}; `./run setup` puts them there")
    return jars


def _java_options(heavy: bool) -> list[str]:
    """For a laptop's short night: the first compiler only, the simplest collector, classes from an archive if any.

    Measured: on a million rows the second compiler needs half the CPU time of the first, on few rows twice as much. On
    ten million rows a single-threaded collector takes a fifth of the silver stage's time, and compiling cold code a
    tenth.
    """
    archive = Path(sys.prefix) / "spark.jsa"
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    many = ["-XX:+UseParallelGC", "-XX:CompileThresholdScaling=8"]
    # With one compiler Java reserves only 48 MB for compiled code; a night of many stages must never fill it.
    options = ["-XX:ReservedCodeCacheSize=256m", *(many if heavy else quick)]
    return [*options, _java_option("-XX:SharedArchiveFile", archive)] if archive.exists() else options


def _java_option(name: str, path: Path) -> str:
    """An option with a path, which may hold blanks and quotes, as Spark's launcher splits options."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


def _spawn(home: Path, heavy: bool) -> Server:
    port, token = _free_port(), secrets.token_urlsafe(24)
    settings = configuration(home, LAPTOP, heavy) | {
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
