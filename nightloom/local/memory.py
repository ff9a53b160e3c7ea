"""The memory that a project's processes take together: sampled while a block runs, the peak kept.

Proportional set size (a page shared by n processes counts 1/n in each) and swap of this process and all below it, and
of every process that carries the project's NIGHTLOOM_CONFIG in its environment, as Spark's server does, whose parent
has ended.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from nightloom.local.processes import processes_with
from nightloom.settings import CONFIG_VARIABLE, Settings

SECONDS_BETWEEN = 2.0  # adding up a JVM's pages takes some 50 ms


@dataclass
class Peak:
    """Largest sum seen, in bytes."""

    bytes: int = 0

    @property
    def gib(self) -> float:
        return self.bytes / 2**30


@contextmanager
def peak_memory(settings: Settings, seconds: float = SECONDS_BETWEEN) -> Iterator[Peak]:
    """Look at once, and then every so many seconds for as long as the block runs."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while True:
            peak.bytes = max(peak.bytes, project_memory(settings))
            if over.wait(seconds):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def project_memory(settings: Settings) -> int:
    """Bytes that this process and the project's other processes take now."""
    return sum(_bytes(process) for process in project_processes(settings))


def project_processes(settings: Settings) -> set[psutil.Process]:
    """This process, the project's other processes, and all that run below these."""
    # Airflow's workers write their titles over their environment: they are found by their parents.
    ours = {psutil.Process()} | set(processes_with(CONFIG_VARIABLE, str(settings.file)))
    below = set[psutil.Process]()
    for process in ours:
        with suppress(psutil.Error):  # it has ended
            below |= set(process.children(recursive=True))
    return ours | below


def _bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        memory = process.memory_full_info()
        return memory.pss + memory.swap
    return 0
