"""What every step of the set-up needs: the places, a shell that logs and shows progress, one kind of error."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin/python"
NOTES = VENV / "setup"
"""Logs and stamps of the steps."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom"
"""What is made once for all checkouts: Horovod's wheel, jars."""


class SetupError(Exception):
    """Says what is missing or wrong, and what to do."""


class Shell:
    """Runs the commands of one step: what they print goes to its log, how far they are to the terminal."""

    def __init__(self, name: str, notes: Path = NOTES) -> None:
        self.name = name
        self.log = notes / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self.start = time.monotonic()

    def __call__(self, *command: str | Path, extra: Mapping[str, str] | None = None) -> None:
        """Raises SetupError with the log's last 20 lines if the command fails."""
        with self.log.open("a") as log:
            print("+", *command, file=log, flush=True)
            env, nothing = environment(extra or {}), subprocess.DEVNULL
            child = subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, env=env, start_new_session=True)
            try:
                self._wait(child)
            finally:
                if child.poll() is None:  # we were interrupted
                    os.killpg(child.pid, signal.SIGTERM)
                    child.wait()
        if child.returncode:
            tail = self.log.read_text(errors="replace").splitlines()[-20:]
            told = f"{Path(command[0]).name} ended with {child.returncode}; the last lines of {self.log}:"
            raise SetupError("\n    ".join([told, *tail]))

    def _wait(self, child: "subprocess.Popen[bytes]") -> None:
        every = 0.2 if sys.stderr.isatty() else 10.0
        while True:
            try:
                child.wait(timeout=every)
                return
            except subprocess.TimeoutExpired:
                say(f"  {self.name:<10}{time.monotonic() - self.start:6.0f} s  {progress(self.log)}", moving=True)


def progress(log: Path) -> str:
    """A bar where the log counts per cent (a compiler's does), else the log's last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        text = file.read().decode(errors="replace")
    if counted := re.findall(r"^\s*\[ *(\d+)%\]", text, re.MULTILINE):
        done = int(counted[-1])
        return f"[{'#' * (done // 5):.<20}] {done}%"
    lines = text.split()
    return text.rstrip().splitlines()[-1].strip()[:60] if lines else ""


def say(line: str, moving: bool = False) -> None:
    """To stderr: stdout belongs to the command that follows. A moving line is overwritten by the next."""
    terminal = sys.stderr.isatty()
    print(f"\r\033[K{line}" if terminal else line, end="" if moving and terminal else "\n", file=sys.stderr, flush=True)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the virtual environment's tools first; bytecode is written, whatever the machine's habit."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"PATH": path, "PYSPARK_PYTHON": str(PYTHON), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in the cache, gone at the end."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=CACHE) as folder:
        yield Path(folder)


def keep(folder: Path, target: Path) -> None:
    """Moves a finished folder of the cache to its name, in one step; whoever was first wins."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir():
        folder.rename(target)
