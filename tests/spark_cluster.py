"""A standalone Spark cluster on this machine: a master, workers, and a network namespace that is another machine.

Workers know nothing of the checkout and of the tests' environment; what executors need must reach them by Spark.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil

SECONDS_TO_START = 300  # 6 s on an idle machine
DEPLOY = "org.apache.spark.deploy"
KNOWN = ("PATH", "HOME", "JAVA_HOME", "LANG")
"""Variables that a worker gets."""


@dataclass(frozen=True)
class Machine:
    """Where a worker runs: its address, and the command in front of its own."""

    address: str
    prefix: Sequence[str] = ()


@dataclass
class Cluster:
    """A master on `host`, and its workers by name."""

    folder: Path
    host: str
    port: int = 0
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"spark://{self.host}:{self.port}"

    def start_master(self) -> None:
        self.port = free_port(self.host)
        self._start("master", (), "master.Master", "--host", self.host, "--port", str(self.port))
        self._wait("started the master", lambda: "I have been elected leader" in self.log("master"))

    def start_worker(self, name: str, machine: Machine, cores: int = 1, memory: str = "3g") -> None:
        before = self.log("master").count("Registering worker")
        size = ("-c", str(cores), "-m", memory, "-d", str(self.folder / name), self.url)
        self._start(name, machine.prefix, "worker.Worker", "--host", machine.address, *size)
        self._wait(f"registered {name}", lambda: self.log("master").count("Registering worker") > before)

    def kill(self, name: str) -> int:
        """kill -9 of a worker and its executors, with their Pythons -> how many executors there were."""
        worker = psutil.Process(self.processes[name].pid)
        family = [worker, *worker.children(recursive=True)]
        executors = [each for each in family if "CoarseGrainedExecutorBackend" in " ".join(cmdline(each))]
        for each in family:
            each.send_signal(signal.SIGKILL)
        self.processes.pop(name).wait()
        return len(executors)

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, prefix: Sequence[str], kind: str, *words: str) -> None:
        spark = find_spec("pyspark")
        assert spark is not None
        assert spark.origin is not None
        command = [*prefix, str(Path(spark.origin).parent / "bin" / "spark-class"), f"{DEPLOY}.{kind}", *words]
        environment = {variable: os.environ[variable] for variable in KNOWN if variable in os.environ}
        (self.folder / name).mkdir(parents=True)
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*command, "--webui-port", "0"], cwd=self.folder / name, env=environment, stdout=log, stderr=log
            )

    def _wait(self, what: str, done: object) -> None:
        assert callable(done)
        deadline = time.monotonic() + SECONDS_TO_START
        while not done():
            assert time.monotonic() < deadline, f"the cluster has not {what}:\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)


@contextmanager
def cluster(folder: Path, host: str) -> Iterator[Cluster]:
    """A master for as long as the block lasts; the block starts workers."""
    made = Cluster(folder, host)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made.start_master()
        yield made
    finally:
        made.stop()


@contextmanager
def other_machine(hidden: Sequence[Path]) -> Iterator[tuple[str, Machine]]:
    """A network namespace as another machine, which does not see some folders -> (this machine's address, that one).

    The two are joined by a pair of virtual cards. It needs root.
    """
    name, net = f"nl{os.getpid()}", f"10.213.{os.getpid() % 250}"
    here, there = f"{net}.1", f"{net}.2"
    try:
        ip("netns", "add", name)
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "addr", "add", f"{there}/30", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
        ip("-n", name, "link", "set", "lo", "up")
        # The namespace has mounts of its own, too: an empty folder in the place of each hidden one.
        hide = "".join(f'mount -t tmpfs none "{folder}" && ' for folder in hidden) + 'exec "$@"'
        yield here, Machine(there, ("ip", "netns", "exec", name, "sh", "-c", hide, "sh"))
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True, check=False)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
