"""A bare Debian or Ubuntu -> .venv with all that Nightloom needs. `./run` calls it each time: `python3 -m bootstrap`.

A step that is done left a stamp, the hash of all it depends on, and costs nothing more. `--lock-jars` writes the jars'
locks anew on the way; `--for-tests` and `--for-benchmarks` bring what only those need, too.
"""

import fcntl
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootstrap import horovod_wheel, jars, packages, system
from bootstrap.lock import LOCK
from bootstrap.shell import CHECKOUT, NOTES, SetupError, Shell, say


@dataclass(frozen=True)
class Step:
    name: str
    key: Callable[[], str]
    """Text of what the step depends on, beside the steps before it."""
    do: Callable[[Shell], None]
    """Makes it so; harmless when cut short and repeated."""


SYSTEM = Step("system", system.key, system.install)
"""Apart from the others: a newer Java does not make the Python packages anew."""
STEPS = (
    Step("python", packages.venv_key, packages.make_venv),
    Step("packages", LOCK.read_text, packages.sync),
    Step("horovod", lambda: horovod_wheel.wheels().name, horovod_wheel.install),
    Step("jars", jars.SPARK_JARS.key, jars.SPARK_JARS.install),
    Step("archive", lambda: jars.ARCHIVER.read_text() + system.key(), jars.make_archive),
    Step("nightloom", (CHECKOUT / "pyproject.toml").read_text, packages.install_nightloom),
)
SERVERS = Step("servers", system.servers_key, system.install_servers)
"""For tests and benchmarks, apart from the others like SYSTEM."""
BROKER = Step("broker", jars.BROKER_JARS.key, jars.BROKER_JARS.install)
"""For tests only."""
PEERS = Step("peers", packages.peers_key, packages.install_peers)
"""For benchmarks only."""


def set_up(steps: Sequence[Step], notes: Path = NOTES) -> None:
    """Does what is not done, in order. A step that runs makes the later ones run again."""
    before = ""
    for number, step in enumerate(steps):
        before = perform(step, before, steps[number + 1 :], notes)


def perform(step: Step, before: str, later: Sequence[Step], notes: Path) -> str:
    """Does the step unless its stamp says that it is done -> digest of this step and all before it."""
    stamp = notes / f"{step.name}.done"
    if not stamp.exists() or stamp.read_text() != digest(before, step):
        sh = Shell(step.name, notes)
        for each in (step, *later):  # cut short, they will run again
            (notes / f"{each.name}.done").unlink(missing_ok=True)
        step.do(sh)
        stamp.write_text(digest(before, step))
        say(f"  {step.name:<10}{time.monotonic() - sh.start:6.1f} s")
    return stamp.read_text()


def digest(before: str, step: Step) -> str:
    return hashlib.sha256(f"{before}\n{step.key()}".encode()).hexdigest()


@contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time in this checkout; the lock ends with the process."""
    folder = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("  another set-up is at work in this checkout: waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)
    yield
    os.close(folder)


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with alone():
            set_up([SYSTEM])
            if "--lock-jars" in arguments:
                set_up(STEPS[:2])
                jars.lock(Shell("lock-jars"))
            set_up(STEPS)
            if "--for-tests" in arguments:
                set_up([BROKER])
                set_up([SERVERS])
            if "--for-benchmarks" in arguments:
                set_up([PEERS])
                set_up([SERVERS])
    except SetupError as error:
        say(f"set-up: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up: interrupted; run it again and it goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
