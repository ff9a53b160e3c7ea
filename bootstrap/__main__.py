"""A bare Debian or Ubuntu -> .venv with everything that Nightloom needs. `./run` calls it: `python3 -m bootstrap`.

A finished step leaves a stamp, the hash of all its inputs, and is skipped as long as they stay the same. Steps that do
not need each other run side by side: Horovod's build takes a while, and its last file only one core. `--lock-jars`
also writes the locks of the jars; `--for-tests`, `--for-slow-tests` and `--for-benchmarks` also install what only they
need, `--for-s3` what a lake on S3 needs.
"""

import fcntl
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from bootstrap import horovod_wheel, jars, packages, system
from bootstrap.lock import LOCK
from bootstrap.shell import CHECKOUT, STATE, SetupError, Shell, say

SIDE_BY_SIDE = 2
"""Chains of steps that run at the same time: compilers and a JVM take 1 GiB each."""


@dataclass(frozen=True)
class Step:
    """A step of the set-up: it runs again if its key or an earlier step of its chain has changed."""

    name: str
    key: Callable[[], str]
    """Text of the step's inputs; earlier steps are inputs too."""
    do: Callable[[Shell], None]
    """Does the step; it can be interrupted and repeated."""


SYSTEM = Step("system", system.key, system.install)
"""Not in ENVIRONMENT: a newer Java must not install the Python packages again."""
ENVIRONMENT = (
    Step("python", packages.venv_key, packages.make_venv),
    Step("packages", LOCK.read_text, packages.sync),
)
"""All others but SYSTEM need these."""
CHAINS = (
    (Step("horovod", lambda: horovod_wheel.wheel_folder().name, horovod_wheel.install),),
    (
        Step("jars", jars.SPARK_JARS.key, jars.SPARK_JARS.install),
        Step("archive", lambda: jars.ARCHIVER.read_text() + system.key(), jars.make_archive),
    ),
    (Step("jdbc-jars", jars.JDBC_JARS.key, jars.JDBC_JARS.install),),
    (Step("nightloom", (CHECKOUT / "pyproject.toml").read_text, packages.install_nightloom),),
)
"""Each continues ENVIRONMENT."""
SERVERS = Step("servers", system.servers_key, system.install_servers)
"""For tests and benchmarks; a chain of its own, like SYSTEM."""
BROKER = Step("broker", jars.BROKER_JARS.key, jars.BROKER_JARS.install)
"""For tests only."""
CASSANDRA = Step("cassandra", jars.CASSANDRA_JARS.key, jars.CASSANDRA_JARS.install)
"""For slow tests and benchmarks only."""
NODE = Step("node", system.node_key, system.install_node)
"""For slow tests only."""
BROWSER = Step("browser", system.browser_key, system.install_browser)
"""For slow tests only."""
PEERS = Step("peers", packages.peers_key, packages.install_peers)
"""For benchmarks only."""
EXTRA = {
    "--for-tests": (BROKER, SERVERS),
    "--for-slow-tests": (CASSANDRA, NODE, BROWSER),
    "--for-benchmarks": (CASSANDRA, PEERS, SERVERS),
}
"""Further steps by argument; they need ENVIRONMENT, and none needs another."""
S3 = (
    Step("compiler", system.compiler_key, system.install_compiler),
    Step("s3-jars", jars.S3_JARS.key, jars.S3_JARS.install),
    Step("log-store", jars.log_store_key, jars.build_log_store),
)
"""For a lake on S3 only: 690 MB, and a Java compiler. The last step needs the jars, too."""


def set_up(
    steps: Sequence[Step], chains: Sequence[Sequence[Step]] = (), others: Sequence[Step] = (), state: Path = STATE
) -> None:
    """Run the steps whose inputs changed: first `steps`, then side by side the `chains`, which continue them.

    In a chain all steps after one that runs also run. Each of `others` waits for `steps`, but does not run again with
    them. An error or an interrupt stops the other chains.
    """
    before = set_up_chain(steps, [step for chain in chains for step in chain], "", state, Event())
    stop = Event()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        running = [threads.submit(set_up_chain, chain, (), before, state, stop) for chain in chains]
        running += [threads.submit(set_up_chain, [step], (), "", state, stop) for step in others]
        try:
            for chain in as_completed(running):
                chain.result()
        finally:
            stop.set()


def set_up_chain(steps: Sequence[Step], later: Sequence[Step], before: str, state: Path, stop: Event) -> str:
    """Run the steps whose inputs changed, in order, and all after the first of them -> digest of all steps so far."""
    for number, step in enumerate(steps):
        before = perform(step, before, [*steps[number + 1 :], *later], state, stop)
    return before


def perform(step: Step, before: str, later: Sequence[Step], state: Path, stop: Event) -> str:
    """Run the step unless its stamp is up to date -> digest of this step and all steps before it."""
    stamp = state / f"{step.name}.done"
    if not stamp.exists() or stamp.read_text() != digest(before, step):
        sh = Shell(step.name, state, stop)
        for each in (step, *later):  # if interrupted, they run again
            (state / f"{each.name}.done").unlink(missing_ok=True)
        step.do(sh)
        stamp.write_text(digest(before, step))
        say(f"  {step.name:<10}{time.monotonic() - sh.start:6.1f} s")
    return stamp.read_text()


def digest(before: str, step: Step) -> str:
    """Hash of the step's key and of all steps before it."""
    return hashlib.sha256(f"{before}\n{step.key()}".encode()).hexdigest()


@contextmanager
def exclusive_setup() -> Iterator[None]:
    """Only one set-up at a time in this checkout. The lock ends with the process."""
    folder = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("  another set-up is running in this checkout: waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)
    yield
    os.close(folder)


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with exclusive_setup():
            set_up([SYSTEM])
            if "--lock-jars" in arguments:
                set_up(ENVIRONMENT)
                jars.lock(Shell("lock-jars"))
            extra = {flag: steps for flag, steps in EXTRA.items() if flag in arguments}
            set_up(ENVIRONMENT, CHAINS, list(dict.fromkeys(step for steps in extra.values() for step in steps)))
            if "--for-s3" in arguments:
                set_up(S3)
    except SetupError as error:
        say(f"set-up: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up: interrupted; run it again and it goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
