"""Shared by all steps of the set-up: paths, a shell that logs and shows progress, the error."""

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
STATE = VENV / "setup"
"""Folder of the steps' logs and stamps."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom"
"""Folder of what all checkouts share: Horovod's wheel, jars."""


class SetupError(Exception):
    """The message names what is missing or wrong, and what to do."""


class Shell:
    """Runs the commands of one step: their output goes to the step's log, their progress to the terminal."""

    def __init__(self, name: str, state: Path = STATE) -> None:
        self.name = name
        self.log = state / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self.start = time.monotonic()

    def __call__(self, *command: str | Path, extra: Mapping[str, str] | None = None) -> None:
        """Run a command. Raises SetupError with the log's last 20 lines if it fails."""
        with self.log.open("a") as log:
            print("+", *command, file=log, flush=True)
            env, nothing = environment(extra or {}), subprocess.DEVNULL
            child = subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, env=env, start_new_session=True)
            try:
                self._wait(child)
            finally:
                if child.poll() is None:  # the set-up was interrupted
                    os.killpg(child.pid, signal.SIGTERM)
                    child.wait()
        if child.returncode:
            tail = self.log.read_text(errors="replace").splitlines()[-20:]
            error = f"{Path(command[0]).name} ended with {child.returncode}; the last lines of {self.log}:"
            raise SetupError("\n    ".join([error, *tail]))

    def _wait(self, child: "subprocess.Popen[bytes]") -> None:
        interval = 0.2 if sys.stderr.isatty() else 10.0
        while True:
            try:
                child.wait(timeout=interval)
                return
            except subprocess.TimeoutExpired:
                say(f"  {self.name:<10}{time.monotonic() - self.start:6.0f} s  {progress(self.log)}", transient=True)


def progress(log: Path) -> str:
    """A bar if the log has percentages (a compiler's has), else the log's last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        text = file.read().decode(errors="replace")
    if percentages := re.findall(r"^\s*\[ *(\d+)%\]", text, re.MULTILINE):
        percent = int(percentages[-1])
        return f"[{'#' * (percent // 5):.<20}] {percent}%"
    lines = text.split()
    return text.rstrip().splitlines()[-1].strip()[:60] if lines else ""


def say(line: str, transient: bool = False) -> None:
    """Print to stderr: stdout belongs to the command that follows. The next line overwrites a transient one."""
    terminal = sys.stderr.isatty()
    print(
        f"\r\033[K{line}" if terminal else line, end="" if transient and terminal else "\n", file=sys.stderr, flush=True
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's variables, with .venv/bin first in PATH, and without PYTHONDONTWRITEBYTECODE."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"PATH": path, "PYSPARK_PYTHON": str(PYTHON), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder in the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=CACHE) as folder:
        yield Path(folder)


def move_into_cache(folder: Path, target: Path) -> None:
    """Rename a finished scratch folder to `target`; if another process was first, its folder stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir():
        folder.rename(target)
