"""What the tests of ranks share: a chain that a model can learn, trainings as processes, a hand that kills ranks."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

import models
from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake
from nightloom.settings import Settings
from tests.training.small import Row, event, night_of
from training import distributed, fit, ranking_metrics
from training.dataset import holdout_after, read_log

SECONDS = 400  # a training that takes longer hangs
ITEMS = 24
Process = subprocess.Popen[str]


def chain(users: int) -> list[Row]:
    """Everybody likes one item after the other, round and round from some item on, the last two after the cut."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        first, likes = rng.integers(ITEMS), rng.integers(4, 9)
        days = [*(3 + 0.5 * np.arange(likes, 0, -1)), 1.5, 1.0]
        rows += [event(f"u{user:04}", f"i{(first + n) % ITEMS:02}", float(day)) for n, day in enumerate(days)]
    return rows


def sequence(epochs: int) -> str:
    """The section of a model that learns the chain."""
    return f"""
[[models]]
name = "sequence"
params = {{ factors = 16, length = 8, epochs = {epochs}, batch = 32, learning_rate = 0.01, horizon = 2 }}
"""


@contextmanager
def training(settings: Settings, ranks: int, folder: Path) -> Iterator[Process]:
    """A training of the project's sequence model as a process group of its own; what is left of it is ended."""
    version = Lake(settings.place("lake")).version(INTERACTIONS)
    command = distributed.command(
        ranks, "training.fit", "--config", str(settings.file), "--date", "2026-03-01",
        "--model", "sequence", "--version", str(version), "--folder", str(folder), settings=settings,
    )  # fmt: skip
    environment = os.environ | distributed.environment(ranks, settings.training) | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        hung = threading.Timer(SECONDS, kill, [process])
        hung.start()
        try:
            yield process
        finally:
            hung.cancel()
            kill(process)


def said(process: Process, until: str = "") -> str:
    """What a process says up to a line with `until` in it; without, up to its end, which must be a good one."""
    told = ""
    assert process.stdout is not None
    for line in process.stdout:
        told += line
        if until and until in line:
            return told
    assert process.wait() == 0, told
    assert not until, f"ended without {until!r}:\n{told}"
    return told


def kill(process: Process) -> None:
    """SIGKILL to a launcher's whole group and to its ranks, which are in groups of their own."""
    ranks = of_ranks(process).values()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for rank in ranks:
        with suppress(psutil.NoSuchProcess):
            rank.kill()
    process.wait()


def of_ranks(process: Process) -> dict[int, psutil.Process]:
    """Rank -> the training process that a launcher started for it."""
    found = {}
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has ended
                rank = child.environ().get("HOROVOD_RANK")
                if rank is not None and child.cmdline()[1:3] == ["-m", "training.fit"]:
                    found[int(rank)] = child
    return found


def weights(folder: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a trained model, by name."""
    return {file.stem: np.load(file) for file in sorted((folder / "files").glob("*.npy"))}


def ndcg(settings: Settings, folder: Path) -> float:
    """NDCG@10 of a trained model on the days after the cut; 1 is the chain's right answer."""
    night = night_of(settings)
    task = fit.task_of(night, night.lake.version(INTERACTIONS))
    later = holdout_after(read_log(night.lake, task.version, night.end, only_likes=False), task.cut)
    found = ranking_metrics.hits(ranking_metrics.ranked_lists(models.load(folder / "files"), later, 10), later.targets)
    return float(ranking_metrics.ndcg(found, np.diff(later.targets.indptr)).mean())
