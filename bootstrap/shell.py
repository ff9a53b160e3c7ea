"""Shared by all steps of the set-up: paths, a shell that logs and shows progress, the error."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin/python"
STATE = VENV / "setup"
"""Folder of the steps' logs and stamps."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom"
"""Folder of what all checkouts share: Horovod's wheel, jars."""


_PROGRESS: dict[str, str] = {}
"""Progress by step, of the commands that run now."""
_OUTPUT = Lock()
_POLL_SECONDS, _LOG_SECONDS = 0.2, 10.0
"""Seconds between two looks at a command; between two lines of progress where no terminal can overwrite them."""


class SetupError(Exception):
    """The message names what is missing or wrong, and what to do."""


class StoppedError(SetupError):
    """Another step failed, or the set-up was interrupted."""


class Shell:
    """Runs the commands of one step: their output goes to the step's log, their progress to the terminal."""

    def __init__(self, name: str, state: Path = STATE, stop: Event | None = None) -> None:
        self.name = name
        self.stop = stop or Event()
        self.log = state / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self.start = time.monotonic()

    def __call__(self, *command: str | Path, extra: Mapping[str, str] | None = None) -> None:
        """Run a command. Raises SetupError with the log's last 20 lines if it fails, StoppedError if `stop` is set."""
        with self.log.open("a") as log:
            print("+", *command, file=log, flush=True)
            env, nothing = environment(extra or {}), subprocess.DEVNULL
            child = subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, env=env, start_new_session=True)
            try:
                self._wait(child)
            finally:
                _PROGRESS.pop(self.name, None)
                if child.poll() is None:  # the set-up was interrupted
                    os.killpg(child.pid, signal.SIGTERM)
                    child.wait()
        if child.returncode:
            tail = self.log.read_text(errors="replace").splitlines()[-20:]
            error = f"{Path(command[0]).name} ended with {child.returncode}; the last lines of {self.log}:"
            raise SetupError("\n    ".join([error, *tail]))

    def _wait(self, child: "subprocess.Popen[bytes]") -> None:
        terminal, shown = sys.stderr.isatty(), time.monotonic()
        while not self.stop.is_set():
            try:
                child.wait(timeout=_POLL_SECONDS)
                return
            except subprocess.TimeoutExpired:
                if terminal or time.monotonic() - shown >= _LOG_SECONDS:
                    shown = time.monotonic()
                    _PROGRESS[self.name] = f"{self.name:<10}{shown - self.start:6.0f} s  {progress(self.log)}"
                    say("  " + (" | ".join(_PROGRESS.copy().values()) if terminal else _PROGRESS[self.name]), terminal)
        raise StoppedError(f"{self.name} was stopped")


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
    if sys.stderr.isatty():
        line = f"\r\033[K{line[: shutil.get_terminal_size().columns - 1] if transient else line}"
    with _OUTPUT:  # steps run side by side
        print(line, end="" if transient else "\n", file=sys.stderr, flush=True)


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
