"""Real servers on free ports, for benchmarks and tests: Redis, Redis Cluster, PostgreSQL. bootstrap/ installs them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

DEADLINE = 30.0


@dataclass
class Server:
    """A server process and its address."""

    address: str
    command: list[str]
    owner: str | None = None
    process: subprocess.Popen[bytes] | None = None
    seconds: float = DEADLINE
    """Until it must answer."""

    def start(self, ping: Callable[[], object]) -> None:
        """Start the process, and wait until ping() succeeds."""
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, user=self.owner
        )
        wait_until_ready(ping, self.process, self.seconds)

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and all its children; PostgreSQL has one for each connection."""
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        for each in [first, *first.children(recursive=True)]:
            each.send_signal(number)

    def kill(self) -> None:
        """End the process and its children at once."""
        assert self.process is not None
        self.signal_all(signal.SIGKILL)
        self.process.wait(DEADLINE)

    def stop(self) -> None:
        """Stop the process, and wait for its end."""
        assert self.process is not None
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)  # on SIGTERM, PostgreSQL would wait for its clients
        self.process.wait(DEADLINE)


def wait_until_ready(ping: Callable[[], object], process: subprocess.Popen[bytes], seconds: float = DEADLINE) -> None:
    """Call ping() until it succeeds. Raises AssertionError if the process has ended, or after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ping()
            return
        except (OSError, redis.RedisError, psycopg.OperationalError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{process.args!r} does not answer ({error})") from error
            time.sleep(0.05)


class MissingProgramError(Exception):
    """A server is not installed."""


def program(name: str) -> str:
    """Path of a program; PostgreSQL's are not on Debian's PATH. Raises MissingProgramError."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, folders)]))
    if path is None:
        raise MissingProgramError(
            f"{name} is not installed: apt-get install redis-server postgresql lmdb-utils wrk (./run test does it)"
        )
    return path


def free_port() -> int:
    """A free TCP port on 127.0.0.1."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def redis_server(folder: Path, *arguments: str) -> Iterator[Server]:
    """A Redis server with its data in `folder`, without persistence."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("redis-server"), "--port", str(port), "--dir", str(folder), "--save", "", "--bind", "127.0.0.1"]
    server = Server(f"redis://127.0.0.1:{port}", [*command, *arguments])
    with redis.Redis.from_url(server.address) as client:
        server.start(client.ping)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def redis_cluster(folder: Path) -> Iterator[Server]:
    """A cluster of three primaries; the address is that of the first."""
    with ExitStack() as nodes:
        started = [
            nodes.enter_context(
                redis_server(folder / str(n), "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            )
            for n in range(3)
        ]
        addresses = [node.address.removeprefix("redis://") for node in started]
        create = [program("redis-cli"), "--cluster", "create", *addresses, "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        yield started[0]


@contextmanager
def postgresql() -> Iterator[Server]:
    """A new cluster in a temporary folder. PostgreSQL refuses to run as root; then Debian's user `postgres` runs it."""
    owner = "postgres" if os.geteuid() == 0 else None
    initdb, postgres, port = program("initdb"), program("postgres"), free_port()
    folder = Path(tempfile.mkdtemp(prefix="nightloom-postgresql-"))
    try:
        if owner:
            os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
        create = [initdb, "--auth", "trust", "--username", "nightloom", "--no-sync", "--pgdata", str(folder / "data")]
        subprocess.run(create, check=True, capture_output=True, user=owner, cwd="/", timeout=60)
        settings = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}", "fsync=off"]
        command = [postgres, "-D", str(folder / "data"), *(f"--{setting}" for setting in settings)]
        server = Server(f"postgresql://nightloom@127.0.0.1:{port}/postgres", command, owner)
        server.start(lambda: psycopg.connect(server.address).close())
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
