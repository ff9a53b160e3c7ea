"""A stage that a signal ends, as a real process: its row, its exit code, and nothing of it that goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nightloom.lake import Lake
from nightloom.night.records import stage_runs
from nightloom.settings import CONFIG_VARIABLE

CHECKOUT = Path(__file__).parents[2]
SECONDS = 20
"""A stage ends within 2 s where no other work is done."""
STAGE = """
import hashlib, subprocess, sys, time
from nightloom.lake.duck import spilling_duckdb
from nightloom.night.run import run_stage
from nightloom.night.stages import Stage

def sleep(night):
    time.sleep(600)

def swallow(night):
    try:
        time.sleep(600)
    except BaseException:
        time.sleep(600)

def call_a_library(night):  # which comes back to Python after some minutes
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def query(night):
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.execute("SELECT count(DISTINCT hash(range)) FROM range(1_000_000_000_000)")

def start_processes(night):  # one in a session of its own, as ranks are, whose parent ends before it
    subprocess.run(["sh", "-c", "setsid sleep 601 & sleep 602"])

def body(night):
    night.counts["rows"] = 7
    print("begins", flush=True)
    print("a line in the buffer")
    globals()[sys.argv.pop()](night)

name = sys.argv[-1]
run_stage(Stage("demo.stage", "ops", "a stage of these tests", gib=1), body, argv=["--date", "1998-04-21"])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(CHECKOUT / "nightloom.toml", tmp_path)
    return tmp_path


@contextmanager
def stage(root: Path, body: str, program: str = STAGE) -> Iterator[subprocess.Popen[str]]:
    """A stage's process in the middle of its body."""
    environment = os.environ | {
        CONFIG_VARIABLE: str(root / "nightloom.toml"), "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "",
    }  # fmt: skip
    command = [sys.executable, "-c", program, body]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            time.sleep(0.5)
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], by: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    """Send the signal to the process, not to its children -> stdout and stderr. Whatever was below it must be gone."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(by)
    output, errors = process.communicate(timeout=SECONDS)
    assert [each for each in below if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    return output, errors


@pytest.mark.parametrize("body", ["swallow", "call_a_library", "query", "start_processes"])
def test_wherever_a_stage_is_sigterm_ends_it_with_its_children_and_leaves_a_row(root: Path, body: str) -> None:
    with stage(root, body) as process:
        _, errors = end(process)
    assert (process.returncode, errors) == (143, "demo.stage: terminated by SIGTERM\n")
    (run,) = stage_runs(Lake(root / "data" / "lake"))
    assert (run.status, run.error, run.rows) == ("failed", "terminated by SIGTERM", {"rows": 7})


def test_a_stage_that_still_imports_has_done_nothing_and_leaves_no_row(root: Path) -> None:
    slow_import = "import time; print('begins', flush=True); time.sleep(600)\n" + STAGE
    with stage(root, "call_a_library", slow_import) as process:
        assert end(process) == ("", "")
    assert process.returncode == -signal.SIGTERM  # 143 to a shell
    assert not (root / "data").exists()


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_ctrl_c_and_a_closed_terminal_leave_a_row_and_all_output(root: Path, by: signal.Signals, code: int) -> None:
    with stage(root, "sleep") as process:
        found = end(process, by)
    assert (process.returncode, *found) == (code, "a line in the buffer\n", f"demo.stage: terminated by {by.name}\n")
    (run,) = stage_runs(Lake(root / "data" / "lake"))
    assert (run.status, run.error) == ("failed", f"terminated by {by.name}")
