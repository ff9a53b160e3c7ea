"""A stage in its own process group, ended by SIGKILL at random moments, then run again until it succeeds.

    life = run_undisturbed(twin, "spark_jobs.bronze", D)                      # a project that nobody disturbs
    kills = kill_until_done(root, "spark_jobs.bronze", D, kills=5, seed=1, life=life)
    assert content(root, BRONZE_EVENTS) == content(twin, BRONZE_EVENTS)

The project's `places.spark` must be a local[N]: then Spark lives, and dies, in the stage's process group. A stage of
ingest that needs no Spark is ended after it holds the lake's lock: `spark=False`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

import psutil

from nightloom import settings as settings_module
from nightloom.contracts import Table
from nightloom.lake import Lake
from nightloom.settings import CONFIG_VARIABLE

CHECKOUT = Path(__file__).parents[2]
TIME_COLUMNS = ("ingested_at", "generated_at", "reopened_at", "decided_at")
"""Columns with the time of a write, which differ from run to run."""
SECONDS = 180  # a stage that takes longer hangs
Stage = subprocess.Popen[bytes]


def start(root: Path, module: str, day: date) -> Stage:
    """Start `python -m MODULE --date DAY` in its own session; its output goes to ROOT/stage-PID.log."""
    command = [sys.executable, "-m", module, "--date", day.isoformat()]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTLOOM_", "AIRFLOW"))}
    inherited |= {name: value for name, value in os.environ.items() if name.startswith("NIGHTLOOM_SOURCE_")}
    environment = inherited | {CONFIG_VARIABLE: str(root / "nightloom.toml"), "PYTHONPATH": str(CHECKOUT)}
    with (root / "stage.log").open("wb") as log:
        stage = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)
    (root / "stage.log").rename(log_file(root, stage))
    return stage


def log_file(root: Path, stage: Stage) -> Path:
    """The file with the stage's output."""
    return root / f"stage-{stage.pid}.log"


def kill(stage: Stage) -> None:
    """Send SIGKILL to the whole group, Python and Java: no process can clean up."""
    os.killpg(stage.pid, signal.SIGKILL)
    stage.wait()


def copy_as_killed(root: Path, stage: Stage, to: Path) -> Path:
    """Copy the project while the whole group is stopped: these bytes are what SIGKILL leaves at this moment."""
    os.killpg(stage.pid, signal.SIGSTOP)
    try:
        return Path(shutil.copytree(root, to, ignore=shutil.ignore_patterns("spark", "*.log")))
    finally:
        os.killpg(stage.pid, signal.SIGCONT)


def finish(root: Path, stage: Stage) -> None:
    """Wait for the end; the stage must succeed."""
    try:
        code = stage.wait(SECONDS)
    except subprocess.TimeoutExpired:
        kill(stage)
        raise AssertionError(f"the stage still ran after {SECONDS} s:\n{_tail(root, stage)}") from None
    assert code == 0, f"the stage ended with {code}:\n{_tail(root, stage)}"


def run_undisturbed(root: Path, module: str, day: date, *, spark: bool = True) -> float:
    """Run the stage until it succeeds -> seconds since its work had begun."""
    stage = _start_work(root, module, day, spark=spark)
    up = time.monotonic()
    finish(root, stage)
    return time.monotonic() - up


def kill_until_done(
    root: Path, module: str, day: date, kills: int, seed: int, life: float, *, spark: bool = True
) -> int:
    """Kill the stage up to `kills` times, each try at another moment, then let it finish -> how often it was killed.

    The moments are random, one in each of `kills` equal parts of `life` (seconds of an undisturbed run after its
    work began; nothing happens before), early ones first. A try that ends before its moment must end well, and is the
    last.
    """
    draw = random.Random(seed)
    moments = [(part + draw.random()) / kills * life for part in range(kills)]
    for killed, moment in enumerate(moments):
        stage = _start_work(root, module, day, spark=spark)
        try:
            stage.wait(moment)
        except subprocess.TimeoutExpired:
            kill(stage)
            continue
        finish(root, stage)
        return killed
    finish(root, start(root, module, day))
    return kills


def content(root: Path, table: Table, without: tuple[str, ...] = TIME_COLUMNS) -> list[str]:
    """The table's rows as sorted texts, with duplicates."""
    lake = Lake(settings_module.load(root / "nightloom.toml").place("lake"))
    names = [name for name in table.column_names if name not in without]
    rows = lake.rows(table, columns=[f'"{name}"' for name in names]).to_pylist()
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)


def lake_files(root: Path) -> tuple[tuple[str, int], ...]:
    """Every file of the lake with its size. Equal ones have equal bytes: no file is changed once it is there."""
    files = sorted((root / "data/lake").rglob("*"))
    return tuple((str(file.relative_to(root)), file.stat().st_size) for file in files if file.is_file())


def _start_work(root: Path, module: str, day: date, *, spark: bool) -> Stage:
    """Start the stage and wait until its Spark is up, or without Spark until it holds the lock of the lake's ingest."""
    folder = settings_module.load(root / "nightloom.toml").place("home") / "spark" / "tmp"
    before, deadline = set(folder.glob("blockmgr-*")), time.monotonic() + SECONDS
    stage = start(root, module, day)

    def works() -> bool:
        if spark:  # each one makes a scratch folder of its own as it starts
            return bool(set(folder.glob("blockmgr-*")) - before)
        with suppress(psutil.Error):  # it has ended
            opened = psutil.Process(stage.pid).open_files()
            return str(root / "data/lake/_checkpoints/lock") in [file.path for file in opened]
        return False

    while stage.poll() is None and not works():
        if time.monotonic() > deadline:
            kill(stage)
            raise AssertionError(f"no work after {SECONDS} s:\n{_tail(root, stage)}")
        time.sleep(0.02)
    return stage


def _tail(root: Path, stage: Stage) -> str:
    return log_file(root, stage).read_text(encoding="utf8", errors="replace")[-4_000:]
