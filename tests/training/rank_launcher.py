"""Trainings of the sequence model as processes, for the tests of ranks: data that it can learn, output, kills."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

import models
from nightloom.contracts import INTERACTIONS
from nightloom.settings import Settings
from tests.training.small_project import Row, event, night_of
from training import distributed, fit, launch, ranking_metrics
from training.dataset import holdout_after, read_log

TIMEOUT_SECONDS = 400  # time-out of a training
ITEMS = 24
Process = subprocess.Popen[str]


def cyclic_likes(users: int) -> list[Row]:
    """Every user likes the items in one cyclic order, from a random start; the last two likes are after the cut."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        first, likes = rng.integers(ITEMS), rng.integers(4, 9)
        days = [*(3 + 0.5 * np.arange(likes, 0, -1)), 1.5, 1.0]
        rows += [event(f"u{user:04}", f"i{(first + n) % ITEMS:02}", float(day)) for n, day in enumerate(days)]
    return rows


def sequence_section(epochs: int) -> str:
    """Section of nightloom.toml for a model that learns the order."""
    return f"""
[[models]]
name = "sequence"
params = {{ factors = 16, length = 8, epochs = {epochs}, batch = 32, learning_rate = 0.01, horizon = 2 }}
"""


@contextmanager
def training(
    settings: Settings, ranks: int, folder: Path, prefix: Sequence[str] = (), earlier: Path | None = None
) -> Iterator[Process]:
    """Run a training of the project's sequence model as its own process group; kill what is left of it at the end.

    `prefix` is what stands before the command. `earlier` are files of a model to refit.
    """
    night = night_of(settings)
    task = replace(fit.task_of(night, night.lake.version(INTERACTIONS)), earlier=earlier)
    command = [*prefix, *launch.rank_command(settings, task, settings.models[0], folder, ranks)]
    environment = os.environ | distributed.environment(ranks, settings.training) | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        timer = threading.Timer(TIMEOUT_SECONDS, kill, [process])
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            kill(process)


def read_output(process: Process, until: str = "") -> str:
    """Output up to a line with `until`; without `until`, up to the process's end, which must be successful."""
    output = ""
    assert process.stdout is not None
    for line in process.stdout:
        output += line
        if until and until in line:
            return output
    assert process.wait() == 0, output
    assert not until, f"ended without {until!r}:\n{output}"
    return output


def kill(process: Process) -> None:
    """Send SIGKILL to a launcher's process group, and to its ranks, which have their own groups."""
    ranks = rank_processes(process).values()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for rank in ranks:
        with suppress(psutil.NoSuchProcess):
            rank.kill()
    process.wait()


def rank_processes(process: Process) -> dict[int, psutil.Process]:
    """Rank -> the training process that a launcher started for it."""
    processes = {}
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):  # the child has ended
                rank = child.environ().get("HOROVOD_RANK")
                if rank is not None and child.cmdline()[1:3] == ["-m", "training.fit"]:
                    processes[int(rank)] = child
    return processes


def weights(folder: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a trained model, by name."""
    return {file.stem: np.load(file) for file in sorted((folder / "files").glob("*.npy"))}


def ndcg(settings: Settings, folder: Path) -> float:
    """NDCG@10 of a trained model on the holdout; a model that has learned the order reaches 1."""
    night = night_of(settings)
    task = fit.task_of(night, night.lake.version(INTERACTIONS))
    holdout = holdout_after(read_log(night.lake, task.version, night.end, only_likes=False), task.cut)
    hits_TK = ranking_metrics.hits(
        ranking_metrics.ranked_lists(models.load(folder / "files"), holdout, 10), holdout.targets
    )
    return float(ranking_metrics.ndcg(hits_TK, np.diff(holdout.targets.indptr)).mean())
