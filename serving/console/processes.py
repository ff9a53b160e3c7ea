"""Actions that take long: a command of `nightloom` as a process of its own, which outlives the server.

SCRATCH/console/ has each one's output. The process records its end in ops.actions by itself (process.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from nightloom.settings import Settings
from serving.console.action_log import LoggedAction

MAX_OUTPUT_BYTES = 64 << 10
"""The end of an output that a page shows."""


def folder(settings: Settings) -> Path:
    """The folder of outputs; records that wait to be read are there, too, so only its owner may read it."""
    made = settings.place("scratch") / "console"
    made.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made


def input_file(settings: Settings, action: LoggedAction) -> Path:
    """Where an action puts what its command reads; the process deletes it at its end."""
    return folder(settings) / f"{action.action_id}.jsonl"


def output_file(settings: Settings, action_id: str) -> Path:
    """What the command wrote."""
    return folder(settings) / f"{action_id}.log"


def start(settings: Settings, action: LoggedAction, words: list[str]) -> None:
    """Run `nightloom WORDS` for an action."""
    command = [sys.executable, "-m", "serving.console.process", str(settings.file), *words]
    environment = os.environ | {"NIGHTLOOM_ACTION": json.dumps(action.row(), default=str)}
    with output_file(settings, action.action_id).open("xb") as output:
        started = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the server and not a night
        )  # fmt: skip
    pid_file(settings, action.action_id).write_text(str(started.pid), encoding="ascii")
    # The system keeps an ended process until somebody waits for it.
    threading.Thread(target=started.wait, daemon=True).start()


def pid_file(settings: Settings, action_id: str) -> Path:
    return folder(settings) / f"{action_id}.pid"


def runs(settings: Settings, action_id: str) -> bool:
    """Whether the process of an action is at work on this machine."""
    try:
        process = psutil.Process(int(pid_file(settings, action_id).read_text(encoding="ascii")))
        return "serving.console.process" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def output(settings: Settings, action_id: str) -> str | None:
    """The end of what the command wrote so far; None where this machine has no output of it."""
    try:
        with output_file(settings, action_id).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_OUTPUT_BYTES))
            return file.read().decode("utf8", "replace")
    except FileNotFoundError:
        return None
